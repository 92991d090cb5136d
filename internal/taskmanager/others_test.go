package taskmanager

import (
	"context"
	"errors"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// twoShards are the Managers of two shards of one store, which share blobs.
func twoShards(t *testing.T, change func(*Config)) (a, b *rig) {
	t.Helper()
	a = newRig(t, func(c *Config) { c.Shards = 2 })
	b = newRig(t, func(c *Config) {
		c.Store, c.Blobs, c.Shard, c.Shards = a.store, a.blobs, 1, 2
		if change != nil {
			change(c)
		}
	})
	b.store, b.blobs = a.store, a.blobs
	return a, b
}

// together sets both clocks to the later one.
func together(a, b *rig) {
	now := a.clock()
	if b.clock().After(now) {
		now = b.clock()
	}
	for _, r := range []*rig{a, b} {
		r.mu.Lock()
		r.now = now
		r.mu.Unlock()
	}
}

// What one shard knows of a worker counts in the others: who is trusted there is believed alone here; who is caught lying there gets nothing here, and what he
// delivered alone is computed again by others.
func TestKnownElsewhere(t *testing.T) {
	t.Parallel()
	failing := false
	a, b := twoShards(t, func(c *Config) {
		c.Records = func(ctx context.Context) ([]store.RecordRow, error) {
			if failing {
				return nil, errors.New("the store does not answer")
			}
			return c.Store.Records(ctx)
		}
	})
	liar := a.join("liar", "eve", 1, nil)
	honest := []cloudcrowd.WorkerID{a.join("h1", "hal", 1, nil), a.join("h2", "hugo", 1, nil)}

	a.submit("ada", "", a.spec("trust", 30, false, cloudcrowd.Verify{Replicas: 3, Quorum: 3}))
	a.work(append(honest, liar)...)
	if r := a.m.State().Record(liar); r.Valid != 30 {
		t.Fatalf("in the first shard: %+v", r)
	}

	// The second shard sees him for the first time, and believes him alone.
	together(a, b)
	b.hello(liar, 1, nil, nil)
	b.pass(11 * time.Second)
	job := b.submit("ada", "", b.spec("alone", 6, false, cloudcrowd.Verify{Confidence: 0.95}))
	for range 2 {
		b.answer(liar, b.received(liar).Leases[0].Attempt, "a lie")
	}
	if j := b.job(job); j.State != cloudcrowd.JobRunning || j.TasksDone != 2 {
		t.Fatalf("a worker whom the other shard trusts is not believed alone: %+v", j.JobSummary)
	}

	// He is caught in the first one.
	together(a, b)
	a.pass(time.Second)
	a.submit("ada", "", a.spec("trap", 2, false, cloudcrowd.Verify{Replicas: 3, Quorum: 2}))
	for range 6 { // the second task is cut when the first one's time is known
		for _, w := range append([]cloudcrowd.WorkerID{liar}, honest...) {
			for _, l := range a.received(w).Leases {
				a.answer(w, l.Attempt, map[bool]string{false: "right", true: "a lie"}[w == liar])
			}
		}
	}
	if r := a.m.State().Record(liar); r.Invalid != 2 {
		t.Fatalf("in the first shard: %+v", r)
	}

	together(a, b)
	failing = true
	b.pass(11 * time.Second)
	if j := b.job(job); j.TasksDone != 2 {
		t.Errorf("without an answer of the store: %+v", j.JobSummary)
	}
	failing = false
	b.pass(11 * time.Second)
	if j := b.job(job); j.TasksDone != 0 {
		t.Errorf("what he delivered alone is still believed: %+v", j.JobSummary)
	}
	if r := b.m.State().Record(liar); r.Invalid != 0 {
		t.Errorf("a fact of another shard was made one of this shard: %+v", r)
	}
	b.received(liar)
	b.todo = map[cloudcrowd.WorkerID][]cloudcrowd.Lease{}
	other := b.submit("ada", "", b.spec("other", 2, false, cloudcrowd.Verify{Confidence: 0.95}))
	b.pass(time.Minute) // his leases end, too
	if list := b.received(liar).Leases; len(list) > 0 {
		t.Errorf("he got %v", attempts(list))
	}
	b.restart()
	b.hello(liar, 1, nil, nil)
	if list := b.received(liar).Leases; len(list) > 0 {
		t.Errorf("after a restart he got %v", attempts(list))
	}
	for i, w := range honest {
		b.hello(w, 2+i, nil, nil)
	}
	b.work(honest...)
	for _, id := range []cloudcrowd.JobID{job, other} {
		if j := b.job(id); j.State != cloudcrowd.JobDone {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	if j := b.job(job); j.Refused != 2 || b.balance("eve").Balance != a.balance("eve").Balance || b.m.State().Record(liar).Earned != 0 {
		t.Errorf("%d results refused, he earned %d there", j.Refused, b.m.State().Record(liar).Earned)
	}
	a.check()
	b.check()
}

// One shard alone asks nobody.
func TestAloneAsksNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Records = func(context.Context) ([]store.RecordRow, error) { panic("asked") }
	})
	r.pass(time.Minute)
}
