package sim

import (
	"context"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// planted are defects that the tests of the simulator put into the platform, to show that it finds them. Nothing but those tests sets one.
type planted struct {
	unfenced   bool // the store takes commits of a server that has lost its shard
	payFirst   bool // transfers are booked before it is known whether the commit succeeds
	forgetVoid bool // the rest of a hold is not given back when its job ends
	recount    bool // a result that comes in again counts again
	ackFirst   bool // a commit is acknowledged before it is on the disk
	misroute   bool // a request with a key is taken to any shard
}

// commit writes a batch, with the planted defects of the store's caller.
func (p planted) commit(h *handle, ctx context.Context, b store.Batch) error {
	if p.forgetVoid {
		b.End = nil
	}
	if p.ackFirst {
		h.s.w.after(20*time.Millisecond, func() {
			if h.s.alive {
				_ = h.Store.Commit(ctx, b) // nobody waits for the answer
			}
		})
		return nil
	}
	return h.Store.Commit(ctx, b)
}

// receive is called with every report that reaches a server.
func (p planted) receive(s *server, from cloudcrowd.WorkerID, reports []cloudcrowd.Report) {
	if !p.recount {
		return
	}
	for _, r := range reports {
		if r.Result.Outcome != cloudcrowd.Succeeded {
			continue
		}
		s.manager.Inject(func(d *lifecycle.Decider) error {
			j, _, t, a := d.State.Find(r.Attempt)
			if a == nil || j.State.Ended() || a.Worker != from || a.State != cloudcrowd.AttemptAccepted {
				return nil
			}
			a.State, t.State, t.Canonical = cloudcrowd.AttemptLeased, cloudcrowd.TaskRunning, 0 // as if nobody had looked whether it was settled
			d.Report(from, r.Attempt, r.Result)
			return nil
		}, func(error) {})
	}
}
