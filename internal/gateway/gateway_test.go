package gateway

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"go.uber.org/goleak"

	"cloudcrowd.dev/cloudcrowd"
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

// said is one thing the crowd was told.
type said struct {
	worker cloudcrowd.WorkerID
	up     cloudcrowd.Up
	gone   bool
}

// crowd notes what it is told and admits whom it is not told to refuse.
type crowd struct {
	told chan said
	mu   sync.Mutex
	deny map[cloudcrowd.WorkerID]error
}

func (c *crowd) Receive(w cloudcrowd.WorkerID, up cloudcrowd.Up) { c.told <- said{worker: w, up: up} }
func (c *crowd) Gone(w cloudcrowd.WorkerID)                      { c.told <- said{worker: w, gone: true} }

func (c *crowd) Admit(_ context.Context, id cloudcrowd.WorkerID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.deny[id]
}

// next waits for what the crowd is told next.
func (c *crowd) next(t *testing.T) said {
	t.Helper()
	select {
	case s := <-c.told:
		return s
	case <-time.After(20 * time.Second):
		t.Fatal("the crowd was told nothing")
		return said{}
	}
}

func (c *crowd) silent(t *testing.T) {
	t.Helper()
	select {
	case s := <-c.told:
		t.Fatalf("the crowd was told %+v", s)
	default:
	}
}

// start runs a gateway behind a test server.
func start(t *testing.T, spoil func(*Config)) (*Gateway, *crowd, *httptest.Server) {
	t.Helper()
	c := &crowd{told: make(chan said, 1000), deny: make(map[cloudcrowd.WorkerID]error)}
	cfg := Config{Crowd: c, Admission: c}
	if spoil != nil {
		spoil(&cfg)
	}
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/worker", g.Handler())
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		_ = g.Stop(context.Background())
		_ = g.Stop(context.Background())
		s.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return g, c, s
}

// device is a key and a connection by it.
type device struct {
	id   cloudcrowd.WorkerID
	key  nkeys.KeyPair
	conn *nats.Conn
	errs chan error
}

func newDevice(t *testing.T) *device {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	id, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return &device{id: cloudcrowd.WorkerID(id), key: key, errs: make(chan error, 100)}
}

func (d *device) dial(t *testing.T, s *httptest.Server, more ...nats.Option) error {
	t.Helper()
	options := append([]nats.Option{
		nats.ProxyPath("/worker"), nats.NoReconnect(), nats.Nkey(string(d.id), d.key.Sign), nats.Timeout(10 * time.Second),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { d.errs <- err }),
		nats.ClosedHandler(func(c *nats.Conn) { d.errs <- c.LastError() }),
	}, more...)
	conn, err := nats.Connect("ws"+strings.TrimPrefix(s.URL, "http"), options...)
	if err != nil {
		return err
	}
	d.conn = conn
	t.Cleanup(conn.Close)
	return nil
}

func (d *device) mustDial(t *testing.T, s *httptest.Server, more ...nats.Option) {
	t.Helper()
	if err := d.dial(t, s, more...); err != nil {
		t.Fatal(err)
	}
}

func (d *device) err(t *testing.T) string {
	t.Helper()
	select {
	case err := <-d.errs:
		if err == nil {
			return ""
		}
		return err.Error()
	case <-time.After(20 * time.Second):
		t.Fatal("no error came")
		return ""
	}
}

func beat(session string) []byte {
	frame, err := wire.EncodeUp(&cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: session, Want: 1}})
	if err != nil {
		panic(err)
	}
	return frame
}

func (d *device) say(t *testing.T, subject string, data []byte) {
	t.Helper()
	if err := d.conn.Publish(subject, data); err != nil && !d.conn.IsClosed() {
		t.Fatal(err)
	}
	_ = d.conn.Flush() // may have been closed for it
}

// A message goes each way and arrives whole; the crowd hears who said it and when the worker is gone.
func TestBothWays(t *testing.T) {
	t.Parallel()
	g, c, s := start(t, nil)
	d := newDevice(t)
	d.mustDial(t, s)
	inbox, err := d.conn.SubscribeSync(wire.DownSubject(d.id))
	if err != nil {
		t.Fatal(err)
	}
	d.say(t, wire.UpSubject(d.id), beat("one"))
	if got := c.next(t); got.worker != d.id || got.up.Beat == nil || got.up.Beat.Session != "one" {
		t.Fatalf("got %+v", got)
	}
	if !g.Connected(d.id) {
		t.Fatal("not connected")
	}
	id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: cloudcrowd.NewJobID(time.Now(), 1)}, N: 1}
	for range 3 {
		if err := g.Send(d.id, cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{id}}); err != nil {
			t.Fatal(err)
		}
	}
	for acks := 0; acks < 3; {
		m, err := inbox.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		down, err := wire.DecodeDown(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		acks += len(down.Acks)
	}
	d.conn.Close()
	if got := c.next(t); !got.gone || got.worker != d.id {
		t.Fatalf("got %+v", got)
	}
	if err := g.Send(d.id, cloudcrowd.Down{Refresh: true}); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Fatalf("sent to nobody: %v", err)
	}
}

