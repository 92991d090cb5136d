package gateway

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/time/rate"

	"cloudcrowd.dev/cloudcrowd"
)

const (
	// idleBuffer is what a quiet connection keeps for the next bytes to the worker. Larger buffers are borrowed while bytes flow: with ten thousand
	// connections, what each keeps is what they cost.
	idleBuffer = 256
	// maxSocketMessage bounds one WebSocket message from a worker, in bytes. NATS clients send what they have buffered as one.
	maxSocketMessage = 8 << 20
	// tryAgainLater is the close code for an overloaded or stopping server (IANA registry of WebSocket close codes).
	tryAgainLater ws.StatusCode = 1013
	// maxThrottle is how long a worker over its byte rate is slowed down before it is refused.
	maxThrottle = time.Second
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// Handler upgrades a worker's request and serves the connection; mount it at /worker. It answers before the connection ends. A request with an Origin
// (a browser's) is accepted from the server's own pages alone.
func (g *Gateway) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &session{remote: r.RemoteAddr, ended: make(chan struct{}), pumps: 2}
		g.mu.Lock()
		ready, full := g.started && !g.stopped, len(g.sessions) >= g.cfg.MaxConnections
		if ready && !full {
			g.sessions[s] = struct{}{}
			g.wg.Add(2)
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
			g.wg.Add(-2)
			return
		}
		for _, pump := range []func(*session){g.up, g.down} {
			go func() {
				defer g.wg.Done()
				defer g.pumped(s)
				pump(s)
			}()
		}
	})
}

// open upgrades the request and connects a pipe to the bus.
func (g *Gateway) open(s *session, w http.ResponseWriter, r *http.Request) error {
	socket, err := accept(w, r)
	if err != nil {
		return err
	}
	pipe, err := g.bus.InProcessConn()
	if err != nil {
		socket.closeWith(tryAgainLater, "the server is stopping")
		return err
	}
	s.bytes = rate.NewLimiter(rate.Limit(g.cfg.BytesPerSecond), 2*g.cfg.BytesPerSecond)
	s.messages = rate.NewLimiter(rate.Limit(g.cfg.MessagesPerSecond), 2*g.cfg.MessagesPerSecond)
	g.mu.Lock()
	s.socket, s.pipe = socket, pipe
	stopped := g.stopped
	g.mu.Unlock()
	if stopped {
		s.close()
		return errors.New("stopped")
	}
	return nil
}

// pumped ends the connection when a pump has ended, and takes it off the books with the second.
func (g *Gateway) pumped(s *session) {
	s.close()
	g.mu.Lock()
	s.pumps--
	gone := false
	if s.pumps == 0 {
		delete(g.sessions, s)
		delete(g.waiting, s.nonce)
		if s.worker != "" && g.workers[s.worker] == s {
			delete(g.workers, s.worker)
			gone = !g.stopped
		}
	}
	g.mu.Unlock()
	if gone {
		g.cfg.Crowd.Gone(s.worker)
	}
}

// up copies from the WebSocket to the bus, no faster than the worker may. Between messages it waits with the small buffer of the socket.
func (g *Gateway) up(s *session) {
	for {
		if _, err := s.socket.in.Peek(1); err != nil {
			return
		}
		buffer := buffers.Get().(*[]byte)
		err := g.copyUp(s, *buffer)
		buffers.Put(buffer)
		if err != nil {
			return
		}
	}
}

// copyUp copies as long as there is more at once.
func (g *Gateway) copyUp(s *session, buffer []byte) error {
	for {
		n, err := s.socket.Read(buffer)
		if n > 0 {
			if err := g.throttle(s, n); err != nil {
				s.setRefusal(err)
				s.sayRefusal()
				return err
			}
			if _, err := s.pipe.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
		if s.socket.left == 0 && s.socket.in.Buffered() == 0 {
			return nil
		}
	}
}

// throttle waits until the worker may have sent n more bytes, or fails when that would be long.
func (g *Gateway) throttle(s *session, n int) error {
	r := s.bytes.ReserveN(time.Now(), n)
	wait := r.Delay()
	if !r.OK() || wait > maxThrottle {
		return cloudcrowd.Errorf(cloudcrowd.RateLimited, "more than %s a second", cloudcrowd.Bytes(int64(g.cfg.BytesPerSecond)))
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
		return errors.New("ended")
	}
}

// down copies from the bus to the WebSocket.
func (g *Gateway) down(s *session) {
	if err := g.greet(s); err != nil {
		return
	}
	small := make([]byte, idleBuffer)
	for {
		n, err := s.pipe.Read(small)
		if n > 0 && !s.forward(small[:n]) || err != nil {
			return
		}
		if n == len(small) && !s.forwardRest() {
			return
		}
	}
}

// forwardRest copies with a large buffer for as long as the bus fills it.
func (s *session) forwardRest() bool {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		n, err := s.pipe.Read(*buffer)
		if n > 0 && !s.forward((*buffer)[:n]) || err != nil {
			return false
		}
		if n < len(*buffer) {
			return true
		}
	}
}

// forward writes to the WebSocket; what the bus says about a refused connection is replaced by the reason.
func (s *session) forward(b []byte) bool {
	if len(b) > 4 && string(b[:4]) == "-ERR" {
		s.mu.Lock()
		refused := s.refusal != ""
		s.mu.Unlock()
		if refused {
			s.sayRefusal()
			return false
		}
	}
	_, err := s.socket.Write(b)
	return err == nil
}

// greet reads the bus's INFO line, notes the nonce by which Check will know the session, and passes the line on.
func (g *Gateway) greet(s *session) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	b, n := *buffer, 0
	for n == 0 || b[n-1] != '\n' {
		if n == len(b) {
			return io.ErrShortBuffer
		}
		k, err := s.pipe.Read(b[n:])
		if err != nil {
			return err
		}
		n += k
	}
	line, ok := strings.CutPrefix(string(b[:n]), "INFO ")
	var info struct {
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal([]byte(line), &info); !ok || err != nil || info.Nonce == "" {
		return errors.New("the bus asked for no proof of the device's key")
	}
	g.mu.Lock()
	s.nonce = info.Nonce
	g.waiting[s.nonce] = s
	g.mu.Unlock()
	_, err := s.socket.Write(b[:n])
	return err
}
