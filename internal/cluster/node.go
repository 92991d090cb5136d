package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// Defaults of Config.
const (
	DefaultLease    = 3 * time.Second
	DefaultPatience = 15 * time.Second
)

// Config is what a Node needs. Store, Shards and Open are required.
type Config struct {
	ID      string // of this server; the same after a restart with the same data directory
	Shards  int    // of the store
	Store   store.Store
	Bus     *Bus   // nil: this server is alone
	URL     string // where clients and workers reach it
	Version string
	Prices  cloudcrowd.Prices
	// Lease is how long a server that is not heard of keeps its shards: no clock is compared with another one, each server waits that long on its own after
	// the last sign of life it has seen.
	Lease    time.Duration
	Patience time.Duration // how long a request waits for a shard that nobody serves at the moment
	// Alone says that nobody else can use the store, by a lock of its own: shards are taken over at once and membership is not written.
	Alone bool
	// Open makes the task manager of a shard with what Node gives it filled in: Shard, Shards, Take, Owns.
	Open func(taskmanager.Config) *taskmanager.Manager
	Log  *slog.Logger
	Now  func() time.Time // for what is written down; default time.Now
}

// Node is this server as a member of the crowd's servers.
type Node struct {
	cfg   Config
	log   *slog.Logger
	crowd *Crowd

	renewed atomic.Int64 // when the lease was last renewed, as time since began
	term    atomic.Int64 // counts the times the lease had run out; a task manager of an earlier one owns nothing
	began   time.Time
	started cloudcrowd.Time
	streams streams
	poke    chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}
	fatal   chan error // why this server cannot go on

	mu       sync.Mutex
	shards   []*held
	changed  chan struct{} // closed and replaced when an owner changed or a task manager has started or ended
	draining bool
	stopping bool
	peers    map[string]*peer
	live     []store.Server // as last seen, this server among them
	beat     int64
	tasks    sync.WaitGroup // taking over and giving away

	known struct { // see records
		sync.Mutex
		rows []store.RecordRow
		at   time.Time
	}
}

// held is what this server knows of a shard.
type held struct {
	owner   string // as the store said last
	epoch   int64
	manager *taskmanager.Manager // running here; nil if not
	term    int64                // in which it took the shard
	claimed int64                // epoch under which it runs
	failure error                // why it cannot run, if it was to
	retry   time.Time            // when that is tried again
	busy    bool                 // being taken over or given away here
	subs    []*nats.Subscription
}

// peer is another server, or this one's earlier life.
type peer struct {
	row  store.Server
	seen time.Time // when its beat last moved, on this server's clock
}