// A message far larger than any buffer arrives whole, in either direction.
func TestLargeMessages(t *testing.T) {
	t.Parallel()
	g, c, s := start(t, nil)
	d := newDevice(t)
	d.mustDial(t, s)
	inbox, err := d.conn.SubscribeSync(wire.DownSubject(d.id))
	if err != nil {
		t.Fatal(err)
	}
	var ids []cloudcrowd.AttemptID
	for i := range 30_000 {
		ids = append(ids, cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: cloudcrowd.NewJobID(time.Now(), uint32(i/100)), Index: int32(i * 7919)}, N: 1})
	}
	frames, err := wire.SplitUp(&cloudcrowd.Up{Returned: ids})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		d.say(t, wire.UpSubject(d.id), f)
	}
	for n := 0; n < len(ids); {
		n += len(c.next(t).up.Returned)
	}
	if err := g.Send(d.id, cloudcrowd.Down{Cancels: ids}); err != nil {
		t.Fatal(err)
	}
	for n := 0; n < len(ids); {
		m, err := inbox.NextMsg(20 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		down, err := wire.DecodeDown(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		n += len(down.Cancels)
	}
}

// The second connection of a device takes the place of the first; the crowd hears that the first is gone before it hears the second.
func TestSecondConnectionReplacesFirst(t *testing.T) {
	t.Parallel()
	g, c, s := start(t, nil)
	first := newDevice(t)
	first.mustDial(t, s)
	first.say(t, wire.UpSubject(first.id), beat("first"))
	c.next(t)
	second := &device{id: first.id, key: first.key, errs: make(chan error, 10)}
	second.mustDial(t, s)
	second.say(t, wire.UpSubject(second.id), beat("second"))
	if got := c.next(t); !got.gone {
		t.Fatalf("got %+v, want the end of the first", got)
	}
	if got := c.next(t); got.up.Beat == nil || got.up.Beat.Session != "second" {
		t.Fatalf("got %+v", got)
	}
	if text := first.err(t); !strings.Contains(text, "connected again") {
		t.Fatalf("the first was told %q", text)
	}
	if !g.Connected(first.id) {
		t.Fatal("the second is not connected")
	}
	c.silent(t)
}

// A device that is kicked, speaks nonsense, or speaks too often is told why and disconnected.
func TestDisconnections(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config func(*Config)
		do     func(*testing.T, *Gateway, *device)
		want   string
	}{
		"kick":     {nil, func(_ *testing.T, g *Gateway, d *device) { g.Kick(d.id, "revoked by its owner") }, "cloudcrowd forbidden: revoked by its owner"},
		"nonsense": {nil, func(t *testing.T, _ *Gateway, d *device) { d.say(t, wire.UpSubject(d.id), []byte("nonsense")) }, "cloudcrowd invalid: "},
		"messages": {func(c *Config) { c.MessagesPerSecond = 1 }, func(t *testing.T, _ *Gateway, d *device) {
			for range 10 {
				d.say(t, wire.UpSubject(d.id), beat("x"))
			}
		}, "cloudcrowd rate-limited: "},
		"bytes": {func(c *Config) { c.BytesPerSecond = 1000 }, func(t *testing.T, _ *Gateway, d *device) {
			d.say(t, wire.UpSubject(d.id), make([]byte, 100_000))
		}, "cloudcrowd rate-limited: more than 1000 B a second"},
		"payload": {nil, func(t *testing.T, _ *Gateway, d *device) {
			d.conn.Opts.AllowReconnect = false
			_ = d.conn.Publish(wire.UpSubject(d.id), make([]byte, wire.MaxFrame)) // allowed, and nonsense
			d.say(t, wire.UpSubject(d.id), []byte{9})
		}, "cloudcrowd invalid: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, crowd, s := start(t, c.config)
			d := newDevice(t)
			d.mustDial(t, s)
			d.say(t, wire.UpSubject(d.id), beat("hello"))
			crowd.next(t)
			c.do(t, g, d)
			if text := d.err(t); !strings.Contains(text, c.want) {
				t.Fatalf("told %q, want %q", text, c.want)
			}
			for !crowd.next(t).gone {
			}
			if g.Connected(d.id) {
				t.Fatal("still connected")
			}
		})
	}
}

// A gateway that drains refuses devices that connect and tells them why; those that are connected stay until they are told, with what waited for them.
func TestDrain(t *testing.T) {
	t.Parallel()
	g, c, s := start(t, nil)
	g.Farewell(t.Context(), cloudcrowd.Errorf(cloudcrowd.Unavailable, "nobody hears this"))
	d := newDevice(t)
	d.mustDial(t, s)
	d.say(t, wire.UpSubject(d.id), beat("hello"))
	c.next(t)
	g.Drain(cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is draining"))
	if err := newDevice(t).dial(t, s); err == nil || !strings.Contains(err.Error(), "cloudcrowd unavailable: the server is draining") {
		t.Errorf("another device: %v", err)
	}
	d.say(t, wire.UpSubject(d.id), beat("still"))
	if c.next(t).up.Beat == nil {
		t.Error("the connected device is not heard any more")
	}
	if open, admitted := g.Connections(); open < 1 || admitted != 1 {
		t.Errorf("%d connections, %d admitted", open, admitted)
	}
	g.Farewell(t.Context(), cloudcrowd.Errorf(cloudcrowd.Unavailable, "the server is stopping"))
	if text := d.err(t); !strings.Contains(text, "cloudcrowd unavailable: the server is stopping") {
		t.Errorf("told %q", text)
	}
	if !c.next(t).gone {
		t.Error("the crowd was not told")
	}
}
