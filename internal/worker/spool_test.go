package worker

import (
	"os"
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
