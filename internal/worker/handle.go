package worker

import (
	"context"
	"fmt"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// mostHeld is how many leases a worker takes at most, beyond eight for each slot, whatever it has asked for: it bounds memory. A server never gives as many.
const mostHeld = 2 * mostAhead

// greetPause is the least time between two Hellos on one connection.
const greetPause = time.Second

// handle does what the server says. It is called for one message after the other.
func (a *Agent) handle(ctx context.Context, d *cloudcrowd.Down) {
	a.mu.Lock()
	if d.Welcome != nil {
		if a.welcomed { // of a server that has taken over work: what the one before has not acknowledged is said again at once
			a.repeat(0)
		}
		a.welcome, a.welcomed, a.beat = *d.Welcome, true, true
	}
	if d.Refresh {
		a.greetAgain()
	}
	for i := range d.Leases {
		a.accept(ctx, d.Leases[i])
	}
	for _, id := range d.Acks {
		if a.done[id] != nil {
			a.forget(id)
		}
	}
	for _, id := range d.Cancels {
		a.cancelAttempt(id)
	}
	fetch, run := len(a.fetching) > 0, len(a.ready) > 0
	a.mu.Unlock()
	if fetch {
		a.errands.Broadcast()
	}
	if run {
		a.work.Signal() // slots pass it on
	}
	poke(a.wake)
}

// greetAgain says Hello, but not more often than greetPause allows. a.mu is held.
func (a *Agent) greetAgain() {
	if wait := greetPause - time.Since(a.greeted); wait > 0 {
		if !a.greetSoon {
			a.greetSoon = true
			time.AfterFunc(wait, func() {
				a.mu.Lock()
				a.greetSoon, a.greet = false, true
				a.mu.Unlock()
				poke(a.wake)
			})
		}
		return
	}
	a.greet = true
}

// accept queues a lease. a.mu is held.
func (a *Agent) accept(ctx context.Context, l cloudcrowd.Lease) {
	id := l.Attempt
	if a.held[id] != nil || a.done[id] != nil {
		return
	}
	if a.draining || a.ended || a.unable != "" || len(a.held) >= mostHeld+8*a.cfg.Slots {
		a.returned = append(a.returned, id)
		a.beat = true
		return
	}
	if need := l.Payload.Resources.MemoryBytes; need > a.cfg.MemoryBytes {
		f := &finished{spooled: spooled{Report: cloudcrowd.Report{Attempt: id, Result: cloudcrowd.Result{
			Outcome: cloudcrowd.Broken,
			Reason:  fmt.Sprintf("it may take %s of memory; this worker offers %s", cloudcrowd.Bytes(need), cloudcrowd.Bytes(a.cfg.MemoryBytes)),
		}}}}
		a.done[id] = f
		a.toSpool = append(a.toSpool, f)
		poke(a.spoolWake)
		return
	}
	at := &attempt{lease: l, pieces: make(map[span]piece, 1)}
	at.ctx, at.cancel = context.WithCancel(ctx)
	a.held[id] = at
	if a.atHand(&l.Payload) && a.prepare(at.ctx, at) == nil {
		a.ready = append(a.ready, at)
		return
	}
	a.fetching = append(a.fetching, at)
}

// atHand reports whether everything the attempt needs is in the cache, so that preparing it takes no time.
func (a *Agent) atHand(p *cloudcrowd.Payload) bool {
	if !a.cache.has(p.Module) {
		return false
	}
	for i := range p.Files {
		for j := range p.Files[i].Segments {
			if s := &p.Files[i].Segments[j]; s.Blob != "" && !a.cache.has(s.Blob) {
				return false
			}
		}
	}
	return true
}

// cancelAttempt stops an attempt; nothing is reported of it. A result that is on its way is still sent once: it may be of use after all. a.mu is held.
func (a *Agent) cancelAttempt(id cloudcrowd.AttemptID) {
	if at := a.held[id]; at != nil {
		a.give(at)
		return
	}
	if f := a.done[id]; f != nil {
		if !f.sent.IsZero() {
			a.forget(id)
		} else {
			f.cancelled = true
		}
	}
}

// give takes an attempt from the worker, wherever it stands; if it runs, it is stopped. a.mu is held.
func (a *Agent) give(at *attempt) {
	at.cancelled = true
	at.cancel()
	if !at.started.IsZero() {
		return // its slot does the rest
	}
	delete(a.held, at.lease.Attempt)
	for i, r := range a.ready {
		if r == at {
			a.ready = append(a.ready[:i], a.ready[i+1:]...)
			at.letGo()
			return
		}
	}
	for i, r := range a.fetching {
		if r == at {
			a.fetching = append(a.fetching[:i], a.fetching[i+1:]...)
			at.letGo()
			return
		}
	}
	// A fetcher has it and lets go of it.
}

// Times of draining, beyond Config.Grace.
const (
	stopTime    = 10 * time.Second // for stopping what did not finish
	deliverTime = 5 * time.Second  // for the last acknowledgements
	drainLook   = 10 * time.Millisecond
)

// drainer waits for Drain and sees it through.
func (a *Agent) drainer(ctx context.Context, drained chan<- struct{}) {
	select {
	case <-a.drain:
	case <-ctx.Done():
		return
	}
	a.mu.Lock()
	a.draining, a.beat = true, true
	for id, at := range a.held {
		if at.started.IsZero() {
			a.give(at)
			a.returned = append(a.returned, id)
		}
	}
	a.mu.Unlock()
	poke(a.wake)
	idle := func() bool { return a.running == 0 }
	if !a.await(ctx, a.cfg.Grace, idle) {
		a.mu.Lock()
		a.stopping = true
		for _, at := range a.held {
			at.cancel()
		}
		a.mu.Unlock()
		a.await(ctx, stopTime, idle)
	}
	poke(a.wake)
	a.await(ctx, deliverTime, func() bool {
		return !a.connected || len(a.done) == 0 && len(a.returned) == 0 && (a.left || !a.welcomed)
	})
	close(drained)
}

// await waits until done, which is called with a.mu held.
func (a *Agent) await(ctx context.Context, longest time.Duration, done func() bool) bool {
	deadline := time.Now().Add(longest)
	for {
		a.mu.Lock()
		ok := done()
		a.mu.Unlock()
		if ok {
			return true
		}
		if time.Now().After(deadline) || !pause(ctx, drainLook) {
			return false
		}
	}
}
