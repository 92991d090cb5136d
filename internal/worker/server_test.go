package worker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/gateway"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/fake"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// TestMain looks for forgotten goroutines. Connections take their time to close on a busy machine, so it looks for longer than goleak alone would.
func TestMain(m *testing.M) {
	status := m.Run()
	leak := goleak.Find()
	for tries := 0; leak != nil && tries < 60; tries++ {
		leak = goleak.Find() // waits about half a second by itself
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		status = max(status, 1)
	}
	os.Exit(status)
}

// testCrowd is what the servers of a crowd share. Blobs are in memory; a grant is good if it starts with "ok".
type testCrowd struct {
	mu    sync.Mutex // of the servers, too
	blobs map[cloudcrowd.Digest][]byte
	known map[cloudcrowd.WorkerID]bool
}

// testServer is a server with a real gateway and a crowd that a test plays.
type testServer struct {
	*testCrowd
	t       *testing.T
	gateway *gateway.Gateway
	http    *httptest.Server

	certificate *tls.Certificate // nil: plain HTTP

	ups  chan cloudcrowd.Up // everything workers say, in order
	gone chan cloudcrowd.WorkerID

	requests []string // METHOD path range
	down     bool     // answers 503
	refusal  error    // what every device is refused with
	calls    int      // connections of workers that were asked for
}

const invite = "INVITE"

// serve starts a server; at is where to listen, "" for anywhere.
func serve(t *testing.T, at string) *testServer {
	t.Helper()
	s := newServer(t, &testCrowd{blobs: make(map[cloudcrowd.Digest][]byte), known: make(map[cloudcrowd.WorkerID]bool)})
	s.listen(at)
	return s
}

// serveCrowd starts n servers of one crowd.
func serveCrowd(t *testing.T, n int) []*testServer {
	t.Helper()
	all := []*testServer{serve(t, "")}
	for len(all) < n {
		s := newServer(t, all[0].testCrowd)
		s.listen("")
		all = append(all, s)
	}
	return all
}

func newServer(t *testing.T, crowd *testCrowd) *testServer {
	s := &testServer{testCrowd: crowd, t: t, ups: make(chan cloudcrowd.Up, 10_000), gone: make(chan cloudcrowd.WorkerID, 100)}
	t.Cleanup(func() {
		if s.gateway != nil {
			s.stop()
		}
	})
	return s
}

func (s *testServer) listen(at string) {
	s.t.Helper()
	var err error
	if s.gateway, err = gateway.New(gateway.Config{Crowd: s, Admission: s}); err != nil {
		s.t.Fatal(err)
	}
	if err := s.gateway.Start(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/worker", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.calls++
		s.mu.Unlock()
		s.gateway.Handler().ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /v1/join", s.join)
	mux.HandleFunc("/v1/blobs/{digest}", s.blob)
	s.http = httptest.NewUnstartedServer(mux)
	if at != "" {
		l, err := net.Listen("tcp", at)
		if err != nil {
			s.t.Fatal(err)
		}
		s.http.Listener.Close()
		s.http.Listener = l
	}
	if s.certificate != nil {
		s.http.TLS = &tls.Config{Certificates: []tls.Certificate{*s.certificate}}
		s.http.StartTLS()
		return
	}
	s.http.Start()
}

func (s *testServer) stop() {
	_ = s.gateway.Stop(context.Background())
	s.http.Close()
}

// restart stops the server and starts it again at the same address, with its blobs.
func (s *testServer) restart() {
	at := s.http.Listener.Addr().String()
	s.stop()
	s.listen(at)
}

func (s *testServer) Receive(_ cloudcrowd.WorkerID, up cloudcrowd.Up) { s.ups <- up }
func (s *testServer) Gone(w cloudcrowd.WorkerID)                      { s.gone <- w }

func (s *testServer) Admit(_ context.Context, id cloudcrowd.WorkerID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return s.refusal
	}
	if !s.known[id] {
		return cloudcrowd.Errorf(cloudcrowd.NotFound, "this device has not joined")
	}
	return nil
}

