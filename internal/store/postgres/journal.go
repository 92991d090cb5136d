package postgres

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A stretch of the journal that is read at once has about so many bytes, and at most so many rows.
const (
	firstRows   = 16
	rowsAtOnce  = 1024
	bytesAtOnce = 4 << 20
)

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
	limit := firstRows
	for last := heads[shard].Seq; after < last; {
		rows, sums, err := s.journalRows(ctx, shard, after, limit)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return corrupt(after+1, errMissing)
		}
		size := 0
		for i, r := range rows {
			size += len(r.Events)
			if r.Seq != after+1 {
				return corrupt(after+1, errMissing)
			}
			if int64(r.Sum(shard)) != sums[i] {
				return corrupt(r.Seq, errChecksum)
			}
			if err := fn(r); err != nil {
				return err
			}
			after = r.Seq
		}
		limit = min(max(bytesAtOnce/(size/len(rows)+1), 1), rowsAtOnce)
	}
	return nil
}

// journalRows reads the next rows after a seq. A row whose bytes the database itself cannot read any more is named, too.
func (s *Store) journalRows(ctx context.Context, shard int, after int64, limit int) (rows []store.Row, sums []int64, err error) {
	err = s.each(ctx, "SELECT seq, epoch, at, count, sum, events, seen FROM journal WHERE shard = $1 AND seq > $2 ORDER BY seq LIMIT $3", []any{shard, after, limit}, func(scan scanner) error {
		var r store.Row
		var sum int64
		var seen string
		err := scan(&r.Seq, &r.Epoch, &r.At, &r.Count, &sum, &r.Events, &seen)
		if err == nil {
			r.Seen, err = seenIn(shard, r.Seq, seen)
		}
		rows, sums = append(rows, r), append(sums, sum)
		return err
	})
	if rotten(err) {
		if len(rows) > 0 {
			return rows, sums, nil // the next call names the row behind them
		}
		return s.firstRow(ctx, shard, after)
	}
	return rows, sums, err
}

// firstRow reads the first row after a seq, alone.
func (s *Store) firstRow(ctx context.Context, shard int, after int64) (rows []store.Row, sums []int64, err error) {
	r, sum, seen := store.Row{Seq: after + 1}, int64(0), ""
	found, err := s.one(ctx, "SELECT epoch, at, count, sum, events, seen FROM journal WHERE shard = $1 AND seq = $2", []any{shard, r.Seq}, &r.Epoch, &r.At, &r.Count, &sum, &r.Events, &seen)
	switch {
	case rotten(err):
		return nil, nil, &store.CorruptError{What: fmt.Sprintf("journal row %d/%d", shard, r.Seq), Err: err}
	case err != nil || !found:
		return nil, nil, err
	}
	r.Seen, err = seenIn(shard, r.Seq, seen)
	return []store.Row{r}, []int64{sum}, err
}

// seenIn reads the column seen of a row.
func seenIn(shard int, seq int64, text string) (store.Seen, error) {
	seen, err := store.ParseSeen(text)
	if err != nil {
		err = &store.CorruptError{What: fmt.Sprintf("journal row %d/%d", shard, seq), Err: err}
	}
	return seen, err
}
