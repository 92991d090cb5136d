package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// Plain HTTP goes to loopback only; the refusal says why.
func TestCheckURL(t *testing.T) {
	t.Parallel()
	for raw, ok := range map[string]bool{
		"http://127.0.0.1:80": true, "http://[::1]:80": true, "http://localhost": true, "http://127.9.9.9": true, "https://example.org": true, "https://10.0.0.1:8443/": true,
		"http://10.0.0.1": false, "http://example.org": false, "http://localhost.evil.example": false, "http://127.0.0.1.evil.example": false, "http://0.0.0.0": false,
		"ftp://localhost": false, "localhost:80": false, "": false, "https://": false, "https://a/b": false, "https://u:p@a": false, "http://127.0.0.1@evil.example": false,
	} {
		if _, err := New(Options{URL: raw}); (err == nil) != ok {
			t.Errorf("%q: %v", raw, err)
		} else if err != nil && cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			t.Errorf("%q: %v", raw, err)
		}
	}
	_, err := New(Options{URL: "http://10.0.0.1"})
	if !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
}

// A token that was copied with more than itself is refused before it is sent.
func TestToken(t *testing.T) {
	t.Parallel()
	for token, ok := range map[string]bool{"": true, "cc_abc": true, "cc_abc\n": true, "cc_abc\ncc_def": false, "cc_abc cc_def": false, "cc_ä": false} {
		if _, err := New(Options{URL: "http://127.0.0.1", Token: token}); (err == nil) != ok || !ok && cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			t.Errorf("%q: %v", token, err)
		}
	}
}

// flaky answers 503 and broken connections before it works. sent gives what it was sent so far: each request's idempotency key and body.
func flaky(t *testing.T, failures int32) (s *httptest.Server, calls *atomic.Int32, sent func() []string) {
	var mu sync.Mutex // one connection's handler is not ordered before the next one's
	var bodies []string
	calls = new(atomic.Int32)
	s = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		bodies = append(bodies, r.Header.Get("Idempotency-Key")+" "+string(b))
		mu.Unlock()
		switch n := calls.Add(1); {
		case n > failures:
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"job":"j0"}`)
		case n%2 == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			panic(http.ErrAbortHandler)
		}
	}))
	s.Config.ErrorLog = nil
	t.Cleanup(s.Close)
	return s, calls, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(bodies)
	}
}

// What can be repeated without harm is repeated with the same key and body; what cannot is not.
func TestRetry(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s, calls, sent := flaky(t, 3)
	c, err := New(Options{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if j, err := c.Submit(ctx, cloudcrowd.JobSpec{Name: "x"}, ""); err != nil || j.ID != "j0" || calls.Load() < 4 {
		t.Fatal(j.ID, err, calls.Load())
	}
	bodies := sent()
	for _, b := range bodies {
		if b != bodies[0] || strings.HasPrefix(b, " ") {
			t.Errorf("sent %q, then %q", bodies[0], b)
		}
	}
	s, calls, _ = flaky(t, 1)
	c, _ = New(Options{URL: s.URL})
	if _, err := c.Drain(ctx, 0); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || calls.Load() != 1 {
		t.Error(err, calls.Load())
	}
	s, calls, _ = flaky(t, 100)
	c, _ = New(Options{URL: s.URL, Retries: 2})
	_, err = c.Status(ctx) // the standard library repeats a GET on a connection that was reused, so the count is not exact
	if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || calls.Load() < 3 || calls.Load() > 6 {
		t.Error(err, calls.Load())
	}
	if _, ok := err.(*cloudcrowd.Error); !ok {
		t.Errorf("%T", err)
	}
}

// An upload that breaks off starts again from the beginning of the file.
func TestUploadResumes(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("0123456789", 100_000)
	path := filepath.Join(t.TempDir(), "f")
	os.WriteFile(path, []byte(data), 0o600)
	var puts atomic.Int32
	var got atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case puts.Add(1) == 1:
			io.CopyN(io.Discard, r.Body, 1000)
			panic(http.ErrAbortHandler)
		default:
			b, _ := io.ReadAll(r.Body)
			got.Store(string(b))
			w.WriteHeader(http.StatusCreated)
		}
	}))
	t.Cleanup(s.Close)
	c, err := New(Options{URL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutFile(context.Background(), path, func(int64, int64) {}); err != nil || got.Load() != data {
		t.Fatal(err)
	}
}

// A server that is not there is told plainly, with a hint; a token never follows a redirect.
func TestUnreachableAndRedirect(t *testing.T) {
	t.Parallel()
	c, err := New(Options{URL: "http://127.0.0.1:1", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Status(context.Background())
	if e, ok := err.(*cloudcrowd.Error); !ok || e.Code != cloudcrowd.Unavailable || e.Hint == "" || !strings.Contains(e.Msg, "127.0.0.1:1") {
		t.Errorf("%#v", err)
	}
	var leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { leaked.Store(true) }))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(s.Close)
	c, _ = New(Options{URL: s.URL, Token: "cc_secret", Retries: -1})
	if _, err := c.Status(context.Background()); err == nil || leaked.Load() {
		t.Error("the redirect was followed", err)
	}
}

// Links carry everything needed to connect.
func TestFromLink(t *testing.T) {
	t.Parallel()
	pin := strings.Repeat("0f", 32)
	o, invite, err := FromLink("https://10.0.0.1:8443/join#s=cci_x&pin=" + pin)
	if err != nil || invite != "cci_x" || !reflect.DeepEqual(o, Options{URL: "https://10.0.0.1:8443", Pin: pin}) {
		t.Errorf("%+v %s %v", o, invite, err)
	}
	o, invite, err = FromLink("http://127.0.0.1:8080/admin#t=cc_y")
	if err != nil || invite != "" || o.Token != "cc_y" {
		t.Errorf("%+v %s %v", o, invite, err)
	}
	if _, _, err := FromLink("http://10.0.0.1/join#s=x"); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Error(err)
	}
}
