package scheduler

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// worker makes one with the given leases, prepared at time 0.
func worker(name string, speed float64, slots int, held ...Held) *Worker {
	w := &Worker{ID: cloudcrowd.WorkerID(name), Name: name, Speed: speed, Slots: slots, Capacity: slots + 2, Bandwidth: 1 << 20,
		Cached: map[cloudcrowd.Digest]struct{}{}}
	for i := range held {
		held[i].ID = cloudcrowd.AttemptID{N: int32(i + 1)}
		w.Held.Put(held[i])
	}
	w.Prepare(0)
	return w
}

// A slow worker that is free is told to wait when a faster one that is busy finishes sooner all the same; the reasons are kept.
func TestWaitsForFasterOne(t *testing.T) {
	t.Parallel()
	slow, fast := worker("slow", 0.1, 1), worker("fast", 2, 1, Held{Expected: 5})
	fast.Capacity = 1
	c := Place(Item{CoreSeconds: 10, Rank: 3}, []*Worker{slow, fast})
	if c.Worker != fast || c.Now {
		t.Fatalf("went to %v, now %v", c.Worker.Name, c.Now)
	}
	w := c.Why
	if w.WaitSeconds != 5 || w.RunSeconds != 5 || w.FinishSeconds != 10 || w.Candidates != 2 || w.RunnerUp != "slow" || w.RunnerUpSecs != 100 || w.Rank != 3 {
		t.Fatalf("why: %+v", w)
	}
	// When the slow one finishes earlier, it gets the work.
	if c := Place(Item{CoreSeconds: 0.5}, []*Worker{slow, fast}); c.Worker != slow || !c.Now {
		t.Fatalf("a short task went to %s", c.Worker.Name)
	}
	// Told to look at free ones only, it takes the slow one.
	if c := Place(Item{CoreSeconds: 10, FreeOnly: true}, []*Worker{slow, fast}); c.Worker != slow || !c.Now {
		t.Fatalf("free only: %s", c.Worker.Name)
	}
}

// Bytes that are there already are preferred, unless fetching them is quicker than waiting.
func TestCachedBytesPreferred(t *testing.T) {
	t.Parallel()
	it := Item{CoreSeconds: 1, Blobs: []Blob{{"module", 1 << 20}, {"data", 9 << 20}}}
	empty, full := worker("empty", 1, 1), worker("full", 1, 1)
	full.Cached["module"], full.Cached["data"] = struct{}{}, struct{}{}
	c := Place(it, []*Worker{empty, full})
	if c.Worker != full || c.Why.FetchSeconds != 0 || c.Why.RunnerUpSecs != 11 {
		t.Fatalf("%s: %+v", c.Worker.Name, c.Why)
	}
	full.Book(100)
	if c := Place(it, []*Worker{empty, full}); c.Worker != empty || c.Why.FetchSeconds != 10 {
		t.Fatalf("%s: %+v", c.Worker.Name, c.Why)
	}
	unknown := worker("unknown", 1, 1)
	unknown.Bandwidth = 0
	if c := Place(it, []*Worker{unknown}); c.Why.FetchSeconds != 10.0*(1<<20)/DefaultBandwidth {
		t.Fatalf("default bandwidth: %+v", c.Why)
	}
}

// Nobody is chosen where all are excluded, and every reason is counted.
func TestBarred(t *testing.T) {
	t.Parallel()
	closed, small, busy, failed := worker("closed", 1, 1), worker("small", 1, 1), worker("busy", 1, 1, Held{Expected: 9}), worker("failed", 1, 1)
	closed.Closed, small.MemoryBytes = true, 10
	it := Item{MemoryBytes: 11, FreeOnly: true, Excluded: func(w *Worker) string {
		if w == failed {
			return "failed it before"
		}
		return ""
	}}
	c := Place(it, []*Worker{closed, small, busy, failed})
	if c.Worker != nil || fmt.Sprint(c.Barred) != "map[failed it before:1 has too little memory:1 is busy:1 takes no work:1]" {
		t.Fatalf("%+v", c)
	}
	if closed.Free() != 0 || failed.Free() != 3 || busy.Free() != 2 {
		t.Fatalf("free: %d, %d, %d", closed.Free(), failed.Free(), busy.Free())
	}
}

