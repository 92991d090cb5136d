package worker

import (
	"os"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

func resultOf(i int32) spooled {
	return spooled{Upload: "t", Report: cloudcrowd.Report{Attempt: attemptOf(i), Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Reason: "r"}}}
}

// Wherever the log is cut, what was whole before the cut is there and nothing else; and the log can be written on.
func TestSpoolCutAnywhere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "spool")
		if err != nil {
			rt.Fatal(err)
		}
		s, _, err := openSpool(dir)
		if err != nil {
			rt.Fatal(err)
		}
		type step struct {
			end  int64
			id   int32
			gone bool
		}
		var steps []step
		for range rapid.IntRange(0, 20).Draw(rt, "records") {
			r := resultOf(rapid.Int32Range(0, 5).Draw(rt, "id"))
			r.Gone = rapid.Bool().Draw(rt, "gone")
			if err := s.append([]spooled{r}, false); err != nil {
				rt.Fatal(err)
			}
			steps = append(steps, step{s.size, r.Report.Attempt.Task.Index, r.Gone})
		}
		size := s.size
		if err := s.close(); err != nil {
			rt.Fatal(err)
		}
		cut := rapid.Int64Range(0, size).Draw(rt, "cut")
		if err := os.Truncate(path(dir, "log"), cut); err != nil {
			rt.Fatal(err)
		}
		if rapid.Bool().Draw(rt, "junk") {
			f, err := os.OpenFile(path(dir, "log"), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				rt.Fatal(err)
			}
			f.Write([]byte("\x00\x00\x00\x05junk....."))
			f.Close()
		}
		want := map[int32]bool{}
		for _, st := range steps {
			if st.end <= cut {
				want[st.id] = !st.gone
			}
		}
		check := func(more ...int32) {
			s, waiting, err := openSpool(dir)
			if err != nil {
				rt.Fatal(err)
			}
			defer s.close()
			got := map[int32]bool{}
			for _, w := range waiting {
				got[w.Report.Attempt.Task.Index] = true
			}
			for _, id := range more {
				want[id] = true
			}
			for id := range int32(10) {
				if want[id] != got[id] {
					rt.Fatalf("attempt %d: there %v, want %v", id, got[id], want[id])
				}
			}
			if len(more) == 0 {
				if err := s.append([]spooled{resultOf(9)}, true); err != nil {
					rt.Fatal(err)
				}
			}
		}
		check()
		check(9)
	})
}

// A busy log does not grow without bound, and what waits survives its rewriting.
func TestSpoolStaysSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	keep := resultOf(0)
	if err := s.append([]spooled{keep}, false); err != nil {
		t.Fatal(err)
	}
	largest := int64(0)
	batch := make([]spooled, 1000)
	for range 100 {
		for j := range batch {
			batch[j] = resultOf(int32(j + 1))
		}
		if err := s.append(batch, false); err != nil {
			t.Fatal(err)
		}
		for j := range batch {
			batch[j].Gone = true
		}
		if err := s.append(batch, false); err != nil {
			t.Fatal(err)
		}
		if err := s.compact(func() []spooled { return []spooled{keep} }); err != nil {
			t.Fatal(err)
		}
		largest = max(largest, s.size)
	}
	if largest > rewriteAt+1<<20 {
		t.Fatalf("the log grew to %d bytes", largest)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	s, waiting, err := openSpool(dir)
	if err != nil || len(waiting) != 1 || waiting[0].Report.Attempt != attemptOf(0) {
		t.Fatalf("waiting %v, %v", waiting, err)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

// Whichever bit of the log flips, no result comes back that is not one of those written; the damage is named; and where the length of a record is sound, the
// others are there.
func TestSpoolBitFlips(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, _, err := openSpool(dir)
	if err != nil {
		t.Fatal(err)
	}
	const records = 3
	var ends []int64
	for i := range int32(records) {
		if err := s.append([]spooled{resultOf(i)}, false); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, s.size)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(sound) * 8 {
		spoiled := slices.Clone(sound)
		spoiled[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path(dir, "log"), spoiled, 0o600); err != nil {
			t.Fatal(err)
		}
		s, waiting, err := openSpool(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.damage) == 0 {
			t.Errorf("bit %d: nothing is said", bit)
		}
		struck := slices.IndexFunc(ends, func(end int64) bool { return int64(bit/8) < end })
		begins := int64(0)
		if struck > 0 {
			begins = ends[struck-1]
		}
		got := map[int32]bool{}
		for _, w := range waiting {
			if want := resultOf(w.Report.Attempt.Task.Index); !reflect.DeepEqual(w, want) {
				t.Errorf("bit %d: %+v came back", bit, w)
			}
			got[w.Report.Attempt.Task.Index] = true
		}
		for i := range int32(records) {
			switch {
			case int(i) == struck && got[i]:
				t.Errorf("bit %d: record %d came back", bit, i)
			case int(i) < struck && !got[i], int(i) > struck && !got[i] && int64(bit/8) >= begins+4:
				t.Errorf("bit %d: record %d is gone", bit, i)
			}
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever the log holds, opening it neither fails nor panics, and what it gives is there again at the next start, with what was added, and nothing said.
func FuzzSpool(f *testing.F) {
	dir := f.TempDir()
	s, _, err := openSpool(dir)
	if err != nil {
		f.Fatal(err)
	}
	gone := resultOf(1)
	gone.Gone = true
	if err := s.append([]spooled{resultOf(0), resultOf(1), gone, resultOf(2)}, true); err != nil {
		f.Fatal(err)
	}
	if err := s.close(); err != nil {
		f.Fatal(err)
	}
	log, err := os.ReadFile(path(dir, "log"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(log)
	f.Add(log[:len(log)-3])
	f.Add(append(slices.Clone(log[5:]), log...))
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, log []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(path(dir, "log"), log, 0o600); err != nil {
			t.Fatal(err)
		}
		s, first, err := openSpool(dir)
		if err != nil {
			t.Fatal(err)
		}
		added := resultOf(1 << 30)
		if err := s.append([]spooled{added}, false); err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Fatal(err)
		}
		s, second, err := openSpool(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer s.close()
		first = slices.DeleteFunc(first, func(r spooled) bool { return r.Report.Attempt == added.Report.Attempt })
		if len(second) != len(first)+1 || !reflect.DeepEqual(second[len(first)], added) {
			t.Fatalf("%d results, then %d", len(first), len(second))
		}
		for i := range first {
			if !reflect.DeepEqual(first[i], second[i]) {
				t.Fatalf("%+v, then %+v", first[i], second[i])
			}
		}
	})
}
