// Package taskmanager is the loop of a shard: it takes commands from the API, workers and clocks, lets the pure core decide them against the state in
// memory, commits each batch in one transaction, and only then answers and sends. docs/life-of-a-job.md follows a job through it.
package taskmanager

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Courier delivers messages to workers. Losing one only delays work.
type Courier interface {
	Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error
}

// Signer makes the tokens of a lease.
type Signer interface {
	Read(d cloudcrowd.Digest, expires time.Time) string
	Upload(a cloudcrowd.AttemptID, w cloudcrowd.WorkerID, maxBytes int64, expires time.Time) string
}

// Defaults of Config.
const (
	DefaultLeaseTTL  = 30 * time.Second
	DefaultHeartbeat = 3 * time.Second
	DefaultGoneGrace = 10 * time.Second
	DefaultAhead     = 2
	DefaultTick      = 250 * time.Millisecond
	maxBatch         = 4096  // commands of one commit
	maxWork          = 1024  // results in them, and leases given in one commit: more would not stay in the processor's cache until it is written
	warmWork         = 128   // results that are looked at before the first of them is decided, see loop.warm
	queueLength      = 16384 // commands waiting; beyond it workers' messages are dropped (and repeated) and the API waits
	grantLife        = 24 * time.Hour
	snapshotRows     = 5000
	snapshotEvents   = 500_000 // reading that many back takes about a second
	snapshotShare    = 20      // a snapshot that took a second is not followed by another for that many
	snapshotEvery    = time.Minute
	forgetAfter      = time.Minute
	maxIndexBytes    = 256 << 30
)

// Config is what a Manager needs. Zero durations and counts take the defaults.
type Config struct {
	Store     store.Store
	Blobs     blob.Store
	Courier   Courier
	Signer    Signer
	Validate  func(*cloudcrowd.JobSpec) error // jobfile.Validate; nil accepts everything
	Check     func(module []byte) error       // sandbox check of a module at submit; nil accepts everything
	Prices    cloudcrowd.Prices
	Sharing   cloudcrowd.Sharing   // of the workers among requesters
	Operator  cloudcrowd.AccountID // owner of house machines
	Shard     int
	Shards    int                                              // of the store: a job's id says which of them it belongs to; 0: 1
	Take      func(context.Context) (store.Head, error)        // takes the shard over; nil: Store.Acquire
	Uses      func() map[cloudcrowd.AccountID]lifecycle.Use    // what requesters have and had in the other shards; must not block. nil: there are none
	Hungry    func(bool)                                       // is told when work begins or ceases to wait that no worker has room for; must not block. nil: nobody is
	Records   func(context.Context) ([]store.RecordRow, error) // of workers in all shards, not much older than they are in the store; nil: Store.Records
	Owns      func() bool                                      // whether nobody else can have taken the shard over yet; nil: always. Without it nothing is read from memory
	LeaseTTL  time.Duration
	Heartbeat time.Duration
	GoneGrace time.Duration // how long a disconnected worker keeps its leases
	Ahead     int           // leases a worker may queue beyond its slots
	Version   string
	Log       *slog.Logger
	Now       func() time.Time
	Seed      *[32]byte                            // of lotteries and ids; nil: from the system
	Perform   func(work func())                    // runs an input-output job beside the loop; nil: a goroutine. Simulation runs it in place.
	Unpaused  bool                                 // simulation: do not wait in real time after a commit that failed
	Merge     MergeFunc                            // performs a built-in merge
	Committed func(took time.Duration, events int) // is told of every commit that succeeded; nil: nobody is
	Servers   func() []string                      // base URLs of all servers of the crowd, for workers to go on with; must not block; nil: none are told
}

// Manager runs one shard.
type Manager struct {
	cfg     Config
	log     *slog.Logger
	queue   chan command
	loop    *loop
	feed    *feed
	started cloudcrowd.Time

	mu      sync.Mutex
	running bool
	cancel  context.CancelCauseFunc
	done    chan struct{}
	err     error
	closed  chan struct{} // closed when the loop no longer takes commands
	names   sync.Map      // WorkerID → name
	aside   aside

	figures  figures
	draining atomic.Pointer[string] // why no new work is taken; nil while it is
	hungry   atomic.Bool            // see Hungry
	uses     atomic.Pointer[map[cloudcrowd.AccountID]lifecycle.Use]
}

var (
	errStopped = errors.New("task manager stopped")
	errMoved   = errors.New("not decided here")
)

// Moved reports whether a call was refused because this Manager does not own the shard, or owns it no more. Nothing came of it: whoever owns the shard now
// may be asked.
func Moved(err error) bool { return errors.Is(err, errMoved) }

func notHere(msg string) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: msg, Hint: "try again in a moment; what was acknowledged is safe", Err: errMoved}
}

