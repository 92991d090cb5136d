package gateway

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"cloudcrowd.dev/cloudcrowd"
)

const (
	// maxSocketMessage bounds one WebSocket message from a worker, in bytes. NATS clients send what they have buffered as one.
	maxSocketMessage = 8 << 20
	// maxGreeting bounds the bus's INFO line, in bytes.
	maxGreeting = 32 << 10
	// tryAgainLater is the close code for an overloaded or stopping server (IANA registry of WebSocket close codes).
	tryAgainLater ws.StatusCode = 1013
	// maxThrottle is how long a worker over its byte rate is slowed down before it is refused.
	maxThrottle = time.Second
)

// buffers are borrowed while bytes flow: with ten thousand connections, what each keeps is what they cost.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Handler upgrades a worker's request and serves the connection; mount it at /worker. It answers before the connection ends. A request with an Origin
// (a browser's) is accepted from the server's own pages alone.
func (g *Gateway) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &session{gateway: g, remote: r.RemoteAddr, ended: make(chan struct{})}
		g.mu.Lock()
		ready, full := g.started && !g.stopped, len(g.sessions) >= g.cfg.MaxConnections
		if ready && !full {
			g.sessions[s] = struct{}{}
			g.wg.Add(1) // finish takes it back
		}
		g.mu.Unlock()
		if !ready || full {
			http.Error(w, "the server takes no more workers now", http.StatusServiceUnavailable)
			return
		}
		if err := g.open(s, w, r); err != nil {
			g.cfg.Log.Debug("worker gateway: connection not opened", "remote", s.remote, "error", err)
			g.mu.Lock()
			delete(g.sessions, s)
			g.mu.Unlock()
			g.wg.Done()
			return
		}
		serve(g.bus, s)
	})
}

// open upgrades the request.
func (g *Gateway) open(s *session, w http.ResponseWriter, r *http.Request) error {
	socket, err := accept(w, r)
	if err != nil {
		return err
	}
	s.bytes = rate.NewLimiter(rate.Limit(g.cfg.BytesPerSecond), 2*g.cfg.BytesPerSecond)
	s.messages = rate.NewLimiter(rate.Limit(g.cfg.MessagesPerSecond), 2*g.cfg.MessagesPerSecond)
	g.mu.Lock()
	s.socket = socket
	stopped := g.stopped
	g.mu.Unlock()
	if stopped {
		socket.closeWith(tryAgainLater, "the server is stopping")
		return errors.New("stopped")
	}
	return nil
}

// Read is the bus reading what the worker sends, no faster than the worker may. Between messages it waits with the small buffer of the socket.
func (s *session) Read(p []byte) (int, error) {
	if s.closed() {
		return 0, net.ErrClosed
	}
	if len(s.unread) == 0 {
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.unread)
	if s.unread = s.unread[n:]; len(s.unread) == 0 {
		buffers.Put(s.buffer)
		s.buffer, s.unread = nil, nil
	}
	return n, nil
}

// fill waits for bytes of the worker and borrows a buffer for them.
func (s *session) fill() error {
	if _, err := s.socket.in.Peek(1); err != nil {
		return err
	}
	buffer := buffers.Get().(*[]byte)
	n := 0
	for {
		k, err := s.socket.Read((*buffer)[n:])
		n += k
		if err == nil && s.socket.left > 0 && n < len(*buffer) {
			continue // the rest of the frame is on its way
		}
		if err == nil {
			err = s.throttle(n)
		}
		if err == nil && s.closed() {
			err = net.ErrClosed
		}
		if err == nil {
			s.buffer, s.unread = buffer, (*buffer)[:n]
			return nil
		}
		buffers.Put(buffer)
		return err
	}
}

// throttle waits until the worker may have sent n more bytes, or fails when that would be long; the worker is told.
func (s *session) throttle(n int) error {
	r := s.bytes.ReserveN(time.Now(), n)
	wait := r.Delay()
	if !r.OK() || wait > maxThrottle {
		err := cloudcrowd.Errorf(cloudcrowd.RateLimited, "more than %s a second", cloudcrowd.Bytes(int64(s.gateway.cfg.BytesPerSecond)))
		s.setRefusal(err)
		return err
	}
	if wait == 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ended:
		return net.ErrClosed
	}
}

// Write is the bus writing to the worker. The first line is its INFO, whose nonce is how Check will know the session; what it says about a refused
// connection is replaced by the reason.
func (s *session) Write(p []byte) (int, error) {
	if s.closed() {
		return 0, net.ErrClosed
	}
	if !s.greeted {
		return len(p), s.greet(p)
	}
	if len(p) > 4 && string(p[:4]) == "-ERR" && s.sayRefusal() {
		return len(p), nil
	}
	return s.socket.Write(p)
}

// greet takes bytes of the bus's INFO line and passes it on when it is whole.
func (s *session) greet(p []byte) error {
	s.greeting = append(s.greeting, p...)
	if len(s.greeting) > maxGreeting {
		return errors.New("the bus's greeting is too long")
	}
	if p[len(p)-1] != '\n' {
		return nil
	}
	line, ok := strings.CutPrefix(string(s.greeting), "INFO ")
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(line), &info); !ok || err != nil || info.Nonce == "" {
		return errors.New("the bus asked for no proof of the device's key")
	}
	g := s.gateway
	g.mu.Lock()
	s.nonce = info.Nonce
	g.waiting[s.nonce] = s
	g.mu.Unlock()
	whole := s.greeting
	s.greeted, s.greeting = true, nil
	_, err := s.socket.Write(whole)
	return err
}

// Close is the bus ending the connection; it does not wait.
func (s *session) Close() error {
	s.close()
	return nil
}

// Deadlines are the socket's own matter, see socket.write; the bus reads without any.

// SetDeadline implements net.Conn.
func (s *session) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (s *session) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (s *session) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr implements net.Conn.
func (s *session) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn. The bus keeps it in several forms and has no use for it.
func (s *session) RemoteAddr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "websocket" }
func (address) String() string  { return "worker" }
