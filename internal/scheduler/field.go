package scheduler

import (
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Field is the workers of one round of placement. It chooses as Place does, but looks at few of them: workers of nearly the same speed form a class, and in
// each class those that take a lease now and those that do not are kept by the time until they are free. Of two workers of a class the one that is free
// earlier is better unless the other has bytes that it lacks, so a class is left as soon as nobody in it can finish earlier than the best so far.
//
// What a placement costs grows with the number of classes, not with the number of workers. Where inputs are to be fetched, at most mostLooks of each kind in a
// class are looked at, after whoever is known to hold the largest input.
type Field struct {
	now     cloudcrowd.Time
	workers []*Worker
	open    int // not closed
	classes []*class
	places  map[*Worker]*place
	holders map[cloudcrowd.Digest][]*Worker // by digests asked for
	next    []int                           // see queue.search
}

// class is the workers whose speed lies within a twentieth.
type class struct {
	fastest    float64
	free, busy queue // take a lease now; do not
}

type place struct {
	worker *Worker
	order  int // in the list of workers
	class  *class
	in     *queue
	at     int // in the queue
}

// queue is a heap by wait; of equals the first in the list of workers comes first.
type queue struct{ list []*place }

const (
	classWidth = 0.05 // of speeds, logarithmic
	mostLooks  = 16
	mostVain   = 256 // workers looked at that are booked and may not have the item, before the others of a class are given up
	smallField = 32  // up to so many workers all are looked at
)

// NewField prepares workers for placements at now. The slice is kept and not changed.
func NewField(workers []*Worker, now cloudcrowd.Time) *Field {
	f := &Field{now: now, workers: workers}
	for _, w := range workers {
		if !w.Closed {
			f.open++
		}
	}
	if len(workers) <= smallField {
		for _, w := range workers {
			w.Prepare(now)
		}
		return f
	}
	f.places = make(map[*Worker]*place, f.open)
	byNumber := map[int]*class{}
	all := make([]place, 0, f.open)
	for i, w := range workers {
		if w.Closed || w.idle() {
			continue
		}
		w.Prepare(now)
		number := int(math.Floor(math.Log(math.Max(w.Speed, 0.01)) / classWidth))
		c := byNumber[number]
		if c == nil {
			c = &class{}
			byNumber[number] = c
			f.classes = append(f.classes, c)
		}
		c.fastest = math.Max(c.fastest, math.Max(w.Speed, 0.01))
		all = append(all, place{worker: w, order: i, class: c})
		f.places[w] = &all[len(all)-1]
		c.queueOf(w).add(&all[len(all)-1])
	}
	slices.SortFunc(f.classes, func(a, b *class) int {
		if a.fastest > b.fastest {
			return -1
		}
		return 1
	})
	for _, c := range f.classes {
		c.free.heapify()
		c.busy.heapify()
	}
	return f
}

func (c *class) queueOf(w *Worker) *queue {
	if w.Free() > 0 {
		return &c.free
	}
	return &c.busy
}

// Place chooses the worker where the item finishes earliest. Ties go to the first in the list of workers, in a large field nearly so.
func (f *Field) Place(it Item) Choice {
	if f.places == nil {
		return Place(it, f.workers)
	}
	s := search{it: it, next: f.next}
	for _, w := range f.holdersOf(it) {
		s.look(w)
	}
	for _, c := range f.classes {
		run := it.CoreSeconds / c.fastest
		if s.second != nil && run >= s.why.FinishSeconds {
			break // classes come fastest first
		}
		c.free.search(&s, run)
		if !it.FreeOnly {
			c.busy.search(&s, run)
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

// Lease gives a worker of the field a lease, Book adds work to the slot that is free first; both keep the field in order.
func (f *Field) Lease(w *Worker, id cloudcrowd.AttemptID, h *Held) {
	w.Lease(id, h)
	f.moved(w)
}

// Book adds work to the slot of a worker that is free first.
func (f *Field) Book(w *Worker, seconds float64) {
	w.Book(seconds)
	f.moved(w)
}

func (f *Field) moved(w *Worker) {
	p := f.places[w]
	if p == nil {
		return
	}
	if q := p.class.queueOf(w); q != p.in {
		p.in.remove(p)
		q.add(p)
		q.up(p.at)
		return
	}
	p.in.down(p.at) // work is only ever added
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
			if _, ok := w.Cached[largest.Digest]; ok && f.places[w] != nil {
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
	best, second *Worker
	why          cloudcrowd.Why
	secondFinish float64
	next         []int // of queue.search, kept from one to the next
}

// look considers one worker and reports whether it may have the item.
func (s *search) look(w *Worker) bool {
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

// search looks at the queue's workers in order of wait, as long as one could be better than the best. It leaves the queue as it was: a second, small heap
// holds the places whose parents were looked at.
func (q *queue) search(s *search, run float64) {
	s.next = q.push(s.next[:0], 0)
	for looks, vain := 0, 0; len(s.next) > 0 && looks < mostLooks && vain < mostVain; {
		i := q.pop(s.next)
		s.next = s.next[:len(s.next)-1]
		w := q.list[i].worker
		if s.second != nil && w.Wait()+run >= s.why.FinishSeconds {
			return
		}
		if s.look(w) {
			looks++
		} else if w.Wait() > AheadSeconds {
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

func (q *queue) less(i, j int) bool {
	a, b := q.list[i], q.list[j]
	if x, y := a.worker.Wait(), b.worker.Wait(); x != y {
		return x < y
	}
	return a.order < b.order
}

func (q *queue) swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].at, q.list[j].at = i, j
}

func (q *queue) add(p *place) {
	p.in, p.at = q, len(q.list)
	q.list = append(q.list, p)
}

func (q *queue) remove(p *place) {
	i, last := p.at, len(q.list)-1
	q.swap(i, last)
	q.list[last] = nil
	q.list = q.list[:last]
	if i < last {
		q.down(i)
		q.up(i)
	}
}

func (q *queue) heapify() {
	for i := len(q.list)/2 - 1; i >= 0; i-- {
		q.down(i)
	}
}

func (q *queue) up(i int) {
	for i > 0 && q.less(i, (i-1)/2) {
		q.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (q *queue) down(i int) {
	for {
		least := 2*i + 1
		if least >= len(q.list) {
			return
		}
		if right := least + 1; right < len(q.list) && q.less(right, least) {
			least = right
		}
		if !q.less(least, i) {
			return
		}
		q.swap(i, least)
		i = least
	}
}
