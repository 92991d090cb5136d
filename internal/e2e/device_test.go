package e2e

import (
	"encoding/base64"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// noop is the smallest module the platform accepts: an empty _start and one page of memory.
var noop = []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" + "\x0a\x04\x01\x02\x00\x0b")

// device is a simulated worker. It speaks the real protocol over the real connection, computes nothing, and is not careful: it reports some results
// twice, some late, some never. It notes each lease and each report in a history.
type device struct {
	c       *crowd
	history *history
	number  int // in the history
	tries   int // connections so far
	name    string
	key     nkeys.KeyPair
	id      cloudcrowd.WorkerID
	lots    *rand.Rand
	stop    chan struct{}
	ended   chan struct{}

	mu       sync.Mutex
	holding  map[cloudcrowd.AttemptID]bool
	reported map[cloudcrowd.AttemptID]*operation // not acknowledged
	fresh    []cloudcrowd.AttemptID              // leased, to be looked at
	refresh  bool
	greeted  int64 // when it last said hello
}

// newDevice registers a device and lets it work until the test ends or halt is called.
func newDevice(t testing.TB, c *crowd, h *history, number int, name string, lots *rand.Rand) *device {
	t.Helper()
	invite, err := c.op.CreateInvite(t.Context(), client.InviteRequest{Owner: cloudcrowd.AccountID(name), MaxUses: 1})
	if err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	d := &device{c: c, history: h, number: number, name: name, key: key, id: cloudcrowd.WorkerID(public), lots: lots, stop: make(chan struct{}), ended: make(chan struct{}),
		holding: map[cloudcrowd.AttemptID]bool{}, reported: map[cloudcrowd.AttemptID]*operation{}}
	sign := func(b []byte) (string, error) {
		s, err := key.Sign(b)
		return base64.StdEncoding.EncodeToString(s), err
	}
	if _, err := c.as("").Join(t.Context(), invite.Secret, d.id, name, sign); err != nil {
		t.Fatal(err)
	}
	go d.work()
	t.Cleanup(d.halt)
	return d
}

// halt ends it.
func (d *device) halt() {
	select {
	case <-d.stop:
	default:
		close(d.stop)
	}
	<-d.ended
}

// work connects again and again.
func (d *device) work() {
	defer close(d.ended)
	for {
		d.talk()
		select {
		case <-d.stop:
			return
		case <-time.After(look):
		}
	}
}

// talk is one connection.
func (d *device) talk() {
	closed := make(chan struct{})
	server := d.c.serving.URL
	if n := len(d.c.more); n > 0 {
		server = d.c.more[(d.number+d.tries)%n]
		d.tries++
	}
	conn, err := nats.Connect("ws"+strings.TrimPrefix(server, "http"), nats.ProxyPath("/worker"), nats.Nkey(string(d.id), d.key.Sign), nats.NoReconnect(),
		nats.Timeout(5*time.Second), nats.NoEcho(), nats.SetCustomDialer(&net.Dialer{Timeout: 5 * time.Second}),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return // the server is away
	}
	defer func() { conn.Close(); <-closed }()
	if _, err := conn.Subscribe(wire.DownSubject(d.id), func(m *nats.Msg) {
		down, err := wire.DecodeDown(m.Data)
		if err != nil {
			d.c.owner.Errorf("%s: %v", d.name, err)
			return
		}
		d.hear(down)
	}); err != nil {
		return
	}
	d.mu.Lock()
	d.refresh = true
	d.mu.Unlock()
	for beat := 0; ; beat++ {
		select {
		case <-d.stop:
			return
		case <-closed:
			return
		case <-time.After(look):
		}
		up := d.say(beat)
		frame, err := wire.EncodeUp(&up)
		if err != nil {
			d.c.owner.Errorf("%s: %v", d.name, err)
			return
		}
		if conn.Publish(wire.UpSubject(d.id), frame) != nil || conn.Flush() != nil {
			return
		}
	}
}

// hear takes in what the server says.
func (d *device) hear(down *cloudcrowd.Down) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refresh = d.refresh || down.Refresh
	for _, l := range down.Leases {
		if !d.holding[l.Attempt] && d.reported[l.Attempt] == nil {
			op := d.history.begin(d.number, claim{l.Attempt, d.name}, taskPart(l.Attempt.Task))
			op.call = d.greeted // it was asked for since then
			d.history.finish(op, answer{})
		}
		d.holding[l.Attempt] = true
		d.fresh = append(d.fresh, l.Attempt)
	}
	for _, id := range down.Acks {
		if op := d.reported[id]; op != nil {
			d.history.finish(op, answer{})
			delete(d.reported, id)
			delete(d.holding, id)
		}
	}
	for _, id := range down.Cancels {
		if d.reported[id] == nil { // else it may have crossed with the report
			delete(d.holding, id)
		}
	}
}

// say makes the next message.
func (d *device) say(beat int) cloudcrowd.Up {
	d.mu.Lock()
	defer d.mu.Unlock()
	var up cloudcrowd.Up
	again := d.refresh
	if d.refresh {
		d.refresh = false
		d.greeted = d.history.now()
		up.Hello = &cloudcrowd.Hello{Session: "s-" + d.name, Info: cloudcrowd.WorkerInfo{Name: d.name, Version: "test", OS: "linux", Arch: "amd64", Cores: 4, Slots: 4, Speed: 1,
			MemoryBytes: 1 << 30, DiskBytes: 1 << 35, Sandboxes: []string{"wasm"}}}
		for id := range d.holding {
			if d.reported[id] != nil {
				up.Hello.Spooled = append(up.Hello.Spooled, id)
			} else {
				up.Hello.Holding = append(up.Hello.Holding, id)
			}
		}
	}
	for _, id := range d.fresh {
		if !d.holding[id] {
			continue
		}
		switch d.lots.IntN(12) {
		case 0: // never: its lease expires
			delete(d.holding, id)
		case 1, 2: // later
			continue
		default:
			if d.reported[id] == nil {
				d.reported[id] = d.history.begin(d.number, report{id}, taskPart(id.Task))
			}
			up.Reports = append(up.Reports, cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: 0.001, WallSeconds: 0.001}}})
		}
	}
	var later []cloudcrowd.AttemptID
	for _, id := range d.fresh {
		if d.holding[id] && d.reported[id] == nil {
			later = append(later, id)
		}
	}
	d.fresh = later
	for id := range d.reported {
		if again || d.lots.IntN(20) == 0 { // twice, for no reason
			up.Reports = append(up.Reports, cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: 0.001, WallSeconds: 0.001}}})
		}
	}
	if up.Hello == nil && (beat%10 == 0 || len(up.Reports) > 0) {
		up.Beat = &cloudcrowd.Beat{Session: "s-" + d.name, Want: max(0, 4-len(d.holding))}
		for id := range d.holding {
			up.Beat.Holding = append(up.Beat.Holding, cloudcrowd.Progress{Attempt: id, Running: true})
		}
	}
	return up
}
