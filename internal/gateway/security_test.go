package gateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// A device can neither listen to another, nor speak as another, nor reach anything else on the bus.
func TestDeviceStaysOnItsSubjects(t *testing.T) {
	t.Parallel()
	g, c, s := start(t, nil)
	victim, mallory := newDevice(t), newDevice(t)
	victim.mustDial(t, s)
	mallory.mustDial(t, s)
	inbox, err := victim.conn.SubscribeSync(wire.DownSubject(victim.id))
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.conn.Flush(); err != nil {
		t.Fatal(err)
	}

	heard := make(chan string, 100)
	for _, subject := range []string{
		wire.DownSubject(victim.id), wire.UpSubject(victim.id), wire.UpSubject(mallory.id), "cc.down.*", "cc.up.*", "cc.>", ">", "*", "*.*.*",
		"$SYS.>", "$SYS.REQ.SERVER.PING", "_INBOX.>", "$JS.API.>", "cc.down." + string(mallory.id) + ".x",
	} {
		if _, err := mallory.conn.Subscribe(subject, func(m *nats.Msg) { heard <- subject + " heard " + m.Subject }); err != nil {
			t.Fatal(err)
		}
		_ = mallory.conn.Flush()
		if text := mallory.err(t); !strings.Contains(text, "Permissions Violation") {
			t.Errorf("subscribing to %s: %s", subject, text)
		}
	}
	for _, subject := range []string{
		wire.UpSubject(victim.id), wire.DownSubject(victim.id), wire.DownSubject(mallory.id), "cc.up", "cc.up." + string(mallory.id) + ".x",
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "_INBOX.x", "$JS.API.INFO",
	} {
		mallory.say(t, subject, beat("forged"))
		if text := mallory.err(t); !strings.Contains(text, "Permissions Violation") {
			t.Errorf("publishing on %s: %s", subject, text)
		}
	}

	// Everybody else is unharmed: the victim hears what is meant for it, and the crowd hears only true words.
	if err := g.Send(victim.id, cloudcrowd.Down{Refresh: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := inbox.NextMsg(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	victim.say(t, wire.UpSubject(victim.id), beat("true"))
	if got := c.next(t); got.worker != victim.id || got.up.Beat.Session != "true" {
		t.Fatalf("the crowd was told %+v", got)
	}
	mallory.say(t, wire.UpSubject(mallory.id), beat("mine"))
	if got := c.next(t); got.worker != mallory.id || got.up.Beat.Session != "mine" {
		t.Fatalf("the crowd was told %+v", got)
	}
	select {
	case h := <-heard:
		t.Fatalf("mallory: %s", h)
	default:
	}
}

// Only the holder of an admitted key connects.
func TestOnlyAdmittedKeysConnect(t *testing.T) {
	t.Parallel()
	_, c, s := start(t, nil)
	victim, mallory := newDevice(t), newDevice(t)
	c.deny[mallory.id] = cloudcrowd.Errorf(cloudcrowd.Forbidden, "revoked")
	unavailable := newDevice(t)
	c.deny[unavailable.id] = fmt.Errorf("disk full at /secret/path")

	refused := func(name string, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
	refused("revoked", mallory.dial(t, s), "cloudcrowd forbidden: revoked")
	err := unavailable.dial(t, s)
	refused("store gone", err, "cloudcrowd internal: the server cannot admit workers now")
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("the cause leaks: %v", err)
	}
	url := "ws" + strings.TrimPrefix(s.URL, "http")
	connect := func(options ...nats.Option) error {
		conn, err := nats.Connect(url, append(options, nats.ProxyPath("/worker"), nats.NoReconnect())...)
		if err == nil {
			conn.Close()
		}
		return err
	}
	refused("without the key", connect(nats.Nkey(string(victim.id), mallory.key.Sign)), "cloudcrowd unauthorized")
	refused("anonymous", connect(), "cloudcrowd unauthorized")
	refused("password", connect(nats.UserInfo(ownUser, "guess")), "cloudcrowd unauthorized")
	refused("no password", connect(nats.UserInfo(ownUser, "")), "cloudcrowd unauthorized")
	c.silent(t)
	victim.mustDial(t, s)
}

// A signature is good for one connection: one that was heard opens no other, and a connection has one try.
func TestSignatureCannotBeReplayed(t *testing.T) {
	t.Parallel()
	_, c, s := start(t, nil)
	victim := newDevice(t)
	open := func() (net.Conn, *bufio.Reader, string) {
		socket, _, err := websocket.Dial(t.Context(), s.URL+"/worker", nil)
		if err != nil {
			t.Fatal(err)
		}
		conn := websocket.NetConn(context.Background(), socket, websocket.MessageBinary)
		t.Cleanup(func() { conn.Close() })
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var info struct{ Nonce string }
		if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil || info.Nonce == "" {
			t.Fatalf("%q: %v", line, err)
		}
		return conn, r, info.Nonce
	}
	connect := func(conn net.Conn, r *bufio.Reader, sig []byte) string {
		t.Helper()
		fmt.Fprintf(conn, "CONNECT {\"nkey\":%q,\"sig\":%q,\"protocol\":1,\"verbose\":false}\r\nPING\r\n", victim.id, base64.RawURLEncoding.EncodeToString(sig))
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	conn, r, nonce := open()
	sig, err := victim.key.Sign([]byte(nonce))
	if err != nil {
		t.Fatal(err)
	}
	if line := connect(conn, r, sig); line != "PONG\r\n" {
		t.Fatalf("the true one got %q", line)
	}
	replay, rr, other := open()
	if other == nonce {
		t.Fatal("the same nonce twice")
	}
	if line := connect(replay, rr, sig); !strings.Contains(line, "unauthorized") {
		t.Fatalf("the replay got %q", line)
	}
	// Nor does the true connection become somebody else by a second CONNECT.
	fmt.Fprintf(conn, "CONNECT {\"user\":%q,\"pass\":\"guess\"}\r\nSUB cc.up.* 1\r\nPING\r\n", ownUser)
	if line, _ := r.ReadString('\n'); line == "PONG\r\n" {
		t.Fatal("a second CONNECT was taken")
	}
	for c.next(t).gone == false {
	}
}

// A page of another site cannot open a connection; no page, and the server's own, can. What is no WebSocket request is refused.
func TestOrigin(t *testing.T) {
	t.Parallel()
	_, _, s := start(t, nil)
	for origin, want := range map[string]bool{"": true, s.URL: true, "https://evil.example": false, "http://127.0.0.1.evil.example": false, "null": false} {
		h := http.Header{}
		if origin != "" {
			h.Set("Origin", origin)
		}
		socket, resp, err := websocket.Dial(t.Context(), s.URL+"/worker", &websocket.DialOptions{HTTPHeader: h})
		if (err == nil) != want {
			t.Errorf("origin %q: %v", origin, err)
		}
		if err == nil {
			_ = socket.CloseNow()
		} else if resp.StatusCode != http.StatusForbidden {
			t.Errorf("origin %q: status %d", origin, resp.StatusCode)
		}
	}
	resp, err := http.Get(s.URL + "/worker")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("plain request: %s", resp.Status)
	}
}

// What is larger than any message ends the connection, wherever the size is noticed.
func TestSize(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(net.Conn, *device){
		"announced":    func(c net.Conn, d *device) { fmt.Fprintf(c, "PUB %s %d\r\n", wire.UpSubject(d.id), wire.MaxFrame+1) },
		"endless line": func(c net.Conn, d *device) { fmt.Fprintf(c, "PUB %s\r\n", strings.Repeat("a", 10_000)) },
		"websocket":    func(c net.Conn, _ *device) { _, _ = c.Write(make([]byte, maxSocketMessage+1)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c, s := start(t, nil)
			d := newDevice(t)
			conn := rawConnect(t, s, d)
			send(conn, d)
			if got := c.next(t); !got.gone {
				t.Fatalf("got %+v", got)
			}
		})
	}
}

// rawConnect connects d without a NATS client.
func rawConnect(t *testing.T, s *httptest.Server, d *device) net.Conn {
	t.Helper()
	socket, _, err := websocket.Dial(t.Context(), s.URL+"/worker", nil)
	if err != nil {
		t.Fatal(err)
	}
	conn := websocket.NetConn(context.Background(), socket, websocket.MessageBinary)
	t.Cleanup(func() { conn.Close() })
	r := bufio.NewReader(conn)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ Nonce string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info); err != nil {
		t.Fatal(err)
	}
	sig, err := d.key.Sign([]byte(info.Nonce))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "CONNECT {\"nkey\":%q,\"sig\":%q,\"protocol\":1,\"verbose\":false}\r\nPING\r\n", d.id, base64.RawURLEncoding.EncodeToString(sig))
	if line, err := r.ReadString('\n'); err != nil || line != "PONG\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return conn
}

// Connections beyond the limit are refused before anything is spent on them.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	_, _, s := start(t, func(c *Config) { c.MaxConnections = 1 })
	newDevice(t).mustDial(t, s)
	if err := newDevice(t).dial(t, s); err == nil {
		t.Fatal("connected")
	}
}
