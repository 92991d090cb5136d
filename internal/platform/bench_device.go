package platform

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// device is a worker of a crowd: one slot, and deviceAhead leases in all.
type device struct {
	key     nkeys.KeyPair
	id      cloudcrowd.WorkerID
	figures *crowdFigures

	mu    sync.Mutex // of writing, and of what follows
	conn  net.Conn
	held  []cloudcrowd.AttemptID // the first is at work
	began time.Time              // since then
	asked []time.Time            // when reports were sent that no lease has followed yet
}

const deviceAhead = 3

func newDevice(f *crowdFigures) (*device, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	return &device{key: key, id: cloudcrowd.WorkerID(public), figures: f}, err
}

// connect returns when the server has welcomed the device; from then on it beats until the connection ends.
func (d *device) connect(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, url)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	d.mu.Lock()
	d.conn = conn
	d.mu.Unlock()
	in := io.Reader(conn)
	if early != nil {
		in = io.MultiReader(early, conn)
	}
	welcomed := make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- d.listen(in, welcomed) }()
	select {
	case <-welcomed:
	case err := <-failed:
		conn.Close()
		return err
	case <-ctx.Done():
		conn.Close()
		return ctx.Err()
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	go d.beat(conn)
	return nil
}

// write sends NATS protocol to the server.
func (d *device) write(text []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return wsutil.WriteClientBinary(d.conn, text)
}

func (d *device) publish(up *cloudcrowd.Up) error {
	frame, err := wire.EncodeUp(up)
	if err != nil {
		return err
	}
	return d.write(append(fmt.Appendf(nil, "PUB %s %d\r\n", wire.UpSubject(d.id), len(frame)), append(frame, '\r', '\n')...))
}

func (d *device) beat(conn net.Conn) {
	for {
		time.Sleep(3 * time.Second)
		b := &cloudcrowd.Beat{Session: string(d.id)}
		d.mu.Lock()
		for i, id := range d.held {
			p := cloudcrowd.Progress{Attempt: id}
			if i == 0 {
				p.Running, p.Elapsed = true, time.Since(d.began).Seconds()
			}
			b.Holding = append(b.Holding, p)
		}
		current := d.conn == conn
		d.mu.Unlock()
		b.Want = max(deviceAhead-len(b.Holding), 0)
		if !current || d.publish(&cloudcrowd.Up{Beat: b}) != nil {
			return
		}
	}
}

// frames is the bytes of binary messages, one after the other.
type frames struct {
	conn io.ReadWriter
	rest []byte
}

func (f *frames) Read(p []byte) (n int, err error) {
	for len(f.rest) == 0 {
		if f.rest, err = wsutil.ReadServerBinary(f.conn); err != nil {
			return 0, err
		}
	}
	n = copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

// listen answers the bus. The first message for the device is the welcome.
func (d *device) listen(in io.Reader, welcomed chan<- struct{}) error {
	bus := bufio.NewReaderSize(&frames{conn: struct {
		io.Reader
		io.Writer
	}{in, d.conn}}, 1024)
	for {
		line, err := bus.ReadString('\n')
		if err != nil {
			return err
		}
		switch verb, rest, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "INFO":
			if err := d.greet(rest); err != nil {
				return err
			}
		case "-ERR":
			return cloudcrowd.Errorf(cloudcrowd.Unavailable, "%s", rest)
		case "PING":
			if err := d.write([]byte("PONG\r\n")); err != nil {
				return err
			}
		case "MSG":
			n := 0
			if _, err := fmt.Sscan(rest[strings.LastIndexByte(rest, ' ')+1:], &n); err != nil {
				return err
			}
			frame := make([]byte, n+2)
			if _, err := io.ReadFull(bus, frame); err != nil {
				return err
			}
			if welcomed != nil {
				close(welcomed)
				welcomed = nil
			}
			if d.figures.task.Load() == 0 {
				continue
			}
			down, err := wire.DecodeDown(frame[:n])
			if err != nil {
				return err
			}
			d.take(down.Leases)
		}
	}
}

// greet proves who the device is and says hello.
func (d *device) greet(text string) error {
	var info struct{ Nonce string }
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		return err
	}
	signature, err := d.key.Sign([]byte(info.Nonce))
	if err != nil {
		return err
	}
	hello := fmt.Appendf(nil, "CONNECT {\"nkey\":%q,\"sig\":%q,\"protocol\":1,\"verbose\":false}\r\nSUB %s 1\r\n", d.id,
		base64.RawURLEncoding.EncodeToString(signature), wire.DownSubject(d.id))
	if err := d.write(hello); err != nil {
		return err
	}
	return d.publish(&cloudcrowd.Up{Hello: &cloudcrowd.Hello{Session: string(d.id), Info: cloudcrowd.WorkerInfo{Name: d.id.Short(), Slots: 1, Speed: 1, MemoryBytes: 1 << 30}}})
}

// take queues leases; the first is at work at once.
func (d *device) take(leases []cloudcrowd.Lease) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range leases {
		waited := -1.0
		if len(d.asked) > 0 {
			waited, d.asked = time.Since(d.asked[0]).Seconds(), d.asked[1:]
		}
		d.figures.leased(l.Attempt.Task.Job, waited)
		if d.held = append(d.held, l.Attempt); len(d.held) == 1 {
			d.work()
		}
	}
}

// work lets the time of a task pass, give or take a half; the caller holds mu.
func (d *device) work() {
	d.began = time.Now()
	task := time.Duration(d.figures.task.Load())
	time.AfterFunc(task/2+rand.N(task+1), d.report)
}

// report ends the task that is at work and begins the next.
func (d *device) report() {
	d.mu.Lock()
	took := time.Since(d.began).Seconds()
	up := &cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: d.held[0],
		Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: took, WallSeconds: took}}}}}
	d.held, d.asked = d.held[1:], append(d.asked, time.Now())
	if len(d.held) > 0 {
		d.work()
	}
	d.mu.Unlock()
	_ = d.publish(up) // whoever has lost his connection measures nothing
}
