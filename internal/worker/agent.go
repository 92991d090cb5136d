package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
)

// Agent is a worker. Order of use: New, Run once; Drain may be called at any time. Run's context ends it at once, Drain in good order.
type Agent struct {
	cfg     Config
	key     nkeys.KeyPair
	id      cloudcrowd.WorkerID
	http    *http.Client
	direct  *direct
	servers *servers
	session string

	state state // used by Run's goroutine alone
	cache *cache
	spool *spool // used by the spooler alone once it runs

	mu        sync.Mutex
	work      sync.Cond // something to run, or the end
	errands   sync.Cond // something to fetch, or the end
	freight   sync.Cond // something to upload, or the end
	info      cloudcrowd.WorkerInfo
	welcome   cloudcrowd.Welcome
	held      map[cloudcrowd.AttemptID]*attempt  // queued or running
	done      map[cloudcrowd.AttemptID]*finished // not acknowledged
	fetching  []*attempt                         // waits for inputs
	ready     []*attempt                         // waits for a slot
	running   int
	memory    int64       // of running attempts
	toSpool   []*finished // finished since the spooler last looked
	forgotten []*finished
	toUpload  []*finished
	toReport  []*finished // spooled and uploaded, not sent on this connection
	returned  []cloudcrowd.AttemptID
	finished  int64
	pace      pace
	connected bool
	greet     bool      // Hello is to be sent
	greeted   time.Time // when it was last sent
	greetSoon bool      // a timer will set greet
	welcomed  bool      // the server has answered Hello; before, it knows no Beat
	beat      bool      // a Beat is to be sent
	draining  bool
	left      bool // the server was told
	stopping  bool // running attempts are being stopped; they are handed back
	ended     bool
	unable    string // why no new work is taken, for the server: its disk is full, or its folder is gone

	events    sync.Mutex
	wake      chan struct{} // the sender has something to look at
	spoolWake chan struct{}
	drain     chan struct{}
	drainOnce sync.Once

	vanished   chan struct{} // for misbehave.go
	vanishOnce sync.Once
	swapping   sync.Mutex
}

// attempt is a lease the worker holds and has not finished. Its fields are guarded by Agent.mu, but for those that only the goroutine working on it uses.
type attempt struct {
	lease     cloudcrowd.Lease
	started   time.Time // zero: queued
	ctx       context.Context
	cancel    context.CancelFunc
	cancelled bool
	failure   error          // why its inputs could not be had
	pieces    map[span]piece // held in the cache
	fetched   int64          // bytes
}

// finished is a result that was not acknowledged.
type finished struct {
	spooled
	seconds   float64 // what computing it took
	ready     bool    // everything it names is stored at the server
	sent      time.Time
	cancelled bool // the server does not want it; forgotten once it was sent
}

// heartbeats until the server says otherwise.
var firstWelcome = cloudcrowd.Welcome{HeartbeatSeconds: 5, LeaseSeconds: 30, Ahead: 0}

// New prepares a worker: it makes DataDir and, on first use, the device key. Nothing runs before Run. Errors: Invalid settings, a damaged key, or the disk's.
func New(cfg Config) (*Agent, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, err
	}
	key, err := loadKey(cfg.DataDir)
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, key: key, id: cloudcrowd.WorkerID(public), http: httpClient(cfg.Pin), direct: newDirect(), servers: loadServers(cfg.DataDir, cfg.Server), session: rand.Text(), welcome: firstWelcome,
		held: make(map[cloudcrowd.AttemptID]*attempt), done: make(map[cloudcrowd.AttemptID]*finished),
		wake: make(chan struct{}, 1), spoolWake: make(chan struct{}, 1), drain: make(chan struct{}), vanished: make(chan struct{}),
	}
	a.work.L, a.errands.L, a.freight.L = &a.mu, &a.mu, &a.mu
	if a.state, err = loadState(cfg.DataDir); err != nil {
		return nil, err
	}
	return a, nil
}

// ID is the device's id.
func (a *Agent) ID() cloudcrowd.WorkerID { return a.id }

// Drain hands back what has not started, takes no new work, lets running attempts finish for Config.Grace, delivers what it can, and ends Run. It
// returns at once. Safe to call several times.
func (a *Agent) Drain() { a.drainOnce.Do(func() { close(a.drain) }) }

const (
	fetchers  = 4
	uploaders = 4
)

