package gateway

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"cloudcrowd.dev/cloudcrowd"
)

// socket is the server's end of a WebSocket that carries binary messages. With ten thousand workers connected most are silent, so it keeps no more than a small
// buffer: what net/http read and wrote the request with is let go. One goroutine reads; any may write.
type socket struct {
	conn   net.Conn
	in     *bufio.Reader
	state  ws.State // whether a message is continued, to check the next header
	header ws.Header
	left   int64 // bytes of the frame that were not read
	size   int64 // of the message so far

	patience atomic.Int64 // nanoseconds that one write may take

	mu   sync.Mutex // of writing
	head [ws.MaxHeaderSize]byte
}

// readBuffer holds what a silent connection reads headers and short messages through; longer ones go past it.
const readBuffer = 256

// accept upgrades a request. A browser's, which has an Origin, must come from the server's own pages. Errors have been answered.
func accept(w http.ResponseWriter, r *http.Request) (*socket, error) {
	if origin := r.Header.Get("Origin"); origin != "" {
		if u, err := url.Parse(origin); err != nil || !strings.EqualFold(u.Host, r.Host) {
			http.Error(w, "this WebSocket is for workers and for the server's own pages, not for those of "+origin, http.StatusForbidden)
			return nil, cloudcrowd.Errorf(cloudcrowd.Forbidden, "a page of another origin")
		}
	}
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "workers connect here, with a WebSocket", http.StatusUpgradeRequired)
		return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "no WebSocket")
	}
	conn, rw, _, err := ws.HTTPUpgrader{Timeout: 10 * time.Second}.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			_ = conn.Close() // it is of no use either way
		}
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	var source io.Reader = conn
	if n := rw.Reader.Buffered(); n > 0 { // sent together with the request
		early, _ := rw.Reader.Peek(n) // as many are there
		source = io.MultiReader(bytes.NewReader(bytes.Clone(early)), conn)
	}
	return newSocket(conn, source), nil
}

// newSocket makes a socket of an upgraded connection, whose bytes come from source.
func newSocket(conn net.Conn, source io.Reader) *socket {
	s := &socket{conn: conn, in: bufio.NewReaderSize(source, readBuffer), state: ws.StateServerSide}
	s.patience.Store(int64(writeDeadline))
	return s
}

// Read reads from binary messages as if they were one stream. It answers pings, and ends with io.EOF when the other end closes. Text, messages over
// maxSocketMessage and whatever breaks the protocol are errors.
func (s *socket) Read(p []byte) (int, error) {
	for s.left == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.in.Read(p[:min(int64(len(p)), s.left)])
	if s.header.Masked {
		ws.Cipher(p[:n], s.header.Mask, int(s.header.Length-s.left))
	}
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// next reads headers up to that of the next frame with bytes of a message.
func (s *socket) next() error {
	h, err := ws.ReadHeader(s.in)
	if err != nil {
		return err
	}
	if err := ws.CheckHeader(h, s.state); err != nil {
		return err
	}
	if h.OpCode.IsControl() {
		return s.control(h)
	}
	if h.OpCode == ws.OpText {
		return errors.New("a text message")
	}
	if h.OpCode != ws.OpContinuation {
		s.size = 0
	}
	if s.size += h.Length; s.size > maxSocketMessage || h.Length < 0 {
		return cloudcrowd.Errorf(cloudcrowd.TooLarge, "a WebSocket message of more than %s", cloudcrowd.Bytes(maxSocketMessage))
	}
	if h.Fin {
		s.state = s.state.Clear(ws.StateFragmented)
	} else {
		s.state = s.state.Set(ws.StateFragmented)
	}
	s.header, s.left = h, h.Length
	return nil
}

// control takes a ping, pong or close. CheckHeader has bounded its length.
func (s *socket) control(h ws.Header) error {
	body := make([]byte, h.Length)
	if _, err := io.ReadFull(s.in, body); err != nil {
		return err
	}
	if h.Masked {
		ws.Cipher(body, h.Mask, 0)
	}
	switch h.OpCode {
	case ws.OpPing:
		return s.write(ws.OpPong, body)
	case ws.OpClose:
		_ = s.write(ws.OpClose, body[:min(len(body), 2)]) // the other end has gone, or reads it
		return io.EOF
	}
	return nil
}

// Write sends p as one binary message.
func (s *socket) Write(p []byte) (int, error) {
	if err := s.write(ws.OpBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *socket) write(code ws.OpCode, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(time.Duration(s.patience.Load()))); err != nil {
		return err
	}
	head := bytes.NewBuffer(s.head[:0])
	if err := ws.WriteHeader(head, ws.Header{Fin: true, OpCode: code, Length: int64(len(p))}); err != nil {
		return err
	}
	if len(p) <= smallWrite {
		_, err := s.conn.Write(append(head.Bytes(), p...))
		return err
	}
	parts := net.Buffers{head.Bytes(), p}
	_, err := parts.WriteTo(s.conn)
	return err
}

// smallWrite is up to where copying is cheaper than a second buffer, and on TLS a second record.
const smallWrite = 16 << 10

// hurry lets writes take no longer than limit, the one that is under way too.
func (s *socket) hurry(limit time.Duration) {
	s.patience.Store(int64(limit))
	_ = s.conn.SetWriteDeadline(time.Now().Add(limit)) // fails where writing fails
}

// closeWith tells the other end why, as far as that is possible at once, and closes.
func (s *socket) closeWith(code ws.StatusCode, reason string) {
	s.hurry(time.Second)
	_ = s.write(ws.OpClose, ws.NewCloseFrameBody(code, reason))
	s.close()
}

// lastWords is how long the other end has to read what it was told before the connection is closed.
const lastWords = 250 * time.Millisecond

// letRead ends writing and takes what still comes, until the other end closes or lastWords have passed. Closed with bytes that nobody has read, a TCP
// connection is reset, and what the other end has not read yet is lost with it: the reason why it was refused.
func (s *socket) letRead() {
	if half, ok := s.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if s.conn.SetReadDeadline(time.Now().Add(lastWords)) == nil {
		_, _ = io.Copy(io.Discard, s.conn) // it is closed either way
	}
}

// close closes at once; safe at any time.
func (s *socket) close() { _ = s.conn.Close() }
