package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// The choice: plain only on loopback, TLS everywhere else, and refusals name the setting.
func TestChoice(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		name    string
		c       Config
		url     string
		plain   bool
		refused string // field
	}{
		{"loopback", Config{Listen: "127.0.0.1:8080"}, "http://127.0.0.1:8080", true, ""},
		{"loopback by name", Config{Listen: "localhost:8080"}, "http://localhost:8080", true, ""},
		{"loopback, IPv6", Config{Listen: "[::1]:8080"}, "http://[::1]:8080", true, ""},
		{"plain asked on loopback", Config{Listen: "127.0.0.1:8080", Plain: true}, "http://127.0.0.1:8080", true, ""},
		{"plain asked elsewhere", Config{Listen: "10.0.0.1:8080", Plain: true}, "", false, "listen"},
		{"plain asked everywhere", Config{Listen: ":8080", Plain: true}, "", false, "listen"},
		{"plain asked on [::]", Config{Listen: "[::]:8080", Plain: true}, "", false, "listen"},
		{"an address", Config{Listen: "10.1.2.3:8443"}, "https://10.1.2.3:8443", false, ""},
		{"port 443", Config{Listen: "10.1.2.3:443"}, "https://10.1.2.3", false, ""},
		{"a name", Config{Listen: "pool.lan:8443"}, "https://pool.lan:8443", false, ""},
		{"no port", Config{Listen: "10.1.2.3"}, "", false, "listen"},
		{"half a pair", Config{Listen: ":1", CertFile: "x"}, "", false, "tls"},
		{"no such files", Config{Listen: ":1", CertFile: "/no/x", KeyFile: "/no/y"}, "", false, "tls"},
	} {
		t.Run(x.name, func(t *testing.T) {
			t.Parallel()
			x.c.DataDir = t.TempDir()
			config, pin, url, err := Server(x.c)
			if x.refused != "" {
				e, ok := err.(*cloudcrowd.Error)
				if !ok || e.Field != x.refused || config != nil {
					t.Fatalf("got %v, want a refusal that names %s", err, x.refused)
				}
				return
			}
			if err != nil || url != x.url || (config == nil) != x.plain || (pin == "") != x.plain {
				t.Fatalf("got %v, pin %q, %s, %v; want %s", config != nil, pin, url, err, x.url)
			}
		})
	}
}

// A self-signed certificate stays the same over restarts, is readable by its owner only, and a client that knows the pin, and none other, gets through.
func TestSelfSigned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, pin, _, err := Server(Config{Listen: "0.0.0.0:8443", DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	_, again, _, err := Server(Config{Listen: "0.0.0.0:8443", DataDir: dir})
	if err != nil || again != pin {
		t.Fatalf("after a restart the pin is %s, %v; it was %s", again, err, pin)
	}
	info, err := os.Stat(filepath.Join(dir, SelfSignedFile))
	if err != nil || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	url := serve(t, config)
	for name, x := range map[string]struct {
		pin string
		ok  bool
	}{"right pin": {pin, true}, "right pin in capitals": {strings.ToUpper(pin), true}, "wrong pin": {strings.Repeat("0", 64), false}, "no pin": {"", false}} {
		h := http.Client{Transport: &http.Transport{TLSClientConfig: client.TLSConfig(x.pin)}}
		resp, err := h.Get(url)
		if (err == nil) != x.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			resp.Body.Close()
		}
		h.CloseIdleConnections()
	}
	if _, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
}

// keeper keeps the first value it is given, as the store does.
type keeper struct {
	mu   sync.Mutex
	kept string
	err  error
}

func (k *keeper) keep(_ context.Context, text string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept == "" {
		k.kept = text
	}
	return k.kept, k.err
}

