package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	blobmemory "cloudcrowd.dev/cloudcrowd/internal/blob/memory"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// rig is a crowd of servers over one store in memory, with real buses between them and workers that answer at once.
type rig struct {
	t        *testing.T
	store    *memory.Store
	blobs    *blobmemory.Store
	identity tls.Certificate
	shards   int
	module   cloudcrowd.Digest
	sharing  cloudcrowd.Sharing
	trust    string // file with the authority of an external NATS
	wires    *wires // between embedded servers; nil: they reach each other directly
	patience time.Duration

	mu      sync.Mutex
	nodes   map[string]*host
	gates   map[string]*gate         // of servers whose store is slow
	clocks  map[string]time.Duration // how much servers' clocks are ahead
	workers map[cloudcrowd.WorkerID]*machine
}

// host is one server of the rig; as a Gate it brings messages to the workers connected to it.
type host struct {
	*Node
	r    *rig
	bus  *Bus
	dead bool // nothing reaches its workers

	serving sync.RWMutex // held for reading by requests under way, which a server ends before it stops
}

// machine is a worker: it repeats what it finished until that is acknowledged, and beats.
type machine struct {
	r     *rig
	id    cloudcrowd.WorkerID
	slots int
	slow  chan struct{} // it answers no lease before this is closed; nil: at once

	mu      sync.Mutex
	at      *host
	holding map[cloudcrowd.AttemptID]bool
	done    map[cloudcrowd.AttemptID]bool // not acknowledged yet
	worked  int
	most    int // leases held at once
}

func newRig(t *testing.T, shards int) *rig {
	t.Helper()
	text, err := NewIdentity(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: memory.New(memory.Options{}), blobs: blobmemory.New(blobmemory.Options{}), shards: shards, nodes: map[string]*host{}, workers: map[cloudcrowd.WorkerID]*machine{}}
	if r.identity, err = ParseIdentity(text); err != nil {
		t.Fatal(err)
	}
	if r.module, err = blob.PutBytes(t.Context(), r.blobs, []byte("module")); err != nil {
		t.Fatal(err)
	}
	return r
}

// Read and Upload implement taskmanager.Signer.
func (r *rig) Read(d cloudcrowd.Digest, _ time.Time) string { return "read." + d.Short() }

// Upload implements taskmanager.Signer.
func (r *rig) Upload(a cloudcrowd.AttemptID, _ cloudcrowd.WorkerID, _ int64, _ time.Time) string {
	return "upload." + a.String()
}

// lease is short, and long enough for a machine that does other things as well.
const lease = 1500 * time.Millisecond

// start starts a server. external names a NATS that is used instead of embedded ones; "" for none.
func (r *rig) start(id, external string) *host {
	r.t.Helper()
	others, err := r.store.Servers(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	c := BusConfig{Name: id, Crowd: "test", Listen: "127.0.0.1:0", Identity: r.identity, External: external}
	if strings.HasPrefix(external, "tls:") {
		c.Trust = r.trust
	}
	if r.wires != nil {
		c.Advertise = r.wires.nowhere(id)
		for i := range others {
			others[i].Bus = r.wires.line(id, others[i].ID)
		}
	}
	for _, o := range others {
		if o.ID != id && o.Bus != "" {
			c.Peers = append(c.Peers, o.Bus)
		}
	}
	bus, err := OpenBus(c)
	if err != nil {
		r.t.Fatal(err)
	}
	shared := store.Store(r.store)
	if g := r.gates[id]; g != nil {
		g.Store, shared = r.store, g
	}
	if r.wires != nil {
		r.wires.is(id, bus.embedded.ClusterAddr().String())
		shared = wired{shared, r.wires, id}
	}
	clock := func() time.Time { return time.Now().Add(r.clocks[id]) }
	n := New(Config{ID: id, Shards: r.shards, Now: clock, Store: shared, Bus: bus, URL: "https://" + id, Lease: lease, Patience: r.patience, Version: "test", Prices: cloudcrowd.DefaultPrices,
		Log: slog.New(slog.NewTextHandler(r.t.Output(), nil)).With("server", id),
		Open: func(c taskmanager.Config) *taskmanager.Manager {
			c.Now = clock
			c.Store, c.Blobs, c.Signer, c.Operator, c.Heartbeat, c.Prices = shared, r.blobs, r, "admin", 100*time.Millisecond, cloudcrowd.DefaultPrices
			c.Sharing = r.sharing
			return taskmanager.New(c)
		}})
	s := &host{Node: n, r: r, bus: bus}
	n.Crowd().Through(s)
	r.mu.Lock()
	r.nodes[id] = s
	r.mu.Unlock()
	if err := n.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.stop() })
	return s
}

