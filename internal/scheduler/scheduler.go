// Package scheduler chooses the worker for a piece of work: the one where it finishes earliest, counting the time until a slot is free, the bytes
// the worker lacks and its measured speed (HEFT's placement rule: Topcuoglu, Hariri, Wu 2002). A slow worker that is free is told to wait when a
// faster one that is busy would still finish sooner.
package scheduler

import (
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Defaults where nothing was measured yet.
const (
	DefaultBandwidth = 20 << 20 // bytes per second a worker fetches inputs with
	AheadSeconds     = 1.0      // a lease may be queued behind others if a slot frees within so long
)

// Worker is what placement knows of one connected worker. The caller keeps one per connection and updates it between calls. It is not to be copied. What every placement
// looks at comes first and lies together.
type Worker struct {
	Held        Leases
	Slots       int
	Capacity    int     // leases it takes in all: slots and some ahead
	MemoryBytes int64   // for all slots together
	Speed       float64 // of one slot, 1.0 = reference core
	Bandwidth   float64
	slots       []float64            // seconds from at until each slot is free, a heap: the least first; made by Prepare
	at          cloudcrowd.Time      // of Prepare
	passed      float64              // seconds since then, as far as known
	widest      int64                // memory of the largest lease held; kept by Prepare and Lease
	place       place                // in the field it was last put into
	Closed      bool                 // draining, exiled or refused: no new leases
	few         [4]float64           // slots, where they are no more
	recent      [2]cloudcrowd.Digest // of those it has, the last ones asked for

	Tag    int    // for the caller
	Unable string // why its Capacity is 0 for some time; empty if it is not
	ID     cloudcrowd.WorkerID
	Owner  cloudcrowd.AccountID
	Name   string
	Cached map[cloudcrowd.Digest]struct{} // see Has, Keep and Forget
}

// Has reports whether the worker has a blob. Most often the same is asked as before, and the map is not looked at.
func (w *Worker) Has(d cloudcrowd.Digest) bool {
	if d == w.recent[0] || d == w.recent[1] {
		return d != ""
	}
	_, ok := w.Cached[d]
	if ok {
		w.recent = [2]cloudcrowd.Digest{d, w.recent[0]}
	}
	return ok
}

// Keep says that the worker has a blob.
func (w *Worker) Keep(d cloudcrowd.Digest) {
	if !w.Has(d) {
		w.Cached[d] = struct{}{}
	}
}

// Forget says that nothing is known any more of what the worker has.
func (w *Worker) Forget() {
	clear(w.Cached)
	w.recent = [2]cloudcrowd.Digest{}
}

// Free is the number of further leases the worker takes now.
func (w *Worker) Free() int {
	if w.Closed {
		return 0
	}
	return max(w.Capacity-w.Held.Len(), 0)
}

// idle reports whether the worker has a slot with nothing to do and still takes no lease, for example because its disk is full. No time can be told at
// which it will, so nothing waits for it.
func (w *Worker) idle() bool { return w.Free() == 0 && w.Held.Len() < w.Slots }

// Prepare computes when each slot will be free from the leases held.
func (w *Worker) Prepare(now cloudcrowd.Time) {
	w.Touch()
	w.prepare(now, nil)
}

// prepare uses rest for what it needs room for, and returns it.
func (w *Worker) prepare(now cloudcrowd.Time, rest []float64) []float64 {
	w.at, w.passed = now, 0
	if n := max(w.Slots, 1); n <= len(w.few) {
		w.slots = w.few[:n]
	} else if len(w.slots) != n {
		w.slots = make([]float64, n)
	}
	clear(w.slots)
	rest, w.widest = rest[:0], 0
	for i := range w.Held.list {
		h := &w.Held.list[i]
		w.widest = max(w.widest, h.MemoryBytes)
		elapsed := float64(now-h.LeasedAt) / 1e6
		// An attempt that has outlived its estimate is as likely to take as long again.
		rest = append(rest, math.Max(h.Expected-elapsed, 0.1*math.Max(elapsed, 0.01)))
	}
	if len(rest) > 1 {
		slices.Sort(rest)
	}
	for _, r := range rest {
		w.Book(r)
	}
	return rest
}

// Warm looks at what a result of the worker will change, so that it is at hand then. What it returns means nothing.
func (w *Worker) Warm() int {
	n := w.Capacity + int(w.at) + int(w.place.free) + len(w.ID)
	for i := range w.Held.list {
		n += w.Held.list[i].Missing + int(w.Held.list[i].ID.N)
	}
	if w.place.in != nil {
		n += int(w.place.in.at[w.place.order])
	}
	return n
}

// Touch says that what the worker holds or takes has changed. Whoever changes it outside of a field calls this, or the field goes on by what it knew.
func (w *Worker) Touch() {
	if f := w.place.field; f != nil && !w.place.touched {
		w.place.touched = true
		f.touched = append(f.touched, w)
	}
}

// Book adds work of the given seconds to the slot that is free first.
func (w *Worker) Book(seconds float64) {
	w.slots[0] += seconds
	for i := 0; ; {
		least := 2*i + 1
		if least >= len(w.slots) {
			return
		}
		if right := least + 1; right < len(w.slots) && w.slots[right] < w.slots[least] {
			least = right
		}
		if w.slots[i] <= w.slots[least] {
			return
		}
		w.slots[i], w.slots[least] = w.slots[least], w.slots[i]
		i = least
	}
}

// Lease gives the worker a lease, which takes the slot that is free first.
func (w *Worker) Lease(h Held) {
	w.Held.Put(h)
	w.widest = max(w.widest, h.MemoryBytes)
	w.Book(h.Expected)
}

// Wait is the number of seconds until a slot is free.
func (w *Worker) Wait() float64 { return math.Max(w.slots[0]-w.passed, 0) }

// Blob is an input a task needs.
type Blob struct {
	Digest    cloudcrowd.Digest
	SizeBytes int64
}

// Item is a piece of work to place.
type Item struct {
	CoreSeconds float64 // normalised estimate
	MemoryBytes int64
	Blobs       []Blob
	Rank        float64                // for the record only: the order is the caller's
	Excluded    func(w *Worker) string // why this worker may not have it; "" if it may
	FreeOnly    bool                   // consider only workers that can take it now
}

// Choice is the answer.
type Choice struct {
	Worker *Worker // nil: nobody may have it
	Now    bool    // it can be leased at once; false: better to wait for Worker
	Why    cloudcrowd.Why
	Barred map[string]int // reasons of those excluded, with counts; only when Worker is nil
}

// Place chooses the worker where the item finishes earliest. Workers must be prepared. Ties go to the first in the slice.
func Place(it Item, workers []*Worker) Choice {
	var best, second *Worker
	var bestWhy, secondWhy cloudcrowd.Why
	var barred map[string]int
	candidates := 0
	for _, w := range workers {
		if reason := barredFrom(it, w); reason != "" {
			if barred == nil {
				barred = map[string]int{}
			}
			barred[reason]++
			continue
		}
		candidates++
		why := estimate(it, w)
		switch {
		case best == nil || why.FinishSeconds < bestWhy.FinishSeconds:
			second, secondWhy = best, bestWhy
			best, bestWhy = w, why
		case second == nil || why.FinishSeconds < secondWhy.FinishSeconds:
			second, secondWhy = w, why
		}
	}
	if best == nil {
		return Choice{Barred: barred}
	}
	bestWhy.Candidates, bestWhy.Rank = candidates, it.Rank
	if second != nil {
		bestWhy.RunnerUp, bestWhy.RunnerUpSecs = second.Name, secondWhy.FinishSeconds
	}
	return Choice{Worker: best, Now: ready(best, it), Why: bestWhy}
}

// barredFrom says why a worker may not have an item; "" if it may.
func barredFrom(it Item, w *Worker) string {
	switch {
	case w.Closed:
		return "takes no work"
	case w.idle():
		if w.Unable != "" {
			return "takes no work at present: " + w.Unable
		}
		return "takes no work at present"
	case w.MemoryBytes > 0 && it.MemoryBytes > w.MemoryBytes:
		return "has too little memory"
	case it.FreeOnly && !ready(w, it):
		return "is busy"
	case it.Excluded != nil:
		return it.Excluded(w)
	}
	return ""
}

// Takes reports whether the worker takes a lease of so much memory, if only to run it behind others.
func (w *Worker) Takes(memory int64) bool { return w.Free() > 0 && w.fits(memory) }

// ready reports whether the worker can be given the item at once.
func ready(w *Worker, it Item) bool {
	if w.Free() == 0 || !w.fits(it.MemoryBytes) {
		return false
	}
	return w.Held.Len() < w.Slots || w.Wait() <= AheadSeconds
}

// fits reports whether the memory limits of the attempts that run at once stay within the worker's memory. Queued leases take none.
func (w *Worker) fits(bytes int64) bool {
	if w.MemoryBytes <= 0 {
		return true
	}
	// Most often all of them fit whatever they are.
	if beside := int64(min(w.Held.Len(), max(w.Slots, 1)-1)); beside == 0 || w.widest <= (w.MemoryBytes-bytes)/beside {
		return bytes <= w.MemoryBytes
	}
	held := make([]int64, 0, w.Held.Len())
	for i := range w.Held.list {
		held = append(held, w.Held.list[i].MemoryBytes)
	}
	slices.Sort(held)
	used := bytes
	for _, other := range held[max(len(held)-max(w.Slots, 1)+1, 0):] { // the largest that may run beside it
		used += other
	}
	return used <= w.MemoryBytes
}

// Rate is how many bytes a second the worker is taken to fetch.
func (w *Worker) Rate() float64 {
	if w.Bandwidth > 0 {
		return w.Bandwidth
	}
	return DefaultBandwidth
}

func estimate(it Item, w *Worker) cloudcrowd.Why {
	var missing int64
	for _, b := range it.Blobs {
		if !w.Has(b.Digest) {
			missing += b.SizeBytes
		}
	}
	why := cloudcrowd.Why{WaitSeconds: w.Wait(), FetchSeconds: float64(missing) / w.Rate(), RunSeconds: it.CoreSeconds / math.Max(w.Speed, 0.01)}
	why.FinishSeconds = why.WaitSeconds + why.FetchSeconds + why.RunSeconds
	return why
}

// Chunk is how many units the next task of a divisible stage should hold on a worker: as many as take about target seconds there, at
// most four times the largest so far (a single measurement is not trusted further), and smaller pieces near the end so that all slots finish together (guided
// self-scheduling: Polychronopoulos, Kuck 1987). perUnit is in normalised core-seconds, 0 while unknown; then a probe is carved: a
// sixty-fourth of an even share.
func Chunk(perUnit, target, speed float64, remaining, total int64, largest int64, slots int) int64 {
	slots = max(slots, 1)
	if perUnit <= 0 {
		return max(total/int64(slots)/64, 1)
	}
	want := target * math.Max(speed, 0.01) / perUnit
	want = math.Min(want, 4*float64(max(largest, 1)))
	want = math.Min(want, math.Ceil(float64(remaining)/(2*float64(slots))))
	return max(int64(want), 1)
}
