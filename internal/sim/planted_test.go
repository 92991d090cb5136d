package sim

import (
	"strings"
	"testing"
)

// The simulator can fail: each of these defects, planted into the platform, is found within a few seeds, and by the invariant that it breaks.
func TestPlantedDefects(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		profile string
		planted planted
		seeds   uint64 // within so many
		broken  string // part of what the invariant says that it breaks
	}{
		{"the fencing check is skipped", "crashy", planted{unfenced: true}, 40, "was written under epoch"},
		{"transfers are booked before the commit is known to succeed", "crashy", planted{payFirst: true}, 20, "the journal says"},
		{"the rest of a hold is not given back", "calm", planted{forgetVoid: true}, 2, "the journal says"},
		{"a late duplicate is accepted", "stormy", planted{recount: true}, 10, "reported while accepted"},
		{"a commit is acknowledged before it is written", "calm", planted{ackFirst: true}, 2, "were acknowledged and are not in the journal"},
		{"the fencing check of several shards is skipped", "servers", planted{unfenced: true}, 40, "was written under epoch"},
		{"transfers of several shards are booked before the commit is known to succeed", "servers", planted{payFirst: true}, 10, "the journal says"},
		{"the rest of a hold of one of several shards is not given back", "servers", planted{forgetVoid: true}, 2, "the journal says"},
		{"what belongs to a shard is taken to another", "servers", planted{misroute: true}, 10, "is of shard"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= c.seeds; seed++ {
				if _, err := Run(seed, Profiles[c.profile], Options{planted: c.planted}); err != nil {
					if t.Logf("found: %v", err); !strings.Contains(err.Error(), c.broken) {
						t.Errorf("found by another invariant than the one that says %q", c.broken)
					}
					return
				}
			}
			t.Fatalf("%d seeds of profile %s did not notice it", c.seeds, c.profile)
		})
	}
}
