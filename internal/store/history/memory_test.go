package history

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// rows is a Source in memory, as a database would keep it.
type rows struct {
	segments []Stored
	listings []Listing
	opened   int    // segments given out
	meddle   func() // runs once, before a segment is looked for
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Job, b.Job), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Block, b.Block), cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Part, b.Part))
}

func (r *rows) Segments(_ context.Context, from Place, fn func(Stored) error) error {
	for _, s := range slices.Clone(r.segments) {
		if s.Job != from.Job || cmp.Or(cmp.Compare(s.Stage, from.Stage), cmp.Compare(s.Block, from.Block)) < 0 {
			continue
		}
		r.opened++
		if err := fn(s); err != nil {
			if errors.Is(err, ErrStop) {
				return nil
			}
			return err
		}
	}
	return nil
}

func (r *rows) Block(ctx context.Context, p Place, fn func(Stored) error) error {
	return r.Segments(ctx, p, func(s Stored) error {
		if s.Place != p {
			r.opened--
			return ErrStop
		}
		return fn(s)
	})
}

func (r *rows) Segment(_ context.Context, k Key) (Stored, bool, error) {
	if fn := r.meddle; fn != nil {
		r.meddle = nil
		fn()
	}
	for _, s := range r.segments {
		if s.Key == k {
			r.opened++
			return s, true, nil
		}
	}
	return Stored{}, false, nil
}

func (r *rows) Versions(_ context.Context, p Place) (list []Held, err error) {
	for _, s := range r.segments {
		if s.Place == p {
			list = append(list, Held{s.Key, s.Items, len(s.Bytes), s.Bytes[:HeadBytes]})
		}
	}
	return list, nil
}

func (r *rows) Listings(_ context.Context, l List, level int, upTo cloudcrowd.Time, after *Listing, limit int) (list []Listing, err error) {
	for _, v := range r.listings {
		if v.List == l && v.Level() == level && v.Latest <= upTo && (after == nil || v.compare(*after) > 0) && len(list) < limit {
			list = append(list, v)
		}
	}
	return list, nil
}

func (r *rows) put(s *Segment) {
	r.remove(s.Key)
	r.segments = append(r.segments, s.Stored())
	r.listings = append(r.listings, s.Listings()...)
	slices.SortFunc(r.segments, func(a, b Stored) int { return compareKeys(a.Key, b.Key) })
	slices.SortFunc(r.listings, Listing.compare)
}

func (r *rows) remove(k Key) {
	r.segments = slices.DeleteFunc(r.segments, func(s Stored) bool { return s.Key == k })
	r.listings = slices.DeleteFunc(r.listings, func(l Listing) bool { return l.Key == k })
}

// project keeps a stretch and merges where Plan says so.
func (r *rows) project(t testing.TB, p store.Projected) {
	t.Helper()
	for _, s := range Cut(p) {
		r.compact(t, s.Place)
		r.put(&s)
	}
}

func (r *rows) compact(t testing.TB, p Place) {
	t.Helper()
	held, _ := r.Versions(t.Context(), p)
	from, to := Plan(held)
	if from == to {
		return
	}
	r.merge(t, held[from:to])
}

func (r *rows) merge(t testing.TB, held []Held) {
	t.Helper()
	var list []Stored
	for _, h := range held {
		s, _, _ := r.Segment(t.Context(), h.Key)
		list = append(list, s)
	}
	merged, err := Open(list)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range held {
		r.remove(h.Key)
	}
	r.put(merged)
}
