package postgres

import (
	"context"
	"errors"
	"fmt"

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

// How many segments are asked for at once: few first, because most walks end in their first blocks, and what is not read is sent all the same.
const (
	fewSegments  = 8
	manySegments = 64
)

// Segments implements history.Source. Each stretch of a long walk sees its own moment. What was merged between two of them is told about all the
// same: the merged segment has the key of the last one that it was made of, so it lies ahead if any of them did.
func (r source) Segments(ctx context.Context, from history.Place, fn func(history.Stored) error) error {
	text, args := segmentColumns+" WHERE job = $1 AND (stage, block) >= ($2, $3)", []any{from.Job, from.Stage, from.Block}
	for limit := fewSegments; ; limit = min(2*limit, manySegments) {
		n, stopped := 0, false
		var last history.Key
		err := r.walk(ctx, fmt.Sprintf("%s ORDER BY stage, block, seq, part LIMIT %d", text, limit), args, func(v history.Stored) error {
			n, last = n+1, v.Key
			err := fn(v)
			stopped = err != nil
			return err
		})
		if err != nil || stopped || n < limit {
			return err
		}
		text, args = segmentColumns+" WHERE job = $1 AND (stage, block, seq, part) > ($2, $3, $4, $5)", keyArgs(last)
	}
}

// Block implements history.Source.
func (r source) Block(ctx context.Context, p history.Place, fn func(history.Stored) error) error {
	return r.walk(ctx, segmentColumns+" WHERE job = $1 AND stage = $2 AND block = $3 ORDER BY seq, part", []any{p.Job, p.Stage, p.Block}, fn)
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

const ofSegment = " WHERE job = $1 AND stage = $2 AND block = $3 AND seq = $4 AND part = $5"

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
	err = r.s.each(ctx, "SELECT seq, part, items, length(bytes), substring(bytes FROM 1 FOR $4) FROM segments WHERE job = $1 AND stage = $2 AND block = $3 ORDER BY seq, part",
		[]any{p.Job, p.Stage, p.Block, history.HeadBytes}, func(scan scanner) error {
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
