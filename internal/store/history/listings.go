package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Kind is what a list by time holds.
type Kind int

// The kinds; their numbers are stored.
const (
	AllCharges       Kind = iota // ID is empty
	JobCharges                   // ID is the job
	RequesterCharges             // ID is the account that paid
	OwnerCharges                 // ID is the account that was paid
	WorkerCharges                // ID is the worker
	WorkerAttempts               // ID is the worker
)

// List is a list by time.
type List struct {
	Kind Kind
	ID   string
}

// String names the list for people.
func (l List) String() string {
	switch l.Kind {
	case AllCharges:
		return "all charges"
	case JobCharges:
		return "charges of job " + l.ID
	case RequesterCharges:
		return "charges to account " + l.ID
	case OwnerCharges:
		return "charges for account " + l.ID
	case WorkerCharges:
		return "charges of worker " + l.ID
	}
	return "attempts of worker " + l.ID
}

// Listing says that a segment holds items of a list.
type Listing struct {
	List
	Key
	Shard            int
	Earliest, Latest cloudcrowd.Time // of those items
}

// String names the listing for people.
func (l Listing) String() string { return fmt.Sprintf("%s: %s", l.List, l.Key) }

// Levels is how many levels there are, counted from 0.
const Levels = 6

// Level says how long a time the listing covers: no longer than width of it.
func (l Listing) Level() int {
	level := 0
	for level < Levels-1 && uint64(l.Latest)-uint64(l.Earliest) > uint64(width(level)) {
		level++
	}
	return level
}

// width is the longest time that a listing of the level covers: 1 s, 67 s, 71 min, 3 days, 200 days, for ever.
func width(level int) cloudcrowd.Time {
	if level == Levels-1 {
		return math.MaxInt64
	}
	return 1 << (20 + 6*level)
}

// compare orders listings of one list by what they may begin with: newest first, as lists are.
func (l Listing) compare(o Listing) int {
	return cmp.Or(cmp.Compare(o.Latest, l.Latest), cmp.Compare(o.Job, l.Job), cmp.Compare(o.Stage, l.Stage), cmp.Compare(o.Block, l.Block),
		cmp.Compare(o.Seq, l.Seq), cmp.Compare(o.Part, l.Part))
}

// Listings are the listings of a segment, by list.
func (s *Segment) Listings() []Listing {
	type span struct{ earliest, latest cloudcrowd.Time }
	spans := make(map[List]*span, 16)
	add := func(last *span, l List, at cloudcrowd.Time) *span { // last is the span of the list if it is known; neighbours mostly share it
		if last == nil {
			if last = spans[l]; last == nil {
				last = &span{at, at}
				spans[l] = last
			}
		}
		last.earliest, last.latest = min(last.earliest, at), max(last.latest, at)
		return last
	}
	var of *span
	for i := range s.Attempts {
		a := &s.Attempts[i]
		if i > 0 && a.Worker != s.Attempts[i-1].Worker {
			of = nil
		}
		of = add(of, List{WorkerAttempts, string(a.Worker)}, a.EndedAt)
	}
	var all, job, requester, owner, worker *span
	for i := range s.Charges {
		c := &s.Charges[i]
		if i > 0 {
			before := &s.Charges[i-1]
			if c.Requester != before.Requester {
				requester = nil
			}
			if c.Owner != before.Owner {
				owner = nil
			}
			if c.Worker != before.Worker {
				worker = nil
			}
		}
		all = add(all, List{AllCharges, ""}, c.At)
		job = add(job, List{JobCharges, string(s.Job)}, c.At)
		requester = add(requester, List{RequesterCharges, string(c.Requester)}, c.At)
		owner = add(owner, List{OwnerCharges, string(c.Owner)}, c.At)
		worker = add(worker, List{WorkerCharges, string(c.Worker)}, c.At)
	}
	list := make([]Listing, 0, len(spans))
	for l, v := range spans {
		list = append(list, Listing{List: l, Key: s.Key, Shard: s.Shard, Earliest: v.earliest, Latest: v.latest})
	}
	slices.SortFunc(list, func(a, b Listing) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.ID, b.ID)) })
	return list
}
