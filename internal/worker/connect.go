package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

const connectTimeout = 10 * time.Second

// stayConnected connects, again and again, and talks, until the worker has drained, ctx ends, or the server does not want it.
func (a *Agent) stayConnected(ctx context.Context, drained <-chan struct{}) error {
	rejoined, said := false, false
	wait := firstBackoff
	for {
		err := a.talk(ctx, drained, func() { wait, said = firstBackoff, false })
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errVanished):
			return err
		case cloudcrowd.CodeOf(err) == cloudcrowd.NotFound && a.cfg.Invite != "" && !rejoined:
			rejoined = true // the server has forgotten the device, for example because it was set up anew
			delete(a.state.Joined, a.cfg.Server)
			if err := a.joinIfNeeded(ctx); err != nil {
				return err
			}
			continue
		case refusal(err):
			return err
		}
		if !said {
			said = true
			a.event(Event{Kind: Disconnected, Text: "not connected: " + err.Error()})
		}
		// Many workers lose a server at the same moment; they come back spread out.
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-drained:
			return nil
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, lastBackoff)
	}
}

// refusal reports whether trying again is of no use.
func refusal(err error) bool {
	switch cloudcrowd.CodeOf(err) {
	case cloudcrowd.Forbidden, cloudcrowd.NotFound, cloudcrowd.Unauthorized, cloudcrowd.Conflict, cloudcrowd.Invalid:
		return true
	}
	return false
}

// talk is one connection from beginning to end: nil when the worker is done, else why it ended. up is called once the server has answered.
func (a *Agent) talk(ctx context.Context, drained <-chan struct{}, up func()) error {
	closed := make(chan struct{})
	var refused refusedBox
	options := []nats.Option{
		nats.ProxyPath("/worker"), nats.Nkey(string(a.id), a.key.Sign), nats.NoReconnect(), nats.Timeout(connectTimeout),
		nats.PingInterval(20 * time.Second), nats.MaxPingsOutstanding(2), nats.NoEcho(),
		nats.SetCustomDialer(dialer{ctx}), nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			a.cfg.Log.Warn("worker: connection", "error", err)
		}),
	}
	address := "ws" + strings.TrimPrefix(a.cfg.Server, "http")
	if strings.HasPrefix(a.cfg.Server, "https") {
		options = append(options, nats.Secure(tlsConfig(a.cfg.Pin)))
	}
	conn, err := nats.Connect(address, options...)
	if err != nil {
		return explained(err)
	}
	defer func() {
		a.mu.Lock()
		a.connected = false
		a.mu.Unlock()
		conn.Close()
		<-closed
	}()
	welcomed := make(chan struct{})
	var once sync.Once
	_, err = conn.Subscribe(wire.DownSubject(a.id), func(m *nats.Msg) {
		down, err := wire.DecodeDown(m.Data)
		if err != nil {
			refused.set(err)
			go conn.Close() // Close waits for this handler
			return
		}
		if down.Refused != "" {
			refused.set(cloudcrowd.Errorf(cloudcrowd.Forbidden, "the server refuses this worker: %s", down.Refused))
			go conn.Close()
			return
		}
		a.handle(ctx, down)
		if down.Welcome != nil {
			once.Do(func() { close(welcomed) })
		}
	})
	if err != nil {
		return explained(err)
	}
	a.mu.Lock()
	a.connected, a.greet, a.welcomed = true, true, false
	a.mu.Unlock()
	poke(a.wake)

	stop := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() { a.sender(conn, stop) })
	defer func() {
		close(stop)
		sender.Wait()
	}()
	for {
		select {
		case <-welcomed:
			welcomed = nil
			up()
			a.event(Event{Kind: Connected, Text: "connected to " + a.cfg.Server})
		case <-closed:
			if err := refused.get(); err != nil {
				return err
			}
			if err := conn.LastError(); err != nil {
				return explained(err)
			}
			return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the connection was closed")
		case <-drained:
			a.say(conn, a.compose(time.Now()))
			_ = conn.FlushTimeout(2 * time.Second) // what is lost here only delays
			return nil
		case <-ctx.Done():
			return nil
		case <-a.vanished:
			return errVanished
		}
	}
}

type refusedBox struct {
	mu  sync.Mutex
	err error
}

func (r *refusedBox) set(err error) { r.mu.Lock(); r.err = err; r.mu.Unlock() }
func (r *refusedBox) get() error    { r.mu.Lock(); defer r.mu.Unlock(); return r.err }

// explained reads what the gateway said ("cloudcrowd CODE: text"); anything else means that the server could not be reached.
func explained(err error) error {
	if _, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		return unreachable(err)
	}
	if _, text, ok := strings.Cut(err.Error(), "cloudcrowd "); ok {
		if code, text, ok := strings.Cut(text, ": "); ok {
			e := &cloudcrowd.Error{Code: cloudcrowd.Code(code), Msg: text}
			switch e.Code {
			case cloudcrowd.Conflict:
				e.Hint = "two agents use the same data folder or a copy of it; give each its own"
			case cloudcrowd.Forbidden, cloudcrowd.NotFound:
				e.Hint = "ask for a join link and start the worker with --join"
			}
			return e
		}
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the server cannot be reached", Err: err}
}

// dialer gives up when the worker ends.
type dialer struct{ ctx context.Context }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: connectTimeout}).DialContext(d.ctx, network, address)
}
