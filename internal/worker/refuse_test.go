package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// Settings that cannot work are refused before anything is done.
func TestConfigRefusals(t *testing.T) {
	t.Parallel()
	good := Config{Server: "http://127.0.0.1:1", DataDir: t.TempDir(), Sandbox: sandboxOf(nil)}
	for want, spoil := range map[string]func(*Config){
		"plain http to example.org is refused": func(c *Config) { c.Server = "http://example.org" },
		"not a server's address":               func(c *Config) { c.Server = "example.org" },
		"64 characters":                        func(c *Config) { c.Pin = "00" },
		"needs a folder":                       func(c *Config) { c.DataDir = "" },
		"no way to misbehave":                  func(c *Config) { c.Misbehave = "badly" },
	} {
		c := good
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(path(dir, keyFile), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := good
	c.DataDir = dir
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("damaged key: %v", err)
	}
}

// The device key is readable by its owner alone and stays the same.
func TestDeviceKey(t *testing.T) {
	t.Parallel()
	c := Config{Server: "http://127.0.0.1:1", DataDir: t.TempDir(), Sandbox: sandboxOf(nil)}
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(c)
	if err != nil || a.ID() != b.ID() {
		t.Fatalf("%s, then %s, %v", a.ID(), b.ID(), err)
	}
	info, err := os.Stat(path(c.DataDir, keyFile))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
}

// A worker that is not wanted ends and says why and what to do.
func TestNotWanted(t *testing.T) {
	t.Parallel()
	t.Run("invite", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "")
		a := launch(t, s, t.TempDir(), sandboxOf(nil), func(c *Config) { c.Invite = "used up" })
		if err := a.wait(t); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden || !strings.Contains(err.Error(), "not valid any more") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("no invite", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "")
		a := launch(t, s, t.TempDir(), sandboxOf(nil), func(c *Config) { c.Invite = "" })
		if err := a.wait(t); err == nil || !strings.Contains(err.Error(), "has not joined") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "")
		a := launch(t, s, t.TempDir(), sandboxOf(nil), nil)
		s.greet(t, a.ID(), welcome)
		s.send(t, a.ID(), cloudcrowd.Down{Refused: "revoked by its owner"})
		if err := a.wait(t); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden || !strings.Contains(err.Error(), "revoked by its owner") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("kicked", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "")
		a := launch(t, s, t.TempDir(), sandboxOf(nil), nil)
		s.greet(t, a.ID(), welcome)
		s.gateway.Kick(a.ID(), "revoked by the operator")
		if err := a.wait(t); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden || !strings.Contains(err.Error(), "revoked by the operator") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		s := serve(t, "")
		dir, copied := t.TempDir(), t.TempDir()
		a := launch(t, s, dir, sandboxOf(nil), nil)
		s.greet(t, a.ID(), welcome)
		for _, name := range []string{keyFile, stateFile} {
			b, err := os.ReadFile(path(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path(copied, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b := launch(t, s, copied, sandboxOf(nil), nil)
		s.greet(t, b.ID(), welcome)
		if err := a.wait(t); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
			t.Fatalf("got %v", err)
		}
	})
}

// A server that has forgotten the device is joined again with the same invite.
func TestRejoin(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	dir := t.TempDir()
	a := launch(t, s, dir, sandboxOf(nil), nil)
	s.greet(t, a.ID(), welcome)
	a.kill(t)
	s.mu.Lock()
	clear(s.known)
	s.mu.Unlock()
	a = launch(t, s, dir, sandboxOf(nil), nil)
	s.greet(t, a.ID(), welcome)
}

// With a pin, that certificate alone is accepted, whoever signed it; without one, an unknown authority is not.
func TestPin(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	sum := sha256.Sum256(s.Certificate().Raw)
	pin := hex.EncodeToString(sum[:])
	get := func(pin string) error {
		c := httpClient(pin)
		defer c.CloseIdleConnections()
		resp, err := c.Get(s.URL)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := get(pin); err != nil {
		t.Error(err)
	}
	if err := get(strings.Repeat("00", 32)); err == nil || !strings.Contains(err.Error(), "not the one the link names") {
		t.Errorf("wrong pin: %v", err)
	}
	if err := get(""); err == nil {
		t.Error("an unknown authority was trusted")
	}
}
