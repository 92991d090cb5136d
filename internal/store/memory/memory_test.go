package memory

import (
	"errors"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) store.Store { return New(Options{}) })
}

// Hooks decide before and after: a failed commit leaves nothing, a lost answer leaves the commit.
func TestFaults(t *testing.T) {
	t.Parallel()
	fail, lost, other := errors.New("fail"), errors.New("lost"), errors.New("other")
	s := New(Options{
		FailCommit: func(b store.Batch) error {
			if b.Count == 1 {
				return fail
			}
			return nil
		},
		LoseAnswer: func(b store.Batch) error {
			if b.Count == 2 {
				return lost
			}
			return nil
		},
		Fail: func(method string) error {
			if method == "PutSetting" {
				return other
			}
			return nil
		},
	})
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Batch{Epoch: h.Epoch, Seq: 1, Count: 1}); !errors.Is(err, fail) {
		t.Errorf("commit: %v, want the hook's error", err)
	}
	if err := s.Commit(t.Context(), store.Batch{Epoch: h.Epoch, Seq: 1, Count: 2}); !errors.Is(err, lost) {
		t.Errorf("commit: %v, want the hook's error", err)
	}
	if h, _ := s.Acquire(t.Context(), 0); h.Seq != 1 {
		t.Errorf("head %d, want 1: the second commit was written", h.Seq)
	}
	if err := s.PutSetting(t.Context(), "a", "b"); !errors.Is(err, other) {
		t.Errorf("setting: %v, want the hook's error", err)
	}
}

// A bit that flips in a snapshot or a journal row is found when it is read: the shard is not given out, and keeps its epoch.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), store.Batch{Epoch: h.Epoch, Seq: 1, Count: 1, Events: []byte("events")}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveSnapshot(t.Context(), 0, h.Epoch, 1, []byte("state")); err != nil {
		t.Fatal(err)
	}
	var corrupt *store.CorruptError
	s.FlipSnapshot(0)
	if _, err := s.Acquire(t.Context(), 0); !errors.As(err, &corrupt) || corrupt.What != "snapshot 0/1" {
		t.Errorf("acquire with a damaged snapshot: %v", err)
	}
	s.FlipSnapshot(0)
	if again, err := s.Acquire(t.Context(), 0); err != nil || again.Epoch != h.Epoch+1 {
		t.Errorf("epoch %d after a mended snapshot, want %d: %v", again.Epoch, h.Epoch+1, err)
	}
	s.FlipRow(0, 1)
	read := func() error { return s.Rows(t.Context(), 0, 0, func(store.Row) error { return nil }) }
	if err := read(); !errors.As(err, &corrupt) || corrupt.What != "journal row 0/1" {
		t.Errorf("reading a damaged row: %v", err)
	}
	s.FlipRow(0, 1)
	if err := read(); err != nil {
		t.Error(err)
	}
}