// Nothing waits for a worker that has a slot with nothing to do and yet takes no lease: its disk is full, and nobody knows for how long.
func TestIdleIsNotAwaited(t *testing.T) {
	t.Parallel()
	full, slow := worker("full", 9, 1), worker("slow", 0.1, 1, Held{Expected: 100})
	full.Capacity, slow.Capacity = 0, 1
	if c := Place(Item{CoreSeconds: 1}, []*Worker{full, slow}); c.Worker != slow || c.Now {
		t.Fatalf("it waits for %v", c.Worker)
	}
	if c := Place(Item{CoreSeconds: 1}, []*Worker{full}); c.Worker != nil || fmt.Sprint(c.Barred) != "map[takes no work at present:1]" {
		t.Fatalf("%+v", c)
	}
}

// What runs at once fits in memory: the largest leases that may run beside a new one count, whichever order they are looked at in.
func TestMemoryFits(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, c := range []struct {
		slots int
		held  []int64
		ask   int64
		now   bool
	}{
		{1, nil, 100 * mib, true},
		{1, nil, 101 * mib, false},
		{2, []int64{60 * mib}, 40 * mib, true},
		{2, []int64{60 * mib}, 41 * mib, false},
		{1, []int64{90 * mib}, 90 * mib, true},            // queued behind the other
		{2, []int64{10 * mib, 80 * mib}, 20 * mib, true},  // beside either of the two
		{2, []int64{10 * mib, 80 * mib}, 30 * mib, false}, // not beside the larger one
		{0, []int64{90 * mib}, 90 * mib, true},
	} {
		for range 20 { // the leases are in a map
			w := worker("w", 1, c.slots)
			w.MemoryBytes, w.Capacity = 100*mib, 10
			for i, bytes := range c.held {
				w.Held.Put(Held{ID: cloudcrowd.AttemptID{N: int32(i)}, MemoryBytes: bytes, Expected: 0.1})
			}
			w.Prepare(0)
			if got := Place(Item{MemoryBytes: c.ask}, []*Worker{w}); got.Now != c.now {
				t.Fatalf("%+v: now %v", c, got.Now)
			}
		}
	}
}

// A lease may be queued behind others only if a slot frees soon.
func TestAhead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rest float64
		now  bool
	}{{AheadSeconds / 2, true}, {AheadSeconds, true}, {AheadSeconds * 2, false}} {
		w := worker("w", 1, 1, Held{Expected: c.rest})
		if got := Place(Item{CoreSeconds: 1}, []*Worker{w}); got.Now != c.now {
			t.Errorf("a slot frees in %g s: now %v", c.rest, got.Now)
		}
	}
}

// An attempt that has outlived its estimate is not believed to end at once.
func TestOverdue(t *testing.T) {
	t.Parallel()
	w := worker("w", 1, 1, Held{Expected: 1, LeasedAt: -100e6})
	if w.Wait() != 10 {
		t.Fatalf("overdue by far: %g s", w.Wait())
	}
}

// Place chooses the earliest finish among all workers that may have the item: the brute force agrees, ties go to the first, and the runner-up is the second best.
func TestPlaceTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		digests := []cloudcrowd.Digest{"a", "b", "c"}
		var workers []*Worker
		barred := map[*Worker]bool{}
		for i := range rapid.IntRange(0, 6).Draw(t, "workers") {
			var held []Held
			for range rapid.IntRange(0, 3).Draw(t, "held") {
				held = append(held, Held{Expected: float64(rapid.IntRange(0, 5).Draw(t, "expected")), MemoryBytes: int64(rapid.IntRange(0, 4).Draw(t, "memory"))})
			}
			w := worker(fmt.Sprint("w", i), []float64{0.5, 1, 2}[rapid.IntRange(0, 2).Draw(t, "speed")], rapid.IntRange(1, 3).Draw(t, "slots"), held...)
			w.MemoryBytes, w.Closed = int64(rapid.IntRange(0, 8).Draw(t, "has")), rapid.IntRange(0, 5).Draw(t, "closed") == 0
			w.Bandwidth = 1
			for _, d := range digests {
				if rapid.Bool().Draw(t, "cached") {
					w.Cached[d] = struct{}{}
				}
			}
			barred[w] = rapid.IntRange(0, 4).Draw(t, "barred") == 0
			workers = append(workers, w)
		}
		it := Item{CoreSeconds: float64(rapid.IntRange(0, 8).Draw(t, "core")), MemoryBytes: int64(rapid.IntRange(0, 6).Draw(t, "ask")), FreeOnly: rapid.Bool().Draw(t, "free only"),
			Excluded: func(w *Worker) string {
				if barred[w] {
					return "barred"
				}
				return ""
			}}
		for _, d := range digests[:rapid.IntRange(0, 3).Draw(t, "blobs")] {
			it.Blobs = append(it.Blobs, Blob{d, 2})
		}
		finish := func(w *Worker) float64 {
			missing := 0.0
			for _, b := range it.Blobs {
				if _, ok := w.Cached[b.Digest]; !ok {
					missing += 2
				}
			}
			return w.Wait() + missing + it.CoreSeconds/w.Speed
		}
		var want *Worker
		second, candidates := math.Inf(1), 0
		for _, w := range workers {
			if w.Closed || barred[w] || w.MemoryBytes > 0 && it.MemoryBytes > w.MemoryBytes || it.FreeOnly && !ready(w, it) {
				continue
			}
			candidates++
			if want == nil || finish(w) < finish(want) {
				want = w
			}
		}
		for _, w := range workers {
			if w != want && !w.Closed && !barred[w] && !(w.MemoryBytes > 0 && it.MemoryBytes > w.MemoryBytes) && !(it.FreeOnly && !ready(w, it)) {
				second = math.Min(second, finish(w))
			}
		}
		c := Place(it, workers)
		if c.Worker != want {
			t.Fatalf("chose %v, brute force %v", c.Worker, want)
		}
		if want == nil {
			n := 0
			for _, k := range c.Barred {
				n += k
			}
			if n != len(workers) {
				t.Fatalf("%d workers, reasons %v", len(workers), c.Barred)
			}
			return
		}
		if c.Why.Candidates != candidates || c.Why.FinishSeconds != finish(want) || candidates > 1 && c.Why.RunnerUpSecs != second || it.FreeOnly && !c.Now {
			t.Fatalf("why %+v, now %v; brute force: %d candidates, finish %g, second %g", c.Why, c.Now, candidates, finish(want), second)
		}
	})
}

