package scheduler

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// crowd draws workers of few or many speeds, idle, busy and full, some with an input.
func crowd(t *rapid.T, n int) []*Worker {
	speeds := rapid.SliceOfN(rapid.Float64Range(0.05, 8), 1, 6).Draw(t, "speeds")
	var list []*Worker
	for i := range n {
		slots := rapid.IntRange(1, 3).Draw(t, "slots")
		var held []Held
		for range rapid.IntRange(0, slots+2).Draw(t, "held") {
			held = append(held, Held{Expected: float64(rapid.IntRange(0, 40).Draw(t, "expected")) / 10, MemoryBytes: 1 << 20})
		}
		w := worker(fmt.Sprintf("w%03d", i), speeds[rapid.IntRange(0, len(speeds)-1).Draw(t, "speed")], slots, held...)
		w.Closed = rapid.IntRange(0, 9).Draw(t, "closed") == 0
		w.MemoryBytes = int64(rapid.IntRange(1, 8).Draw(t, "memory")) << 20
		if rapid.IntRange(0, 9).Draw(t, "cached") == 0 {
			w.Cached["data"] = struct{}{}
		}
		list = append(list, w)
	}
	return list
}

// latest is when a choice as good as c may finish: speeds of a class differ by a twentieth, and not all of its workers are looked at.
func latest(c Choice) float64 { return c.Why.FinishSeconds + c.Why.RunSeconds*1.01*classWidth + 1e-6 }

// A field finds, placement after placement, a worker on which the item finishes about as early as on the one that looking at all of them finds.
func TestFieldFindsTheEarliest(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		workers := crowd(t, rapid.IntRange(1, 120).Draw(t, "workers"))
		f := NewField(workers, 0)
		for k := range rapid.IntRange(1, 60).Draw(t, "items") {
			it := Item{CoreSeconds: float64(rapid.IntRange(0, 50).Draw(t, "core")) / 10, MemoryBytes: int64(rapid.IntRange(0, 4).Draw(t, "memory")) << 20,
				FreeOnly: rapid.Bool().Draw(t, "free only")}
			barred := workers[rapid.IntRange(0, len(workers)-1).Draw(t, "barred")]
			it.Excluded = func(w *Worker) string {
				if w == barred {
					return "failed it before"
				}
				return ""
			}
			may := f.Ready()
			want, got := Place(it, workers), f.Place(it)
			if !may && (want.Now || got.Now) {
				t.Fatalf("item %d %+v is taken now where nobody was to take anything", k, it)
			}
			if (want.Worker == nil) != (got.Worker == nil) {
				t.Fatalf("item %d %+v went to %v, looking at all finds %v", k, it, got.Worker, want.Worker)
			}
			if got.Worker == nil {
				continue
			}
			if got.Why.FinishSeconds < want.Why.FinishSeconds-1e-9 || got.Why.FinishSeconds > latest(want) || barredFrom(it, got.Worker) != "" {
				t.Fatalf("item %d %+v finishes after %v on %s, after %v on %s", k, it, got.Why.FinishSeconds, got.Worker.Name, want.Why.FinishSeconds, want.Worker.Name)
			}
			if got.Now {
				f.Lease(got.Worker, Held{ID: cloudcrowd.AttemptID{N: int32(1000 + k)}, Expected: got.Why.RunSeconds, MemoryBytes: it.MemoryBytes})
			} else {
				f.Book(got.Worker, got.Why.RunSeconds)
			}
		}
	})
}

