package storetest

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// readRows collects the journal after a seq.
func readRows(t testing.TB, s store.Store, shard int, after int64) (list []store.Row) {
	t.Helper()
	must(t, s.Rows(t.Context(), shard, after, func(r store.Row) error {
		list = append(list, r)
		return nil
	}))
	return list
}

// A commit under an older epoch or with another seq than the next is refused and writes nothing; acquiring again fences the earlier owner.
func fencing(t *testing.T, s store.Store) {
	first := newBook(t, s, 3)
	if first.head.Epoch < 1 || first.head.Seq != 0 || first.head.SnapshotSeq != 0 || len(first.head.Snapshot) != 0 {
		t.Fatalf("head of a new shard: %+v", first.head)
	}
	b := first.batch()
	issue(&b, "anna", 5)
	first.commit(b)
	second := newBook(t, s, 3)
	if second.head.Epoch <= first.head.Epoch || second.head.Seq != 1 {
		t.Fatalf("second head %+v after %+v", second.head, first.head)
	}
	refuse := func(what string, change func(*store.Batch)) {
		t.Helper()
		b := second.batch()
		issue(&b, "anna", 7)
		change(&b)
		for i := range b.Transfers {
			b.Transfers[i].Seq = b.Seq
		}
		if err := s.Commit(t.Context(), b); !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: %v, want ErrFenced", what, err)
		}
	}
	refuse("older epoch", func(b *store.Batch) { b.Epoch = first.head.Epoch })
	refuse("epoch of the future", func(b *store.Batch) { b.Epoch++ })
	refuse("same seq again", func(b *store.Batch) { b.Seq--; b.Transfers = nil })
	refuse("seq skipped", func(b *store.Batch) { b.Seq++; b.Transfers = nil })
	refuse("unknown shard", func(b *store.Batch) { b.Shard = 99; b.Transfers = nil })
	if err := s.SaveSnapshot(t.Context(), 3, first.head.Epoch, 1, []byte("x")); !errors.Is(err, store.ErrFenced) {
		t.Errorf("snapshot under an older epoch: %v, want ErrFenced", err)
	}
	second.wantAccount("anna", 5, 0)
	if n := len(readRows(t, s, 3, 0)); n != 1 {
		t.Errorf("%d journal rows, want 1", n)
	}
	second.commit(second.batch())
}

// Rows gives back what was committed, in order, from any row on, and stops with fn's error.
func rows(t *testing.T, s store.Store) {
	b, other := newBook(t, s, 0), newBook(t, s, 1)
	var want []store.Row
	for i := range 300 {
		batch := b.batch()
		batch.Events = bytes.Repeat([]byte{byte(i), 0, 0xff}, i*i%997)
		batch.Count = i
		want = append(want, store.Row{Seq: batch.Seq, Epoch: batch.Epoch, At: batch.At, Count: batch.Count, Events: batch.Events})
		b.commit(batch)
		if i%3 == 0 {
			other.commit(other.batch())
		}
	}
	for _, after := range []int64{0, 1, 150, 299, 300, 1000} {
		list := readRows(t, s, 0, after)
		expected := want[min(after, 300):]
		if len(list) != len(expected) {
			t.Fatalf("%d rows after %d, want %d", len(list), after, len(expected))
		}
		for i, r := range list {
			w := expected[i]
			if r.Seq != w.Seq || r.Epoch != w.Epoch || r.At != w.At || r.Count != w.Count || !bytes.Equal(r.Events, w.Events) {
				t.Fatalf("row %+v, want %+v", r, w)
			}
		}
	}
	if list := readRows(t, s, 7, 0); len(list) != 0 {
		t.Errorf("an unknown shard has rows: %v", list)
	}
	enough, seen := errors.New("enough"), 0
	err := s.Rows(t.Context(), 0, 0, func(store.Row) error {
		if seen++; seen == 5 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || seen != 5 {
		t.Errorf("fn's error: %v after %d rows, want it after 5", err, seen)
	}
	// Calls from within fn do not wait for the walk.
	must(t, s.Rows(t.Context(), 1, 0, func(r store.Row) error {
		_, err := s.Account(t.Context(), "fee")
		return err
	}))
}

// The newest snapshot comes back with Acquire; older ones do not replace it; journal rows stay.
func snapshots(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	for range 5 {
		b.commit(b.batch())
	}
	save := func(seq int64, state string) error {
		return s.SaveSnapshot(t.Context(), 0, b.head.Epoch, seq, []byte(state))
	}
	must(t, save(2, "two"))
	must(t, save(4, "four"))
	must(t, save(4, "four again"))
	for _, seq := range []int64{3, 6} {
		if err := save(seq, "wrong"); !errors.Is(err, store.ErrFenced) {
			t.Errorf("snapshot at %d after one at 4 with head 5: %v, want ErrFenced", seq, err)
		}
	}
	h := got(s.Acquire(t.Context(), 0))(t)
	if h.SnapshotSeq != 4 || string(h.Snapshot) != "four again" || h.Seq != 5 {
		t.Errorf("head %+v, want the snapshot of row 4", h)
	}
	if n := len(readRows(t, s, 0, 0)); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
	big := bytes.Repeat([]byte("snapshot"), 1<<18)
	must(t, s.SaveSnapshot(t.Context(), 0, h.Epoch, 5, big))
	if h := got(s.Acquire(t.Context(), 0))(t); !bytes.Equal(h.Snapshot, big) {
		t.Errorf("a snapshot of %d bytes came back with %d", len(big), len(h.Snapshot))
	}
}

// ShardList lists what was acquired.
func shards(t *testing.T, s store.Store) {
	if list := got(s.ShardList(t.Context()))(t); len(list) != 0 {
		t.Fatalf("shards of an empty store: %v", list)
	}
	a, b := newBook(t, s, 0), newBook(t, s, 511)
	a.commit(a.batch())
	a.commit(a.batch())
	must(t, s.SaveSnapshot(t.Context(), 0, a.head.Epoch, 1, []byte("x")))
	want := map[int]store.Head{0: {Epoch: a.head.Epoch, Seq: 2, SnapshotSeq: 1}, 511: {Epoch: b.head.Epoch}}
	if list := got(s.ShardList(t.Context()))(t); !reflect.DeepEqual(list, want) {
		t.Errorf("shards %+v, want %+v", list, want)
	}
	if _, err := s.Acquire(t.Context(), -1); err == nil {
		t.Error("a negative shard was acquired")
	}
}

// A call with an ended context does nothing and says so.
func cancelled(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Commit(ctx, b.batch()); !errors.Is(err, context.Canceled) {
		t.Errorf("commit: %v, want context.Canceled", err)
	}
	if _, err := s.Accounts(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("accounts: %v, want context.Canceled", err)
	}
	b.commit(b.batch())
}

// A closed store answers Unavailable and closes again without complaint.
func closed(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	must(t, s.Close())
	must(t, s.Close())
	wantCode(t, s.Commit(t.Context(), b.batch()), "unavailable")
	_, err := s.Accounts(t.Context())
	wantCode(t, err, "unavailable")
	_, err = s.Acquire(t.Context(), 0)
	wantCode(t, err, "unavailable")
}
