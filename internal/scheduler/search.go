package scheduler

import (
	"math"
	"math/rand/v2"
)

// searchWork bounds nodes · slots · plans of one search, so that large graphs get fewer plans.
const searchWork = 200_000_000

// room is the Risk of plans where lengths are in doubt.
const room = 1.5

// Search makes up to the given number of plans and returns the one that ends first, of equals the one that moves fewer bytes. In order:
//
//  1. upward rank and earliest finish with insertion: HEFT; the same with ranks that do not count bytes, and with the optimistic costs of PEFT;
//  2. the plan known before, if there is one;
//  3. by bisection, the least end that can be met when each node goes to the slowest slot from which it can: what is fast stays free for what is long. It is the
//     idea of MULTIFIT (Coffman, Garey, Johnson: An application of bin-packing to multiprocessor scheduling, SIAM J. Comput. 1978);
//  4. changes of the best plan so far: ranks taken again from where it put everything, all ranks disturbed a little, a few exchanged; with a target or without.
//
// Where lengths are in doubt (Progress.Doubt) only the first is made, with room for longer ones: what is not known cannot be polished.
// The chance comes from rnd alone. O(plans · (nodes · slots + edges · workers)).
func (p *Planner) Search(now *Progress, before *Plan, plans int, rnd *rand.Rand) Plan {
	n := len(p.g.Nodes)
	slower, perByte := Typical(p.slots)
	upward := p.g.UpwardRanks(now.Seconds, slower, perByte)
	if now.Doubt != nil {
		return p.List(now, upward, Policy{Insert: true, Risk: room}, nil)
	}
	best := p.List(now, upward, Policy{Insert: true}, nil)
	if plans = min(plans, max(searchWork/max(n*len(p.slots), 1), 1)); plans > 1 {
		p.Look(now)
	}
	try := func(priority []float64, policy Policy) {
		if plan := p.List(now, priority, policy, nil); plan.End < best.End || plan.End == best.End && plan.Moved < best.Moved {
			best = plan
		}
	}
	low, high := now.Now+(best.End-now.Now)*0.75, best.End
	for k := 1; k < plans; k++ {
		switch {
		case k == 1:
			try(p.g.UpwardRanks(now.Seconds, slower, 0), Policy{Insert: true})
		case k == 2:
			try(p.optimisticRanks(), Policy{Insert: true, After: 1})
		case k == 3 && before != nil:
			policy := before.Policy
			policy.Target = 0
			try(before.Priority, policy)
		case k < 12:
			target := (low + high) / 2
			if try(upward, Policy{Insert: true, Target: target}); best.End <= target*(1+1e-9) {
				high = target
			} else {
				low = target
			}
		default:
			policy := Policy{Insert: true, After: best.Policy.After}
			switch rnd.IntN(4) {
			case 0, 1:
				policy.Target, policy.Slack = best.End-(best.End-now.Now)*0.05*rnd.Float64(), 1+0.3*rnd.Float64()
			case 2:
				policy.After = float64(rnd.IntN(5)) / 4
			}
			try(p.change(&best, rnd), policy)
		}
	}
	return best
}

// optimisticRanks is the mean row of the table of optimistic costs: the order of PEFT.
func (p *Planner) optimisticRanks() []float64 {
	ranks := make([]float64, len(p.g.Nodes))
	for i := range ranks {
		for k := range p.slots {
			ranks[i] += math.Min(p.after[i*len(p.slots)+k], 1e9) / float64(len(p.slots)) // slots that take nothing have no time to tell
		}
	}
	return ranks
}

// change makes new priorities from those of a plan.
func (p *Planner) change(plan *Plan, rnd *rand.Rand) []float64 {
	priority := make([]float64, len(plan.Priority))
	switch rnd.IntN(3) {
	case 0:
		again, share := p.ranksAsPlaced(plan), rnd.Float64()
		for i := range priority {
			priority[i] = share*again[i] + (1-share)*plan.Priority[i]
		}
	case 1:
		for i := range priority {
			priority[i] = plan.Priority[i] * (1 + 0.05*rnd.NormFloat64())
		}
	case 2:
		copy(priority, plan.Priority)
		for range 1 + rnd.IntN(4) {
			priority[rnd.IntN(len(priority))] = plan.Priority[rnd.IntN(len(priority))]
		}
	}
	return priority
}

// ranksAsPlaced are upward ranks with the lengths and transfers of a plan instead of typical ones.
func (p *Planner) ranksAsPlaced(plan *Plan) []float64 {
	ranks := make([]float64, len(p.g.Nodes))
	for i := len(ranks) - 1; i >= 0; i-- {
		at := plan.Placed[i]
		if at.Slot == None {
			continue
		}
		ranks[i] += at.End - at.Start
		for k, e := range p.g.Nodes[i].In {
			if e.From < 0 {
				continue
			}
			rank := ranks[i]
			if from := plan.Placed[e.From].Slot; from == None || p.slots[from].Worker != p.slots[at.Slot].Worker {
				rank += p.sizes[int(p.edgeFrom[i])+k] / p.slots[at.Slot].Bandwidth
			}
			ranks[e.From] = math.Max(ranks[e.From], rank)
		}
	}
	return ranks
}
