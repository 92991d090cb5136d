package gateway

import (
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"cloudcrowd.dev/cloudcrowd"
)

// session is one WebSocket.
type session struct {
	socket   *socket
	pipe     net.Conn // the bus's end of it
	remote   string
	bytes    *rate.Limiter
	messages *rate.Limiter
	ended    chan struct{}
	endOnce  sync.Once

	nonce  string              // what the bus asked the device to sign; guarded by Gateway.mu
	worker cloudcrowd.WorkerID // set once, by attach; guarded by Gateway.mu
	pumps  int                 // still running; guarded by Gateway.mu

	mu      sync.Mutex
	refusal string          // what the device is told when the connection is closed
	refused bool            // it was told
	pending cloudcrowd.Down // to be sent
	queued  int             // leases, acknowledgements and cancels in pending
	dirty   bool            // in Gateway.dirty
}

func (s *session) closed() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// close ends the connection at once. Both pumps return soon.
func (s *session) close() {
	s.endOnce.Do(func() {
		close(s.ended)
		_ = s.pipe.Close()  // nothing to be done about a pipe that is closed
		if s.sayRefusal() { // the bus may have ended the pipe without a word
			s.socket.letRead()
		}
		s.socket.close()
	})
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
	g.mu.Lock()
	if g.stopped || s.closed() {
		g.mu.Unlock()
		return
	}
	g.wg.Add(1)
	g.mu.Unlock()
	go func() {
		defer g.wg.Done()
		s.sayRefusal()
		s.close()
	}()
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
	_ = s.socket.conn.SetWriteDeadline(time.Now().Add(time.Second)) // the connection ends either way
	_, _ = s.socket.Write([]byte(line))
	return true
}