// New prepares a Node.
func New(c Config) *Node {
	if c.Lease <= 0 {
		c.Lease = DefaultLease
	}
	if c.Patience <= 0 {
		c.Patience = DefaultPatience
	}
	if c.Shards <= 0 {
		c.Shards = 1
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	n := &Node{cfg: c, log: c.Log, began: time.Now(), started: cloudcrowd.TimeOf(c.Now()), poke: make(chan struct{}, 1), done: make(chan struct{}), fatal: make(chan error, 1), shards: make([]*held, c.Shards),
		changed: make(chan struct{}), peers: map[string]*peer{}, beat: time.Now().UnixNano()}
	for i := range n.shards {
		n.shards[i] = &held{}
	}
	n.crowd = newCrowd(n)
	return n
}

// Start joins the other servers and takes over what this one is to own; what others still own it takes when they give it away or are gone. When it returns, the
// task managers of the shards that were free run.
func (n *Node) Start(ctx context.Context) error {
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.cancel = cancel
	if n.cfg.Alone {
		close(n.done)
		for shard := range n.shards {
			if err := n.take(ctx, shard, 0); err != nil {
				return err
			}
		}
		return nil
	}
	err := n.unique(ctx)
	if err == nil && n.cfg.Bus != nil {
		err = n.listen()
	}
	if err == nil {
		err = n.tend(ctx)
	}
	if err != nil {
		cancel()
		close(n.done)
		return err
	}
	n.tasks.Wait()
	select {
	case err := <-n.fatal:
		cancel()
		close(n.done)
		return err
	default:
	}
	go n.run(running)
	return nil
}

// unique makes sure that no other server lives under this one's name, as when a data folder was copied: they would take each other's shards for good. Only a server
// that did not leave in order has to wait for it, since its earlier life is still written down.
func (n *Node) unique(ctx context.Context) error {
	beat := func() (int64, error) {
		rows, err := n.cfg.Store.Servers(ctx)
		i := slices.IndexFunc(rows, func(r store.Server) bool { return r.ID == n.cfg.ID })
		if err != nil || i < 0 {
			return 0, err
		}
		return rows[i].Beat, nil
	}
	first, err := beat()
	if err != nil || first == 0 {
		return err
	}
	seen := 0 // a last sign of life may have been on its way
	for began := time.Now(); time.Since(began) < n.every()*5/2; {
		pause := time.NewTimer(n.every() / 4)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
		now, err := beat()
		if err != nil {
			return err
		}
		if now != first {
			first = now
			seen++
		}
		if seen > 1 {
			return cloudcrowd.Fieldf("data", "another server runs under the name of this one, %s: its data folder and this one are copies of each other", n.cfg.ID).
				WithHint("give this server a folder of its own, or remove the file server.id from the copy")
		}
	}
	return nil
}

// listen hears what the other servers say to all.
func (n *Node) listen() error {
	for subject, hear := range map[string]func(*nats.Msg){
		"members":          func(*nats.Msg) { n.wake() },
		"hungry":           n.crowd.heardHungry,
		"uses":             n.crowd.heardUses,
		"gone":             n.crowd.heardGone,
		"down." + n.cfg.ID: n.crowd.heardDown,
	} {
		if _, err := n.cfg.Bus.subscribe(subject, hear); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// tell lets the other servers look at once.
func (n *Node) tell() {
	if n.cfg.Bus != nil {
		n.cfg.Bus.publish("members", nil, nil)
	}
}

// every is how often a server gives a sign of life and looks at the others.
func (n *Node) every() time.Duration { return n.cfg.Lease / 6 }

func (n *Node) run(ctx context.Context) {
	defer close(n.done)
	tick := time.NewTicker(n.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.poke:
		}
		if err := n.tend(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("the store does not answer about the servers; shards are kept as long as nobody else can have taken them", "err", err)
		}
		n.crowd.tick()
	}
}

// owns reports whether no other server can have taken over a shard of this one: they wait for Lease after the last sign of life they saw, which is later than
// when it was given; this one trusts itself for less. Once it could not, another one may be about to take what it has, whatever sign of life comes after: then it
// has to claim everything anew.
func (n *Node) owns() bool {
	return n.cfg.Alone || time.Since(n.began)-time.Duration(n.renewed.Load()) < n.cfg.Lease*4/5
}

// tend gives a sign of life, looks who is there, and takes over or gives away what is to be.
func (n *Node) tend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Lease)
	defer cancel()
	n.mu.Lock()
	n.beat++
	row := store.Server{ID: n.cfg.ID, Beat: n.beat, URL: n.cfg.URL, Version: n.cfg.Version, Draining: n.draining || n.stopping, StartedAt: n.started}
	n.mu.Unlock()
	if n.cfg.Bus != nil {
		row.Bus = n.cfg.Bus.Address()
	}
	at := time.Since(n.began)
	if err := n.cfg.Store.PutServer(ctx, row); err != nil {
		return err
	}
	lapsed := !n.owns()
	if lapsed && n.renewed.Load() > 0 {
		n.term.Add(1)
		n.log.Warn("the lease on shards had run out; they are claimed anew", "after", (time.Since(n.began) - time.Duration(n.renewed.Load())).Round(time.Millisecond).String())
	}
	n.renewed.Store(int64(at))
	asked := time.Now()
	rows, err := n.cfg.Store.Servers(ctx)
	if err != nil {
		return err
	}
	heads, err := n.cfg.Store.ShardList(ctx)
	if err != nil {
		return err
	}
	if n.cfg.Bus != nil {
		n.cfg.Bus.Meet(n.elsewhere(rows))
	}
	n.look(ctx, asked, lapsed, rows, heads)
	return nil
}

// elsewhere is where the other servers can be reached over the bus.
func (n *Node) elsewhere(rows []store.Server) (list []string) {
	for _, r := range rows {
		if r.ID != n.cfg.ID && r.Bus != "" {
			list = append(list, r.Bus)
		}
	}
	return list
}

// forgetAfter is how many leases a server that is not heard of stays written down.
const forgetAfter = 20

