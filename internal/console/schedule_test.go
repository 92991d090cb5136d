package console

import (
	"math/rand/v2"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// Whatever was leased and reported when, no worker runs more attempts at once than it has slots, none runs before it was leased or after its result
// came, and none runs longer than it said.
func TestSchedule(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		slots := 1 + random.IntN(4)
		const end = cloudcrowd.Time(60_000_000)
		var all []cloudcrowd.Attempt
		for i := range random.IntN(80) {
			a := cloudcrowd.Attempt{ID: cloudcrowd.AttemptID{N: int32(i)}, Worker: []cloudcrowd.WorkerID{"a", "b"}[random.IntN(2)], State: cloudcrowd.AttemptLeased}
			a.LeasedAt = cloudcrowd.Time(random.Int64N(int64(end)))
			if random.IntN(4) > 0 { // results come in batches
				a.EndedAt = min(end, a.LeasedAt+cloudcrowd.Time(random.Int64N(20))*1_000_000)
				if random.IntN(5) > 0 {
					a.Result = &cloudcrowd.Result{Usage: cloudcrowd.Usage{WallSeconds: random.Float64() * 3}}
				}
			}
			all = append(all, a)
		}
		ran := schedule(all, func(cloudcrowd.WorkerID) int { return slots }, end)
		for i, a := range all {
			s := ran[i]
			if s == (stretch{}) {
				if a.EndedAt > 0 {
					t.Fatalf("seed %d: attempt %d ended and is not drawn", seed, i)
				}
				continue
			}
			last := a.EndedAt
			if last == 0 {
				last = end
			}
			// A worker may be seen to lease a task after the one before it made all slots look taken: it is then drawn as a moment.
			if s.from > s.to || s.to > last || s.from < a.LeasedAt && s.from != s.to {
				t.Fatalf("seed %d: attempt %d, leased at %d and ended at %d, is drawn from %d to %d", seed, i, a.LeasedAt, a.EndedAt, s.from, s.to)
			}
			if a.Result == nil {
				continue
			}
			if over := s.to - s.from - cloudcrowd.Time(a.Result.Usage.WallSeconds*1e6); over > 0 {
				t.Fatalf("seed %d: attempt %d is drawn %d µs longer than it ran", seed, i, over)
			}
			beside := 0
			for k, b := range all {
				if b.Worker == a.Worker && b.Result != nil && ran[k].from <= s.from && s.from < ran[k].to {
					beside++
				}
			}
			if beside > slots {
				t.Fatalf("seed %d: %d attempts run at once on %d slots", seed, beside, slots)
			}
		}
	}
}