// Servers with one keeper have one certificate, however many start at once, and each has it in its own directory, too; the one of a directory that is
// there already is what all get.
func TestSharedCertificate(t *testing.T) {
	t.Parallel()
	start := func(dir string, k *keeper) (pin string) {
		_, pin, _, err := Server(Config{Listen: "0.0.0.0:8443", DataDir: dir, Keep: k.keep})
		if err != nil {
			t.Error(err)
		}
		return pin
	}
	old := t.TempDir()
	_, oldPin, _, err := Server(Config{Listen: "0.0.0.0:8443", DataDir: old})
	if err != nil {
		t.Fatal(err)
	}
	var shared keeper
	if pin := start(old, &shared); pin != oldPin {
		t.Errorf("a server that becomes one of several has pin %s, had %s", pin, oldPin)
	}
	if pin := start(t.TempDir(), &shared); pin != oldPin {
		t.Errorf("the second server has pin %s, the first %s", pin, oldPin)
	}
	other := t.TempDir()
	if _, pin, _, err := Server(Config{Listen: "0.0.0.0:8443", DataDir: other}); err != nil || pin == oldPin {
		t.Fatal(pin, err)
	}
	if pin := start(other, &shared); pin != oldPin {
		t.Errorf("a server with a certificate of its own joins with pin %s", pin)
	}
	if b, err := os.ReadFile(filepath.Join(other, SelfSignedFile)); err != nil || string(b) != shared.kept {
		t.Errorf("its file does not hold the shared one: %v", err)
	}

	var fresh keeper
	var pins [4]string
	var all sync.WaitGroup
	for i := range pins {
		dir := t.TempDir()
		all.Go(func() { pins[i] = start(dir, &fresh) })
	}
	all.Wait()
	for _, p := range pins {
		if p == "" || p != pins[0] {
			t.Errorf("four servers that start at once have pins %q", pins)
		}
	}
}

// Without the keeper no server starts with a certificate of its own, and nothing is written; what is kept must be a certificate.
func TestKeeperFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	away := keeper{err: &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "away"}}
	if _, _, _, err := Server(Config{Listen: ":8443", DataDir: dir, Keep: away.keep}); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Error(err)
	}
	rubbish := keeper{kept: "rubbish"}
	if _, _, _, err := Server(Config{Listen: ":8443", DataDir: dir, Keep: rubbish.keep}); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A damaged certificate is not silently replaced: everybody's links would break.
func TestSelfSignedDamaged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, SelfSignedFile), []byte("rubbish"), 0o600)
	if _, _, _, err := Server(Config{Listen: ":8443", DataDir: dir}); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Fatal(err)
	}
}

// Certificates from files are read again when they change; a broken change leaves the old one serving.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	split(t, cert, key)
	config, pin, url, err := Server(Config{Listen: "[::]:8443", CertFile: cert, KeyFile: key})
	if err != nil || url != "https://localhost:8443" || pin == "" {
		t.Fatalf("%s, pin %q, %v", url, pin, err)
	}
	if _, _, url, err := Server(Config{Listen: "127.0.0.1:8443", CertFile: cert, KeyFile: key}); err != nil || url != "https://127.0.0.1:8443" {
		t.Fatalf("on loopback with files: %s, %v", url, err)
	}
	f := &files{cert: cert, key: key, log: slogNone(), now: time.Now}
	if err := f.load(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	f.now = func() time.Time { return now }
	at := func() string {
		now = now.Add(lookEvery)
		c, err := f.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return client.Fingerprint(c.Leaf)
	}
	if at() != pin {
		t.Fatal("not the certificate of the file")
	}
	os.WriteFile(cert, []byte("half written"), 0o600)
	if at() != pin {
		t.Fatal("a broken file replaced the certificate")
	}
	split(t, cert, key)
	if at() == pin {
		t.Fatal("the new certificate was not taken")
	}
	if config.MinVersion != tls.VersionTLS12 {
		t.Fatal("old versions of TLS are allowed")
	}
}

// split writes a fresh certificate and key as two files.
func split(t *testing.T, cert, key string) {
	t.Helper()
	b, err := makeSelfSigned("", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret, rest := pem.Decode(b)
	for name, block := range map[string]*pem.Block{key: secret, cert: {Type: "CERTIFICATE", Bytes: decodeDER(rest)}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func decodeDER(b []byte) []byte {
	block, _ := pem.Decode(b)
	if _, err := x509.ParseCertificate(block.Bytes); err != nil {
		panic(err)
	}
	return block.Bytes
}

// serve answers "hello" on a port of its own.
func serve(t *testing.T, config *tls.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }), ErrorLog: log.New(io.Discard, "", 0)}
	go s.Serve(tls.NewListener(l, config))
	t.Cleanup(func() { s.Close() })
	return "https://" + l.Addr().String()
}
