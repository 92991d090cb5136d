package platform

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// replayInOrder replays all journals, a row that spends credits behind those of other shards that it has seen: what was available when it was committed
// is there then. No other order of rows is known, nor does one matter: all the others do to another shard's accounts is add to what is available.
func (c *checker) replayInOrder() error {
	streams := make([]*stream, len(c.shards))
	done := map[int]int64{} // the row before the next one, by shard; MaxInt64 at the journal's end
	for i, s := range c.shards {
		next, stop := iter.Pull2(c.rowsOf(s))
		defer stop()
		streams[i] = &stream{s, next, nil}
		if err := streams[i].advance(done); err != nil {
			return err
		}
	}
	for {
		moved := false
		for _, s := range streams {
			for s.row != nil && !s.waits(done) {
				c.visit(s.shard, *s.row)
				moved = true
				if err := s.advance(done); err != nil {
					return err
				}
			}
		}
		if moved {
			continue
		}
		i := slices.IndexFunc(streams, func(s *stream) bool { return s.row != nil })
		if i < 0 {
			return nil
		}
		// Each of the rows that wait has seen a row that comes after one that has seen it.
		s := streams[i]
		c.fault(s.shard.row(s.row.Seq), "it has seen the rows %s of other shards, and one of those it", s.row.Seen)
		c.balanced = false
		s.row.Seen = nil
	}
}

// stream is a journal being replayed.
type stream struct {
	shard *shard
	next  func() (store.Row, error, bool)
	row   *store.Row // the next one; nil at the end
}

func (s *stream) advance(done map[int]int64) error {
	row, err, ok := s.next()
	if s.row, done[s.shard.number] = &row, row.Seq-1; !ok || err != nil {
		s.row, done[s.shard.number] = nil, math.MaxInt64
	}
	return err
}

// waits reports whether the next row has seen one that was not replayed yet.
func (s *stream) waits(done map[int]int64) bool {
	for other, seq := range s.row.Seen {
		if at, exists := done[other]; exists && seq > at {
			return true
		}
	}
	return false
}

var errEnough = errors.New("no more rows")

// rowsOf reads a journal up to its head. Behind a row that is damaged the rest is still read, so that every damaged row is named.
func (c *checker) rowsOf(s *shard) iter.Seq2[store.Row, error] {
	return func(yield func(store.Row, error) bool) {
		var at int64 // the last row that was read
		visit := func(row store.Row) error {
			if row.Seq > s.head.Seq {
				return errEnough
			}
			if at = row.Seq; !yield(row, nil) {
				return errEnough
			}
			return nil
		}
		for at < s.head.Seq {
			err := c.db.Rows(c.ctx, s.number, at, visit)
			rotten, ok := errors.AsType[*store.CorruptError](err)
			if err == nil || errors.Is(err, errEnough) {
				return
			}
			at++
			if !ok || rotten.What != s.row(at) { // not this row alone
				yield(store.Row{}, err)
				return
			}
			s.sound, c.balanced = false, false
			_ = c.damage(err)
			if c.report.Omitted > 0 {
				return
			}
		}
	}
}

// visit replays a row of a journal. Behind one that cannot follow, the rest is only looked at.
func (c *checker) visit(s *shard, row store.Row) {
	if row.Epoch < s.epoch || row.Epoch > s.head.Epoch {
		c.fault(s.row(row.Seq), "it was written under epoch %d, the row before under %d, the shard's is %d", row.Epoch, s.epoch, s.head.Epoch)
	}
	s.epoch = row.Epoch
	for other, seq := range row.Seen {
		c.seen[other] = max(c.seen[other], seq)
	}
	if !s.sound {
		return
	}
	if err := c.replayRow(s, row); err != nil {
		c.fault(s.row(row.Seq), "%v", err)
		s.sound, c.balanced = false, false
	}
}

// checkSeen holds that no row has seen more of a journal than there is.
func (c *checker) checkSeen() {
	for _, number := range slices.Sorted(maps.Keys(c.seen)) {
		i := slices.IndexFunc(c.shards, func(s *shard) bool { return s.number == number })
		if i < 0 {
			c.fault(fmt.Sprintf("journal of shard %d", number), "rows of other shards have seen its row %d, but no such shard exists", c.seen[number])
		} else if s := c.shards[i]; s.head.Seq < c.seen[number] {
			c.fault(s.journal(), "it ends at row %d, but rows of other shards have seen row %d", s.head.Seq, c.seen[number])
		}
	}
}
