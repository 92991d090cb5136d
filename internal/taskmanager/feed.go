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
	ring   []fact // oldest first
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

// publish delivers events in order. A watcher that does not keep up is dropped: it resumes with the last id it saw.
func (f *feed) publish(events []fact) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring = append(f.ring, events...)
	if len(f.ring) > 2*feedKeep { // now and then, so that a batch costs what it holds
		f.ring = append(make([]fact, 0, 2*feedKeep+maxBatch), f.ring[len(f.ring)-feedKeep:]...)
	}
	for w := range f.subs {
		for i := range events {
			if !w.wants(&events[i]) {
				continue
			}
			select {
			case w.ch <- f.render(&events[i]):
				continue
			default:
			}
			delete(f.subs, w)
			close(w.ch)
			break
		}
	}
}

// watch subscribes from after the given id; "" means from now.
func (f *feed) watch(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) <-chan cloudcrowd.Event {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &watcher{account: account, job: job}
	var missed []cloudcrowd.Event
	if after != "" {
		found := false
		for i := len(f.ring) - 1; i >= 0 && !found; i-- {
			if f.ring[i].id() == after {
				found = true
				for k := range f.ring[i+1:] {
					if e := &f.ring[i+1+k]; w.wants(e) {
						missed = append(missed, f.render(e))
					}
				}
			}
		}
		if !found {
			missed = []cloudcrowd.Event{{ID: after, Type: ResetEvent, Text: "events were missed; read everything again"}}
		}
	}
	w.ch = make(chan cloudcrowd.Event, feedBuffer+len(missed))
	for _, e := range missed {
		w.ch <- e
	}
	if f.closed {
		close(w.ch)
		return w.ch
	}
	f.subs[w] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, ok := f.subs[w]; ok {
			delete(f.subs, w)
			close(w.ch)
		}
	})
	return w.ch
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
