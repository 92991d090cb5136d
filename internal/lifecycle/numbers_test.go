package lifecycle

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// A set of numbers holds what was added and not removed, and lists it in order.
func TestNumbers(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		var s numbers
		twin := map[int32]bool{}
		most := int32(1) << rnd.IntN(16)
		for range 2000 {
			i := rnd.Int32N(most)
			if rnd.IntN(2) == 0 {
				s.add(i)
				twin[i] = true
			} else {
				s.remove(i)
				delete(twin, i)
			}
			if s.has(i) != twin[i] || s.n != len(twin) {
				t.Fatalf("after %d: %v of %d, want %v of %d", i, s.has(i), s.n, twin[i], len(twin))
			}
		}
		if got, want := s.list(), slices.Sorted(maps.Keys(twin)); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}
