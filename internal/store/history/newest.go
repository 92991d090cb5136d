package history

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// moment is where an item stands in a list by time: its cursor.
type moment struct {
	At cloudcrowd.Time      `json:"t"`
	ID cloudcrowd.AttemptID `json:"i"`
}

// compare orders newest first.
func (m moment) compare(o moment) int {
	a, b := m.ID, o.ID
	return cmp.Or(cmp.Compare(o.At, m.At), cmp.Compare(b.Task.Job, a.Task.Job), cmp.Compare(b.Task.Stage, a.Task.Stage), cmp.Compare(b.Task.Index, a.Task.Index), cmp.Compare(b.N, a.N))
}

// past reports whether all that the listing's segment holds of the list comes behind m.
func (l Listing) past(m moment) bool {
	t := m.ID.Task
	return cmp.Or(cmp.Compare(l.Latest, m.At), cmp.Compare(l.Job, t.Job), cmp.Compare(l.Stage, t.Stage), cmp.Compare(l.Block, t.Index>>blockBits)) < 0
}

// WorkerAttempts lists a worker's attempts, newest first.
func (r *Reader) WorkerAttempts(ctx context.Context, w cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	return newest(ctx, r, p, walk[cloudcrowd.Attempt]{name: "worker-attempts", list: List{WorkerAttempts, string(w)}, until: math.MaxInt64, since: math.MinInt64, want: attempts,
		items: func(s *Segment) []cloudcrowd.Attempt { return s.Attempts },
		at:    func(a *cloudcrowd.Attempt) moment { return moment{a.EndedAt, a.ID} },
		keep:  func(a *cloudcrowd.Attempt) bool { return a.Worker == w }})
}

// Charges lists charges, newest first.
func (r *Reader) Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	w := walk[cloudcrowd.Charge]{name: "charges", until: math.MaxInt64, since: math.MinInt64, want: charges,
		items: func(s *Segment) []cloudcrowd.Charge { return s.Charges },
		at:    func(c *cloudcrowd.Charge) moment { return moment{c.At, c.Attempt} },
		keep: func(c *cloudcrowd.Charge) bool {
			return (f.Job == "" || c.Attempt.Task.Job == f.Job) && (f.Requester == "" || c.Requester == f.Requester) && (f.Owner == "" || c.Owner == f.Owner) &&
				(f.Worker == "" || c.Worker == f.Worker) && (f.Task == nil || c.Attempt.Task == *f.Task) && (f.Since == 0 || c.At >= f.Since) && (f.Until == 0 || c.At < f.Until)
		}}
	if f.Since != 0 {
		w.since = f.Since
	}
	if f.Until != 0 {
		w.until = f.Until - 1
	}
	switch {
	case f.Task != nil:
		place := PlaceOf(*f.Task)
		w.only = &place
	case f.Job != "":
		w.list = List{JobCharges, string(f.Job)}
	case f.Worker != "":
		w.list = List{WorkerCharges, string(f.Worker)}
	case f.Owner != "":
		w.list = List{OwnerCharges, string(f.Owner)}
	case f.Requester != "":
		w.list = List{RequesterCharges, string(f.Requester)}
	}
	return newest(ctx, r, p, w)
}

// walk is what a list by time is made of.
type walk[T any] struct {
	name         string
	list         List
	only         *Place          // the block that holds it all, instead of a list
	since, until cloudcrowd.Time // both within
	want         part
	items        func(*Segment) []T
	at           func(*T) moment
	keep         func(*T) bool
}

// errMoved says that segments were merged between two looks.
var errMoved = errors.New("history: segments were merged meanwhile")

// patience is how often reading is begun anew because segments were merged meanwhile.
const patience = 10

