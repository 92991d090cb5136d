package platform

import (
	"context"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

const (
	goodbye       = "the server is stopping; results are kept and taken when it is back"
	farewellLimit = 2 * time.Second       // for telling workers
	stopReserve   = 10 * time.Second      // for the last commit, the readable tables and a snapshot
	lookAgain     = 50 * time.Millisecond // whether attempts are still out
)

// refuseWork makes jobs and workers that come from now on be refused for a reason. What is under way goes on.
func (s *Server) refuseWork(reason string) {
	if s.node != nil {
		s.node.Drain(reason)
	}
	if s.gateway != nil {
		s.gateway.Drain(cloudcrowd.Errorf(cloudcrowd.Unavailable, "%s; it takes no workers", reason))
	}
}

// Drain refuses new work and, when no attempt is out any more or wait has passed, closes Drained: then whoever runs the server is to stop it. Only the
// first call counts; a later one answers what the first one began.
func (s *Server) Drain(ctx context.Context, wait time.Duration) (client.Draining, error) {
	s.drainOnce.Do(func() {
		until := time.Now().Add(wait)
		s.drainUntil.Store(until.Add(s.cfg.Drain + farewellLimit + stopReserve).UnixMicro())
		s.refuseWork("the server is draining")
		s.log.Info("draining", "wait", wait)
		go s.awaitAttempts(until)
	})
	n, err := s.node.Leased(ctx)
	return client.Draining{Leased: n, EndsBy: cloudcrowd.Time(s.drainUntil.Load())}, err
}

// Drained is closed when a Drain has done its waiting.
func (s *Server) Drained() <-chan struct{} { return s.drained }

// awaitAttempts ends when nothing is out, at the given time, or with the server.
func (s *Server) awaitAttempts(until time.Time) {
	defer close(s.drained)
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	for {
		if n, err := s.node.Leased(ctx); err == nil && n == 0 {
			return
		}
		pause := time.NewTimer(lookAgain)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return
		case <-s.stopped:
			pause.Stop()
			return
		}
	}
}
