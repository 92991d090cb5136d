package worker

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

const (
	connectTimeout = 10 * time.Second
	// pingEvery is how often a silent connection is tried; at the third time without an answer it counts as gone, before the leases it carried end.
	pingEvery = 8 * time.Second
)

// settled is how long a connection must have lasted for another server to be tried at once when it ends. A crowd whose servers all send workers away
// soon is not to be stormed.
const settled = time.Second

// stayConnected connects, again and again, and talks, until the worker has drained, ctx ends, or the crowd does not want it. When a connection ends it tries
// every other server at once; after each round in which none could be had it waits, twice as long as before.
func (a *Agent) stayConnected(ctx context.Context, drained <-chan struct{}) error {
	rejoined, said := false, false
	wait := firstBackoff
	foreign := map[string]bool{} // answer with another certificate
	round := a.servers.all()
	for {
		server := round[0]
		round = round[1:]
		var since time.Time
		err := a.talk(ctx, server, drained, func() { // it has welcomed the worker
			since, wait, said = time.Now(), firstBackoff, false
			clear(foreign)
		})
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errVanished):
			return err
		case errors.Is(err, errCertificate):
			foreign[server] = true
			if !slices.ContainsFunc(a.servers.all(), func(s string) bool { return !foreign[s] }) {
				return err
			}
		case cloudcrowd.CodeOf(err) == cloudcrowd.NotFound && a.cfg.Invite != "" && !rejoined:
			rejoined = true // the crowd has forgotten the device, for example because it was set up anew
			for _, s := range a.servers.all() {
				delete(a.state.Joined, s)
			}
			if err := a.joinIfNeeded(ctx); err != nil {
				return err
			}
			round = []string{server}
			continue
		case refusal(err):
			return err
		}
		if !said {
			said = true
			a.event(Event{Kind: Disconnected, Server: server, Text: "not connected to " + server + ": " + err.Error()})
		}
		up := !since.IsZero()
		if !up && len(round) > 0 {
			continue
		}
		round = a.servers.after(server)
		if up && time.Since(since) >= settled && len(round) > 1 && cloudcrowd.CodeOf(err) != cloudcrowd.RateLimited {
			continue
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
func (a *Agent) talk(ctx context.Context, server string, drained <-chan struct{}, up func()) error {
	closed := make(chan struct{})
	var refused refusedBox
	options := []nats.Option{
		nats.ProxyPath("/worker"), nats.Nkey(string(a.id), a.key.Sign), nats.NoReconnect(), nats.Timeout(connectTimeout),
		nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(2), nats.NoEcho(),
		nats.SetCustomDialer(dialer{ctx}), nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			a.cfg.Log.Warn("worker: connection", "error", err)
		}),
	}
	address := "ws" + strings.TrimPrefix(server, "http")
	if strings.HasPrefix(server, "https") {
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
		if down.Welcome != nil {
			if err := a.servers.learn(down.Welcome.Servers); err != nil {
				a.cfg.Log.Warn("worker: the servers of the crowd could not be kept", "error", err) // they are known until the end of the process
			}
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
			a.servers.connected(server)
			up()
			a.event(Event{Kind: Connected, Server: server, Text: "connected to " + server})
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
