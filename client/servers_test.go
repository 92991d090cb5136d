package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// peer is a server of a crowd whose answers a test gives. It keeps what it was asked.
type peer struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string // METHOD PATH KEY
}

func newPeer(t *testing.T, answer http.HandlerFunc) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(p.keep(answer))
	p.Config.ErrorLog = nil
	t.Cleanup(p.Close)
	return p
}

func (p *peer) keep(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(b))
		p.mu.Lock()
		p.asked = append(p.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("Idempotency-Key")))
		p.mu.Unlock()
		answer(w, r)
	}
}

func (p *peer) requests() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func crowdClient(t *testing.T, o Options, all ...*peer) *Client {
	t.Helper()
	o.URL = all[0].URL
	for _, p := range all[1:] {
		o.Servers = append(o.Servers, p.URL)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	}
}

func breaks(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// A call that one server cannot take is answered by the next, in the same try, and the client stays there. What may have been performed is sent again
// only where that is harmless; what was not sent always is.
func TestNextServer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	closed := newPeer(t, breaks)
	closed.Close()
	unsafe := call{method: http.MethodPost, path: "/v1/something"}
	safe := unsafe
	safe.repeat = true
	for name, tt := range map[string]struct {
		first http.HandlerFunc // nil: does not listen
		k     call
		next  bool // the other server is asked
	}{
		"refused, safe":      {nil, safe, true},
		"refused, unsafe":    {nil, unsafe, true},
		"reset, safe":        {breaks, safe, true},
		"reset, unsafe":      {breaks, unsafe, false},
		"502, safe":          {status(502), safe, true},
		"503, safe":          {status(503), safe, true},
		"504, safe":          {status(504), safe, true},
		"503, unsafe":        {status(503), unsafe, false},
		"500, safe":          {status(500), safe, false},
		"429, safe":          {status(429), safe, false},
		"403, safe":          {status(403), safe, false},
		"for this one alone": {nil, call{method: http.MethodPost, path: "/v1/drain", here: true}, false},
	} {
		a, b := closed, newPeer(t, says(`{}`))
		if tt.first != nil {
			a = newPeer(t, tt.first)
		}
		c := crowdClient(t, Options{Retries: -1}, a, b)
		resp, err := c.send(ctx, tt.k)
		if err == nil {
			resp.Body.Close()
		}
		if asked := len(b.requests()) > 0; asked != tt.next || (err == nil) != tt.next {
			t.Errorf("%s: the next server was asked: %v, %v", name, asked, err)
		}
		if tt.next && c.URL() != b.URL {
			t.Errorf("%s: the client goes on with %s", name, c.URL())
		}
	}
}

// All servers are tried before the client waits, and again after it; the error names them all when none answers.
func TestAllServers(t *testing.T) {
	t.Parallel()
	var once sync.Once
	a, b := newPeer(t, status(503)), newPeer(t, nil)
	b.Config.Handler = b.keep(func(w http.ResponseWriter, r *http.Request) {
		broken := false
		once.Do(func() { broken = true })
		if broken {
			w.WriteHeader(503)
			return
		}
		says(`{"version":"2"}`)(w, r)
	})
	c := crowdClient(t, Options{}, a, b)
	if s, err := c.Status(t.Context()); err != nil || s.Version != "2" || len(a.requests()) != 2 || len(b.requests()) != 2 {
		t.Errorf("%+v, %v; asked %q, %q", s, err, a.requests(), b.requests())
	}
	a.Close()
	b.Close()
	c = crowdClient(t, Options{Retries: -1}, a, b)
	_, err := c.Status(t.Context())
	if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), a.URL) || !strings.Contains(err.Error(), b.URL) {
		t.Error(err)
	}
}

// A key goes along to the next server, so that a job whose acceptance was not heard is accepted once.
func TestKeyElsewhere(t *testing.T) {
	t.Parallel()
	a, b := newPeer(t, breaks), newPeer(t, says(`{"job":"j0"}`))
	c := crowdClient(t, Options{}, a, b)
	if j, err := c.Submit(t.Context(), cloudcrowd.JobSpec{Name: "x"}, "key"); err != nil || j.ID != "j0" {
		t.Fatal(j, err)
	}
	want := []string{"POST /v1/jobs key"}
	if !slices.Equal(a.requests(), want) || !slices.Equal(b.requests(), want) {
		t.Errorf("asked %q, %q", a.requests(), b.requests())
	}
}

