package sim

import (
	"fmt"
	"testing"
)

// Every profile keeps the invariants, ends every job and accepts nothing wrong, for a fixed set of seeds.
func TestSeeds(t *testing.T) {
	seeds := map[string]uint64{"calm": 5, "crowd": 20, "storm": 25}
	if testing.Short() {
		seeds = map[string]uint64{"calm": 2, "crowd": 4, "storm": 6}
	}
	for name, n := range seeds {
		for seed := uint64(1); seed <= n; seed++ {
			t.Run(fmt.Sprintf("%s/%d", name, seed), func(t *testing.T) {
				t.Parallel()
				r, err := Run(seed, Profiles[name])
				if err != nil {
					t.Fatalf("%v\n%+v", err, r)
				}
				if r.Wrong > 0 {
					t.Fatalf("%d wrong results were accepted: %+v", r.Wrong, r)
				}
			})
		}
	}
}

// The same seed gives the same trace.
func TestSameSeedSameTrace(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"crowd", "storm"} {
		a, err := Run(7, Profiles[name])
		if err != nil {
			t.Fatal(err)
		}
		b, err := Run(7, Profiles[name])
		if err != nil {
			t.Fatal(err)
		}
		if a != b {
			t.Fatalf("%s: two runs of one seed differ:\n%+v\n%+v", name, a, b)
		}
	}
}
