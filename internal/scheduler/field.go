package scheduler

import (
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Field is the workers among which work is placed. It chooses as Place does, but looks at few of them: workers of nearly the same speed form a class, and in
// each class those that take a lease now and those that do not are kept by the time until they are free. Of two workers of a class the one that is free
// earlier is better unless the other has bytes that it lacks, so a class is left as soon as nobody in it can finish earlier than the best so far.
//
// What a placement costs grows with the number of classes, not with the number of workers. Where inputs are to be fetched, at most mostLooks of each kind in a
// class are looked at, and if the best of them has to fetch, whoever is known to hold the largest input.
//
// A field may be kept from one round of placement to the next: Refresh then looks anew at workers that were touched, booked or are later than was expected. A
// worker belongs to one field, the last it was put into.
type Field struct {
	began   cloudcrowd.Time
	now     cloudcrowd.Time
	workers []*Worker
	small   bool // all are looked at
	open    int  // not closed
	slots   int  // of those
	free    int  // leases they take now
	vacant  int  // of those who take leases, workers with a slot that nothing runs on
	classes []*class
	touched []*Worker
	at      []int32                         // where in its queue each of workers is
	holders map[cloudcrowd.Digest][]*Worker // by digests asked for
	asked   cloudcrowd.Time                 // when the first of holders was found
	next    []int                           // see queue.search
	rest    []float64                       // see Worker.prepare
}

// class is the workers whose speed lies within a twentieth.
type class struct {
	fastest    float64
	free, busy queue // take a lease now; do not
}

// place is where a worker is in a field.
type place struct {
	field   *Field // nil: it is in none
	class   *class
	in      *queue  // nil: it takes nothing, and nobody can tell when it will
	until   float64 // seconds after Field.began when a slot is free; 0: one is
	order   int32   // in the list of workers
	free    int32   // leases it took when it was last looked at
	touched bool    // it is in Field.touched
	vacant  bool    // it is counted in Field.vacant
}

// queue is a heap by the time from which a slot is free; of equals the first in the list of workers comes first. It is kept apart from the workers, so that most of
// them need not be touched.
type queue struct {
	list []entry
	at   []int32 // Field.at
}

type entry struct {
	until float64 // place.until
	order int32   // place.order
}

// late reports whether the worker should be free by now, and nobody has looked whether it is.
func (e entry) late(at float64) bool { return e.until > 0 && e.until <= at }

func (e entry) before(o entry) bool {
	if e.until != o.until {
		return e.until < o.until
	}
	return e.order < o.order
}

const (
	classWidth = 0.05 // of speeds, logarithmic
	mostLooks  = 16
	mostVain   = 256 // workers looked at that are booked and may not have the item, before the others of a class are given up
	smallField = 32  // up to so many workers all are looked at

	holdersKept = cloudcrowd.Time(1e6) // how long a field goes by who had an input
	lateAgain   = 0.05                 // seconds until a worker that is late is looked at again
)

// NewField prepares workers for placements at now. The slice is kept and not changed. When one of them closes or opens, a new field is needed.
func NewField(workers []*Worker, now cloudcrowd.Time) *Field {
	f := &Field{began: now, now: now, workers: workers, small: len(workers) <= smallField}
	for _, w := range workers {
		w.place = place{}
		if !w.Closed {
			f.open++
			f.slots += w.Slots
		}
	}
	if f.small {
		f.Refresh(now)
		return f
	}
	byNumber := map[int]*class{}
	f.at = make([]int32, len(workers))
	for i, w := range workers {
		if w.Closed {
			continue
		}
		number := int(math.Floor(math.Log(math.Max(w.Speed, 0.01)) / classWidth))
		c := byNumber[number]
		if c == nil {
			c = &class{free: queue{at: f.at}, busy: queue{at: f.at}}
			byNumber[number] = c
			f.classes = append(f.classes, c)
		}
		c.fastest = math.Max(c.fastest, math.Max(w.Speed, 0.01))
		w.place = place{field: f, order: int32(i), class: c}
		f.renew(w)
	}
	slices.SortFunc(f.classes, func(a, b *class) int {
		if a.fastest > b.fastest {
			return -1
		}
		return 1
	})
	return f
}

// Refresh goes on to another time.
func (f *Field) Refresh(now cloudcrowd.Time) {
	if now-f.asked > holdersKept {
		f.holders, f.asked = nil, now
	}
	f.now = now
	if f.small {
		f.free = 0
		for _, w := range f.workers {
			f.rest = w.prepare(now, f.rest)
			f.free += w.Free()
		}
		return
	}
	for _, w := range f.touched {
		w.place.touched = false
		f.renew(w)
	}
	clear(f.touched)
	f.touched = f.touched[:0]
}

// late looks anew at the workers at the head of a queue that should be free and are not, as long as one of them could be better than the best so far: at a few where there
// is one. They have the place of those that are free some time later, so that the next placement does not look at them again.
func (f *Field) late(q *queue, s *search, run float64) {
	for looks := 0; len(q.list) > 0 && q.list[0].late(s.at) && (s.best == nil || run < s.why.FinishSeconds && looks < mostLooks); looks++ {
		w := f.workers[q.list[0].order]
		f.renew(w)
		if p := &w.place; p.in != nil && p.until > 0 && p.until < s.at+lateAgain {
			p.until = s.at + lateAgain
			p.in.fix(entry{p.until, p.order})
		}
	}
}

// Slots is how many slots the workers have that are not closed, and how many leases they take now.
func (f *Field) Slots() (slots, free int) { return f.slots, f.free }

// Ready reports whether a worker may be left that takes a lease now: it has a slot that nothing runs on, or one is free within AheadSeconds by what is booked. False is
// certain: then no placement of this round ends in a lease.
func (f *Field) Ready() bool {
	if f.small {
		return slices.ContainsFunc(f.workers, func(w *Worker) bool { return w.Free() > 0 && (w.Held.Len() < w.Slots || w.Wait() <= AheadSeconds) })
	}
	if f.vacant > 0 {
		return true
	}
	at := float64(f.now-f.began) / 1e6
	return slices.ContainsFunc(f.classes, func(c *class) bool { return len(c.free.list) > 0 && c.free.list[0].until-at <= AheadSeconds })
}

// renew looks at a worker anew and puts it where it belongs.
func (f *Field) renew(w *Worker) {
	f.rest = w.prepare(f.now, f.rest)
	f.moved(w)
}

// Place chooses the worker where the item finishes earliest. Ties go to the first in the list of workers, in a large field nearly so.
func (f *Field) Place(it Item) Choice {
	if f.small {
		return Place(it, f.workers)
	}
	s := search{it: it, now: f.now, at: float64(f.now-f.began) / 1e6, next: f.next}
	for _, c := range f.classes {
		run := it.CoreSeconds / c.fastest
		if s.beats(run) {
			break // classes come fastest first
		}
		f.search(&c.free, &s, run)
		if !it.FreeOnly {
			f.search(&c.busy, &s, run)
		}
	}
	if s.best == nil || s.why.FetchSeconds > 0 { // else whoever could be earlier was looked at
		for _, w := range f.holdersOf(it) {
			s.look(w)
		}
	}
	f.next = s.next
	if s.best == nil {
		return Choice{}
	}
	choice := Choice{Worker: s.best, Now: ready(s.best, it), Why: s.why}
	choice.Why.Candidates, choice.Why.Rank = f.open, it.Rank
	if s.second != nil {
		choice.Why.RunnerUp, choice.Why.RunnerUpSecs = s.second.Name, s.secondFinish
	}
	return choice
}

// Lease gives a worker of the field a lease.
func (f *Field) Lease(w *Worker, h Held) {
	f.current(w)
	w.Lease(h)
	if w.place.field != nil {
		f.moved(w)
	}
}

// Book adds work to the slot of a worker that is free first, until the next Refresh.
func (f *Field) Book(w *Worker, seconds float64) {
	f.current(w)
	w.Book(seconds)
	if w.place.field != nil {
		f.moved(w)
		w.Touch()
	}
}

// current prepares a worker that was last prepared earlier.
func (f *Field) current(w *Worker) {
	if w.at != f.now {
		f.rest = w.prepare(f.now, f.rest)
	}
}

// moved puts a worker where it belongs, after what it holds or takes has changed.
func (f *Field) moved(w *Worker) {
	p := &w.place
	free := w.Free()
	f.free += free - int(p.free)
	if vacant := free > 0 && w.Held.Len() < w.Slots; vacant != p.vacant {
		if p.vacant = vacant; vacant {
			f.vacant++
		} else {
			f.vacant--
		}
	}
	p.free, p.until = int32(free), 0
	if w.slots[0] > 0 {
		p.until = float64(w.at-f.began)/1e6 + w.slots[0]
	}
	q := &p.class.busy
	switch {
	case free > 0:
		q = &p.class.free
	case w.idle():
		q = nil
	}
	e := entry{p.until, p.order}
	switch {
	case q == p.in && q != nil:
		q.fix(e)
	case q != p.in:
		if p.in != nil {
			p.in.remove(p.order)
		}
		if p.in = q; q != nil {
			q.list = append(q.list, entry{})
			q.up(len(q.list)-1, e)
		}
	}
}

// holdersOf lists workers that have the largest input an item needs, found once for each digest.
func (f *Field) holdersOf(it Item) []*Worker {
	var largest Blob
	for _, b := range it.Blobs {
		if b.SizeBytes > largest.SizeBytes {
			largest = b
		}
	}
	if largest.SizeBytes == 0 {
		return nil
	}
	list, known := f.holders[largest.Digest]
	if !known {
		for _, w := range f.workers {
			if w.place.field != nil && w.Has(largest.Digest) {
				if list = append(list, w); len(list) == mostLooks {
					break
				}
			}
		}
		if f.holders == nil {
			f.holders = map[cloudcrowd.Digest][]*Worker{}
		}
		f.holders[largest.Digest] = list
	}
	return list
}

// search is one placement under way.
type search struct {
	it           Item
	now          cloudcrowd.Time
	at           float64 // the same in seconds after Field.began
	best, second *Worker
	why          cloudcrowd.Why
	secondFinish float64
	next         []int // of queue.search, kept from one to the next
}

// beats reports whether the two best so far finish no later than anybody can who takes so long from now on.
func (s *search) beats(seconds float64) bool {
	return s.second != nil && seconds >= s.why.FinishSeconds
}

// look considers one worker and reports whether it may have the item.
func (s *search) look(w *Worker) bool {
	s.pass(w)
	if w == s.best || w == s.second || barredFrom(s.it, w) != "" {
		return false
	}
	why := estimate(s.it, w)
	switch {
	case s.best == nil || why.FinishSeconds < s.why.FinishSeconds:
		s.second, s.secondFinish = s.best, s.why.FinishSeconds
		s.best, s.why = w, why
	case s.second == nil || why.FinishSeconds < s.secondFinish:
		s.second, s.secondFinish = w, why.FinishSeconds
	}
	return true
}

// pass lets a worker know the time.
func (s *search) pass(w *Worker) { w.passed = float64(s.now-w.at) / 1e6 }

// search looks at a queue's workers in order of wait, as long as one could be better than the best. It leaves the queue as it was, but for workers that are late: a
// second, small heap holds the places whose parents were looked at.
func (f *Field) search(q *queue, s *search, run float64) {
	f.late(q, s, run)
	s.next = q.push(s.next[:0], 0)
	for looks, vain := 0, 0; len(s.next) > 0 && looks < mostLooks && vain < mostVain; {
		i := q.pop(s.next)
		s.next = s.next[:len(s.next)-1]
		e := q.list[i]
		wait := math.Max(e.until-s.at, 0)
		if s.beats(wait+run) || e.late(s.at) {
			return
		}
		if s.look(f.workers[e.order]) {
			looks++
		} else if wait > AheadSeconds {
			vain++ // those behind it are booked for longer still
		}
		s.next = q.push(q.push(s.next, 2*i+1), 2*i+2)
	}
}

func (q *queue) push(next []int, i int) []int {
	if i >= len(q.list) {
		return next
	}
	next = append(next, i)
	for k := len(next) - 1; k > 0 && q.less(next[k], next[(k-1)/2]); k = (k - 1) / 2 {
		next[k], next[(k-1)/2] = next[(k-1)/2], next[k]
	}
	return next
}

// pop returns the first; the last place of next is free then.
func (q *queue) pop(next []int) int {
	top, last := next[0], len(next)-1
	next[0] = next[last]
	for k := 0; ; {
		least := 2*k + 1
		if least >= last {
			return top
		}
		if right := least + 1; right < last && q.less(next[right], next[least]) {
			least = right
		}
		if !q.less(next[least], next[k]) {
			return top
		}
		next[k], next[least] = next[least], next[k]
		k = least
	}
}

func (q *queue) less(i, j int) bool { return q.list[i].before(q.list[j]) }

func (q *queue) set(i int, e entry) {
	q.list[i] = e
	q.at[e.order] = int32(i)
}

// fix gives a worker that is in the queue another time.
func (q *queue) fix(e entry) {
	if i := int(q.at[e.order]); !q.up(i, e) {
		q.down(i, e)
	}
}

func (q *queue) remove(order int32) {
	i, last := int(q.at[order]), len(q.list)-1
	e := q.list[last]
	if q.list = q.list[:last]; i < last && !q.up(i, e) {
		q.down(i, e)
	}
}

// up puts an entry into a place that is free, or above it, and reports whether it went above.
func (q *queue) up(i int, e entry) bool {
	from := i
	for i > 0 && e.before(q.list[(i-1)/2]) {
		q.set(i, q.list[(i-1)/2])
		i = (i - 1) / 2
	}
	q.set(i, e)
	return i < from
}

// down puts an entry into a place that is free, or below it.
func (q *queue) down(i int, e entry) {
	for {
		least := 2*i + 1
		if least >= len(q.list) {
			break
		}
		if right := least + 1; right < len(q.list) && q.less(right, least) {
			least = right
		}
		if !q.list[least].before(e) {
			break
		}
		q.set(i, q.list[least])
		i = least
	}
	q.set(i, e)
}