// All tries of one call carry one name, so that servers know copies of it; the next call has another, also with the same key. What changes nothing has none.
func TestCallNamed(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var names []string
	note := func(then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			names = append(names, r.Header.Get("Request-Id"))
			mu.Unlock()
			then(w, r)
		}
	}
	c := crowdClient(t, Options{}, newPeer(t, note(breaks)), newPeer(t, note(says(`{"job":"j0"}`))))
	for range 2 {
		if _, err := c.Submit(t.Context(), cloudcrowd.JobSpec{Name: "x"}, "key"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Job(t.Context(), "j0"); err != nil {
		t.Fatal(err)
	}
	if len(names) != 4 || names[0] == "" || names[0] != names[1] || names[2] == names[0] || names[2] == "" || names[3] != "" {
		t.Errorf("%q", names)
	}
}

// What is done by an earlier try whose answer was lost is no error: cancelling a job, and deleting a token. Without an earlier try it is.
func TestDoneBefore(t *testing.T) {
	t.Parallel()
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/j1"):
			says(`{"job":"j1","state":"cancelled"}`)(w, r)
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/j3"):
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.Method == http.MethodGet:
			says(`{"job":"j2","state":"done"}`)(w, r)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusConflict)
		}
	}
	b := newPeer(t, answer)
	for _, first := range []http.HandlerFunc{breaks, answer} {
		lost := len(b.requests()) == 0
		c := crowdClient(t, Options{}, newPeer(t, first), b)
		j, err := c.Cancel(t.Context(), "j1", "")
		if (err == nil) != lost || lost && j.State != cloudcrowd.JobCancelled {
			t.Errorf("cancel, its answer lost: %v: %+v, %v", lost, j, err)
		}
		c = crowdClient(t, Options{}, newPeer(t, first), b)
		if _, err = c.Cancel(t.Context(), "j2", ""); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
			t.Errorf("cancelling a job that is done: %v", err)
		}
		c = crowdClient(t, Options{Retries: -1}, newPeer(t, first), b)
		want := cloudcrowd.Conflict
		if lost { // it may have been this call that did it, and the job cannot be read
			want = cloudcrowd.Unavailable
		}
		if _, err = c.Cancel(t.Context(), "j3", ""); cloudcrowd.CodeOf(err) != want {
			t.Errorf("cancelling a job that cannot be read, the answer lost: %v: %v", lost, err)
		}
		c = crowdClient(t, Options{}, newPeer(t, first), b)
		if err := c.DeleteToken(t.Context(), "t"); (err == nil) != lost {
			t.Errorf("delete, its answer lost: %v: %v", lost, err)
		}
	}
}

// An answer that breaks off is asked for again, elsewhere if the server is gone; a download goes on where it was.
func TestBrokenAnswers(t *testing.T) {
	t.Parallel()
	data := strings.Repeat("0123456789", 10_000)
	half := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = io.WriteString(w, data[:len(data)/2])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	var ranges []string
	whole := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/status" {
			says(`{"version":"2"}`)(w, r)
			return
		}
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(data))
	}
	var a *peer
	dies := func(w http.ResponseWriter, r *http.Request) {
		a.Listener.Close()
		half(w, r)
	}
	a, b := newPeer(t, dies), newPeer(t, whole)
	c := crowdClient(t, Options{}, a, b)
	if s, err := c.Status(t.Context()); err != nil || s.Version != "2" {
		t.Errorf("%+v, %v", s, err)
	}
	a = newPeer(t, dies)
	c = crowdClient(t, Options{}, a, b)
	sum := sha256.Sum256([]byte(data))
	var got bytes.Buffer
	n, err := c.FetchBlob(t.Context(), cloudcrowd.Digest(hex.EncodeToString(sum[:])), "", &got)
	if err != nil || n != int64(len(data)) || got.String() != data || !slices.Equal(ranges, []string{"bytes=50000-"}) {
		t.Errorf("%d bytes, %v, ranges %q", n, err, ranges)
	}
	a = newPeer(t, dies)
	c = crowdClient(t, Options{Retries: -1}, a, b)
	if _, err := c.FetchBlob(t.Context(), cloudcrowd.Digest(hex.EncodeToString(sum[:])), "", io.Discard); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("without repeating: %v", err)
	}
}

// A feed whose server goes away goes on at another one, after the last event that was seen.
func TestEventsElsewhere(t *testing.T) {
	t.Parallel()
	feed := func(id string, last *string, stay bool) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			*last = r.Header.Get("Last-Event-ID")
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprintf(w, "id: %s\ndata: {\"id\":%q}\n\n", id, id)
			_ = http.NewResponseController(w).Flush()
			if stay {
				<-r.Context().Done()
			}
		}
	}
	var lastA, lastB string
	var a *peer
	gone := feed("one", &lastA, false)
	a = newPeer(t, func(w http.ResponseWriter, r *http.Request) {
		gone(w, r)
		a.Listener.Close()
		panic(http.ErrAbortHandler)
	})
	b := newPeer(t, feed("two", &lastB, true))
	c := crowdClient(t, Options{Retries: -1}, a, b)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var seen []string
	for e, err := range c.Events(ctx, "", "") {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, e.ID); len(seen) == 2 {
			break
		}
	}
	if !slices.Equal(seen, []string{"one", "two"}) || lastA != "" || lastB != "one" {
		t.Errorf("saw %q, asked after %q and %q", seen, lastA, lastB)
	}
}

// Whoever shows another certificate is told nothing and passed over; if nobody shows the right one, that is the error.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	a, b := &peer{}, &peer{}
	a.Server = httptest.NewTLSServer(a.keep(says(`{"version":"a"}`)))
	b.Server = httptest.NewServer(b.keep(says(`{"version":"b"}`)))
	for _, p := range []*peer{a, b} {
		p.Config.ErrorLog = nil
		t.Cleanup(p.Close)
	}
	c := crowdClient(t, Options{Pin: strings.Repeat("00", 32)}, a, b)
	if s, err := c.Status(t.Context()); err != nil || s.Version != "b" {
		t.Errorf("%+v, %v", s, err)
	}
	c = crowdClient(t, Options{Pin: strings.Repeat("00", 32)}, a, a)
	if _, err := c.Status(t.Context()); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden || !strings.Contains(err.Error(), "certificate") {
		t.Error(err)
	}
	if len(a.requests()) > 0 {
		t.Errorf("the foreign server was asked %q", a.requests())
	}
	if _, err := New(Options{URL: a.URL, Servers: []string{"http://example.org"}}); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Error(err)
	}
}
