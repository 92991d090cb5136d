package sim

import (
	"bytes"
	"fmt"
	"maps"
	"testing"
	"time"
)

// Every profile keeps the invariants, ends every job and accepts no more wrong results than it promises, for a fixed set of seeds; the hundredth has a large crowd.
func TestSeeds(t *testing.T) {
	t.Parallel()
	seeds := map[string]uint64{"calm": 10, "stormy": 40, "crashy": 60, "hostile": 25, "overload": 8} // TestServers runs those of profile servers
	for _, name := range Names() {
		for seed := uint64(1); seed <= seeds[name]; seed++ {
			one(t, seed, name)
		}
	}
	if !testing.Short() {
		one(t, largeEvery, "stormy")
	}
}

func one(t *testing.T, seed uint64, name string) {
	t.Helper()
	t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
		t.Parallel()
		if r, err := Run(seed, Profiles[name], Options{}); err != nil {
			t.Fatalf("%v\n%+v\nagain, with all that happens: cloudcrowd sim --profile %s --seeds %d --trace trace.txt", err, r, name, seed)
		}
	})
}

// The same seed gives the same trace.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, err := Run(7, Profiles[name], Options{})
			if err != nil {
				t.Fatal(err)
			}
			b, err := Run(7, Profiles[name], Options{})
			if err != nil {
				t.Fatal(err)
			}
			if a.Trace != b.Trace || a.Events != b.Events || !maps.Equal(a.Faults, b.Faults) {
				t.Fatalf("two runs of one seed differ:\n%+v\n%+v", a, b)
			}
		})
	}
}

// A campaign counts what its seeds did and names those that failed; a profile that promises more than verification can keep fails.
func TestCampaign(t *testing.T) {
	t.Parallel()
	calls := 0
	s := Campaign{Profile: Profiles["calm"], From: 3, To: 5, Parallel: 2, Progress: func(Summary) { calls++ }}.Run(t.Context())
	mixed := ""
	for _, seed := range []uint64{5, 3, 4} {
		r, err := Run(seed, Profiles["calm"], Options{})
		if err != nil {
			t.Fatal(err)
		}
		mixed = MixTraces(mixed, r.Trace)
	}
	if s.Trace != mixed || len(s.Trace) != 32 {
		t.Errorf("the trace's hash is %q, and %q of its seeds one by one", s.Trace, mixed)
	}
	if s.Seeds != 3 || calls != 3 || s.Events == 0 || s.Virtual <= 0 || len(s.Failures) > 0 {
		t.Errorf("%d calls, %+v", calls, s)
	}
	p := Profiles["calm"]
	p.Limit = time.Second
	if s := (Campaign{Profile: p, From: 1, To: 2}).Run(t.Context()); len(s.Failures) != 2 || s.Failures[0].Seed != 1 {
		t.Errorf("%+v", s.Failures)
	}
}

// What happens is told in full on demand, and telling it changes nothing.
func TestTrace(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	told, err := Run(2, Profiles["crashy"], Options{Trace: &text})
	if err != nil {
		t.Fatal(err)
	}
	silent, err := Run(2, Profiles["crashy"], Options{})
	if err != nil {
		t.Fatal(err)
	}
	if told.Trace != silent.Trace {
		t.Error("a run that is told is another one")
	}
	if lines := bytes.Count(text.Bytes(), []byte(" commits row ")); lines != int(told.Commits) {
		t.Errorf("%d commits are told of %d", lines, told.Commits)
	}
}

// Profile servers is what it says: within a few seeds there are platforms of one to three processes and shards in every mix, shards move in every way, and work is
// done in each of them.
func TestServers(t *testing.T) {
	t.Parallel()
	sizes := map[[2]int]bool{}
	faults := map[Fault]int64{}
	for seed := uint64(1); seed <= 40; seed++ {
		r, err := Run(seed, Profiles["servers"], Options{})
		if err != nil {
			t.Fatalf("%v\n%+v\nagain, with all that happens: cloudcrowd sim --profile servers --seeds %d --trace trace.txt", err, r, seed)
		}
		sizes[[2]int{r.Servers, r.Shards}] = true
		for kind, n := range r.Faults {
			faults[kind] += n
		}
		if r.Done+r.Failed == 0 || r.Servers < 1 || r.Servers > 3 || r.Shards < 1 || r.Shards > 3 {
			t.Errorf("%+v", r)
		}
	}
	if len(sizes) != 9 {
		t.Errorf("servers and shards: %v, want nine mixes", sizes)
	}
	for _, kind := range []Fault{GaveAway, ClaimLost, TookOver, Fenced, Crashed, CrashedHere, Paused} {
		if faults[kind] == 0 {
			t.Errorf("no %s", kind)
		}
	}
}

// Seeds that found something keep finding it gone: a node of a merge tree was accepted alone and found wrong later, and the nodes above it stayed as they were; a task that
// was done and done anew in one row was taken for settled twice by the audit; clients of a shard that was taken over at the wrong moment were told of epochs (two); a worker that took all it was given and never answered held up a job for half a day.
func TestFound(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		profile string
		seed    uint64
	}{{"servers", 11250}, {"servers", 80073}, {"crashy", 8}, {"servers", 21}, {"hostile", 210126}} {
		one(t, f.seed, f.profile)
	}
}