// New prepares a Manager; Start takes over the shard.
func New(cfg Config) *Manager {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&cfg.LeaseTTL, DefaultLeaseTTL)
	// A lease that is shorter than usual asks for signs of life as much more often.
	def(&cfg.Heartbeat, min(DefaultHeartbeat, cfg.LeaseTTL/5))
	def(&cfg.GoneGrace, min(DefaultGoneGrace, cfg.LeaseTTL/2))
	if cfg.Ahead <= 0 {
		cfg.Ahead = DefaultAhead
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Prices == (cloudcrowd.Prices{}) {
		cfg.Prices = cloudcrowd.DefaultPrices
	}
	if cfg.Seed == nil {
		cfg.Seed = new([32]byte)
		_, _ = crand.Read(cfg.Seed[:]) // never fails: crypto/rand aborts the process instead
	}
	if cfg.Shards <= 0 {
		cfg.Shards = 1
	}
	if cfg.Take == nil {
		cfg.Take = func(ctx context.Context) (store.Head, error) { return cfg.Store.Acquire(ctx, cfg.Shard) }
	}
	if cfg.Records == nil {
		cfg.Records = cfg.Store.Records
	}
	if cfg.Perform == nil {
		cfg.Perform = func(work func()) { go work() }
	}
	m := &Manager{cfg: cfg, log: cfg.Log, queue: make(chan command, queueLength), closed: make(chan struct{}), done: make(chan struct{})}
	m.feed = newFeed(m.words)
	m.aside.perform = cfg.Perform
	return m
}

// Start loads the shard and runs its loop until Stop. The error names what could not be loaded.
func (m *Manager) Start(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running {
		return errors.New("taskmanager: started twice")
	}
	m.started = cloudcrowd.TimeOf(m.cfg.Now())
	l, err := newLoop(ctx, m)
	if err != nil {
		return err
	}
	m.loop, m.running = l, true
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	m.cancel = cancel
	go func() {
		defer close(m.done)
		m.err = l.run(runCtx)
		close(m.closed)
		if m.err != nil && !errors.Is(m.err, errStopped) && !errors.Is(m.err, store.ErrFenced) { // of a takeover whoever runs the Manager tells
			m.log.Error("the task manager stopped", "err", m.err)
		}
	}()
	return nil
}

// Stop ends the loop after the batch under way, writes what the readable tables lack and a snapshot. Safe twice and before Start.
func (m *Manager) Stop(ctx context.Context) error {
	m.mu.Lock()
	running := m.running
	m.mu.Unlock()
	if !running {
		return nil
	}
	m.cancel(errStopped)
	select {
	case <-m.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if errors.Is(m.err, errStopped) {
		return nil
	}
	return m.err
}

// Done is closed when the loop has ended; Err then says why.
func (m *Manager) Done() <-chan struct{} { return m.done }

// Err is why the loop ended, nil after Stop.
func (m *Manager) Err() error {
	if errors.Is(m.err, errStopped) {
		return nil
	}
	return m.err
}

// command is one thing to decide. decide may run more than once, if a batch must be decided again without an offender; done runs once, after the
// commit or with the error that prevented it.
type command struct {
	decide func(l *loop, d *lifecycle.Decider) error
	view   func(l *loop) // runs after the commit; nil for most
	done   func(error)
	job    cloudcrowd.JobID // of a submit: to find the offender of a refused hold
	work   int              // results it brings
	warm   func(l *loop)    // looks at what decide will; nil for most
	err    error
}

// gather adds what waits to a batch, as much as one commit takes.
func (m *Manager) gather(batch []command) []command {
	work := 0
	for i := range batch {
		work += batch[i].work
	}
	for len(batch) < maxBatch && work < maxWork {
		select {
		case c := <-m.queue:
			batch = append(batch, c)
			work += c.work
		default:
			return batch
		}
	}
	return batch
}

// do runs a command and waits for its commit.
func (m *Manager) do(ctx context.Context, c command) error {
	answer := make(chan error, 1)
	c.done = func(err error) { answer <- err }
	select {
	case m.queue <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.closed:
		return unavailable()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-m.closed:
		select {
		case err := <-answer:
			return err
		default:
			return unavailable()
		}
	}
}

func unavailable() error {
	return notHere("the server is stopping")
}

// view reads the state between batches.
func (m *Manager) view(ctx context.Context, read func(l *loop)) error {
	return m.do(ctx, command{view: read})
}

// post queues a command without waiting; false if the queue is full.
func (m *Manager) post(c command) bool {
	select {
	case m.queue <- c:
		return true
	default:
		return false
	}
}

// newRand makes the loop's random source: secret unless the configuration gives a seed.
func newRand(seed [32]byte, epoch int64) *rand.Rand {
	binary.LittleEndian.PutUint64(seed[24:], binary.LittleEndian.Uint64(seed[24:])^uint64(epoch))
	return rand.New(rand.NewChaCha8(seed))
}

func describe(shard int, seq int64) string { return fmt.Sprintf("%d/%d", shard, seq) }
