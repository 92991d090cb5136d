package taskmanager

import (
	"context"
	"fmt"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// feed hands committed events to whoever watches. It keeps the latest ones, so that a watcher whose connection dropped resumes without a gap. Events are
// put into words only for those who want them: most are never read by anybody.
type feed struct {
	mu     sync.Mutex
	render func(*fact) cloudcrowd.Event
	ring   []fact // the latest feedKeep ones; the k-th ever published is at k % feedKeep
	next   int    // how many were published
	base   string // id of the event before the first, as the journal has it; "" if nobody knows
	subs   map[*watcher]struct{}
	closed bool
}

// fact is a committed event with what its words need and only the loop may look up.
type fact struct {
	shard   int
	seq     int64 // of its journal row
	n       int   // place in the row
	at      cloudcrowd.Time
	event   lifecycle.Event
	job     cloudcrowd.JobID
	account cloudcrowd.AccountID // owner of the job, or of the credits
	stage   string
	worker  cloudcrowd.WorkerID
}

func (f *fact) id() string { return fmt.Sprintf("%d-%d-%d", f.shard, f.seq, f.n) }

type watcher struct {
	ch      chan cloudcrowd.Event
	missing bool // events that it wants were not put into ch
	account cloudcrowd.AccountID
	job     cloudcrowd.JobID
}

const (
	feedKeep   = 8192
	feedBuffer = 1024
)

// ResetEvent tells a watcher that events were missed and everything shown should be read again.
const ResetEvent = "feed.reset"

func newFeed(render func(*fact) cloudcrowd.Event) *feed {
	return &feed{render: render, subs: map[*watcher]struct{}{}}
}

func (w *watcher) wants(e *fact) bool {
	return (w.account == "" || e.account == "" || e.account == w.account) && (w.job == "" || e.job == w.job)
}

// publish delivers n events in order; fill makes each. A watcher that does not keep up is dropped: it resumes with the last id it saw.
func (f *feed) publish(n int, fill func(i int, e *fact)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring == nil {
		f.ring = make([]fact, feedKeep)
	}
	for i := range n {
		e := &f.ring[f.next%feedKeep]
		fill(i, e)
		f.next++
		for w := range f.subs {
			if !w.wants(e) {
				continue
			}
			select {
			case w.ch <- f.render(e):
			default:
				f.leave(w)
			}
		}
	}
}

// leave ends a watcher before the feed ends. f.mu is held.
func (f *feed) leave(w *watcher) {
	if _, ok := f.subs[w]; ok {
		delete(f.subs, w)
		w.missing = true
		close(w.ch)
	}
}

// now is the id of the latest event. f.mu is held.
func (f *feed) now() string {
	if last := f.kept(f.next - 1); last != nil {
		return last.id()
	}
	return f.base
}

// kept is the k-th event ever published, nil if it is not kept.
func (f *feed) kept(k int) *fact {
	if k < 0 || k >= f.next || k < f.next-feedKeep {
		return nil
	}
	return &f.ring[k%feedKeep]
}

// watch subscribes from after the given id; "" means from now. Where it begins from now, at is the id to go on from later, also if nothing comes. reached is the
// id to go on from for a watcher that has taken everything out of the channel, or, once that was closed, everything there was; "" if it has not, or missed some.
func (f *feed) watch(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) (_ <-chan cloudcrowd.Event, at string, reached func() string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &watcher{account: account, job: job}
	var missed []cloudcrowd.Event
	if after != "" {
		found := false
		k := f.next - 1
		for e := f.kept(k); e != nil && !found; e = f.kept(k) {
			found = e.id() == after
			k--
		}
		if !found && after == f.base && f.next <= feedKeep {
			found, k = true, -2
		}
		for k += 2; found && k < f.next; k++ {
			if e := f.kept(k); w.wants(e) {
				missed = append(missed, f.render(e))
			}
		}
		if !found {
			at = f.now()
			missed = []cloudcrowd.Event{{ID: after, Type: ResetEvent, Text: "events were missed; read everything again"}}
		}
	}
	if after == "" {
		at = f.now()
	}
	reached = func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		if w.missing || len(w.ch) > 0 {
			return ""
		}
		return f.now()
	}
	w.ch = make(chan cloudcrowd.Event, feedBuffer+len(missed))
	for _, e := range missed {
		w.ch <- e
	}
	if f.closed {
		close(w.ch)
		return w.ch, at, reached
	}
	f.subs[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.leave(w)
	})
	return w.ch, at, reached
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for w := range f.subs {
		delete(f.subs, w)
		close(w.ch)
	}
}
