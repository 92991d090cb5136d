package sqlite

import (
	"context"
	"errors"
	"sync"

	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// putSegment writes a segment with its listings, in place of one of the same key, which a stretch leaves that was not written to its end.
func (w *writer) putSegment(v history.Stored, listings []history.Listing) error {
	args := append(keyArgs(v.Key), v.Shard, v.Items, v.Bytes)
	n, err := w.exec(putSegment, args...)
	if err != nil {
		return err
	}
	if n == 0 {
		if err := w.dropLeft(v.Key); err != nil {
			return err
		}
		if _, err := w.exec(putSegment, args...); err != nil {
			return err
		}
	}
	return w.insert(putListing, "", 11, len(listings), func(i int) []any {
		l := &listings[i]
		return []any{int(l.Kind), l.ID, l.Level(), l.Latest, l.Job, l.Stage, l.Block, l.Seq, l.Part, l.Earliest, l.Shard}
	})
}

// dropLeft removes a segment that was left, by what it says of its listings; if it cannot be read, by looking at all of them.
func (w *writer) dropLeft(k history.Key) error {
	old := history.Stored{Key: k}
	if _, err := w.row("SELECT shard, items, bytes FROM segments"+ofSegment, keyArgs(k), &old.Shard, &old.Items, &old.Bytes); err != nil {
		return err
	}
	seg, err := history.Decode(old)
	if err != nil {
		if _, err := w.exec("DELETE FROM segments"+ofSegment, keyArgs(k)...); err != nil {
			return err
		}
		_, err := w.exec("DELETE FROM listings"+ofSegment, keyArgs(k)...)
		return err
	}
	return w.drop(k, seg.Listings())
}

// drop removes a segment with its listings.
func (w *writer) drop(k history.Key, listings []history.Listing) error {
	n, err := w.exec("DELETE FROM segments"+ofSegment, keyArgs(k)...)
	if err != nil {
		return err
	}
	if n != 1 {
		return store.ErrFenced // somebody else has removed it
	}
	for i := range listings {
		l := &listings[i]
		_, err := w.exec("DELETE FROM listings WHERE kind = ? AND id = ? AND level = ? AND latest = ? AND job = ? AND stage = ? AND block = ? AND seq = ? AND part = ?",
			append([]any{int(l.Kind), l.ID, l.Level(), l.Latest}, keyArgs(l.Key)...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// merges counts the small segments that blocks have got, so that only blocks with many are looked at.
type merges struct {
	mu    sync.Mutex
	small map[history.Place]int
}

// blocksCounted bounds the memory of the counts. What is forgotten is looked at later.
const blocksCounted = 4096

// due counts a segment that is to be written, and reports whether its block should be looked at before.
func (m *merges) due(s *history.Segment) bool {
	if s.Items() >= history.LookBelow {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.small == nil || len(m.small) >= blocksCounted {
		m.small = map[history.Place]int{}
	}
	m.small[s.Place]++
	if m.small[s.Place] <= history.MaxSegments {
		return false
	}
	delete(m.small, s.Place)
	return true
}

// merged is a merge of segments that is to be written.
type merged struct {
	from     []*history.Segment
	to       history.Stored
	listings []history.Listing
}

func (m *merged) rows() int { return 1 + len(m.from) + 2*len(m.listings) }

func (m *merged) write(w *writer) error {
	for _, s := range m.from {
		if err := w.drop(s.Key, s.Listings()); err != nil {
			return err
		}
	}
	return w.putSegment(m.to, m.listings)
}

// merge reads and merges what Plan says of a block; nil if there is nothing to merge. Segments behind upTo are of a stretch that was not written to
// its end; they stay as they are, because it will be written again.
func (s *Store) merge(ctx context.Context, p history.Place, upTo int64) (*merged, error) {
	held, err := source{s}.Versions(ctx, p)
	if err != nil {
		return nil, err
	}
	for len(held) > 0 && held[len(held)-1].Seq > upTo {
		held = held[:len(held)-1]
	}
	from, to := history.Plan(held)
	if from == to {
		return nil, nil
	}
	m := &merged{}
	for _, h := range held[from:to] {
		v, found, err := source{s}.Segment(ctx, h.Key)
		if err != nil || !found {
			return nil, err
		}
		seg, err := history.Decode(v)
		if err != nil {
			if _, rotten := errors.AsType[*store.CorruptError](err); rotten {
				return nil, nil // left for fsck to name; new work is written all the same
			}
			return nil, err
		}
		m.from = append(m.from, seg)
	}
	whole := history.Merge(m.from)
	m.to, m.listings = whole.Stored(), whole.Listings()
	return m, nil
}
