package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

var (
	errChecksum = errors.New("its checksum does not match")
	errMissing  = errors.New("it is missing")
)

func checkShard(shard int) error {
	if shard < 0 || shard > math.MaxInt32 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "shard %d is not in 0..%d", shard, math.MaxInt32)
	}
	return nil
}

// Acquire implements store.Shards. Commits of the earlier owner that are under way hold the shard's row: either they end before the epoch is raised, and
// are contained in the head, or they find it raised.
func (s *Store) Acquire(ctx context.Context, shard int) (store.Head, error) {
	return s.take(ctx, shard, "", -1)
}

// Claim implements store.Shards. Of two that claim at once, one waits for the other's row and then finds its epoch raised.
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
	err = s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		head = store.Head{Owner: owner}
		if _, err := tx.Exec(ctx, "INSERT INTO shards (shard, epoch, head) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING", shard); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO projected (shard, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING", shard); err != nil {
			return err
		}
		found, err := row(ctx, tx, "UPDATE shards SET epoch = epoch + 1, owner = $1 WHERE shard = $2 AND $3::BIGINT IN (-1, epoch) RETURNING epoch, head",
			[]any{owner, shard, seen}, &head.Epoch, &head.Seq)
		if err != nil {
			return err
		}
		if !found {
			return store.ErrFenced
		}
		rows, err := tx.Query(ctx, snapshotParts, shard)
		if err != nil {
			return err
		}
		var p parts
		if err := walk(rows, p.read); err != nil {
			return err
		}
		head.SnapshotSeq, head.Snapshot, err = p.join(shard)
		return err
	})
	if err != nil {
		return store.Head{}, err
	}
	s.open.forget(shard)
	return head, nil
}

// Release implements store.Shards.
func (s *Store) Release(ctx context.Context, shard int, epoch int64) error {
	if err := checkShard(shard); err != nil {
		return err
	}
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, "UPDATE shards SET owner = '' WHERE shard = $1 AND epoch = $2", shard, epoch)
		if err == nil && tag.RowsAffected() == 0 {
			err = store.ErrFenced
		}
		return err
	})
}

// snapshotParts selects the parts of a shard's newest snapshot.
const snapshotParts = "SELECT seq, sum, state FROM snapshots WHERE shard = $1 AND seq = (SELECT max(seq) FROM snapshots WHERE shard = $1) ORDER BY part"

// parts are those of a snapshot as they are read.
type parts struct {
	seq, sum int64
	list     [][]byte
}

func (p *parts) read(scan scanner) error {
	var part []byte
	err := scan(&p.seq, &p.sum, &part)
	p.list = append(p.list, part)
	return err
}

// join puts the parts together and compares them with their checksum.
func (p *parts) join(shard int) (seq int64, state []byte, err error) {
	if len(p.list) == 0 {
		return 0, nil, nil
	}
	state = bytes.Join(p.list, nil)
	if p.sum != int64(store.SnapshotSum(shard, p.seq, state)) {
		return p.seq, nil, &store.CorruptError{What: fmt.Sprintf("snapshot %d/%d", shard, p.seq), Err: errChecksum}
	}
	return p.seq, state, nil
}

// partBytes is the size of a part of a snapshot.
const partBytes = 4 << 20

// SaveSnapshot implements store.Shards.
func (s *Store) SaveSnapshot(ctx context.Context, shard int, epoch, seq int64, state []byte) error {
	if err := checkShard(shard); err != nil {
		return err
	}
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		var head, newest int64
		found, err := row(ctx, tx, `SELECT s.head, coalesce((SELECT max(n.seq) FROM snapshots n WHERE n.shard = s.shard), 0)
			FROM shards s WHERE s.shard = $1 AND s.epoch = $2`, []any{shard, epoch}, &head, &newest)
		if err != nil {
			return err
		}
		if !found || seq > head || seq < newest {
			return store.ErrFenced
		}
		if _, err := tx.Exec(ctx, "DELETE FROM snapshots WHERE shard = $1", shard); err != nil {
			return err
		}
		sum := int64(store.SnapshotSum(shard, seq, state))
		for part, rest := 0, state; part == 0 || len(rest) > 0; part++ {
			piece := rest[:min(len(rest), partBytes)]
			rest = rest[len(piece):]
			if piece == nil {
				piece = []byte{}
			}
			if _, err := tx.Exec(ctx, "INSERT INTO snapshots (shard, seq, part, sum, state) VALUES ($1, $2, $3, $4, $5)", shard, seq, part, sum, piece); err != nil {
				return err
			}
		}
		// Whoever acquired the shard meanwhile has read the older snapshot, and may save a newer one.
		found, err = row(ctx, tx, "SELECT 1 FROM shards WHERE shard = $1 AND epoch = $2 FOR UPDATE", []any{shard, epoch}, new(int))
		if err == nil && !found {
			err = store.ErrFenced
		}
		return err
	})
}

// ShardList implements store.Shards. A commit whose outcome is open is settled first, so that the heads are final.
func (s *Store) ShardList(ctx context.Context) (map[int]store.Head, error) {
	if err := s.settleAll(ctx); err != nil {
		return nil, err
	}
	heads := map[int]store.Head{}
	err := s.each(ctx, `SELECT s.shard, s.epoch, s.owner, s.head, coalesce((SELECT max(n.seq) FROM snapshots n WHERE n.shard = s.shard), 0) FROM shards s`, nil, func(scan scanner) error {
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
