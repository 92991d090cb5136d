package gateway

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// Gateway is the server's end of all worker connections. Order of use: New, Start, Handler served and Send called any number of times, Stop.
type Gateway struct {
	cfg    Config
	secret string // password of the server's own connection
	bus    *server.Server
	client *nats.Conn // the server's own connection

	mu       sync.Mutex
	started  bool
	stopped  bool
	sessions map[*session]struct{}
	waiting  map[string]*session // by nonce, until the device has answered it
	workers  map[cloudcrowd.WorkerID]*session

	draining error // what devices are told that connect; nil while they are admitted

	dirty     []*session // have something to send, each once; guarded by dirtyMu
	dirtyMu   sync.Mutex
	wake      chan struct{}
	quit      chan struct{}
	flushDone chan struct{}
	wg        sync.WaitGroup // pumps and refusals
}

// New makes a gateway. Nothing runs before Start.
func New(cfg Config) (*Gateway, error) {
	if cfg.Crowd == nil || cfg.Admission == nil {
		return nil, cloudcrowd.Errorf(cloudcrowd.Internal, "a gateway needs a crowd and an admission")
	}
	cfg.setDefaults()
	return &Gateway{
		cfg: cfg, secret: rand.Text() + rand.Text(),
		sessions: make(map[*session]struct{}), waiting: make(map[string]*session), workers: make(map[cloudcrowd.WorkerID]*session),
		wake: make(chan struct{}, 1), quit: make(chan struct{}), flushDone: make(chan struct{}),
	}, nil
}

// ownUser is the name of the server's own connection to the bus.
const ownUser = "cloudcrowd-server"

// writeDeadline is how long a worker may leave the bus's bytes unread before its connection is closed.
const writeDeadline = 10 * time.Second

// Start starts the embedded bus. The context bounds starting alone.
func (g *Gateway) Start(ctx context.Context) error {
	bus, err := server.NewServer(&server.Options{
		ServerName: "cloudcrowd", DontListen: true, NoSigs: true, NoLog: true, NoSystemAccount: true, NoHeaderSupport: true,
		AlwaysEnableNonce: true, CustomClientAuthentication: g, AuthTimeout: 10,
		MaxPayload: wire.MaxFrame, MaxControlLine: 2048, MaxPending: 32 << 20, MaxSubs: 4, MaxConn: g.cfg.MaxConnections + 1,
		WriteDeadline: writeDeadline, PingInterval: 30 * time.Second, MaxPingsOut: 2,
	})
	if err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the worker gateway cannot be configured", Err: err}
	}
	bus.SetLoggerV2(busLog{g.cfg.Log}, false, false, false)
	bus.Start()
	timeout := 10 * time.Second
	if at, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(at))
	}
	if !bus.ReadyForConnections(timeout) {
		bus.Shutdown()
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the worker gateway did not start within %s", timeout)
	}
	client, err := nats.Connect("", nats.InProcessServer(bus), nats.UserInfo(ownUser, g.secret), nats.MaxReconnects(-1),
		nats.ReconnectWait(50*time.Millisecond), nats.NoEcho(), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			g.cfg.Log.Warn("worker gateway: bus", "error", err)
		}))
	if err == nil {
		_, err = client.Subscribe(wire.AllUp, g.receive)
	}
	if err == nil {
		err = client.Flush()
	}
	if err != nil {
		if client != nil {
			client.Close()
		}
		bus.Shutdown()
		bus.WaitForShutdown()
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the worker gateway cannot reach its own bus", Err: err}
	}
	g.mu.Lock()
	g.bus, g.client, g.started = bus, client, true
	g.mu.Unlock()
	go g.flush()
	return nil
}

// Stop closes every connection, without telling the Crowd, and waits until nothing of the gateway runs any more. Safe twice and before Start. The
// context is not waited for beyond what the bus needs to end.
func (g *Gateway) Stop(context.Context) error {
	g.mu.Lock()
	if g.stopped || !g.started {
		g.stopped = true
		g.mu.Unlock()
		return nil
	}
	g.stopped = true
	open := make([]*session, 0, len(g.sessions))
	for s := range g.sessions {
		if s.socket != nil { // otherwise it is being opened, and open will find the gateway stopped
			open = append(open, s)
		}
	}
	g.mu.Unlock()
	close(g.quit)
	<-g.flushDone
	for _, s := range open {
		s.close()
	}
	g.wg.Wait()
	g.client.Close()
	g.bus.Shutdown()
	g.bus.WaitForShutdown()
	return nil
}

// Drain refuses devices that connect from now on, with err; those that are connected stay until Farewell. Safe twice.
func (g *Gateway) Drain(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.draining == nil {
		g.draining = err
	}
}

// Farewell tells every connected device err and closes its connection. What waits to be sent is sent before, as far as the device reads it. It
// returns when all are gone or ctx ends.
func (g *Gateway) Farewell(ctx context.Context, err error) {
	g.mu.Lock()
	open := make([]*session, 0, len(g.workers))
	for _, s := range g.workers {
		open = append(open, s)
	}
	g.mu.Unlock()
	if len(open) == 0 {
		return
	}
	for _, s := range open {
		g.flushOne(s)
	}
	_ = g.client.FlushWithContext(ctx) // what is lost here only delays
	for _, s := range open {
		g.refuse(s, err)
	}
	for _, s := range open {
		select {
		case <-s.ended:
		case <-ctx.Done():
			return
		}
	}
}

// Connections is how many WebSockets are open, and how many of them belong to an admitted device.
func (g *Gateway) Connections() (open, admitted int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.sessions), len(g.workers)
}

// Connected reports whether the worker has an admitted connection.
func (g *Gateway) Connected(w cloudcrowd.WorkerID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.workers[w] != nil
}

// Kick closes a worker's connection and tells it why. The device may connect again if Admission lets it.
func (g *Gateway) Kick(w cloudcrowd.WorkerID, reason string) {
	g.mu.Lock()
	s := g.workers[w]
	g.mu.Unlock()
	if s != nil {
		g.refuse(s, cloudcrowd.Errorf(cloudcrowd.Forbidden, "%s", reason))
	}
}

// receive handles one message from the bus. The bus has proven that it comes from the device the subject names.
func (g *Gateway) receive(m *nats.Msg) {
	w := wire.WorkerOf(m.Subject)
	g.mu.Lock()
	s := g.workers[w]
	g.mu.Unlock()
	if s != nil && !s.messages.Allow() {
		g.refuse(s, cloudcrowd.Errorf(cloudcrowd.RateLimited, "more than %d messages a second", g.cfg.MessagesPerSecond))
		return
	}
	up, err := wire.DecodeUp(m.Data)
	if err != nil {
		g.cfg.Log.Warn("worker gateway: message refused", "worker", w, "error", err)
		if s != nil {
			g.refuse(s, err)
		}
		return
	}
	g.cfg.Crowd.Receive(w, *up)
}
