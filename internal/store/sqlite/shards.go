package sqlite

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A journal row's key is its shard and seq in one number.
const (
	seqBits      = 44
	maximumShard = 1<<(63-seqBits) - 1
)

func journalKey(shard int, seq int64) int64 { return int64(shard)<<seqBits | seq }

func checkShard(shard int) error {
	if shard < 0 || shard > maximumShard {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "shard %d is not in 0..%d", shard, maximumShard)
	}
	return nil
}

// Acquire implements store.Shards.
func (s *Store) Acquire(ctx context.Context, shard int) (store.Head, error) {
	return s.take(ctx, shard, "", -1)
}

// Claim implements store.Shards.
func (s *Store) Claim(ctx context.Context, shard int, owner string, seen int64) (store.Head, error) {
	if err := store.CheckClaim(owner, seen); err != nil {
		return store.Head{}, err
	}
	return s.take(ctx, shard, owner, seen)
}

// take raises a shard's epoch, if it is still the one seen (-1: whatever it is), and writes its owner.
func (s *Store) take(ctx context.Context, shard int, owner string, seen int64) (head store.Head, err error) {
	if err := checkShard(shard); err != nil {
		return head, err
	}
	err = s.write(ctx, func(w *writer) error {
		head = store.Head{Owner: owner}
		if _, err := w.exec("INSERT INTO shards (shard, epoch, head) VALUES (?, 0, 0) ON CONFLICT DO NOTHING", shard); err != nil {
			return err
		}
		n, err := w.exec("UPDATE shards SET epoch = epoch + 1, owner = ?1 WHERE shard = ?2 AND ?3 IN (-1, epoch)", owner, shard, seen)
		if err != nil {
			return err
		}
		if n == 0 {
			return store.ErrFenced
		}
		if _, err := w.row("SELECT epoch, head FROM shards WHERE shard = ?", []any{shard}, &head.Epoch, &head.Seq); err != nil {
			return err
		}
		if acknowledged := s.witness.of(shard); head.Seq < acknowledged {
			return s.lost(shard, head.Seq, acknowledged)
		}
		var sum uint32
		found, err := w.row("SELECT seq, sum, state FROM snapshots WHERE shard = ? ORDER BY seq DESC LIMIT 1", []any{shard}, &head.SnapshotSeq, &sum, &head.Snapshot)
		if err != nil {
			return err
		}
		if found && sum != store.SnapshotSum(shard, head.SnapshotSeq, head.Snapshot) {
			return &store.CorruptError{What: fmt.Sprintf("snapshot %d/%d", shard, head.SnapshotSeq), Err: errChecksum}
		}
		return nil
	})
	if err != nil {
		return store.Head{}, err
	}
	return head, nil
}

// Release implements store.Shards.
func (s *Store) Release(ctx context.Context, shard int, epoch int64) error {
	return s.write(ctx, func(w *writer) error {
		n, err := w.exec("UPDATE shards SET owner = '' WHERE shard = ? AND epoch = ?", shard, epoch)
		if err == nil && n == 0 {
			err = store.ErrFenced
		}
		return err
	})
}

// SaveSnapshot implements store.Shards.
func (s *Store) SaveSnapshot(ctx context.Context, shard int, epoch, seq int64, state []byte) error {
	if state == nil {
		state = []byte{}
	}
	return s.write(ctx, func(w *writer) error {
		var head, newest int64
		found, err := w.row("SELECT head FROM shards WHERE shard = ? AND epoch = ?", []any{shard, epoch}, &head)
		if err != nil {
			return err
		}
		if !found {
			return store.ErrFenced
		}
		if _, err := w.row("SELECT coalesce(max(seq), 0) FROM snapshots WHERE shard = ?", []any{shard}, &newest); err != nil {
			return err
		}
		if seq > head || seq < newest {
			return store.ErrFenced
		}
		if _, err := w.exec("DELETE FROM snapshots WHERE shard = ?", shard); err != nil {
			return err
		}
		_, err = w.exec("INSERT INTO snapshots (shard, seq, sum, state) VALUES (?, ?, ?, ?)", shard, seq, store.SnapshotSum(shard, seq, state), state)
		return err
	})
}

// ShardList implements store.Shards.
func (s *Store) ShardList(ctx context.Context) (map[int]store.Head, error) {
	heads := map[int]store.Head{}
	err := s.each(ctx, `SELECT s.shard, s.epoch, s.owner, s.head, coalesce((SELECT max(seq) FROM snapshots n WHERE n.shard = s.shard), 0) FROM shards s`, nil, func(scan scanner) error {
		var shard int
		var h store.Head
		if err := scan(&shard, &h.Epoch, &h.Owner, &h.Seq, &h.SnapshotSeq); err != nil {
			return err
		}
		heads[shard] = h
		return nil
	})
	return heads, err
}