// stop ends a server in good order.
func (s *host) stop() {
	s.r.mu.Lock()
	gone := s.dead
	s.dead = true
	s.r.mu.Unlock()
	if gone {
		return
	}
	s.serving.Lock()
	defer s.serving.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		s.r.t.Error(err)
	}
	s.bus.Close()
}

// freeze stops a server's signs of life and cuts it off from the others and its workers, while its task managers go on: it does not know that it is as good as
// dead.
func (s *host) freeze() {
	s.r.mu.Lock()
	s.dead = true
	s.r.mu.Unlock()
	s.cancel()
	<-s.done
	s.bus.Close()
	s.r.t.Cleanup(func() {
		for _, m := range s.Locals() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_ = m.Stop(ctx) // it is fenced
			cancel()
		}
	})
}

// Send implements Gate.
func (s *host) Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	s.r.mu.Lock()
	m, dead := s.r.workers[w], s.dead
	s.r.mu.Unlock()
	if dead || m == nil {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "not connected")
	}
	m.take(s, d)
	return nil
}

// Kick implements Gate.
func (s *host) Kick(cloudcrowd.WorkerID, string) {}

// gate is a store that answers about servers when it is let.
type gate struct {
	store.Store
	fails atomic.Bool  // no sign of life can be written
	list  sync.RWMutex // held to keep lists of servers from being read
}

func (g *gate) PutServer(ctx context.Context, v store.Server) error {
	if g.fails.Load() {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "not now")
	}
	return g.Store.PutServer(ctx, v)
}

func (g *gate) Servers(ctx context.Context) ([]store.Server, error) {
	g.list.RLock()
	defer g.list.RUnlock()
	return g.Store.Servers(context.WithoutCancel(ctx))
}

// join registers a worker and connects it to a server; it beats until the test ends.
func (r *rig) join(name string, slots int, at *host) *machine {
	r.t.Helper()
	m := &machine{r: r, id: cloudcrowd.WorkerID("U" + name), slots: slots, holding: map[cloudcrowd.AttemptID]bool{}, done: map[cloudcrowd.AttemptID]bool{}}
	hash := string(blob.DigestOf([]byte(name)))
	if err := r.store.PutInvite(r.t.Context(), hash, cloudcrowd.Invite{ID: name, Owner: cloudcrowd.AccountID(name)}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.store.Join(r.t.Context(), hash, cloudcrowd.Worker{ID: m.id, Name: name}, 1); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	r.workers[m.id] = m
	r.mu.Unlock()
	m.connect(at)
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-r.t.Context().Done():
				return
			case <-tick.C:
				m.beat()
			}
		}
	}()
	return m
}

// connect goes to a server and says hello.
func (m *machine) connect(at *host) {
	m.mu.Lock()
	m.at = at
	h := cloudcrowd.Hello{Session: "s", Info: cloudcrowd.WorkerInfo{Name: string(m.id[1:]), Cores: m.slots, Slots: m.slots, Speed: 1, MemoryBytes: 1 << 30}}
	for id := range m.holding {
		h.Holding = append(h.Holding, id)
	}
	for id := range m.done {
		h.Spooled = append(h.Spooled, id)
	}
	m.mu.Unlock()
	at.Crowd().Receive(m.id, cloudcrowd.Up{Hello: &h})
}

// beat says what it holds, wants, and has not heard of.
func (m *machine) beat() {
	m.mu.Lock()
	at := m.at
	b := cloudcrowd.Beat{Session: "s", Want: max(0, m.slots+taskmanager.DefaultAhead-len(m.holding))}
	for id := range m.holding {
		b.Holding = append(b.Holding, cloudcrowd.Progress{Attempt: id})
	}
	var again []cloudcrowd.AttemptID
	for id := range m.done {
		again = append(again, id)
	}
	m.mu.Unlock()
	if at.gone() {
		m.r.mu.Lock()
		for _, s := range m.r.nodes {
			if !s.dead {
				defer m.connect(s)
				break
			}
		}
		m.r.mu.Unlock()
		return
	}
	at.Crowd().Receive(m.id, cloudcrowd.Up{Beat: &b, Reports: m.reports(again)})
}

func (s *host) gone() bool {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	return s.dead
}

func (m *machine) reports(ids []cloudcrowd.AttemptID) (list []cloudcrowd.Report) {
	for _, id := range ids {
		list = append(list, cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: 0.01, WallSeconds: 0.01}}})
	}
	return list
}