// look compares what the store, asked at a time, says with what is to be, and starts what is to be done. Who could not look for a while judges nobody: the others may
// have had no chance to give a sign of life either.
func (n *Node) look(ctx context.Context, asked time.Time, blind bool, rows []store.Server, heads map[int]store.Head) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	silence := func(id string) time.Duration {
		p := n.peers[id]
		if p == nil {
			p = &peer{seen: now}
			n.peers[id] = p
		}
		if blind {
			p.seen = now
		}
		return asked.Sub(p.seen)
	}
	alive := map[string]bool{}
	var takers []string
	live := make([]store.Server, 0, len(rows))
	for _, r := range rows {
		if p := n.peers[r.ID]; p != nil && p.row.Beat != r.Beat {
			p.seen = now
		}
		silent := silence(r.ID)
		n.peers[r.ID].row = r
		if r.ID != n.cfg.ID && silent >= n.cfg.Lease {
			if silent > forgetAfter*n.cfg.Lease {
				go n.forget(r)
			}
			continue
		}
		alive[r.ID] = true
		live = append(live, r)
		if !r.Draining {
			takers = append(takers, r.ID)
		}
	}
	for _, head := range heads { // an owner that is not written down may be about to write itself down again
		if head.Owner != "" && !alive[head.Owner] && silence(head.Owner) < n.cfg.Lease {
			alive[head.Owner] = true
		}
	}
	for id, p := range n.peers {
		if asked.Sub(p.seen) >= n.cfg.Lease && !slices.ContainsFunc(rows, func(r store.Server) bool { return r.ID == id }) &&
			!slices.ContainsFunc(slices.Collect(maps.Values(heads)), func(h store.Head) bool { return h.Owner == id }) {
			delete(n.peers, id)
		}
	}
	n.live = live
	moved := false
	for shard, to := range Spread(takers, n.cfg.Shards) {
		h, head := n.shards[shard], heads[shard]
		if h.owner != head.Owner || h.epoch != head.Epoch {
			h.owner, h.epoch, moved = head.Owner, head.Epoch, true
			if head.Owner != n.cfg.ID {
				h.failure = nil // it is somebody else's to serve
			}
		}
		if h.busy || h.manager != nil && head.Epoch < h.claimed { // it was claimed after the list was made
			continue
		}
		mine := to == n.cfg.ID
		switch {
		case h.manager != nil && (head.Owner != n.cfg.ID || head.Epoch != h.claimed):
			// Taken over while this server was not heard of. The task manager finds out by itself; it may have nothing to commit.
			n.begin(shard, func() { n.drop(shard) })
		case h.manager != nil && h.term != n.term.Load():
			n.begin(shard, func() { n.drop(shard) })
		case h.manager != nil && !mine && to != "":
			n.begin(shard, func() { n.give(ctx, shard) })
		case h.manager == nil && !mine && to != "" && head.Owner == n.cfg.ID:
			// An earlier life of this server had it, or it was dropped here; nobody else takes from who is alive.
			n.begin(shard, func() { n.release(ctx, shard, head.Epoch) })
		case h.manager == nil && mine && !n.stopping && !now.Before(h.retry) && (head.Owner == "" || head.Owner == n.cfg.ID || !alive[head.Owner]):
			n.begin(shard, func() {
				if err := n.take(context.WithoutCancel(ctx), shard, head.Epoch); err != nil && !errors.Is(err, store.ErrFenced) {
					n.failed(shard, err)
				}
			})
		}
	}
	if moved {
		n.signal()
	}
}

// begin runs what takes a while with a shard. n.mu is held.
func (n *Node) begin(shard int, do func()) {
	n.shards[shard].busy = true
	n.tasks.Add(1)
	go func() {
		defer n.tasks.Done()
		do()
		n.mu.Lock()
		n.shards[shard].busy = false
		n.signal()
		n.mu.Unlock()
		n.wake()
	}()
}

// signal lets requests that wait for an owner look again. n.mu is held.
func (n *Node) signal() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// retryAfter is when a shard that cannot be served is tried again.
const retryAfter = 10 * time.Second

