package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
)

// disk is the state of what the servers' stores share.
type disk struct {
	slow   time.Time // until then
	full   time.Time // likewise
	shards []shardDisk
}

// shardDisk is the state of one shard on it.
type shardDisk struct {
	epoch    int64 // the newest given out
	flipped  bool  // a bit of snapshot or journal
	snapshot bool  // the snapshot's
	row      int64 // else this row's
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

// damage flips a bit of what a server that starts has to read of a shard. It must refuse to serve; then the bit is mended, as from a backup.
func (w *world) damage(shard int) {
	d := &w.disk.shards[shard]
	opening := slices.ContainsFunc(w.servers, func(s *server) bool { return s.shard == shard && !s.opened }) // it may have read what is flipped now
	if d.flipped || !w.faulty(w.p.Damage) || opening {
		return
	}
	heads, _ := w.store.ShardList(context.Background()) // memory: cannot fail
	head := heads[shard]
	switch {
	case head.Seq > head.SnapshotSeq && w.chance(0.5):
		d.snapshot, d.row = false, head.SnapshotSeq+1+w.rand.Int64N(head.Seq-head.SnapshotSeq)
	case head.SnapshotSeq > 0:
		d.snapshot = true
	default:
		return
	}
	d.flipped = true
	w.flip(shard)
	w.count(Flipped)
	w.tracef("a bit of shard %d has flipped (snapshot %v, row %d)", shard, d.snapshot, d.row)
}

func (w *world) flip(shard int) {
	if d := w.disk.shards[shard]; d.snapshot {
		w.store.FlipSnapshot(shard)
	} else {
		w.store.FlipRow(shard, d.row)
	}
}

func (w *world) repair(shard int) {
	if d := &w.disk.shards[shard]; d.flipped {
		d.flipped = false
		w.flip(shard)
	}
}

// handle is one server's way to the store: slow, unreliable, and a place to die.
type handle struct {
	*memory.Store
	s *server
}

// Acquire implements store.Shards.
func (h *handle) Acquire(ctx context.Context, shard int) (store.Head, error) {
	return h.take(shard, func() (store.Head, error) { return h.Store.Acquire(ctx, shard) })
}

// Claim implements store.Shards.
func (h *handle) Claim(ctx context.Context, shard int, owner string, seen int64) (store.Head, error) {
	return h.take(shard, func() (store.Head, error) { return h.Store.Claim(ctx, shard, owner, seen) })
}

func (h *handle) take(shard int, take func() (store.Head, error)) (store.Head, error) {
	s, w := h.s, h.s.w
	s.sleep(w.latency())
	s.point("before it takes the shard")
	if err := w.writable(); err != nil {
		return store.Head{}, err
	}
	head, err := take()
	if err != nil {
		return head, err
	}
	d := &w.disk.shards[shard]
	if head.Epoch <= d.epoch {
		w.fail(fmt.Errorf("epoch %d of shard %d was given out again", head.Epoch, shard))
	}
	s.epoch, d.epoch = head.Epoch, head.Epoch
	w.tracef("server %d has epoch %d of shard %d at row %d", s.n, head.Epoch, shard, head.Seq)
	s.sleep(w.latency())
	s.point("after it took the shard")
	return head, nil
}

// Release implements store.Shards.
func (h *handle) Release(ctx context.Context, shard int, epoch int64) error {
	h.s.sleep(h.s.w.latency())
	h.s.point("before it gives its shard away")
	if err := h.s.w.writable(); err != nil {
		return err
	}
	err := h.Store.Release(ctx, shard, epoch)
	h.s.w.tracef("server %d gives shard %d away: %v", h.s.n, shard, err)
	h.s.point("after it gave its shard away")
	return err
}

// ShardList implements store.Shards. Others go on while the answer is on its way.
func (h *handle) ShardList(ctx context.Context) (map[int]store.Head, error) {
	way := time.Millisecond + h.s.w.latency()/4
	h.s.sleep(way / 2)
	heads, err := h.Store.ShardList(ctx)
	h.s.sleep(way / 2)
	return heads, err
}

// Rows implements store.Shards.
func (h *handle) Rows(ctx context.Context, shard int, after int64, each func(store.Row) error) error {
	err := h.Store.Rows(ctx, shard, after, each)
	if _, corrupt := errors.AsType[*store.CorruptError](err); corrupt && h.s.w.disk.shards[shard].flipped {
		h.s.damaged = true
	}
	return err
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
		w.tracef("server %d is fenced: epoch %d, row %d/%d", s.n, b.Epoch, b.Shard, b.Seq)
	case err == nil:
		w.report.Commits++
		if w.several() {
			fmt.Fprintf(w.commits, "%d ", b.Shard)
		}
		fmt.Fprintf(w.commits, "%d %d %d %d\n", b.Seq, b.Epoch, b.At, b.Count)
		w.commits.Write(b.Events)
		w.tracef("server %d commits row %d/%d: %d events", s.n, b.Shard, b.Seq, b.Count)
		if newest := w.disk.shards[b.Shard].epoch; b.Epoch != newest {
			w.fail(fmt.Errorf("row %d/%d was written under epoch %d, the shard's is %d", b.Shard, b.Seq, b.Epoch, newest))
		}
	default:
		w.tracef("server %d could not commit row %d/%d: %v", s.n, b.Shard, b.Seq, err)
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
	h.s.w.tracef("server %d saves a snapshot at row %d/%d: %v", h.s.n, shard, seq, err)
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