// take does what it is told.
func (m *machine) take(from *host, d cloudcrowd.Down) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range d.Leases {
		m.holding[l.Attempt] = true
		if m.slow == nil {
			m.finish(l.Attempt)
		}
	}
	m.most = max(m.most, len(m.holding))
	for _, id := range d.Acks {
		delete(m.done, id)
	}
	for _, id := range d.Cancels {
		delete(m.holding, id)
	}
	if m.slow == nil && len(m.done) > 0 {
		ids := make([]cloudcrowd.AttemptID, 0, len(m.done))
		for _, l := range d.Leases {
			ids = append(ids, l.Attempt)
		}
		go from.Crowd().Receive(m.id, cloudcrowd.Up{Reports: m.reports(ids)})
	}
}

// finish ends an attempt. m.mu is held.
func (m *machine) finish(id cloudcrowd.AttemptID) {
	delete(m.holding, id)
	m.done[id] = true
	m.worked++
}

// spec is a job of so many tasks.
func (r *rig) spec(name string, tasks int64) cloudcrowd.JobSpec {
	return cloudcrowd.JobSpec{Name: name, Budget: cloudcrowd.Credit / 10, Outputs: []string{"work"}, Stages: []cloudcrowd.Stage{{Name: "work",
		Split:     &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: tasks, Size: 1},
		Run:       &cloudcrowd.Program{Module: r.module, ModuleName: "work.wasm"},
		Resources: cloudcrowd.Resources{MemoryBytes: 1 << 20, OutputBytes: 1 << 20, Cores: 1}, Timeout: cloudcrowd.Duration(time.Minute), Retries: 3, Target: cloudcrowd.Duration(time.Second),
		Verify: cloudcrowd.Verify{Replicas: 1, Quorum: 1}}}}
}

// until waits for something to become true.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			r.t.Fatalf("not in time: %s", what)
		}
	}
}

// spread waits until the shards are owned as they are to be.
func (r *rig) spread(servers ...*host) {
	r.t.Helper()
	var ids []string
	for _, s := range servers {
		ids = append(ids, s.cfg.ID)
	}
	want := Spread(ids, r.shards)
	r.until(fmt.Sprintf("shards are owned by %v", ids), func() bool {
		for shard, id := range want {
			if !slices.ContainsFunc(servers, func(s *host) bool { return s.cfg.ID == id && s.Local(shard) != nil }) {
				return false
			}
		}
		return true
	})
}

// ended waits until a job has ended, asking a server.
func (r *rig) ended(at *host, id cloudcrowd.JobID) cloudcrowd.Job {
	r.t.Helper()
	var j cloudcrowd.Job
	defer func() {
		if !j.State.Ended() {
			e, err := at.Backend().Explain(context.Background(), id)
			r.t.Logf("%+v\n%q, %v", j.JobSummary, e.Lines, err)
		}
	}()
	r.until("job "+string(id)+" ends", func() bool {
		var err error
		j, err = at.Backend().Job(r.t.Context(), id)
		if err != nil {
			r.t.Fatalf("job %s: %v", id, err)
		}
		return j.State.Ended()
	})
	return j
}

// balanced holds what must hold of the ledger in the end.
func (r *rig) balanced() {
	r.t.Helper()
	accounts, err := r.store.Accounts(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var sum cloudcrowd.Credits
	for _, a := range accounts {
		sum += a.Balance
		if a.Held != 0 || a.Balance < 0 && a.ID != cloudcrowd.IssuerAccount {
			r.t.Errorf("%+v", a)
		}
	}
	if sum != 0 {
		r.t.Errorf("the ledger sums to %d", sum)
	}
}

func (r *rig) issue(at *host, to cloudcrowd.AccountID) {
	r.t.Helper()
	if _, err := at.Backend().Issue(r.t.Context(), to, 1000*cloudcrowd.Credit, "admin", "", "first-"+string(to)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) submit(at *host, account cloudcrowd.AccountID, s cloudcrowd.JobSpec, key string) cloudcrowd.JobID {
	r.t.Helper()
	id, err := at.Backend().Submit(r.t.Context(), account, s, key)
	if err != nil {
		r.t.Fatalf("submitting %s: %v", key, err)
	}
	if want := store.ShardOfKey(string(account)+"\x00"+key, r.shards); store.ShardOf(id, r.shards) != want {
		r.t.Errorf("job %s of key %s belongs to shard %d, not %d", id, key, store.ShardOf(id, r.shards), want)
	}
	return id
}

// routes is how many other servers the embedded server is connected to.
func routes(b *Bus) int {
	if b.embedded == nil {
		return 0
	}
	return b.embedded.NumRoutes()
}
