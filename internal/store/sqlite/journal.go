package sqlite

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

var (
	errChecksum = errors.New("its checksum does not match")
	errMissing  = errors.New("it is missing")
)

// rowsAtOnce bounds how long reading the journal keeps a reader's snapshot, which keeps the WAL from starting anew.
const rowsAtOnce = 128

// Rows implements store.Shards. Rows committed while it runs may or may not be given.
func (s *Store) Rows(ctx context.Context, shard int, after int64, fn func(store.Row) error) error {
	if err := checkShard(shard); err != nil {
		return err
	}
	heads, err := s.ShardList(ctx)
	if err != nil {
		return err
	}
	corrupt := func(seq int64, err error) error {
		return &store.CorruptError{What: fmt.Sprintf("journal row %d/%d", shard, seq), Err: err}
	}
	for last := heads[shard].Seq; after < last; {
		rows, sums, err := s.journalRows(ctx, shard, after)
		if _, rotten := errors.AsType[*store.CorruptError](err); err != nil && !(rotten && len(rows) > 0) { // else those before it first
			return err
		}
		if len(rows) == 0 {
			return corrupt(after+1, errMissing)
		}
		for i, r := range rows {
			if r.Seq != after+1 {
				return corrupt(after+1, errMissing)
			}
			if r.Sum(shard) != sums[i] {
				return corrupt(r.Seq, errChecksum)
			}
			if err := fn(r); err != nil {
				return err
			}
			after = r.Seq
		}
	}
	return nil
}

// journalRows reads the next rows after a seq.
func (s *Store) journalRows(ctx context.Context, shard int, after int64) (rows []store.Row, sums []uint32, err error) {
	err = s.each(ctx, "SELECT key, epoch, at, count, sum, events, seen FROM journal WHERE key > ? AND key < ? ORDER BY key LIMIT ?",
		[]any{journalKey(shard, after), journalKey(shard+1, 0), rowsAtOnce}, func(scan scanner) error {
			var r store.Row
			var sum uint32
			var seen string
			err := scan(&r.Seq, &r.Epoch, &r.At, &r.Count, &sum, &r.Events, &seen)
			if err == nil {
				r.Seen, err = store.ParseSeen(seen)
			}
			if err != nil {
				return &store.CorruptError{What: fmt.Sprintf("journal row %d/%d", shard, after+1+int64(len(rows))), Err: err}
			}
			r.Seq &= 1<<seqBits - 1
			rows, sums = append(rows, r), append(sums, sum)
			return nil
		})
	if rotten, ok := errors.AsType[*store.CorruptError](err); ok && !strings.HasPrefix(rotten.What, "journal row") {
		err = &store.CorruptError{What: fmt.Sprintf("journal row %d/%d", shard, after+1+int64(len(rows))), Err: fmt.Errorf("%s: %w", rotten.What, rotten.Err)}
	}
	return rows, sums, err
}
