package sim

import (
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
	}{
		{"the fencing check is skipped", "crashy", planted{unfenced: true}, 40},
		{"transfers are booked before the commit is known to succeed", "crashy", planted{payFirst: true}, 20},
		{"the rest of a hold is not given back", "calm", planted{forgetVoid: true}, 2},
		{"a late duplicate is accepted", "stormy", planted{recount: true}, 10},
		{"a commit is acknowledged before it is written", "calm", planted{ackFirst: true}, 2},
		{"the fencing check of several shards is skipped", "servers", planted{unfenced: true}, 40},
		{"transfers of several shards are booked before the commit is known to succeed", "servers", planted{payFirst: true}, 10},
		{"the rest of a hold of one of several shards is not given back", "servers", planted{forgetVoid: true}, 2},
		{"what belongs to a shard is taken to another", "servers", planted{misroute: true}, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= c.seeds; seed++ {
				if _, err := Run(seed, Profiles[c.profile], Options{planted: c.planted}); err != nil {
					t.Logf("found: %v", err)
					return
				}
			}
			t.Fatalf("%d seeds of profile %s did not notice it", c.seeds, c.profile)
		})
	}
}
