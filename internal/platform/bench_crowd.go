package platform

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
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

// BenchCrowd is many devices in one process that speak as little of the worker protocol as keeps them connected: it says hello, beats, and answers the bus. The
// benchmark of connections runs it as a process of its own, so that its memory is not counted with the server's. It reads commands, a line each, and
// answers each with a line: "devices N" with their ids as JSON, "connect URL" and "storm" (everybody leaves and comes back at once) with seconds; it
// ends with its input.
func BenchCrowd(ctx context.Context, commands io.Reader, answers io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var crowd []*device
	url := ""
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "devices":
			var n int
			if _, err := fmt.Sscan(rest, &n); err != nil {
				return err
			}
			ids := make([]cloudcrowd.WorkerID, n)
			for i := range ids {
				d, err := newDevice()
				if err != nil {
					return err
				}
				crowd, ids[i] = append(crowd, d), d.id
			}
			if err := json.NewEncoder(answers).Encode(ids); err != nil {
				return err
			}
			continue
		case "connect":
			url = rest
		case "storm":
			for _, d := range crowd {
				d.conn.Close()
			}
		default:
			return cloudcrowd.Errorf(cloudcrowd.Internal, "the crowd knows no command %q", verb)
		}
		began := time.Now()
		if err := connectAll(ctx, crowd, url); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(answers, time.Since(began).Seconds()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// connectAll lets everybody connect, as they would after a restart of the server: all at once, and again after a pause where it fails.
func connectAll(ctx context.Context, crowd []*device, url string) error {
	var all sync.WaitGroup
	errs := make(chan error, len(crowd))
	for _, d := range crowd {
		all.Go(func() {
			for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
				err := d.connect(ctx, url)
				if err == nil {
					return
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs // nil if there are none
}

type device struct {
	key  nkeys.KeyPair
	id   cloudcrowd.WorkerID
	conn net.Conn
}

func newDevice() (*device, error) {
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	return &device{key: key, id: cloudcrowd.WorkerID(public)}, err
}

// connect returns when the server has welcomed the device; from then on it beats until the connection ends.
func (d *device) connect(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	conn, early, _, err := ws.Dial(ctx, url)
	if err != nil {
		return err
	}
	d.conn = conn
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	in := io.Reader(conn)
	if early != nil {
		in = io.MultiReader(early, conn)
	}
	bus := struct {
		io.Reader
		io.Writer
	}{in, conn}
	welcomed := make(chan struct{})
	failed := make(chan error, 1)
	go func() { failed <- d.listen(bus, welcomed) }()
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

func (d *device) publish(w io.Writer, up *cloudcrowd.Up) error {
	frame, err := wire.EncodeUp(up)
	if err != nil {
		return err
	}
	return wsutil.WriteClientBinary(w, append(fmt.Appendf(nil, "PUB %s %d\r\n", wire.UpSubject(d.id), len(frame)), append(frame, '\r', '\n')...))
}

func (d *device) beat(conn net.Conn) {
	for {
		time.Sleep(3 * time.Second)
		if d.publish(conn, &cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: string(d.id)}}) != nil {
			return
		}
	}
}

// listen answers the bus. The first message for the device is the welcome.
func (d *device) listen(bus io.ReadWriter, welcomed chan<- struct{}) error {
	for {
		b, err := wsutil.ReadServerBinary(bus)
		if err != nil {
			return err
		}
		switch text := string(b); {
		case strings.HasPrefix(text, "INFO "):
			var info struct{ Nonce string }
			if err := json.Unmarshal([]byte(strings.TrimSpace(text[5:])), &info); err != nil {
				return err
			}
			signature, err := d.key.Sign([]byte(info.Nonce))
			if err != nil {
				return err
			}
			hello := fmt.Appendf(nil, "CONNECT {\"nkey\":%q,\"sig\":%q,\"protocol\":1,\"verbose\":false}\r\nSUB %s 1\r\n", d.id,
				base64.RawURLEncoding.EncodeToString(signature), wire.DownSubject(d.id))
			if err := wsutil.WriteClientBinary(bus, hello); err != nil {
				return err
			}
			err = d.publish(bus, &cloudcrowd.Up{Hello: &cloudcrowd.Hello{Session: string(d.id), Info: cloudcrowd.WorkerInfo{Name: d.id.Short(), Slots: 1, Speed: 1, MemoryBytes: 1 << 30}}})
			if err != nil {
				return err
			}
		case strings.HasPrefix(text, "-ERR"):
			return cloudcrowd.Errorf(cloudcrowd.Unavailable, "%s", strings.TrimSpace(text))
		default:
			if strings.HasPrefix(text, "PING") {
				if err := wsutil.WriteClientBinary(bus, []byte("PONG\r\n")); err != nil {
					return err
				}
			}
			if strings.Contains(text, "MSG ") && welcomed != nil {
				close(welcomed)
				welcomed = nil
			}
		}
	}
}
