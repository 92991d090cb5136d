package gateway

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

type nobody struct{}

func (nobody) Receive(cloudcrowd.WorkerID, cloudcrowd.Up)       {}
func (nobody) Gone(cloudcrowd.WorkerID)                         {}
func (nobody) Admit(context.Context, cloudcrowd.WorkerID) error { return nil }

// BenchmarkIdleConnections reports what one admitted, subscribed, silent worker costs the server in memory. The client's side of each is a bare socket.
func BenchmarkIdleConnections(b *testing.B) {
	g, err := New(Config{Crowd: nobody{}, Admission: nobody{}})
	if err != nil {
		b.Fatal(err)
	}
	if err := g.Start(context.Background()); err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/worker", g.Handler())
	s := httptest.NewServer(mux)
	defer s.Close()
	defer g.Stop(context.Background())
	const n = 1000
	for b.Loop() {
		before := inUse()
		conns := make([]net.Conn, n)
		for i := range conns {
			conns[i] = bare(b, s)
		}
		b.ReportMetric(float64(inUse()-before)/n/1024, "KiB/connection")
		for _, c := range conns {
			c.Close()
		}
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// bare connects and subscribes with the fewest bytes of client.
func bare(b *testing.B, s *httptest.Server) net.Conn {
	b.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(c, "GET /worker HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	r := bufio.NewReader(c)
	if _, err := http.ReadResponse(r, nil); err != nil {
		b.Fatal(err)
	}
	read := func() string {
		var head [4]byte
		if _, err := io.ReadFull(r, head[:2]); err != nil {
			b.Fatal(err)
		}
		size := int(head[1])
		if size == 126 {
			if _, err := io.ReadFull(r, head[2:]); err != nil {
				b.Fatal(err)
			}
			size = int(binary.BigEndian.Uint16(head[2:]))
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(r, body); err != nil {
			b.Fatal(err)
		}
		return string(body)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		b.Fatal(err)
	}
	id, err := key.PublicKey()
	if err != nil {
		b.Fatal(err)
	}
	var info struct{ Nonce string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(read(), "INFO ")), &info); err != nil {
		b.Fatal(err)
	}
	sig, err := key.Sign([]byte(info.Nonce))
	if err != nil {
		b.Fatal(err)
	}
	text := fmt.Sprintf("CONNECT {\"nkey\":%q,\"sig\":%q,\"protocol\":1,\"verbose\":false}\r\nSUB %s 1\r\nPING\r\n",
		id, base64.RawURLEncoding.EncodeToString(sig), wire.DownSubject(cloudcrowd.WorkerID(id)))
	frame := binary.BigEndian.AppendUint16([]byte{0x82, 0x80 | 126}, uint16(len(text)))
	if _, err := c.Write(append(append(frame, 0, 0, 0, 0), text...)); err != nil { // masked with zeroes
		b.Fatal(err)
	}
	if got := read(); !strings.HasPrefix(got, "PONG\r\n") {
		b.Fatalf("got %q", got)
	}
	return c
}