// A field that is kept while time goes by, leases end and workers change finds as early a worker as one that is made anew.
func TestFieldIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		workers := crowd(t, rapid.IntRange(smallField-1, 90).Draw(t, "workers"))
		for _, w := range workers { // so that no estimate has been outlived
			for i := range w.Held.All() {
				w.Held.All()[i].Expected += 1000
			}
		}
		kept := NewField(workers, 0)
		now := cloudcrowd.Time(0)
		for k := range rapid.IntRange(1, 30).Draw(t, "rounds") {
			now += cloudcrowd.Time(rapid.IntRange(0, 10e6).Draw(t, "passed"))
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				w := workers[rapid.IntRange(0, len(workers)-1).Draw(t, "changed")]
				if w.Held.Len() > 0 {
					w.Held.Delete(w.Held.All()[0].ID)
				}
				w.Capacity = w.Slots + rapid.IntRange(-1, 2).Draw(t, "capacity")
				w.Touch()
			}
			kept.Refresh(now)
			it := Item{CoreSeconds: float64(rapid.IntRange(0, 50).Draw(t, "core")) / 10, FreeOnly: rapid.Bool().Draw(t, "free only")}
			may := kept.Ready()
			got := kept.Place(it)
			if !may && got.Now {
				t.Fatalf("round %d: %+v is taken now where nobody was to take anything", k, it)
			}
			fresh := make([]*Worker, len(workers))
			for i, w := range workers {
				c := *w
				c.slots = nil
				fresh[i] = &c
			}
			anew := NewField(fresh, now)
			want := anew.Place(it)
			slots, free := kept.Slots()
			if s, f := anew.Slots(); s != slots || f != free {
				t.Fatalf("round %d: %d slots and %d free, should be %d and %d", k, slots, free, s, f)
			}
			if (want.Worker == nil) != (got.Worker == nil) {
				t.Fatalf("round %d: %+v went to %v, anew to %v", k, it, got.Worker, want.Worker)
			}
			if got.Worker == nil {
				continue
			}
			if got.Why.FinishSeconds > latest(want) || want.Why.FinishSeconds > latest(got) {
				t.Fatalf("round %d: %+v finishes after %v on %s, anew after %v on %s", k, it, got.Why.FinishSeconds, got.Worker.Name, want.Why.FinishSeconds, want.Worker.Name)
			}
			if got.Now {
				kept.Lease(got.Worker, Held{ID: cloudcrowd.AttemptID{N: int32(1000 + k)}, Expected: 1000 + got.Why.RunSeconds, LeasedAt: now})
			} else {
				kept.Book(got.Worker, got.Why.RunSeconds)
			}
		}
	})
}

// A worker whose lease has outlived its estimate does not look free to a field that is kept.
func TestFieldNoticesDelay(t *testing.T) {
	t.Parallel()
	var workers []*Worker
	for i := range smallField + 1 {
		expected := 100.0
		if i == 7 {
			expected = 1
		}
		workers = append(workers, worker(fmt.Sprint("w", i), 1, 1, Held{Expected: expected}))
	}
	f := NewField(workers, 0)
	f.Refresh(50e6)
	if c := f.Place(Item{CoreSeconds: 1}); c.Worker != workers[7] || c.Why.WaitSeconds != 5 {
		t.Fatalf("%s: %+v", c.Worker.Name, c.Why)
	}
}

// Whoever has the large input gets the work, in a field of thousands that lack it too.
func TestFieldKnowsWhoHasIt(t *testing.T) {
	t.Parallel()
	var workers []*Worker
	for i := range 3000 {
		workers = append(workers, worker(fmt.Sprintf("w%04d", i), 1, 2))
	}
	workers[2345].Cached["data"] = struct{}{}
	f := NewField(workers, 0)
	if c := f.Place(Item{CoreSeconds: 1, Blobs: []Blob{{"data", 100 << 20}}}); c.Worker != workers[2345] || !c.Now || c.Why.FetchSeconds != 0 || c.Why.RunnerUpSecs != 101 {
		t.Fatalf("%s: %+v", c.Worker.Name, c.Why)
	}
}

// What one placement costs, with a lease each, in crowds of many sizes with ten speeds.
func BenchmarkField(b *testing.B) {
	for _, n := range []int{4, 100, 1000, 10_000} {
		b.Run(fmt.Sprint("workers=", n), func(b *testing.B) {
			var workers []*Worker
			for i := range n {
				w := worker(fmt.Sprintf("w%05d", i), 1+float64(i%10)/5, 8)
				w.Capacity = b.N + 8
				workers = append(workers, w)
			}
			f := NewField(workers, 0)
			b.ResetTimer()
			for i := range b.N {
				c := f.Place(Item{CoreSeconds: 1e-6})
				f.Lease(c.Worker, Held{ID: cloudcrowd.AttemptID{N: int32(i)}, Expected: 1e-6})
			}
		})
	}
}

// Somebody is ready as long as a slot is empty, whatever is booked on it, and again when one frees soon.
func TestReady(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, smallField + 8} {
		var workers []*Worker
		for i := range n {
			workers = append(workers, worker(fmt.Sprintf("w%03d", i), 1, 1))
			workers[i].Capacity = 3
		}
		f := NewField(workers, 0)
		for _, w := range workers {
			f.Book(w, 5)
		}
		if !f.Ready() {
			t.Errorf("%d workers with empty slots: nobody is ready", n)
		}
		f.Refresh(1)
		for i, w := range workers {
			if !f.Ready() {
				t.Errorf("%d of %d workers have empty slots, and nobody is ready", n-i, n)
			}
			f.Lease(w, Held{ID: cloudcrowd.AttemptID{N: int32(i + 1)}, Expected: 10, LeasedAt: 1})
		}
		if f.Ready() {
			t.Errorf("%d workers are busy for 10 s, and somebody is ready", n)
		}
		f.Refresh(9.5e6)
		if !f.Ready() {
			t.Errorf("%d workers are free in half a second, and nobody is ready", n)
		}
	}
}
