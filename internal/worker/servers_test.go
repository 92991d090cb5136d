package worker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/gateway"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/fake"
)

// naming is a Welcome that names servers.
func naming(all ...*testServer) cloudcrowd.Welcome {
	w := welcome
	for _, s := range all {
		w.Servers = append(w.Servers, s.http.URL)
	}
	return w
}

// admit welcomes a worker and waits until it has heard it.
func (s *testServer) admit(t *testing.T, id cloudcrowd.WorkerID, w cloudcrowd.Welcome) cloudcrowd.Hello {
	t.Helper()
	hello := s.greet(t, id, w)
	s.next(t, func(u cloudcrowd.Up) bool { return u.Beat != nil })
	return hello
}

// watch collects events of an agent.
type watch struct {
	mu   sync.Mutex
	seen []Event
}

func (w *watch) into(c *Config) {
	c.OnEvent = func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.seen = append(w.seen, e)
	}
}

// servers lists which servers events of a kind named, in order.
func (w *watch) servers(kind EventKind) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, e := range w.seen {
		if e.Kind == kind {
			list = append(list, e.Server)
		}
	}
	return list
}

// greetAny waits for a worker at any of some servers and welcomes it there.
func greetAny(t *testing.T, id cloudcrowd.WorkerID, w cloudcrowd.Welcome, all ...*testServer) *testServer {
	t.Helper()
	found := make(chan *testServer, len(all))
	ctx, stop := context.WithTimeout(t.Context(), patience)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer stop()
	for _, s := range all {
		looking.Go(func() {
			for {
				select {
				case up := <-s.ups:
					if up.Hello != nil {
						found <- s
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	select {
	case s := <-found:
		s.send(t, id, cloudcrowd.Down{Welcome: &w})
		return s
	case <-ctx.Done():
		t.Fatal("the worker did not connect to any of them")
		return nil
	}
}

// When its server is gone, a worker goes on with another: it says hello there with what it holds, reports what the first did not acknowledge, and reads
// and stores blobs there.
func TestGoesOn(t *testing.T) {
	t.Parallel()
	servers := serveCrowd(t, 2)
	a, b := servers[0], servers[1]
	release := make(chan struct{})
	mine := map[string]fake.Program{"index": programs["index"], "soon": func(_ context.Context, at *fake.Attempt) (int, error) {
		<-release
		return 0, os.WriteFile(path(at.Out, "late"), []byte("late"), 0o600)
	}}
	var events watch
	w := launch(t, a, t.TempDir(), sandboxOf(mine), events.into)
	a.greet(t, w.ID(), naming(a, b))
	a.send(t, w.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{a.lease(1, "index"), a.lease(2, "soon")}})
	a.reports(t, 1)
	a.next(t, func(u cloudcrowd.Up) bool {
		return u.Beat != nil && slices.ContainsFunc(u.Beat.Holding, func(p cloudcrowd.Progress) bool { return p.Attempt == attemptOf(2) && p.Running })
	})
	a.stop()
	hello := b.greet(t, w.ID(), naming(a, b))
	if !slices.Equal(hello.Holding, []cloudcrowd.AttemptID{attemptOf(2)}) || !slices.Equal(hello.Spooled, []cloudcrowd.AttemptID{attemptOf(1)}) {
		t.Fatalf("hello %+v", hello)
	}
	if got := b.reports(t, 1)[attemptOf(1)]; got.Outcome != cloudcrowd.Succeeded {
		t.Fatalf("what the first server did not acknowledge: %+v", got)
	}
	b.send(t, w.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{attemptOf(1)}})
	close(release)
	got := b.reports(t, 1)[attemptOf(2)]
	if got.Outcome != cloudcrowd.Succeeded || b.get(t, got.Outputs[0].Digest) != "late" {
		t.Fatalf("what it held: %+v", got)
	}
	b.send(t, w.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{b.lease(3, "index")}})
	b.next(t, func(u cloudcrowd.Up) bool {
		return slices.ContainsFunc(u.Reports, func(r cloudcrowd.Report) bool { return r.Attempt == attemptOf(3) })
	})
	if got, want := events.servers(Connected), []string{a.http.URL, b.http.URL}; !slices.Equal(got, want) {
		t.Errorf("connected to %q, want %q", got, want)
	}
	if got := events.servers(Disconnected); !slices.Equal(got, []string{a.http.URL}) {
		t.Errorf("disconnected from %q", got)
	}
}

// A server that is stopping, and one that admits nobody, are left for another; and back again.
func TestDrainingServers(t *testing.T) {
	t.Parallel()
	servers := serveCrowd(t, 3)
	a, b, c := servers[0], servers[1], servers[2]
	b.refuse(cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is draining"))
	w := launch(t, a, t.TempDir(), sandboxOf(programs), nil)
	a.admit(t, w.ID(), naming(servers...))
	a.gateway.Drain(cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is stopping"))
	a.gateway.Farewell(t.Context(), cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is stopping"))
	c.admit(t, w.ID(), naming(servers...))
	b.refuse(nil)
	c.stop()
	b.admit(t, w.ID(), naming(servers...))
}

// A worker that starts while its configured server is away goes to one it was told of before, without joining again; if it is configured for one of
// those, too. One that was configured for another crowd since does not.
func TestKeptServers(t *testing.T) {
	t.Parallel()
	servers := serveCrowd(t, 2)
	a, b := servers[0], servers[1]
	dir := t.TempDir()
	w := launch(t, a, dir, sandboxOf(programs), nil)
	a.admit(t, w.ID(), naming(a, b))
	w.kill(t)
	a.stop()
	noInvite := func(c *Config) { c.Invite = "" }
	w = launch(t, a, dir, sandboxOf(programs), noInvite)
	b.admit(t, w.ID(), welcome) // names nobody
	w.kill(t)
	w = launch(t, b, dir, sandboxOf(programs), noInvite)
	b.admit(t, w.ID(), welcome)
	w.kill(t)
	other := serve(t, "")
	w = launch(t, other, dir, sandboxOf(programs), noInvite)
	if err := w.wait(t); err == nil || !strings.Contains(err.Error(), "has not joined") {
		t.Errorf("at another crowd: %v", err)
	}
	info, err := os.Stat(path(dir, serversFile))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("%v, %v", info, err)
	}
}

// The list that counts is the last one: a server that left the crowd is not asked any more, one that came is.
func TestListIsFollowed(t *testing.T) {
	t.Parallel()
	servers := serveCrowd(t, 3)
	a, b, c := servers[0], servers[1], servers[2]
	dir := t.TempDir()
	w := launch(t, a, dir, sandboxOf(programs), nil)
	a.admit(t, w.ID(), naming(a, b))
	a.send(t, w.ID(), cloudcrowd.Down{Refresh: true})
	a.admit(t, w.ID(), naming(a, c))
	var k knownServers
	text, err := os.ReadFile(path(dir, serversFile))
	if err != nil || json.Unmarshal(text, &k) != nil || k.Home != a.http.URL || !slices.Contains(k.Servers, c.http.URL) || slices.Contains(k.Servers, b.http.URL) {
		t.Fatalf("%s, %v", text, err)
	}
	a.stop()
	c.admit(t, w.ID(), naming(a, c))
	if n := b.called(); n > 0 {
		t.Errorf("the server that left was asked %d times", n)
	}
}

// A device that the crowd does not want ends, whichever server says so, and asks no other.
func TestRefusedElsewhere(t *testing.T) {
	t.Parallel()
	for _, code := range []cloudcrowd.Code{cloudcrowd.Forbidden, cloudcrowd.NotFound} {
		servers := serveCrowd(t, 3)
		w := launch(t, servers[0], t.TempDir(), sandboxOf(programs), func(c *Config) { c.DataDir = t.TempDir() })
		servers[0].admit(t, w.ID(), naming(servers...))
		servers[0].setDown(true) // it cannot join again either
		for _, s := range servers[1:] {
			s.setDown(true)
			s.refuse(cloudcrowd.Errorf(code, "not wanted"))
		}
		servers[0].stop()
		if code == cloudcrowd.NotFound {
			for _, s := range servers[1:] {
				s.setDown(false) // it joins once more, in vain
			}
		}
		if err := w.wait(t); cloudcrowd.CodeOf(err) != code || !strings.Contains(err.Error(), "not wanted") {
			t.Errorf("got %v, want %s", err, code)
		}
		if n := servers[1].called() + servers[2].called(); n > 2 {
			t.Errorf("%s: the others were asked %d times", code, n)
		}
	}
}

// A new device joins at whichever server of the crowd takes it, if it knows others; here it was forgotten, and the server it is configured for cannot write.
func TestRejoinsElsewhere(t *testing.T) {
	t.Parallel()
	servers := serveCrowd(t, 2)
	a, b := servers[0], servers[1]
	var events watch
	dir := t.TempDir()
	w := launch(t, a, dir, sandboxOf(programs), nil)
	a.admit(t, w.ID(), naming(a, b))
	w.kill(t)
	a.mu.Lock()
	clear(a.known)
	a.mu.Unlock()
	a.setDown(true)
	w = launch(t, a, dir, sandboxOf(programs), events.into)
	greetAny(t, w.ID(), naming(a, b), a, b)
	if got := events.servers(Joined); !slices.Equal(got, []string{b.http.URL}) {
		t.Errorf("joined %q", got)
	}
}

// Blobs are read and stored at another server when the one the worker is connected to does not answer for them.
func TestBlobsElsewhere(t *testing.T) {
	t.Parallel()
	servers := serveCrowd(t, 2)
	a, b := servers[0], servers[1]
	w := launch(t, a, t.TempDir(), sandboxOf(programs), nil)
	a.admit(t, w.ID(), naming(a, b))
	a.setDown(true)
	large := []byte(strings.Repeat("a text ", 20_000)) // of the size that is asked about before it is sent
	text := textFile(cloudcrowd.Segment{Blob: a.put(large), Length: int64(len(large)), Whole: true})
	a.send(t, w.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{a.lease(1, "upper", text)}})
	got := a.reports(t, 1)[attemptOf(1)]
	if got.Outcome != cloudcrowd.Succeeded || b.get(t, got.Outputs[0].Digest) != strings.ToUpper(string(large)) {
		t.Fatalf("result %+v", got)
	}
	if r := b.requested(); len(r) < 5 { // module, text; output asked about and sent; log
		t.Errorf("the other server was asked for %q", r)
	}
}

// Hello is said again when nobody answers it.
func TestUnansweredHello(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	w := launch(t, s, t.TempDir(), sandboxOf(programs), nil)
	s.admit(t, w.ID(), welcome)
	s.send(t, w.ID(), cloudcrowd.Down{Refresh: true})
	s.next(t, func(u cloudcrowd.Up) bool { return u.Hello != nil }) // lost
	s.admit(t, w.ID(), welcome)
}

// Whoever answers with another certificate at an address of the crowd is not of it: it is told nothing and passed over, and the worker ends only when no
// server is the one its link names.
func TestForeignCertificate(t *testing.T) {
	t.Parallel()
	ours, pin := certificate(t)
	foreign, _ := certificate(t)
	servers := serveCrowd(t, 1) // for what they share
	var all []*testServer
	for _, c := range []*tls.Certificate{ours, foreign, ours} {
		s := newServer(t, servers[0].testCrowd)
		s.certificate = c
		s.listen("")
		all = append(all, s)
	}
	a, b, c := all[0], all[1], all[2]
	w := launch(t, a, t.TempDir(), sandboxOf(programs), func(c *Config) { c.Pin = pin })
	a.admit(t, w.ID(), naming(a, b))
	a.restart()
	a.admit(t, w.ID(), naming(a, b, c))
	a.stop()
	c.admit(t, w.ID(), naming(b))
	if n := b.called(); n > 0 {
		t.Errorf("the foreign server was sent %d requests", n)
	}
	at := a.http.Listener.Addr().String()
	c.stop()
	a.certificate = foreign
	a.listen(at)
	if err := w.wait(t); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

// certificate makes a self-signed one, and its pin.
func certificate(t *testing.T) (*tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hex.EncodeToString(sum[:])
}

// What servers name is used as far as the worker would accept it in its own settings: nothing that is no address, no plain HTTP instead of HTTPS.
func TestUsableServers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		home        string
		named, want []string
	}{
		{"https://a:1", []string{"https://b:1/", "https://b:1", "https://a:1"}, []string{"https://a:1", "https://b:1"}},
		{"https://a:1", []string{"http://127.0.0.1:22", "http://b:1", "file:///x", "b:1", "https://u:p@b:1", "https://b:1/path", ""}, nil},
		{"http://localhost:1", []string{"http://127.0.0.1:2", "http://b:1", "https://b:1"}, []string{"http://127.0.0.1:2", "https://b:1"}},
	} {
		s := loadServers(t.TempDir(), tt.home)
		if err := s.learn(tt.named); err != nil || !slices.Equal(s.named, tt.want) {
			t.Errorf("%s: %q became %q, %v", tt.home, tt.named, s.named, err)
		}
	}
}

// All servers are in every round, the lost one last; those that could not be reached lately are asked last.
func TestRounds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := loadServers(dir, "https://a")
	if err := s.learn([]string{"https://b", "https://c", "https://d"}); err != nil {
		t.Fatal(err)
	}
	firsts := map[string]bool{}
	for range 200 {
		all, after := s.all(), s.after("https://c")
		if all[0] != "https://a" || after[3] != "https://c" || len(all) != 4 || len(after) != 4 {
			t.Fatalf("%q, %q", all, after)
		}
		slices.Sort(all)
		slices.Sort(after[:3])
		if !slices.Equal(all, []string{"https://a", "https://b", "https://c", "https://d"}) || !slices.Equal(after[:3], []string{"https://a", "https://b", "https://d"}) {
			t.Fatalf("%q, %q", all, after)
		}
		firsts[s.after("https://c")[0]] = true
	}
	if len(firsts) != 3 {
		t.Errorf("the workers of a server that is lost all go to %v", firsts)
	}
	s.connected("https://b")
	if got := s.toAsk(); got[0] != "https://b" || len(got) != 4 {
		t.Errorf("asked: %q", got)
	}
	s.note("https://b", false)
	if got := s.toAsk(); got[3] != "https://b" {
		t.Errorf("asked: %q", got)
	}
	s.note("https://b", true)
	if got := s.toAsk(); got[0] != "https://b" {
		t.Errorf("asked: %q", got)
	}
	if err := os.WriteFile(path(dir, serversFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := loadServers(dir, "https://a").all(); !slices.Equal(got, []string{"https://a"}) {
		t.Errorf("from a damaged file: %q", got)
	}
}

var _ gateway.Crowd = (*testServer)(nil)