// Run works until Drain has done its part (nil), ctx ends (nil too: results in the spool are delivered next time), or the server does not want this
// worker (an Error of code Forbidden, NotFound, Unauthorized, Conflict or Invalid). A server that is away is waited for.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errStopped)
	defer a.http.CloseIdleConnections()
	defer a.direct.http.CloseIdleConnections()
	if err := a.open(); err != nil {
		return err
	}
	if err := a.introduce(ctx); err != nil {
		return errors.Join(err, a.spool.close())
	}
	var parts, spooler sync.WaitGroup
	for i := range a.cfg.Slots {
		parts.Go(func() { a.slot(i) })
	}
	for range fetchers {
		parts.Go(func() { a.fetcher() })
	}
	for range uploaders {
		parts.Go(func() { a.uploader(ctx) })
	}
	quit := make(chan struct{})
	spooler.Go(func() { a.spooler(quit) })
	drained := make(chan struct{})
	parts.Go(func() { a.drainer(ctx, drained) })

	err := a.stayConnected(ctx, drained)

	cancel(errStopped)
	a.mu.Lock()
	a.ended = true
	for _, at := range a.held {
		at.cancel()
	}
	a.mu.Unlock()
	a.work.Broadcast()
	a.errands.Broadcast()
	a.freight.Broadcast()
	parts.Wait()
	close(quit)
	spooler.Wait()
	a.mu.Lock()
	left := a.held
	a.held = make(map[cloudcrowd.AttemptID]*attempt)
	a.mu.Unlock()
	for _, at := range left {
		at.letGo()
	}
	if e := a.spool.close(); err == nil && e != nil {
		err = e
	}
	return err
}

var errStopped = errors.New("the worker is stopping")

// open reads what earlier runs left in DataDir.
func (a *Agent) open() error {
	var err error
	if a.cache, err = openCache(filepath.Join(a.cfg.DataDir, "cache"), a.cfg.CacheBytes); err != nil {
		return err
	}
	a.cache.fetch = a.download
	slots := filepath.Join(a.cfg.DataDir, "slots")
	if err := errors.Join(os.RemoveAll(slots), os.Mkdir(slots, 0o700)); err != nil {
		return err
	}
	var waiting []spooled
	if a.spool, waiting, err = openSpool(filepath.Join(a.cfg.DataDir, "spool")); err != nil {
		return err
	}
	for _, damage := range a.spool.damage {
		a.event(Event{Kind: Problem, Text: "spool: " + damage + "; what stood there is computed again"})
	}
	for _, w := range waiting {
		f := &finished{spooled: w, ready: !w.Folder}
		a.done[w.Report.Attempt] = f
		if f.ready {
			a.toReport = append(a.toReport, f)
		} else {
			a.toUpload = append(a.toUpload, f)
		}
	}
	return nil
}

// introduce joins and measures, as far as that was not done before.
func (a *Agent) introduce(ctx context.Context) error {
	if err := a.joinIfNeeded(ctx); err != nil {
		return err
	}
	speed := a.cfg.Speed
	if speed <= 0 && a.state.Measurement.Version == measureVersion {
		speed = a.state.Measurement.Speed
	}
	if speed <= 0 {
		var err error
		if speed, err = measure(ctx, a.cfg.DataDir, a.cfg.Sandbox); err != nil {
			return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "measuring this machine failed", Err: err}
		}
		a.state.Measurement = measurement{Version: measureVersion, Speed: speed}
		if err := a.state.save(a.cfg.DataDir); err != nil {
			return err
		}
		a.event(Event{Kind: Measured, Text: "measured this machine"})
	}
	a.info = a.describe(speed)
	return nil
}

// joinIfNeeded joins unless this device has joined this crowd, waiting while all its servers are away.
func (a *Agent) joinIfNeeded(ctx context.Context) error {
	for _, server := range a.servers.all() {
		if _, ok := a.state.Joined[server]; ok {
			return nil
		}
	}
	if a.cfg.Invite == "" {
		return cloudcrowd.Fieldf("join", "this device has not joined %s yet", a.cfg.Server).WithHint("start it once with the join link the server prints")
	}
	for wait := firstBackoff; ; wait = min(2*wait, lastBackoff) {
		var err error
		for _, server := range a.servers.all() {
			e := a.joinServer(ctx, server)
			if e == nil || !passing(e) && !errors.Is(e, errCertificate) {
				return e
			}
			if err == nil || passing(e) {
				err = e
			}
		}
		if !passing(err) { // no server has the certificate of the link
			return err
		}
		a.event(Event{Kind: Disconnected, Text: "cannot join yet: " + err.Error()})
		select {
		case <-a.drain:
			return err
		default:
		}
		if !pause(ctx, wait) {
			return err
		}
	}
}

// event tells the owner of the terminal. Calls of OnEvent do not overlap.
func (a *Agent) event(e Event) {
	a.cfg.Log.Debug("worker: "+string(e.Kind), "text", e.Text, "attempt", e.Attempt, "outcome", e.Outcome)
	if a.cfg.OnEvent == nil {
		return
	}
	a.mu.Lock()
	e.Finished, e.Running = a.finished, a.running
	a.mu.Unlock()
	a.events.Lock()
	defer a.events.Unlock()
	a.cfg.OnEvent(e)
}
