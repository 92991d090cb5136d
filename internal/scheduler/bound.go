package scheduler

import (
	"math"
	"slices"
)

// TightBound is a bound no schedule can beat that counts, unlike LowerBound, that a task runs on one slot as a whole: of each set of tasks that are
// not shorter than p, do not begin before h and leave at least q after them, a slot that ends within T takes at most ⌊T·speed/p⌋, and only the slots that
// can hold one contribute. Sets are tried at up to marks values of h, q and p. O(marks³ · (nodes + slots)).
func (g *Graph) TightBound(seconds []float64, slots []Slot, marks int) float64 {
	best := g.LowerBound(seconds, slots)
	n := len(g.Nodes)
	fastest := 0.0
	for _, s := range slots {
		fastest = math.Max(fastest, s.Speed)
	}
	head, tail := make([]float64, n), g.UpwardRanks(seconds, 1, 0)
	for i, node := range g.Nodes {
		for _, e := range node.In {
			if e.From >= 0 {
				head[i] = math.Max(head[i], head[e.From]+seconds[e.From])
			}
		}
	}
	for i := range tail {
		tail[i] -= seconds[i]
	}
	for _, h := range quantiles(head, marks) {
		for _, q := range quantiles(tail, marks) {
			for _, p := range quantiles(seconds, marks) {
				if p <= 0 {
					continue
				}
				count, work := 0.0, 0.0
				for i := range seconds {
					if head[i] >= h && tail[i] >= q && seconds[i] >= p {
						count, work = count+1, work+seconds[i]
					}
				}
				if count == 0 {
					continue
				}
				around := (h + q) / fastest
				enough := func(t float64) bool {
					places, room := 0.0, 0.0
					for _, s := range slots {
						if k := math.Floor(t*s.Speed/p + 1e-9); k > 0 {
							places, room = places+k, room+t*s.Speed
						}
					}
					return places >= count && room >= work*(1-1e-12)
				}
				lo, hi := math.Max(best-around, 0), best-around+work/fastest
				if enough(lo) {
					continue
				}
				for range 40 {
					if mid := (lo + hi) / 2; enough(mid) {
						hi = mid
					} else {
						lo = mid
					}
				}
				best = math.Max(best, lo+around)
			}
		}
	}
	return best
}

// quantiles returns up to n of the distinct values, spread evenly, least and largest included.
func quantiles(values []float64, n int) []float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	if len(sorted) <= n {
		return sorted
	}
	list := make([]float64, n)
	for i := range list {
		list[i] = sorted[i*(len(sorted)-1)/(n-1)]
	}
	return list
}