// A chunk holds at least one unit, at most four times the largest so far once something was measured, and half of an even share of what is left.
func TestChunkBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		total := rapid.Int64Range(1, 1<<40).Draw(t, "total")
		remaining := rapid.Int64Range(1, total).Draw(t, "remaining")
		largest := rapid.Int64Range(0, total).Draw(t, "largest")
		slots := rapid.IntRange(0, 10_000).Draw(t, "slots")
		perUnit := rapid.OneOf(rapid.Float64Range(1e-12, 1e6), rapid.SampledFrom([]float64{math.Inf(1), math.NaN(), 5e-324})).Draw(t, "per unit")
		n := Chunk(perUnit, rapid.Float64Range(0.001, 3600).Draw(t, "target"), rapid.Float64Range(0, 100).Draw(t, "speed"), remaining, total, largest, slots)
		half := int64(math.Ceil(float64(remaining) / (2 * float64(max(slots, 1)))))
		if n < 1 || n > max(4*max(largest, 1), 1) || n > max(half, 1) {
			t.Fatalf("%d units; largest %d, half of an even share %d", n, largest, half)
		}
	})
}

// Probes come first, then pieces of about the target's duration on that worker, then smaller ones, so that all slots finish together.
func TestChunkOfAWholeStage(t *testing.T) {
	t.Parallel()
	const total, slots, perUnit, target = 1_000_000, 4, 0.0001, 10.0
	if n := Chunk(0, target, 1, total, total, 0, slots); n != total/slots/64 {
		t.Fatalf("probe of %d units", n)
	}
	if n := Chunk(0, target, 1, 5, 5, 0, slots); n != 1 {
		t.Fatalf("probe of a small stage: %d", n)
	}
	fast, slow := Chunk(perUnit, target, 2, total, total, total, slots), Chunk(perUnit, target, 0.5, total, total, total, slots)
	if fast != 125_000 || slow != 50_000 {
		t.Fatalf("target %g s: %d units on a fast worker (an even share's half bounds it), %d on a slow one", target, fast, slow)
	}
	largest, left, tasks, last := int64(total/slots/64), int64(total), 0, int64(0)
	for left > 0 {
		n := min(Chunk(perUnit, target, 1, left, total, largest, slots), left)
		if tasks > 3 && left < total/2 && n > last {
			t.Fatalf("pieces grow at the end: %d after %d", n, last)
		}
		largest, last, left, tasks = max(largest, n), n, left-n, tasks+1
	}
	if last != 1 || tasks > 150 {
		t.Fatalf("%d tasks, the last of %d units", tasks, last)
	}
}

// The slot that is free first is booked first.
func TestBook(t *testing.T) {
	t.Parallel()
	w := worker("w", 1, 2)
	for _, c := range []struct{ book, wait float64 }{{5, 0}, {3, 3}, {1, 4}, {10, 5}} {
		if w.Book(c.book); w.Wait() != c.wait {
			t.Fatalf("after booking %g: %g, want %g", c.book, w.Wait(), c.wait)
		}
	}
}
