package taskmanager

import (
	"context"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
)

// feed hands committed events to whoever watches. It keeps the latest ones, so that a watcher whose connection dropped resumes without a gap.
type feed struct {
	mu     sync.Mutex
	ring   []cloudcrowd.Event // oldest first
	subs   map[*watcher]struct{}
	closed bool
}

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

func newFeed() *feed { return &feed{subs: map[*watcher]struct{}{}} }

func (w *watcher) wants(e *cloudcrowd.Event) bool {
	return (w.account == "" || e.Account == "" || e.Account == w.account) && (w.job == "" || e.Job == w.job)
}

// publish delivers events in order. A watcher that does not keep up is dropped: it resumes with the last id it saw.
func (f *feed) publish(events []cloudcrowd.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring = append(f.ring, events...)
	if len(f.ring) > 2*feedKeep { // now and then, so that a batch costs what it holds
		f.ring = append(make([]cloudcrowd.Event, 0, 2*feedKeep+maxBatch), f.ring[len(f.ring)-feedKeep:]...)
	}
	for w := range f.subs {
		for i := range events {
			if !w.wants(&events[i]) {
				continue
			}
			select {
			case w.ch <- events[i]:
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
			if f.ring[i].ID == after {
				found = true
				for _, e := range f.ring[i+1:] {
					if w.wants(&e) {
						missed = append(missed, e)
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
