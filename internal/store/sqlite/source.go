package sqlite

import (
	"context"
	"errors"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// source gives the rows of segments and listings to package history.
type source struct{ s *Store }

var _ history.Source = source{}

const segmentColumns = "SELECT job, stage, block, seq, part, shard, items, bytes FROM segments"

func scanSegment(scan scanner) (v history.Stored, err error) {
	return v, scan(&v.Job, &v.Stage, &v.Block, &v.Seq, &v.Part, &v.Shard, &v.Items, &v.Bytes)
}

// Segments implements history.Source.
func (r source) Segments(ctx context.Context, from history.Place, fn func(history.Stored) error) error {
	return r.walk(ctx, segmentColumns+" WHERE job = ? AND (stage, block) >= (?, ?) ORDER BY stage, block, seq, part", []any{from.Job, from.Stage, from.Block}, fn)
}

// Block implements history.Source.
func (r source) Block(ctx context.Context, p history.Place, fn func(history.Stored) error) error {
	return r.walk(ctx, segmentColumns+" WHERE job = ? AND stage = ? AND block = ? ORDER BY seq, part", []any{p.Job, p.Stage, p.Block}, fn)
}

// walk calls fn for the segments a statement selects until it answers an error, which it returns, or history.ErrStop.
func (r source) walk(ctx context.Context, text string, args []any, fn func(history.Stored) error) error {
	err := r.s.each(ctx, text, args, func(scan scanner) error {
		v, err := scanSegment(scan)
		if err != nil {
			return err
		}
		return fn(v)
	})
	if errors.Is(err, history.ErrStop) {
		return nil
	}
	return err
}

const ofSegment = " WHERE job = ? AND stage = ? AND block = ? AND seq = ? AND part = ?"

func keyArgs(k history.Key) []any { return []any{k.Job, k.Stage, k.Block, k.Seq, k.Part} }

// Segment implements history.Source.
func (r source) Segment(ctx context.Context, k history.Key) (v history.Stored, found bool, err error) {
	err = r.walk(ctx, segmentColumns+ofSegment, keyArgs(k), func(s history.Stored) error {
		v, found = s, true
		return nil
	})
	return v, found, err
}

// Versions implements history.Source.
func (r source) Versions(ctx context.Context, p history.Place) (list []history.Held, err error) {
	err = r.s.each(ctx, "SELECT seq, part, items, length(bytes), substr(bytes, 1, ?) FROM segments WHERE job = ? AND stage = ? AND block = ? ORDER BY seq, part", []any{history.HeadBytes, p.Job, p.Stage, p.Block}, func(scan scanner) error {
		h := history.Held{Key: history.Key{Place: p}}
		err := scan(&h.Seq, &h.Part, &h.Items, &h.Bytes, &h.Head)
		list = append(list, h)
		return err
	})
	return list, err
}

func listingFields(l *history.Listing) []any {
	return []any{&l.Kind, &l.ID, &l.Latest, &l.Job, &l.Stage, &l.Block, &l.Seq, &l.Part, &l.Earliest, &l.Shard}
}

// Listings implements history.Source.
func (r source) Listings(ctx context.Context, l history.List, level int, upTo cloudcrowd.Time, after *history.Listing, limit int) (list []history.Listing, err error) {
	var q query
	q.and("kind = ? AND id = ? AND level = ? AND latest <= ?", int(l.Kind), l.ID, level, upTo)
	if after != nil {
		q.and("(latest, job, stage, block, seq, part) < (?, ?, ?, ?, ?, ?)", append([]any{after.Latest}, keyArgs(after.Key)...)...)
	}
	err = r.s.each(ctx, q.text("SELECT kind, id, latest, job, stage, block, seq, part, earliest, shard FROM listings", "latest DESC, job DESC, stage DESC, block DESC, seq DESC, part DESC", limit), q.args, func(scan scanner) error {
		var v history.Listing
		err := scan(listingFields(&v)...)
		list = append(list, v)
		return err
	})
	return list, err
}
