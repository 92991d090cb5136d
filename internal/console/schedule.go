package console

import (
	"cmp"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
)

// stretch is when an attempt ran. Its zero value is one that only waited in its worker's queue so far.
type stretch struct{ from, to cloudcrowd.Time }

// schedule says when each attempt ran. The server knows when a lease began and when its result came, and how long the program took; but workers hold
// leases ahead and report several results at once, so a lease's time is not the time it ran. Since no more attempts than slots run at once on a worker,
// each is put as late before its report as the ones after it leave room. slots is asked for the number of a worker's slots; end is now, or the end of
// the job.
func schedule(all []cloudcrowd.Attempt, slots func(cloudcrowd.WorkerID) int, end cloudcrowd.Time) []stretch {
	out := make([]stretch, len(all))
	byWorker := map[cloudcrowd.WorkerID][]int{}
	for i, a := range all {
		byWorker[a.Worker] = append(byWorker[a.Worker], i)
	}
	for w, list := range byWorker {
		n := max(slots(w), 1)
		slices.SortStableFunc(list, func(a, b int) int {
			return cmp.Or(cmp.Compare(all[b].EndedAt, all[a].EndedAt), cmp.Compare(all[b].LeasedAt, all[a].LeasedAt))
		})
		limit := make([]cloudcrowd.Time, n) // where the stretch begins that comes next in a slot
		for s := range limit {
			limit[s] = math.MaxInt64
		}
		latest := cloudcrowd.Time(0) // end of the last known stretch
		for _, i := range list {
			a := all[i]
			if a.Result == nil || a.EndedAt == 0 {
				continue
			}
			s := 0
			for k := range limit {
				if limit[k] > limit[s] {
					s = k
				}
			}
			to := min(a.EndedAt, limit[s])
			from := min(max(to-cloudcrowd.Time(a.Result.Usage.WallSeconds*1e6), a.LeasedAt), to)
			out[i], limit[s] = stretch{from, to}, from
			latest = max(latest, to)
		}
		openStretches(out, all, list, n, latest, end)
	}
	return out
}

// openStretches places attempts of one worker whose result is not known: of those that ended together, or have not ended, the first ones leased are
// taken to run, as many as there are slots; the others waited. list is sorted by end and lease, latest first.
func openStretches(out []stretch, all []cloudcrowd.Attempt, list []int, slots int, latest, end cloudcrowd.Time) {
	taken := map[cloudcrowd.Time]int{}
	for k := len(list) - 1; k >= 0; k-- {
		i := list[k]
		a := all[i]
		if a.Result != nil && a.EndedAt > 0 {
			continue
		}
		to := a.EndedAt
		if to == 0 {
			to = end
		}
		from := a.LeasedAt
		if latest < to {
			from = max(from, latest)
		}
		taken[a.EndedAt]++
		switch {
		case taken[a.EndedAt] <= slots:
			out[i] = stretch{min(from, to), to}
		case a.EndedAt > 0:
			out[i] = stretch{to, to} // a mark where it ended
		}
	}
}

// heldSpans joins the times in which each lane held leases.
func heldSpans(all []cloudcrowd.Attempt, lane func(cloudcrowd.Attempt) string, start, end cloudcrowd.Time) []draw.Span {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(all[a].LeasedAt, all[b].LeasedAt) })
	last := map[string]int{} // lane → its latest span
	var spans []draw.Span
	for _, i := range order {
		to := all[i].EndedAt
		if to == 0 {
			to = end
		}
		name := lane(all[i])
		s := draw.Span{Lane: name, From: max(float64(all[i].LeasedAt-start)/1e6, 0), To: float64(to-start) / 1e6}
		if k, ok := last[name]; ok && s.From <= spans[k].To {
			spans[k].To = max(spans[k].To, s.To)
			continue
		}
		spans = append(spans, s)
		last[name] = len(spans) - 1
	}
	return spans
}
