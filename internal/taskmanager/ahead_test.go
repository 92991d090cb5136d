package taskmanager

import (
	"bytes"
	"context"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
)

// away is a store whose journal can be neither written nor read for a time.
type away struct {
	*memory.Store
	is     atomic.Bool
	missed chan struct{} // told of every commit that failed
}

var errAway = cloudcrowd.Errorf(cloudcrowd.Unavailable, "the database is away")

func (a *away) Commit(ctx context.Context, b store.Batch) error {
	if a.is.Load() {
		select {
		case a.missed <- struct{}{}:
		default:
		}
		return errAway
	}
	return a.Store.Commit(ctx, b)
}

func (a *away) ShardList(ctx context.Context) (map[int]store.Head, error) {
	if a.is.Load() {
		return nil, errAway
	}
	return a.Store.ShardList(ctx)
}

// A task manager that is stopped while its store is away leaves no snapshot of what it had decided and could not commit: whoever has the shard next would go on from
// what never happened, and write a journal that nobody can read.
func TestStoppedWhileAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "grace", 2, nil)
	db := &away{Store: r.store, missed: make(chan struct{}, 1)}
	c := r.cfg
	c.Store = db
	m := New(c)
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Submit(t.Context(), "ada", r.spec("job", 4, false, cloudcrowd.Verify{Replicas: 1, Quorum: 1}), "key"); err != nil {
		t.Fatal(err)
	}
	db.is.Store(true)
	m.Receive(w, cloudcrowd.Up{Hello: &cloudcrowd.Hello{Session: "s", Info: cloudcrowd.WorkerInfo{Name: "w", Cores: 2, Slots: 2, Speed: 1, MemoryBytes: 1 << 30}}})
	<-db.missed // it wanted to lease
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	head, err := r.store.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	next, err := load(t.Context(), r.store, 0, head, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := load(t.Context(), r.store, 0, store.Head{Epoch: head.Epoch, Seq: head.Seq}, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := next.Encode()
	if err != nil {
		t.Fatal(err)
	}
	b, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Error("from the snapshot follows another state than from the journal")
	}
}
