package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// Whatever any server is asked, and wherever workers are connected: jobs end, everybody gives the same answers, and the books balance.
func TestAnyServerAnswers(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	a, b, c := r.start("a", ""), r.start("b", ""), r.start("c", "")
	servers := []*host{a, b, c}
	r.spread(servers...)
	r.issue(b, "ada")
	again, err := c.Backend().Issue(t.Context(), "ada", 1000*cloudcrowd.Credit, "admin", "", "first-ada")
	if err != nil {
		t.Fatal(err)
	}
	if account, err := a.Backend().Account(t.Context(), "ada"); err != nil || account.Balance != 1000*cloudcrowd.Credit || again.Amount != 1000*cloudcrowd.Credit {
		t.Errorf("issued twice with one key: %+v, %v", account, err)
	}
	watched, err := b.Backend().Events(t.Context(), "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	var machines []*machine
	for i, s := range servers {
		machines = append(machines, r.join(fmt.Sprint("w", i), 2, s))
	}
	var jobs []cloudcrowd.JobID
	shards := map[int]bool{}
	for i := range 12 {
		key := fmt.Sprint("key", i)
		id := r.submit(servers[i%3], "ada", r.spec(key, 20), key)
		if same := r.submit(servers[(i+1)%3], "ada", r.spec(key, 20), key); same != id {
			t.Errorf("the same key gave %s and %s", id, same)
		}
		jobs = append(jobs, id)
		shards[store.ShardOf(id, r.shards)] = true
	}
	if len(shards) < 3 {
		t.Fatalf("only shards %v have jobs", shards)
	}
	for i, id := range jobs {
		if j := r.ended(servers[(i+2)%3], id); j.State != cloudcrowd.JobDone || j.TasksDone != 20 {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	worked := 0
	for _, m := range machines {
		m.mu.Lock()
		worked += m.worked
		m.mu.Unlock()
	}
	if worked < 240 {
		t.Errorf("%d attempts for 240 tasks", worked)
	}
	for _, s := range servers {
		list, next, err := s.Backend().Jobs(t.Context(), store.JobFilter{}, store.Page{Limit: 100})
		if err != nil || next != "" || len(list) != len(jobs) || !slices.IsSortedFunc(list, func(x, y cloudcrowd.JobSummary) int { return strings.Compare(string(y.ID), string(x.ID)) }) {
			t.Errorf("%d jobs, %q, %v", len(list), next, err)
		}
		views, err := s.Backend().Workers(t.Context())
		if err != nil || len(views) != 3 {
			t.Fatalf("%d workers, %v", len(views), err)
		}
		var valid int64
		for _, v := range views {
			if !v.Online {
				t.Errorf("server %s sees %s offline", s.cfg.ID, v.Name)
			}
			valid += v.Record.Unchecked
		}
		if valid != 240 {
			t.Errorf("records of %d accepted results", valid)
		}
		status, err := s.Backend().Status(t.Context())
		if err != nil || status.WorkersOnline != 3 || status.Slots != 6 || status.LedgerSum != 0 {
			t.Errorf("%+v, %v", status, err)
		}
		charges, _, err := s.Backend().Charges(t.Context(), store.ChargeFilter{}, store.Page{Limit: 1000})
		if err != nil || len(charges) != 240 {
			t.Errorf("%d charges, %v", len(charges), err)
		}
		page, next, err := s.Backend().Tasks(t.Context(), jobs[0], "", "", store.Page{Limit: 15})
		if err != nil || len(page) != 15 || next == "" {
			t.Errorf("%d tasks, %q, %v", len(page), next, err)
		}
	}
	seen := map[cloudcrowd.JobID]bool{}
	for e := range watched {
		if e.Type == "job.done" {
			seen[e.Job] = true
		}
		if len(seen) == len(jobs) {
			break
		}
	}
	r.balanced()
}

// A server that is cut off while it believes itself alive is replaced within the lease; what it still decides counts for nothing, and the jobs end once.
func TestReplaced(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	a, b, c := r.start("a", ""), r.start("b", ""), r.start("c", "")
	r.spread(a, b, c)
	r.issue(a, "ada")
	r.join("w1", 2, a)
	r.join("w2", 2, b)
	slow := r.join("w3", 4, c)
	slow.mu.Lock()
	slow.slow = make(chan struct{}) // holds leases for good
	slow.mu.Unlock()
	var jobs []cloudcrowd.JobID
	for i := range 12 {
		jobs = append(jobs, r.submit(b, "ada", r.spec("x", 50), fmt.Sprint("key", i)))
	}
	owned := c.Locals()
	if len(owned) == 0 {
		t.Fatal("server c owns nothing")
	}
	c.freeze()
	for _, m := range owned { // a view of what it no longer owns must not be given
		r.until("the server that is cut off stops answering", func() bool {
			_, err := m.InMemory(t.Context(), store.JobFilter{})
			return cloudcrowd.CodeOf(err) == cloudcrowd.Unavailable
		})
	}
	r.spread(a, b)
	slow.mu.Lock()
	slow.slow = nil
	for id := range slow.holding {
		slow.finish(id)
	}
	slow.mu.Unlock()
	for _, id := range jobs {
		if j := r.ended(a, id); j.State != cloudcrowd.JobDone || j.TasksDone != 50 {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	r.balanced()
	if _, _, err := a.Backend().Charges(t.Context(), store.ChargeFilter{}, store.Page{Limit: 1000}); err != nil {
		t.Error(err)
	}
}

// A server whose sign of life comes after its lease has run out does not trust itself again before it has claimed its shards anew: others may have taken them, and
// know more than it does.
func TestLateSignOfLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	slow := &gate{}
	r.gates = map[string]*gate{"b": slow}
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	r.issue(a, "ada")
	var lost *taskmanager.Manager
	for _, m := range b.Locals() {
		lost = m
	}
	slow.fails.Store(true)
	r.spread(a)
	slow.list.Lock() // the sign of life comes first; what became of the shards it hears later
	slow.fails.Store(false)
	r.until("the sign of life is given", b.owns)
	if _, err := lost.InMemory(t.Context(), store.JobFilter{}); !taskmanager.Moved(err) {
		t.Errorf("a shard that was taken over is read from the memory of the server that had it: %v", err)
	}
	slow.list.Unlock()
	if t.Failed() {
		return
	}
	r.spread(a, b)
	r.join("w", 1, a)
	r.ended(b, r.submit(b, "ada", r.spec("one", 1), "one"))
}

// A shard whose owner is alive without serving it, since it was started again among others, comes to whom it is to be with.
func TestOwnerOfEarlierLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	for shard := range 6 { // all were "a"'s when it was killed
		if _, err := r.store.Claim(t.Context(), shard, "a", 0); err != nil {
			t.Fatal(err)
		}
	}
	b := r.start("b", "")
	a := r.start("a", "")
	c := r.start("c", "")
	r.spread(a, b, c)
}

// A server does not start under the name of one that lives; it does where the one of its name was killed.
func TestUniqueName(t *testing.T) {
	t.Parallel()
	r := newRig(t, 3)
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	twin := New(Config{ID: "a", Shards: 3, Store: r.store, Lease: lease})
	if err := twin.Start(t.Context()); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid || !strings.Contains(fmt.Sprint(err), "copies of each other") {
		t.Errorf("a second server of one name: %v", err)
	}
	if err := twin.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	r.spread(a, b)
	a.freeze()
	r.spread(b, r.start("a", ""))
}

// Servers whose clocks are hours apart share the shards, and hand them to each other without taking anybody's work away.
func TestClocksApart(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	r.clocks = map[string]time.Duration{"b": time.Hour, "c": -time.Hour}
	a, b, c := r.start("a", ""), r.start("b", ""), r.start("c", "")
	r.spread(a, b, c)
	r.issue(a, "ada")
	m := r.join("w", 12, a)
	m.mu.Lock()
	m.slow = make(chan struct{})
	m.mu.Unlock()
	var jobs []cloudcrowd.JobID
	shards := map[int]bool{}
	for i := 0; len(shards) < 6; i++ {
		id := r.submit(a, "ada", r.spec("x", 2), fmt.Sprint(i))
		jobs, shards[store.ShardOf(id, 6)] = append(jobs, id), true
	}
	r.until("the worker has what it can hold", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return len(m.holding) >= 12 })
	b.stop() // an hour ahead
	r.spread(a, c)
	b = r.start("b", "")
	r.spread(a, b, c)
	c.stop()
	r.spread(a, b)
	m.mu.Lock()
	m.slow = nil
	for id := range m.holding {
		m.finish(id)
	}
	m.mu.Unlock()
	for _, id := range jobs {
		if j := r.ended(a, id); j.State != cloudcrowd.JobDone || j.Failed > 0 {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	r.balanced()
}

// Servers are replaced one after the other while requests go on at those that run: none fails.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	running := []*host{r.start("a", ""), r.start("b", ""), r.start("c", "")}
	r.spread(running...)
	r.issue(running[0], "ada")
	r.join("w1", 4, running[0])
	r.join("w2", 4, running[1])
	var mu sync.Mutex
	ask := func(what func(*Backend) error) error {
		mu.Lock()
		s := running[rand.IntN(len(running))]
		s.serving.RLock()
		mu.Unlock()
		defer s.serving.RUnlock()
		return what(s.Backend())
	}
	ctx, cancel := context.WithCancel(t.Context())
	var requests atomic.Int64
	var jobs sync.Map
	var all sync.WaitGroup
	for k := range 4 {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				var id cloudcrowd.JobID
				for what, do := range []func(*Backend) error{
					func(b *Backend) (err error) {
						id, err = b.Submit(t.Context(), "ada", r.spec("x", 5), fmt.Sprint(k, "/", i))
						return err
					},
					func(b *Backend) error { _, err := b.Job(t.Context(), id); return err },
					func(b *Backend) error {
						_, _, err := b.Jobs(t.Context(), store.JobFilter{}, store.Page{})
						return err
					},
				} {
					if err := ask(do); err != nil {
						t.Errorf("request %d: %v", what, err)
					}
					requests.Add(1)
				}
				jobs.Store(id, true)
			}
		})
	}
	for i, id := range []string{"a", "b", "c"} {
		mu.Lock()
		old := running[i]
		rest := slices.Delete(slices.Clone(running), i, i+1)
		full := running
		running = rest // as a load balancer does when the server says that it is draining
		mu.Unlock()
		old.stop()
		r.spread(rest...)
		full[i] = r.start(id, "")
		r.spread(full...)
		mu.Lock()
		running = full
		mu.Unlock()
	}
	cancel()
	all.Wait()
	n := 0
	jobs.Range(func(id, _ any) bool {
		n++
		if j := r.ended(running[0], id.(cloudcrowd.JobID)); j.State != cloudcrowd.JobDone {
			t.Errorf("%+v", j.JobSummary)
		}
		return true
	})
	t.Logf("%d requests, %d jobs", requests.Load(), n)
	if n < 12 {
		t.Errorf("only %d jobs were submitted", n)
	}
	r.balanced()
}

