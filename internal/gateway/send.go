package gateway

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// Send queues a message to a worker and returns at once. Messages that wait for the same worker are merged: they mean the same as one after the other.
// Within a message, and so within what is merged, leases come before cancels. Errors have code Unavailable: the worker is not connected, or so much
// waits for it that it cannot be keeping up; nothing of d is sent then. A message that was queued is lost when the connection ends first.
func (g *Gateway) Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	g.mu.Lock()
	s := g.workers[w]
	g.mu.Unlock()
	if s == nil {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "worker %s is not connected", w.Short())
	}
	n := len(d.Leases) + len(d.Acks) + len(d.Cancels)
	s.mu.Lock()
	if s.queued+n > g.cfg.MaxQueue && s.queued > 0 {
		s.mu.Unlock()
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "%d entries wait to be sent to worker %s; it is not keeping up", s.queued, w.Short())
	}
	s.queued += n
	p := &s.pending
	if d.Welcome != nil {
		p.Welcome = d.Welcome
	}
	p.Refresh = p.Refresh || d.Refresh
	p.Leases = append(p.Leases, d.Leases...)
	p.Acks = append(p.Acks, d.Acks...)
	p.Cancels = append(p.Cancels, d.Cancels...)
	if d.Refused != "" {
		p.Refused = d.Refused
	}
	first := !s.dirty
	s.dirty = true
	s.mu.Unlock()
	if first {
		g.dirtyMu.Lock()
		g.dirty = append(g.dirty, s)
		g.dirtyMu.Unlock()
		select {
		case g.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// flush sends what waits. While it encodes for one worker, messages to the others gather, so the busier the server, the larger the frames.
func (g *Gateway) flush() {
	defer close(g.flushDone)
	var turn []*session
	for {
		select {
		case <-g.quit:
			return
		case <-g.wake:
		}
		g.dirtyMu.Lock()
		turn, g.dirty = g.dirty, turn[:0]
		g.dirtyMu.Unlock()
		for i, s := range turn {
			g.flushOne(s)
			turn[i] = nil
		}
	}
}

func (g *Gateway) flushOne(s *session) {
	s.mu.Lock()
	d := s.pending
	s.pending, s.queued, s.dirty = cloudcrowd.Down{}, 0, false
	s.mu.Unlock()
	if s.closed() {
		return
	}
	frames, tooLarge, err := wire.SplitDown(&d)
	if err != nil {
		g.cfg.Log.Error("worker gateway: message not sent", "worker", s.worker, "error", err)
		return
	}
	for _, frame := range frames {
		if err := g.client.Publish(wire.DownSubject(s.worker), frame); err != nil {
			g.cfg.Log.Warn("worker gateway: message not sent", "worker", s.worker, "error", err)
			return
		}
	}
	if len(tooLarge) > 0 {
		g.cfg.Crowd.Receive(s.worker, cloudcrowd.Up{Reports: wire.Undeliverable(tooLarge)})
	}
}