// failed reports a shard that cannot be served. A server that is alone stops; of several, this one goes on with its other shards: if it stopped, the next one would
// meet the same.
func (n *Node) failed(shard int, err error) {
	n.log.Error("a shard cannot be served", "shard", shard, "err", err)
	if !n.cfg.Alone {
		if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
			n.mu.Lock()
			n.shards[shard].failure, n.shards[shard].retry = err, time.Now().Add(retryAfter)
			n.signal()
			n.mu.Unlock()
		}
		return
	}
	select {
	case n.fatal <- fmt.Errorf("shard %d: %w", shard, err):
	default:
	}
}

// take claims a shard that had the given epoch, and starts its task manager. While the journal is read the lease is renewed by run.
func (n *Node) take(ctx context.Context, shard int, seen int64) error {
	began, term := time.Now(), n.term.Load()
	owns := func() bool { return n.owns() && n.term.Load() == term }
	var claimed int64
	var hungry func(bool)
	var beside func() uses
	if n.cfg.Shards > 1 {
		hungry = func(h bool) { n.crowd.setHungry(shard, h) }
		beside = func() uses { return n.crowd.usesBeside(shard) }
	}
	m := n.cfg.Open(taskmanager.Config{Shard: shard, Shards: n.cfg.Shards, Owns: owns, Courier: courier{n.crowd, shard}, Hungry: hungry, Uses: beside, Servers: n.told(), Records: n.records,
		Take: func(ctx context.Context) (store.Head, error) {
			if n.cfg.Alone {
				return n.cfg.Store.Acquire(ctx, shard)
			}
			head, err := n.cfg.Store.Claim(ctx, shard, n.cfg.ID, seen)
			claimed = head.Epoch
			return head, err
		}})
	if err := m.Start(ctx); err != nil {
		return err
	}
	subs, err := n.answer(shard, m)
	if err != nil {
		return errors.Join(err, m.Stop(ctx))
	}
	n.mu.Lock()
	h := n.shards[shard]
	h.manager, h.term, h.claimed, h.subs, h.owner, h.failure = m, term, claimed, subs, n.cfg.ID, nil
	reason := ""
	if n.draining && len(n.live) <= 1 {
		reason = drainReason
	}
	n.signal()
	n.mu.Unlock()
	if reason != "" {
		m.Drain(reason)
	}
	if !n.cfg.Alone {
		n.log.Info("took over a shard", "shard", shard, "in", time.Since(began).Round(time.Millisecond).String())
	}
	n.tell()
	n.crowd.introduce(shard)
	go n.watch(shard, m)
	return nil
}

// recordsLife is for how long what was read of workers serves all task managers of this server.
const recordsLife = 5 * time.Second

// records is what all shards know of workers, read once for all that ask at about the same time. It is not to be changed.
func (n *Node) records(ctx context.Context) ([]store.RecordRow, error) {
	n.known.Lock()
	defer n.known.Unlock()
	if n.known.rows != nil && time.Since(n.known.at) < recordsLife {
		return n.known.rows, nil
	}
	rows, err := n.cfg.Store.Records(ctx)
	if err == nil {
		n.known.rows, n.known.at = rows, time.Now()
	}
	return rows, err
}

const drainReason = "the server is draining"

// watch waits for a task manager that ends by itself: fenced, or unable to go on.
func (n *Node) watch(shard int, m *taskmanager.Manager) {
	<-m.Done()
	n.mu.Lock()
	h := n.shards[shard]
	current := h.manager == m
	if current {
		n.forgetManager(h)
	}
	n.mu.Unlock()
	if err := m.Err(); current && err != nil {
		if errors.Is(err, store.ErrFenced) && !n.cfg.Alone {
			n.log.Warn("another server has taken over a shard", "shard", shard)
		} else {
			n.failed(shard, &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the task manager stopped", Err: err})
		}
	}
	n.wake()
}

// forgetManager takes a task manager out of service. n.mu is held.
func (n *Node) forgetManager(h *held) {
	for _, s := range h.subs {
		_ = s.Unsubscribe() // the connection may be closed
	}
	h.manager, h.subs = nil, nil
	n.signal()
}

// drop ends a task manager whose shard another server owns.
func (n *Node) drop(shard int) {
	n.mu.Lock()
	h := n.shards[shard]
	m := h.manager
	n.forgetManager(h)
	n.mu.Unlock()
	if m != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
		defer cancel()
		_ = m.Stop(ctx) // it can write nothing any more
	}
}

// stopLimit bounds the last commit, the readable tables and a snapshot of a shard.
const stopLimit = 20 * time.Second

