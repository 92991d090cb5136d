package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

	renewed  atomic.Int64 // when the lease was last renewed, as time since began
	term     atomic.Int64 // counts the times the lease had run out; a task manager of an earlier one owns nothing
	began    time.Time
	started  cloudcrowd.Time
	streams  streams
	refusals refusals
	poke     chan struct{}
	cancel   context.CancelFunc
	done     chan struct{}
	fatal    chan error // why this server cannot go on

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
	to      string // who is to own it
	epoch   int64
	manager *taskmanager.Manager // running here; nil if not
	term    int64                // in which it took the shard
	claimed int64                // epoch under which it runs
	failure error                // why it cannot run, if it was to
	retry   time.Time            // when that is tried again
	busy    bool                 // being taken over or given away here
	subs    []*hearing
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
		s.end()
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

// Local is the task manager of a shard that runs here; nil if it does not.
func (n *Node) Local(shard int) *taskmanager.Manager {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.shards[shard].manager
}

// place is where a shard is served: here, or at another server as far as is known, which may be "".
func (n *Node) place(shard int) (m *taskmanager.Manager, owner string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.shards[shard].manager, n.ownerOf(shard)
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
		if n.cfg.Bus != nil { // before the others hang up on a server that is not written down
			n.streams.end(ctx) // they say where
			n.cfg.Bus.Flush(ctx)
		}
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