func (s *testServer) join(w http.ResponseWriter, r *http.Request) {
	var in struct{ Invite, Worker, Name, Signature string }
	s.mu.Lock()
	down := s.down
	s.mu.Unlock()
	if down {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key, err := nkeys.FromPublicKey(in.Worker)
	sig, err2 := base64.StdEncoding.DecodeString(in.Signature)
	if err != nil || err2 != nil || in.Invite != invite || key.Verify(wire.JoinMessage(in.Invite, cloudcrowd.WorkerID(in.Worker)), sig) != nil {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"code":"forbidden","detail":"the invite is not valid any more","hint":"ask for another"}`)
		return
	}
	s.mu.Lock()
	s.known[cloudcrowd.WorkerID(in.Worker)] = true
	s.mu.Unlock()
	json.NewEncoder(w).Encode(map[string]string{"worker": in.Worker, "owner": "ann"})
}

func (s *testServer) blob(w http.ResponseWriter, r *http.Request) {
	d := cloudcrowd.Digest(r.PathValue("digest"))
	s.mu.Lock()
	b, ok := s.blobs[d]
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+d.Short()+" "+r.Header.Get("Range")))
	down := s.down
	s.mu.Unlock()
	if down {
		http.Error(w, "away", http.StatusServiceUnavailable)
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Grant ok") {
		http.Error(w, "no grant", http.StatusForbidden)
		return
	}
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil || digest(body) != d {
			http.Error(w, "other bytes", http.StatusUnprocessableEntity)
			return
		}
		s.put(body)
		w.WriteHeader(http.StatusCreated)
		return
	}
	if !ok {
		http.Error(w, "none", http.StatusNotFound)
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
}

func digest(b []byte) cloudcrowd.Digest {
	sum := sha256.Sum256(b)
	return cloudcrowd.Digest(hex.EncodeToString(sum[:]))
}

func (s *testServer) put(b []byte) cloudcrowd.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[digest(b)] = b
	return digest(b)
}

func (s *testServer) get(t *testing.T, d cloudcrowd.Digest) string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.blobs[d]
	if !ok {
		t.Fatalf("blob %s was not stored", d.Short())
	}
	return string(b)
}

func (s *testServer) refuse(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = err
}

// called is how often workers have asked for a connection.
func (s *testServer) called() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *testServer) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// requested lists blob requests so far and forgets them.
func (s *testServer) requested() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

const patience = 30 * time.Second

// next waits for a message that fits; others are passed over.
func (s *testServer) next(t *testing.T, fits func(cloudcrowd.Up) bool) cloudcrowd.Up {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case up := <-s.ups:
			if fits(up) {
				return up
			}
		case <-timeout:
			t.Fatal("the worker did not say it")
		}
	}
}

// greet answers the worker's Hello and waits for its first beat.
func (s *testServer) greet(t *testing.T, id cloudcrowd.WorkerID, w cloudcrowd.Welcome) cloudcrowd.Hello {
	t.Helper()
	hello := s.next(t, func(u cloudcrowd.Up) bool { return u.Hello != nil })
	s.send(t, id, cloudcrowd.Down{Welcome: &w})
	if len(hello.Reports) > 0 { // for who waits for reports next
		s.ups <- cloudcrowd.Up{Reports: hello.Reports}
	}
	return *hello.Hello
}

func (s *testServer) send(t *testing.T, id cloudcrowd.WorkerID, d cloudcrowd.Down) {
	t.Helper()
	if err := s.gateway.Send(id, d); err != nil {
		t.Fatal(err)
	}
}

// reports waits for n reports, without acknowledging them.
func (s *testServer) reports(t *testing.T, n int) map[cloudcrowd.AttemptID]cloudcrowd.Result {
	t.Helper()
	all := make(map[cloudcrowd.AttemptID]cloudcrowd.Result)
	s.next(t, func(u cloudcrowd.Up) bool {
		for _, r := range u.Reports {
			all[r.Attempt] = r.Result
		}
		return len(all) >= n
	})
	return all
}

// running is an agent at work.
type running struct {
	*Agent
	cancel context.CancelFunc
	result chan error
}

// wait waits for Run's end.
func (r *running) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.result:
		r.result <- err
		return err
	case <-time.After(patience):
		t.Fatal("the agent does not end")
		return nil
	}
}

// kill ends the agent at once.
func (r *running) kill(t *testing.T) {
	t.Helper()
	r.cancel()
	_ = r.wait(t) // whatever it is
}

// programs by name; their module is the name itself.
func sandboxOf(programs map[string]fake.Program) *fake.Sandbox {
	byDigest := make(map[string]fake.Program)
	for name, p := range programs {
		byDigest[string(digest([]byte(name)))] = p
	}
	return fake.New(byDigest)
}

func launch(t *testing.T, s *testServer, dir string, box sandbox.Sandbox, spoil func(*Config)) *running {
	t.Helper()
	cfg := Config{Server: s.http.URL, DataDir: dir, Invite: invite, Name: "test", Slots: 2, Speed: 1, MemoryBytes: 1 << 30, Sandbox: box}
	if spoil != nil {
		spoil(&cfg)
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Agent: a, cancel: cancel, result: make(chan error, 1)}
	go func() { r.result <- a.Run(ctx) }()
	t.Cleanup(func() { r.kill(t) })
	return r
}

var welcome = cloudcrowd.Welcome{HeartbeatSeconds: 0.05, LeaseSeconds: 30, Ahead: 2}

var testJob = cloudcrowd.NewJobID(time.UnixMilli(1_790_000_000_000), 7)

func attemptOf(i int32) cloudcrowd.AttemptID {
	return cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: testJob, Index: i}, N: 1}
}

// lease makes a lease of the named program, whose module the server then has.
func (s *testServer) lease(i int32, program string, files ...cloudcrowd.TaskFile) cloudcrowd.Lease {
	l := cloudcrowd.Lease{Attempt: attemptOf(i), Upload: "ok-upload", Payload: cloudcrowd.Payload{
		Module: s.put([]byte(program)), ModuleSize: int64(len(program)), Files: files, Timeout: cloudcrowd.Duration(time.Minute), Seed: uint64(i),
	}}
	seen := map[cloudcrowd.Digest]bool{}
	grant := func(d cloudcrowd.Digest) {
		if d != "" && !seen[d] {
			seen[d] = true
			l.Grants = append(l.Grants, cloudcrowd.Grant{Blob: d, Token: "ok-" + d.Short()})
		}
	}
	grant(l.Payload.Module)
	for _, f := range files {
		for _, g := range f.Segments {
			grant(g.Blob)
		}
	}
	return l
}

func path(a ...string) string { return filepath.Join(a...) }
