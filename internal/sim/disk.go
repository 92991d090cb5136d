package sim

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
)

// disk is the state of what the servers' stores share.
type disk struct {
	epoch    int64     // the newest given out
	slow     time.Time // until then
	full     time.Time // likewise
	flipped  bool      // a bit of snapshot or journal
	snapshot bool      // the snapshot's
	row      int64     // else this row's
}

func (w *world) slowDisk() {
	w.count(DiskSlow)
	w.disk.slow = w.now.Add(w.about(15 * time.Second))
	w.tracef("the disk is slow until %s", w.disk.slow.Sub(epoch))
}

func (w *world) fillDisk() {
	w.count(DiskFull)
	w.disk.full = w.now.Add(w.about(10 * time.Second))
	w.tracef("the disk is full until %s", w.disk.full.Sub(epoch))
}

func (w *world) latency() time.Duration {
	d := w.upTo(w.p.Latency)
	if w.now.Before(w.disk.slow) {
		d *= time.Duration(1 + w.rand.IntN(100))
	}
	return d
}

// writable fails as a disk fails: because it is full, or for no reason.
func (w *world) writable() error {
	switch {
	case w.now.Before(w.disk.full):
		w.count(WriteFailed)
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the disk is full")
	case w.faulty(w.p.FailCommits):
		w.count(WriteFailed)
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the write failed")
	}
	return nil
}

// damage flips a bit of what a server that starts has to read. It must refuse to serve; then the bit is mended, as from a backup.
func (w *world) damage() {
	if w.disk.flipped || !w.faulty(w.p.Damage) {
		return
	}
	heads, _ := w.store.ShardList(context.Background()) // memory: cannot fail
	head := heads[0]
	switch {
	case head.Seq > head.SnapshotSeq && w.chance(0.5):
		w.disk.snapshot, w.disk.row = false, head.SnapshotSeq+1+w.rand.Int64N(head.Seq-head.SnapshotSeq)
	case head.SnapshotSeq > 0:
		w.disk.snapshot = true
	default:
		return
	}
	w.disk.flipped = true
	w.flip()
	w.count(Flipped)
	w.tracef("a bit has flipped (snapshot %v, row %d)", w.disk.snapshot, w.disk.row)
}

func (w *world) flip() {
	if w.disk.snapshot {
		w.store.FlipSnapshot(0)
	} else {
		w.store.FlipRow(0, w.disk.row)
	}
}

func (w *world) repair() {
	if w.disk.flipped {
		w.disk.flipped = false
		w.flip()
	}
}

// handle is one server's way to the store: slow, unreliable, and a place to die.
type handle struct {
	*memory.Store
	s *server
}

// Acquire implements store.Shards.
func (h *handle) Acquire(ctx context.Context, shard int) (store.Head, error) {
	h.s.sleep(h.s.w.latency())
	h.s.point("before it takes the shard")
	if err := h.s.w.writable(); err != nil {
		return store.Head{}, err
	}
	head, err := h.Store.Acquire(ctx, shard)
	if err != nil {
		return head, err
	}
	if head.Epoch <= h.s.w.disk.epoch {
		h.s.w.fail(fmt.Errorf("epoch %d was given out again", head.Epoch))
	}
	h.s.epoch, h.s.w.disk.epoch = head.Epoch, head.Epoch
	h.s.w.tracef("server %d has epoch %d at row %d", h.s.n, head.Epoch, head.Seq)
	h.s.sleep(h.s.w.latency())
	h.s.point("after it took the shard")
	return head, nil
}

// ShardList implements store.Shards.
func (h *handle) ShardList(ctx context.Context) (map[int]store.Head, error) {
	h.s.sleep(time.Millisecond + h.s.w.latency()/4)
	return h.Store.ShardList(ctx)
}

// Commit implements store.Shards.
func (h *handle) Commit(ctx context.Context, b store.Batch) error {
	s, w := h.s, h.s.w
	s.point("between decision and commit")
	s.sleep(w.latency())
	s.point("while its commit waits")
	err := w.o.planted.commit(h, ctx, b)
	switch {
	case errors.Is(err, store.ErrFenced):
		w.count(Fenced)
		w.tracef("server %d is fenced: epoch %d, row %d", s.n, b.Epoch, b.Seq)
	case err == nil:
		w.report.Commits++
		fmt.Fprintf(w.commits, "%d %d %d %d\n", b.Seq, b.Epoch, b.At, b.Count)
		w.commits.Write(b.Events)
		w.tracef("server %d commits row %d: %d events", s.n, b.Seq, b.Count)
		if b.Epoch != w.disk.epoch {
			w.fail(fmt.Errorf("row %d was written under epoch %d, the shard's is %d", b.Seq, b.Epoch, w.disk.epoch))
		}
	default:
		w.tracef("server %d could not commit row %d: %v", s.n, b.Seq, err)
	}
	if w.broken == nil {
		if bad := w.book.check(); bad != nil {
			w.fail(bad)
		}
	}
	s.sleep(w.latency() / 2)
	s.point("between commit and answer")
	if err == nil && w.faulty(w.p.LoseAnswers) {
		w.count(AnswerLost)
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the answer was lost")
	}
	return err
}

// SaveSnapshot implements store.Shards.
func (h *handle) SaveSnapshot(ctx context.Context, shard int, epoch, seq int64, state []byte) error {
	h.s.point("before its snapshot is written")
	if err := h.s.w.writable(); err != nil {
		return err
	}
	err := h.Store.SaveSnapshot(ctx, shard, epoch, seq, state)
	h.s.w.tracef("server %d saves a snapshot at row %d: %v", h.s.n, seq, err)
	h.s.point("after its snapshot was written")
	return err
}

// Project implements store.Projections.
func (h *handle) Project(ctx context.Context, p store.Projected) error {
	if err := h.s.w.writable(); err != nil {
		return err
	}
	err := h.Store.Project(ctx, p)
	h.s.point("after its tables were written")
	return err
}
