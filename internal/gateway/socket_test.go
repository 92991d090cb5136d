package gateway

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/gobwas/ws"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// pair is a socket and the bare other end of it.
func pair(t *testing.T) (*socket, net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close(); there.Close() })
	return newSocket(here, here), there
}

// send writes frames as a client does, masked.
func send(there net.Conn, frames ...ws.Frame) {
	go func() {
		for _, f := range frames {
			if ws.WriteFrame(there, ws.MaskFrame(f)) != nil {
				return
			}
		}
		there.Close()
	}()
}

// Messages, whole or in parts, with pings between the parts, read as one stream; a ping is answered with its own words.
func TestSocketReads(t *testing.T) {
	t.Parallel()
	s, there := pair(t)
	long := bytes.Repeat([]byte("0123456789"), 20_000)
	frames := []ws.Frame{ws.NewFrame(ws.OpBinary, true, []byte("a")), ws.NewFrame(ws.OpBinary, false, []byte("bc")), ws.NewPingFrame([]byte("are you there")),
		ws.NewFrame(ws.OpContinuation, false, nil), ws.NewFrame(ws.OpContinuation, true, []byte("d")), ws.NewPongFrame(nil), ws.NewFrame(ws.OpBinary, true, long), ws.NewCloseFrame(nil)}
	answers := make(chan ws.Frame, 2)
	go func() {
		defer close(answers)
		for {
			f, err := ws.ReadFrame(there)
			if err != nil {
				return
			}
			answers <- f
		}
	}()
	send(there, frames...)
	got, err := io.ReadAll(s)
	if err != nil || string(got) != "abcd"+string(long) {
		t.Fatalf("%d bytes %.10q, %v", len(got), got, err)
	}
	if f := <-answers; f.Header.OpCode != ws.OpPong || string(f.Payload) != "are you there" || f.Header.Masked {
		t.Errorf("the ping was answered with %+v %q", f.Header, f.Payload)
	}
}

// Whatever breaks the protocol or a limit ends the connection with an error.
func TestSocketRefuses(t *testing.T) {
	t.Parallel()
	unmasked := func(there net.Conn) { _ = ws.WriteFrame(there, ws.NewBinaryFrame([]byte("x"))) }
	huge := ws.Header{Fin: true, OpCode: ws.OpBinary, Length: maxSocketMessage + 1, Masked: true}
	for name, write := range map[string]func(net.Conn){
		"not masked":          unmasked,
		"text":                func(c net.Conn) { send(c, ws.NewTextFrame([]byte("x"))) },
		"reserved bits":       func(c net.Conn) { _, _ = c.Write([]byte{0xf2, 0x80, 0, 0, 0, 0}) },
		"unknown code":        func(c net.Conn) { _, _ = c.Write([]byte{0x83, 0x80, 0, 0, 0, 0}) },
		"continues nothing":   func(c net.Conn) { send(c, ws.NewFrame(ws.OpContinuation, true, []byte("x"))) },
		"begins in a message": func(c net.Conn) { send(c, ws.NewFrame(ws.OpBinary, false, nil), ws.NewBinaryFrame([]byte("x"))) },
		"a ping in parts":     func(c net.Conn) { send(c, ws.NewFrame(ws.OpPing, false, []byte("x"))) },
		"too long":            func(c net.Conn) { _ = ws.WriteHeader(c, huge) },
		"cut off":             func(c net.Conn) { _, _ = c.Write([]byte{0x82, 0x85, 0, 0, 0, 0, 'a'}); c.Close() },
		"cut off in a header": func(c net.Conn) { _, _ = c.Write([]byte{0x82}); c.Close() },
		"too long, by and by": func(c net.Conn) { parts(c) },
		"a negative length":   func(c net.Conn) { _, _ = c.Write([]byte{0x82, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0}) },
		"a ping of 126 bytes": func(c net.Conn) { _, _ = c.Write([]byte{0x89, 0xfe, 0, 126, 0, 0, 0, 0}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, there := pair(t)
			go write(there)
			n, err := io.Copy(io.Discard, s)
			if err == nil || errors.Is(err, io.EOF) || n > maxSocketMessage {
				t.Errorf("%d bytes, %v", n, err)
			}
			if name == "too long" && cloudcrowd.CodeOf(err) != cloudcrowd.TooLarge {
				t.Error(err)
			}
		})
	}
}

// parts sends a message without end.
func parts(c net.Conn) {
	body := make([]byte, 1<<20)
	code := ws.OpBinary
	for ws.WriteFrame(c, ws.MaskFrame(ws.NewFrame(code, false, body))) == nil {
		code = ws.OpContinuation
	}
}

// What is written is one binary message each, small or large.
func TestSocketWrites(t *testing.T) {
	t.Parallel()
	s, there := pair(t)
	for _, n := range []int{0, 1, 125, 126, smallWrite, smallWrite + 1, 70_000} {
		want := bytes.Repeat([]byte{'x'}, n)
		go func() { _, _ = s.Write(want) }()
		f, err := ws.ReadFrame(there)
		if err != nil || f.Header.OpCode != ws.OpBinary || !f.Header.Fin || f.Header.Masked || !bytes.Equal(f.Payload, want) {
			t.Fatalf("%d bytes: %+v, %v", n, f.Header, err)
		}
	}
}

// Where a worker's bytes are cut into WebSocket messages does not matter, nor whether they fit a buffer.
func TestPieces(t *testing.T) {
	t.Parallel()
	_, c, s := start(t, nil)
	d := newDevice(t)
	conn := rawConnect(t, s, d)
	up := cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s"}}
	for i := range 3000 {
		sum := sha256.Sum256(fmt.Append(nil, i)) // cannot be compressed
		up.Beat.Cached = append(up.Beat.Cached, cloudcrowd.Digest(hex.EncodeToString(sum[:])))
	}
	frame, err := wire.EncodeUp(&up)
	if err != nil {
		t.Fatal(err)
	}
	if len(frame) < 2*cap(*buffers.Get().(*[]byte)) {
		t.Fatalf("a frame of %d bytes shows nothing", len(frame))
	}
	text := append(fmt.Appendf(nil, "PUB %s %d\r\n", wire.UpSubject(d.id), len(frame)), append(frame, "\r\n"...)...)
	for _, size := range []int{len(text), 40_000, 1000, 61} {
		for piece := range slices.Chunk(text, size) {
			if _, err := conn.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if got := c.next(t); got.up.Beat == nil || !slices.Equal(got.up.Beat.Cached, up.Beat.Cached) {
			t.Fatalf("in pieces of %d: %+v", size, got)
		}
	}
}