// All that NATS holds may go at any moment: an external one that is killed and started again, empty, delays the work.
func TestBusLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	nats := func(port int) *natsserver.Server {
		s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, MaxPayload: maxPayload, NoSigs: true, NoLog: true})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("no NATS server")
		}
		return s
	}
	bus := nats(natsserver.RANDOM_PORT)
	url := bus.ClientURL()
	var port int
	if _, err := fmt.Sscanf(url[strings.LastIndexByte(url, ':')+1:], "%d", &port); err != nil {
		t.Fatal(err)
	}
	a, b := r.start("a", url), r.start("b", url)
	r.spread(a, b)
	r.issue(a, "ada")
	r.join("w1", 2, a)
	var jobs []cloudcrowd.JobID
	for i := range 8 {
		jobs = append(jobs, r.submit(a, "ada", r.spec("x", 100), fmt.Sprint(i)))
	}
	for range 3 {
		bus.Shutdown()
		bus.WaitForShutdown()
		bus = nats(port)
	}
	defer bus.Shutdown()
	for _, id := range jobs {
		if j := r.ended(b, id); j.State != cloudcrowd.JobDone || j.TasksDone != 100 {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	r.balanced()
}

// A shard whose journal is damaged is named to whoever asks for its jobs; the others are served, and no server stops.
func TestDamagedShard(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	r.patience = time.Hour
	head, err := r.store.Claim(t.Context(), 2, "earlier", 0)
	if err == nil {
		err = r.store.Commit(t.Context(), store.Batch{Shard: 2, Epoch: head.Epoch, Seq: 1, At: 1, Count: 1, Events: []byte("not events")})
	}
	if err == nil {
		err = r.store.Release(t.Context(), 2, head.Epoch)
	}
	if err != nil {
		t.Fatal(err)
	}
	a, b := r.start("a", ""), r.start("b", "")
	for _, s := range []*host{a, b} {
		r.until("the other shards are served", func() bool {
			for shard := range 4 {
				if shard != 2 && a.Local(shard) == nil && b.Local(shard) == nil {
					return false
				}
			}
			return true
		})
		select {
		case err := <-s.Failed():
			t.Errorf("server %s stops: %v", s.cfg.ID, err)
		default:
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // else it would wait for as long as a request may
	defer cancel()
	for shard := range 4 {
		for _, s := range []*host{a, b} {
			_, err := inMemory.on(ctx, s.Node, shard, store.JobFilter{})
			if shard != 2 && err != nil {
				t.Errorf("shard %d, asked of %s: %v", shard, s.cfg.ID, err)
			}
			if shard == 2 && (cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), "shard 2") || !strings.Contains(err.Error(), "journal row 2/1")) {
				t.Errorf("shard 2, asked of %s: %v", s.cfg.ID, err)
			}
		}
	}
}

// Requests and answers of any length go over the bus, errors keep their form, and nobody answers for a shard that nobody owns.
func TestCalls(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	open := func(name string, peers ...string) *Bus {
		b, err := OpenBus(BusConfig{Name: name, Crowd: "test", Listen: "127.0.0.1:0", Identity: r.identity, Peers: peers})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	a := open("a")
	b := open("b", a.Address())
	r.until("the servers have met", func() bool { return routes(a) > 0 && routes(b) > 0 })
	_, err := b.serve("shard.0", func(_, method string, body []byte) ([]byte, error) {
		switch method {
		case "echo":
			return body, nil
		case "refuse":
			return nil, (&cloudcrowd.Error{Code: cloudcrowd.Conflict, Field: "x.y", Msg: "it has ended\nfor good"}).WithHint("leave it")
		}
		return nil, errElsewhere
	})
	if err == nil {
		err = b.conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	r.until("the other server hears of it", func() bool {
		_, err := a.request(t.Context(), "shard.0", "echo", nil)
		return !errors.Is(err, errNobody)
	})
	for _, size := range []int{0, 1, maxMessage - 1, maxMessage, maxMessage + 1, 5*maxMessage + 7} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(rand.Uint32())
		}
		got, err := a.request(t.Context(), "shard.0", "echo", body)
		if err != nil || !slices.Equal(got, body) {
			t.Errorf("%d bytes: %d came back, %v", size, len(got), err)
		}
	}
	var e *cloudcrowd.Error
	if _, err := a.request(t.Context(), "shard.0", "refuse", nil); !errors.As(err, &e) || e.Code != cloudcrowd.Conflict || e.Field != "x.y" || e.Msg != "it has ended\nfor good" || e.Hint != "leave it" {
		t.Errorf("%#v", err)
	}
	if _, err := a.request(t.Context(), "shard.0", "other", nil); !errors.Is(err, errElsewhere) {
		t.Errorf("%v", err)
	}
	if _, err := a.request(t.Context(), "shard.1", "echo", nil); !errors.Is(err, errNobody) {
		t.Errorf("%v", err)
	}
	// So does the longest frame of a worker, as it is.
	var longest atomic.Int64
	if _, err := b.subscribe("frame", func(m *nats.Msg) { longest.Store(int64(len(m.Data))) }); err != nil {
		t.Fatal(err)
	}
	r.until("the longest frame arrives", func() bool {
		a.publish("frame", nats.Header{headWorker: {strings.Repeat("U", 56)}, headServer: {"a"}}, make([]byte, wire.MaxFrame))
		return longest.Load() == wire.MaxFrame
	})
	// Somebody who does not know the crowd is kept out.
	stranger := newRig(t, 1)
	s, err := OpenBus(BusConfig{Name: "s", Crowd: "test", Listen: "127.0.0.1:0", Identity: stranger.identity, Peers: []string{a.Address()}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.request(t.Context(), "shard.0", "echo", nil); !errors.Is(err, errNobody) || routes(s) != 0 {
		t.Errorf("a stranger: %v, %d routes", err, routes(s))
	}
}

// Servers that know nothing of each other when they start, all at the same moment, or that are elsewhere after a restart, find each other on the bus.
func TestMeet(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	open := func(name string) *Bus {
		b, err := OpenBus(BusConfig{Name: name, Crowd: "test", Listen: "127.0.0.1:0", Identity: r.identity})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		return b
	}
	a, b, c := open("a"), open("b"), open("c")
	reaches := func(from, to *Bus, subject string) {
		t.Helper()
		if _, err := to.serve(subject, func(string, string, []byte) ([]byte, error) { return []byte("here"), nil }); err != nil {
			t.Fatal(err)
		}
		r.until("one reaches the other", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			answer, err := from.request(ctx, subject, "", nil)
			return err == nil && string(answer) == "here"
		})
	}
	meet := func() {
		all := []*Bus{a, b, c}
		for _, x := range all {
			var others []string
			for _, y := range all {
				if y != x {
					others = append(others, y.Address())
				}
			}
			x.Meet(others)
		}
	}
	meet()
	reaches(a, b, "first")
	reaches(b, c, "second")
	reaches(c, a, "third")
	before := b.Address()
	b.Close()
	taken, err := net.Listen("tcp", before) // so that it comes back at another one
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	b = open("b")
	meet()
	reaches(a, b, "fourth")
	reaches(b, c, "fifth")
	reaches(a, c, "sixth") // who was connected stays so
}
