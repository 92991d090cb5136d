package gateway

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"cloudcrowd.dev/cloudcrowd"
)

// session is one WebSocket. To the bus it is a net.Conn: the bus reads from it what the worker sends, in one goroutine, and writes to it, in one at a time.
type session struct {
	gateway  *Gateway
	socket   *socket
	remote   string
	bytes    *rate.Limiter
	messages *rate.Limiter
	closing  atomic.Bool   // nothing more is read or written
	ended    chan struct{} // closed when finish is through

	nonce  string              // what the bus asked the device to sign; guarded by Gateway.mu
	worker cloudcrowd.WorkerID // set once, by attach; guarded by Gateway.mu

	buffer *[]byte // borrowed while unread is not empty; of reading
	unread []byte

	greeting []byte // of the bus, as long as it is not whole; of writing
	greeted  bool

	mu      sync.Mutex
	refusal string          // what the device is told when the connection is closed
	refused bool            // it was told
	pending cloudcrowd.Down // to be sent
	queued  int             // leases, acknowledgements and cancels in pending
	dirty   bool            // in Gateway.dirty
}

func (s *session) closed() bool { return s.closing.Load() }

// close ends the connection without blocking the caller: nothing more is read or written, and finish does the rest.
func (s *session) close() {
	if s.closing.CompareAndSwap(false, true) {
		go s.gateway.finish(s)
	}
}

// finish tells the device why its connection ends, if there is a reason, closes the socket, which ends the bus's reading, and takes the session off the
// books.
func (g *Gateway) finish(s *session) {
	defer g.wg.Done()
	defer close(s.ended)
	if s.sayRefusal() {
		s.socket.letRead()
	}
	s.socket.close()
	g.mu.Lock()
	delete(g.sessions, s)
	delete(g.waiting, s.nonce)
	gone := false
	if s.worker != "" && g.workers[s.worker] == s {
		delete(g.workers, s.worker)
		gone = !g.stopped
	}
	g.mu.Unlock()
	if gone {
		g.cfg.Crowd.Gone(s.worker)
	}
}

func (s *session) setRefusal(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal == "" {
		s.refusal = refusalLine(err)
	}
}

// refusalLine is the NATS protocol's way to say why: the device reads code and message from it.
func refusalLine(err error) string {
	code, text := cloudcrowd.CodeOf(err), "the server cannot admit workers now"
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		text = e.Msg
		if e.Field != "" {
			text = e.Field + ": " + text
		}
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == '\'' {
			return ' '
		}
		return r
	}, text)
	return "-ERR 'cloudcrowd " + string(code) + ": " + text + "'\r\n"
}

// refuse tells the device why and closes the connection, without blocking the caller.
func (g *Gateway) refuse(s *session, err error) {
	s.setRefusal(err)
	s.close()
}

// sayRefusal writes the refusal, if there is one, once and within a second. It reports whether there is one.
func (s *session) sayRefusal() bool {
	s.mu.Lock()
	line, said := s.refusal, s.refused
	s.refused = line != ""
	s.mu.Unlock()
	if line == "" || said {
		return said
	}
	s.socket.hurry(time.Second)
	_, _ = s.socket.Write([]byte(line))
	return true
}