func newest[T any](ctx context.Context, r *Reader, p store.Page, w walk[T]) ([]T, string, error) {
	var after moment
	more, err := store.DecodeCursor(w.name, p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var cursor *moment
	if more {
		cursor = &after
	}
	var found page[T, moment]
	err = unmoved(func() error {
		found = page[T, moment]{size: p.Size() + 1, compare: moment.compare}
		if w.only != nil {
			return w.block(ctx, r, cursor, &found)
		}
		return w.listed(ctx, r, cursor, &found)
	})
	if err != nil {
		return nil, "", err
	}
	list, next := found.cut(w.name, p)
	return list, next, nil
}

// unmoved calls read again as long as segments were merged meanwhile, up to patience.
func unmoved(read func() error) (err error) {
	for range patience {
		if err = read(); !errors.Is(err, errMoved) {
			return err
		}
	}
	return err
}

// block reads what there is in one block.
func (w *walk[T]) block(ctx context.Context, r *Reader, cursor *moment, found *page[T, moment]) error {
	var opened []*Segment
	err := r.src.Block(ctx, *w.only, func(s Stored) error {
		seg, err := decode(s, w.want)
		opened = append(opened, seg)
		return err
	})
	if err != nil || len(opened) == 0 {
		return err
	}
	seg := Merge(opened)
	w.take(seg, cursor, nil, found)
	return nil
}

// take adds what the list wants of a segment, but what latest says that there is a later version of.
func (w *walk[T]) take(seg *Segment, cursor *moment, latest map[cloudcrowd.AttemptID]Key, found *page[T, moment]) {
	list := w.items(seg)
	for i := range list {
		v := &list[i]
		if !w.keep(v) {
			continue
		}
		at := w.at(v)
		if cursor != nil && at.compare(*cursor) <= 0 {
			continue
		}
		if newer, ok := latest[at.ID]; ok && newer.after(seg.Key) {
			continue
		}
		found.add(at, at.ID, seg.Key, v)
	}
}

// listed walks the listings, the latest first, until no segment can hold an item of the page.
func (w *walk[T]) listed(ctx context.Context, r *Reader, cursor *moment, found *page[T, moment]) error {
	from := w.until
	if cursor != nil {
		from = min(from, cursor.At)
	}
	blocks := blocks[T]{walk: w, r: r}
	stream := listings{src: r.src, list: w.list, from: from, since: w.since}
	for {
		l, ok, err := stream.next(ctx)
		if err != nil || !ok {
			return err
		}
		if len(found.list) >= found.size && found.full() && l.past(*found.end) {
			return nil
		}
		latest, err := blocks.latest(ctx, l.Key)
		if err != nil {
			return err
		}
		s, ok, err := r.src.Segment(ctx, l.Key)
		if err != nil {
			return err
		}
		if !ok {
			return moved(l.Key)
		}
		seg, err := decode(s, w.want)
		if err != nil {
			return err
		}
		w.take(seg, cursor, latest, found)
	}
}

// moved is the error of a listing without a segment: it was merged meanwhile, or, if that stays so, lost.
func moved(k Key) error {
	return &store.CorruptError{What: k.String(), Err: fmt.Errorf("it is listed, but missing (%w)", errMoved)}
}

// blocks knows of blocks that have several segments which is the latest version of each item.
type blocks[T any] struct {
	*walk[T]
	r     *Reader
	known map[Place]versions
}

type versions struct {
	keys   []Held
	latest map[cloudcrowd.AttemptID]Key // nil if the block has one segment
}

// blocksKept bounds the memory for blocks with several segments.
const blocksKept = 64

func (b *blocks[T]) latest(ctx context.Context, k Key) (map[cloudcrowd.AttemptID]Key, error) {
	v, ok := b.known[k.Place]
	if !ok {
		if b.known == nil || len(b.known) >= blocksKept {
			b.known = map[Place]versions{}
		}
		var err error
		if v, err = b.read(ctx, k.Place); err != nil {
			return nil, err
		}
		b.known[k.Place] = v
	}
	for _, h := range v.keys {
		if h.Key == k {
			return v.latest, nil
		}
	}
	return nil, moved(k)
}

func (b *blocks[T]) read(ctx context.Context, p Place) (v versions, err error) {
	if v.keys, err = b.r.src.Versions(ctx, p); err != nil || len(v.keys) < 2 {
		return v, err
	}
	v.keys, v.latest = v.keys[:0], map[cloudcrowd.AttemptID]Key{}
	err = b.r.src.Block(ctx, p, func(s Stored) error {
		v.keys = append(v.keys, Held{Key: s.Key})
		seg, err := decode(s, b.want)
		if err != nil {
			return err
		}
		list := b.items(seg)
		for i := range list {
			v.latest[b.at(&list[i]).ID] = s.Key
		}
		return nil
	})
	return v, err
}

// listings merges the listings of all levels into one stream, the latest first, leaving out those that begin after from.
type listings struct {
	src         Source
	list        List
	from, since cloudcrowd.Time
	levels      [Levels]struct {
		waiting []Listing
		last    *Listing
		limit   int
		done    bool
	}
}

// How many listings are fetched at once: few first, because most pages need few.
const (
	fewListings  = 4
	manyListings = 128
)

func (s *listings) next(ctx context.Context) (Listing, bool, error) {
	best := -1
	for i := range s.levels {
		level := &s.levels[i]
		for len(level.waiting) == 0 && !level.done {
			if err := s.fetch(ctx, i); err != nil {
				return Listing{}, false, err
			}
		}
		if len(level.waiting) > 0 && (best < 0 || level.waiting[0].compare(s.levels[best].waiting[0]) < 0) {
			best = i
		}
	}
	if best < 0 {
		return Listing{}, false, nil
	}
	l := s.levels[best].waiting[0]
	s.levels[best].waiting = s.levels[best].waiting[1:]
	return l, true, nil
}

// fetch reads the next listings of a level.
func (s *listings) fetch(ctx context.Context, i int) error {
	level := &s.levels[i]
	level.limit = min(max(2*level.limit, fewListings), manyListings)
	upTo := cloudcrowd.Time(math.MaxInt64)
	if s.from < upTo-width(i) {
		upTo = s.from + width(i)
	}
	list, err := s.src.Listings(ctx, s.list, i, upTo, level.last, level.limit)
	if err != nil {
		return err
	}
	level.done = len(list) < level.limit
	if len(list) > 0 {
		last := list[len(list)-1]
		level.last = &last
	}
	for _, l := range list {
		if l.Latest < s.since {
			level.done = true
			break
		}
		if l.Earliest <= s.from {
			level.waiting = append(level.waiting, l)
		}
	}
	return nil
}