// give ends the shard's task manager in good order and lets the store know that the shard is free.
func (n *Node) give(ctx context.Context, shard int) {
	n.mu.Lock()
	h := n.shards[shard]
	m, epoch := h.manager, h.claimed
	if m != nil {
		n.forgetManager(h) // whoever asks waits for the next owner; how this one ends is looked at here alone
	}
	n.mu.Unlock()
	if m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
	defer cancel()
	err := m.Stop(ctx)
	if err != nil && !errors.Is(err, store.ErrFenced) {
		n.log.Warn("a shard could not be given away in order", "shard", shard, "err", err)
		return
	}
	n.release(ctx, shard, epoch)
}

// release lets the store know that a shard is free.
func (n *Node) release(ctx context.Context, shard int, epoch int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.cfg.Lease)
	defer cancel()
	switch err := n.cfg.Store.Release(ctx, shard, epoch); {
	case err == nil:
		n.log.Info("gave a shard away", "shard", shard)
	case !errors.Is(err, store.ErrFenced):
		n.log.Warn("a shard could not be given away; it is taken when this server is not heard of any more", "shard", shard, "err", err)
	}
	n.tell()
}

func (n *Node) forget(r store.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Lease)
	defer cancel()
	if err := n.cfg.Store.DropServer(ctx, r.ID); err != nil {
		n.log.Debug("forgetting a server", "server", r.ID, "err", err)
	}
}

// Local is the task manager of a shard that runs here; nil if it does not.
func (n *Node) Local(shard int) *taskmanager.Manager {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.shards[shard].manager
}

// Locals are the task managers that run here, by shard.
func (n *Node) Locals() map[int]*taskmanager.Manager {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := map[int]*taskmanager.Manager{}
	for i, h := range n.shards {
		if h.manager != nil {
			list[i] = h.manager
		}
	}
	return list
}

// Servers are those that are alive, this one among them, by id.
func (n *Node) Servers() []store.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.live)
}

// URLs are the addresses of the servers that are alive; this one's first, those that drain left out.
func (n *Node) URLs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	if !n.draining && !n.stopping {
		list = append(list, n.cfg.URL)
	}
	for _, s := range n.live {
		if s.URL != "" && !s.Draining && !slices.Contains(list, s.URL) {
			list = append(list, s.URL)
		}
	}
	return list
}

// told is what workers are told of the servers; nil where there is but one.
func (n *Node) told() func() []string {
	if n.cfg.Alone {
		return nil
	}
	return n.URLs
}

// Failed says why this server cannot go on; it does not say so when another one can.
func (n *Node) Failed() <-chan error { return n.fatal }

// Drain gives all shards to the other servers. Where there are none, the shards stay and refuse new work.
func (n *Node) Drain(reason string) {
	n.mu.Lock()
	n.draining = true
	others := slices.ContainsFunc(n.live, func(s store.Server) bool { return s.ID != n.cfg.ID && !s.Draining })
	n.mu.Unlock()
	if !others {
		for _, m := range n.Locals() {
			m.Drain(reason)
		}
	}
	n.wake()
}

// Stop gives every shard away and leaves. What cannot be done before ctx ends the other servers find out by themselves.
func (n *Node) Stop(ctx context.Context) error {
	if n.cancel == nil {
		return nil
	}
	n.mu.Lock()
	n.stopping = true
	n.mu.Unlock()
	if !n.cfg.Alone { // so that nobody waits for what is given away now
		if err := n.tend(ctx); err != nil {
			n.log.Debug("leaving", "err", err)
		}
	}
	n.cancel()
	<-n.done
	n.tasks.Wait()
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for shard, m := range n.Locals() {
		all.Go(func() {
			if n.cfg.Alone {
				err := m.Stop(ctx)
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
				return
			}
			n.give(ctx, shard)
		})
	}
	all.Wait()
	if !n.cfg.Alone {
		ctx, cancel := context.WithTimeout(ctx, n.cfg.Lease)
		defer cancel()
		if err := n.cfg.Store.DropServer(ctx, n.cfg.ID); err != nil {
			n.log.Debug("leaving", "err", err)
		}
		n.tell()
		if n.cfg.Bus != nil {
			n.cfg.Bus.Flush(ctx)
		}
	}
	return errors.Join(errs...)
}
