package worker

import (
	"context"
	"os"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/fake"
)

// Every way to misbehave does what it says.
func TestMisbehave(t *testing.T) {
	t.Parallel()
	program := map[string]fake.Program{"index": programs["index"]}
	run := func(t *testing.T, how string, n int32) (*testServer, *running, []cloudcrowd.Report) {
		s := serve(t, "")
		a := launch(t, s, t.TempDir(), sandboxOf(program), func(c *Config) { c.Misbehave, c.Slots = how, 1 })
		s.greet(t, a.ID(), welcome)
		var all []cloudcrowd.Report
		for i := range n {
			l := s.lease(i, "index")
			l.Payload.Resources.OutputBytes = 1000
			s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{l}})
			if how == misbehaveVanish {
				break
			}
			up := s.next(t, func(u cloudcrowd.Up) bool {
				return slices.ContainsFunc(u.Reports, func(r cloudcrowd.Report) bool { return r.Attempt == attemptOf(i) })
			})
			all = append(all, up.Reports...)
			s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{attemptOf(i)}})
		}
		return s, a, all
	}
	differs := func(t *testing.T, how string) {
		s, _, got := run(t, how, 1)
		_, _, again := run(t, how, 1)
		o := got[0].Result.Outputs
		if got[0].Result.Outcome != cloudcrowd.Succeeded || len(o) != 1 || s.get(t, o[0].Digest) == "index 0" || len(s.get(t, o[0].Digest)) != len("index 0") {
			t.Fatalf("got %+v", got)
		}
		if again[0].Result.Outputs[0].Digest != o[0].Digest {
			t.Fatal("not the same lie twice")
		}
	}
	t.Run("lie", func(t *testing.T) { t.Parallel(); differs(t, misbehaveLie) })
	t.Run("garbage", func(t *testing.T) { t.Parallel(); differs(t, misbehaveGarbage) })
	t.Run("nothing", func(t *testing.T) {
		t.Parallel()
		_, _, got := run(t, misbehaveNothing, 1)
		if r := got[0].Result; r.Outcome != cloudcrowd.Succeeded || len(r.Outputs) != 0 {
			t.Fatalf("got %+v", r)
		}
	})
	t.Run("huge", func(t *testing.T) {
		t.Parallel()
		_, _, got := run(t, misbehaveHuge, 1)
		if r := got[0].Result; len(r.Outputs) != 2 || r.Outputs[0].Path != "huge" || r.Outputs[0].SizeBytes != 1001 {
			t.Fatalf("got %+v", r)
		}
	})
	t.Run("swap", func(t *testing.T) {
		t.Parallel()
		s, _, got := run(t, misbehaveSwap, 2)
		if r := got[1].Result; s.get(t, r.Outputs[0].Digest) != "index 0" {
			t.Fatalf("got %+v", r)
		}
	})
	t.Run("twice", func(t *testing.T) {
		t.Parallel()
		_, _, got := run(t, misbehaveTwice, 1)
		if len(got) != 2 || got[0].Attempt != got[1].Attempt {
			t.Fatalf("got %+v", got)
		}
	})
	t.Run("vanish", func(t *testing.T) {
		t.Parallel()
		s, a, _ := run(t, misbehaveVanish, 1)
		if err := a.wait(t); err == nil {
			t.Fatal("it said goodbye")
		}
		if w := <-s.gone; w != a.ID() {
			t.Fatalf("gone: %s", w)
		}
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		_, _, got := run(t, misbehaveSlow, 1)
		if r := got[0].Result; r.Outcome != cloudcrowd.Succeeded {
			t.Fatalf("got %+v", r)
		}
	})
}

// The kernel is a module whose end a sandbox sees; what is measured is kept.
func TestMeasure(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	dir := t.TempDir()
	runs := 0
	box := fake.New(map[string]fake.Program{string(digest(ReferenceKernel())): func(context.Context, *fake.Attempt) (int, error) { runs++; return 0, nil }})
	for range 2 {
		a := launch(t, s, dir, box, func(c *Config) { c.Speed = 0 })
		if h := s.greet(t, a.ID(), welcome); h.Info.Speed <= 0 {
			t.Fatalf("speed %v", h.Info.Speed)
		}
		a.kill(t)
	}
	if runs != 3 {
		t.Fatalf("measured %d times, want 3 in the first run only", runs)
	}
	if files, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(files, func(f os.DirEntry) bool { return len(f.Name()) > 12 }) {
		t.Fatalf("left behind: %v, %v", files, err)
	}
}
