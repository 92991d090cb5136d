package scheduler

import (
	"math"
	"slices"
)

// Progress is what is known of a graph that is being worked on. Times are seconds on one clock.
type Progress struct {
	Now     float64
	Seconds []float64 // what each node is believed to take on the reference core
	Doubt   []float64 // standard deviation of the logarithm of Seconds; nil: they are known
	Placed  []Placed  // by node; the zero value of Slot is no placement, see None
	Free    []float64 // by slot: when its present task is expected to end; infinite: the slot takes nothing
	Has     [][]Has   // by file: who has it besides the server, or will
}

// Placed says where a node ran, runs or is planned to run. In a Progress Slot is None for nodes that are still to be planned.
type Placed struct {
	Slot       int32
	Start, End float64
}

// None is the slot of a node that is not placed.
const None int32 = -1

// Has says from when on a worker has a file.
type Has struct {
	Worker int32
	At     float64
}

// Plan says where and when the nodes of a graph run.
type Plan struct {
	Placed   []Placed
	End      float64 // when the last one ends
	Moved    int64   // bytes fetched by what was planned
	Priority []float64
	Policy   Policy
}

// Policy is how a plan is made. The zero value is list scheduling by earliest finish without insertion.
type Policy struct {
	Insert bool    // use gaps between what is placed already
	After  float64 // weight of OptimisticCosts in the choice of the slot (PEFT)
	Target float64 // end that is aimed at: a node goes to the slowest slot from which the graph can still end by then; 0: to the one where it ends first
	Risk   float64 // how many standard deviations longer than believed a node is taken to be in the choice of the slot, where lengths are in doubt
	Slack  float64 // with Target: how many times the optimistic time is left for what follows; 0: once
}

// Score is how good a slot is for a node: the parts of the decision.
type Score struct {
	Slot   int32
	Wait   float64 // seconds from now until the slot has room and its parents have ended
	Fetch  float64 // further seconds until the bytes it lacks are there
	Run    float64
	Risk   float64 // room for a longer run, where lengths are in doubt
	After  float64 // what follows, at best
	Finish float64 // when it ends there, counted from now
}

// Planner makes plans for one graph and one set of slots. It is not safe for concurrent use.
type Planner struct {
	g       *Graph
	slots   []Slot
	workers int

	placed   []Placed
	has      [][]Has
	busy     [][]span // by slot, by start
	waits    []int32
	heap     []int32
	ready    []float64 // by worker: when everything the node reads is there
	parents  float64
	missing  []float64 // by worker: bytes of one edge
	arrive   []float64 // by worker: when the files of one edge that are there or under way arrive
	after    []float64 // OptimisticCosts
	sizes    []float64 // by edge, in order of nodes
	edgeFrom []int32   // first edge of each node in sizes
}

type span struct{ start, end float64 }

// NewPlanner makes a planner.
func NewPlanner(g *Graph, slots []Slot) *Planner {
	p := &Planner{g: g, slots: slots, busy: make([][]span, len(slots)), has: make([][]Has, len(g.Bytes))}
	for _, s := range slots {
		p.workers = max(p.workers, int(s.Worker)+1)
	}
	p.ready, p.missing, p.arrive = make([]float64, p.workers), make([]float64, p.workers), make([]float64, p.workers)
	for _, n := range g.Nodes {
		p.edgeFrom = append(p.edgeFrom, int32(len(p.sizes)))
		for _, e := range n.In {
			p.sizes = append(p.sizes, g.size(e))
		}
	}
	return p
}

// List makes a plan by list scheduling: of the nodes whose parents are placed the one of the highest priority goes next, to the slot with the least score.
// O(nodes · slots + edges · workers). seen, if not nil, is told every decision.
func (p *Planner) List(now *Progress, priority []float64, policy Policy, seen func(node int32, chosen Score, all []Score)) Plan {
	n := len(p.g.Nodes)
	p.placed = append(p.placed[:0], now.Placed...)
	for i := range p.busy {
		p.busy[i] = append(p.busy[i][:0], span{math.Inf(-1), math.Max(now.Free[i], now.Now)})
	}
	for f := range p.has {
		p.has[f] = append(p.has[f][:0], now.Has[f]...)
	}
	p.waits = append(p.waits[:0], make([]int32, n)...)
	p.heap = p.heap[:0]
	plan := Plan{End: now.Now, Priority: priority, Policy: policy}
	for i, node := range p.g.Nodes {
		if at := p.placed[i]; at.Slot != None {
			plan.End = math.Max(plan.End, at.End)
			if at.End > now.Now { // it runs: what it writes will be there
				for _, f := range node.Outputs {
					p.has[f] = append(p.has[f], Has{p.slots[at.Slot].Worker, at.End})
				}
			}
			continue
		}
		for _, e := range node.In {
			if e.From >= 0 && p.placed[e.From].Slot == None {
				p.waits[i]++
			}
		}
		if p.waits[i] == 0 {
			p.push(int32(i), priority)
		}
	}
	var all []Score
	looks, slack := policy.After > 0 || policy.Target > 0, policy.Slack
	if slack == 0 {
		slack = 1
	}
	if looks && p.after == nil {
		p.Look(now)
	}
	for len(p.heap) > 0 {
		i := p.pop(priority)
		node := &p.g.Nodes[i]
		p.arrivals(i, now)
		risk := 0.0
		if policy.Risk > 0 && now.Doubt != nil {
			risk = policy.Risk * now.Doubt[i]
		}
		best, gap := Score{Slot: None}, 0
		least, slowest := math.Inf(1), math.Inf(1) // of those that meet no target, of those that do
		for k := range p.slots {
			s := &p.slots[k]
			run := now.Seconds[i] / s.Speed
			start, at := p.room(k, p.ready[s.Worker], run, policy.Insert)
			if math.IsInf(start, 1) {
				continue // it takes nothing
			}
			end, rest := start+run, 0.0
			if looks {
				rest = p.after[int(i)*len(p.slots)+k]
			}
			if seen != nil {
				all = append(all, p.score(int32(k), now.Now, start, run, run*risk, rest))
			}
			better := false
			if policy.Target > 0 && end+rest*slack <= policy.Target {
				if better = s.Speed < slowest; better {
					slowest = s.Speed
				}
			} else if cost := end + run*risk + rest*policy.After; cost < least && math.IsInf(slowest, 1) {
				better, least = true, cost
			}
			if better {
				best, gap = Score{Slot: int32(k), Wait: start, Run: run, After: rest}, at
			}
		}
		if best.Slot == None {
			continue // nobody is here: it stays unplaced
		}
		start, k := best.Wait, best.Slot
		if seen != nil {
			seen(i, p.score(k, now.Now, start, best.Run, best.Run*risk, best.After), all)
			all = all[:0]
		}
		end := start + best.Run
		p.placed[i] = Placed{Slot: k, Start: start, End: end}
		p.book(int(k), gap, span{start, end})
		plan.Moved += p.fetch(i, p.slots[k].Worker, now)
		for _, f := range node.Outputs {
			p.has[f] = append(p.has[f], Has{p.slots[k].Worker, end})
		}
		plan.End = math.Max(plan.End, end)
		for _, c := range node.Out {
			if p.waits[c]--; p.waits[c] == 0 {
				p.push(c, priority)
			}
		}
	}
	plan.Placed = slices.Clone(p.placed)
	return plan
}

// score takes a start apart: what the slot and the parents are waited for, and what the bytes.
func (p *Planner) score(k int32, now, start, run, risk, after float64) Score {
	fetch := math.Max(0, math.Min(p.ready[p.slots[k].Worker]-p.parents, start-p.parents))
	if start > p.ready[p.slots[k].Worker] { // the slot was busy longer than the bytes took
		fetch = 0
	}
	return Score{Slot: k, Wait: start - now - fetch, Fetch: fetch, Run: run, Risk: risk, After: after, Finish: start - now + run}
}

// arrivals computes for every worker when all that a node reads could be there. Files of one parent follow each other, those of several come side by side
// (the model of HEFT); files a worker has or is getting are not fetched again.
func (p *Planner) arrivals(i int32, now *Progress) {
	p.parents = now.Now
	for w := range p.ready {
		p.ready[w] = now.Now
	}
	first := p.edgeFrom[i]
	for k, e := range p.g.Nodes[i].In {
		end := now.Now
		if e.From >= 0 {
			end = math.Max(end, p.placed[e.From].End)
		}
		p.parents = math.Max(p.parents, end)
		size := p.sizes[int(first)+k]
		if size == 0 {
			for w := range p.ready {
				p.ready[w] = math.Max(p.ready[w], end)
			}
			continue
		}
		for w := range p.missing {
			p.missing[w], p.arrive[w] = size, end
		}
		for _, f := range e.Files {
			for _, h := range p.has[f] {
				p.missing[h.Worker] -= float64(p.g.Bytes[f])
				p.arrive[h.Worker] = math.Max(p.arrive[h.Worker], h.At)
			}
		}
		for k := range p.slots { // bandwidth stands with the slots; workers with several are computed as often
			s := &p.slots[k]
			at := math.Max(end+math.Max(p.missing[s.Worker], 0)/s.Bandwidth, p.arrive[s.Worker])
			p.ready[s.Worker] = math.Max(p.ready[s.Worker], at)
		}
	}
}

// fetch notes what a worker gets for a node and returns the bytes.
func (p *Planner) fetch(i, worker int32, now *Progress) int64 {
	var moved int64
	for _, e := range p.g.Nodes[i].In {
		if len(e.Files) == 0 {
			continue
		}
		var missing int64
		end := now.Now
		if e.From >= 0 {
			end = math.Max(end, p.placed[e.From].End)
		}
		for _, f := range e.Files {
			if !slices.ContainsFunc(p.has[f], func(h Has) bool { return h.Worker == worker }) {
				missing += p.g.Bytes[f]
			}
		}
		at := end
		for k := range p.slots {
			if p.slots[k].Worker == worker {
				at += float64(missing) / p.slots[k].Bandwidth
				break
			}
		}
		for _, f := range e.Files {
			if !slices.ContainsFunc(p.has[f], func(h Has) bool { return h.Worker == worker }) {
				p.has[f] = append(p.has[f], Has{worker, at})
			}
		}
		moved += missing
	}
	return moved
}

// room finds the first time from ready on at which a slot is idle for the given seconds, and where in its list that is.
func (p *Planner) room(k int, ready, run float64, insert bool) (start float64, at int) {
	busy := p.busy[k]
	last := len(busy) - 1
	if !insert {
		return math.Max(ready, busy[last].end), last + 1
	}
	at = last + 1
	start = math.Max(ready, busy[last].end)
	for last >= 1 { // the gap before busy[last]
		from := math.Max(ready, busy[last-1].end)
		if from+run <= busy[last].start {
			start, at = from, last
		}
		if busy[last-1].end <= ready { // earlier gaps end before it could start
			break
		}
		last--
	}
	return start, at
}

// book notes that a slot is taken, joining what touches, so that the list is as long as there are gaps.
func (p *Planner) book(k, at int, s span) {
	busy := p.busy[k]
	joinsLeft := busy[at-1].end >= s.start
	joinsRight := at < len(busy) && busy[at].start <= s.end
	switch {
	case joinsLeft && joinsRight:
		busy[at-1].end = busy[at].end
		p.busy[k] = slices.Delete(busy, at, at+1)
	case joinsLeft:
		busy[at-1].end = s.end
	case joinsRight:
		busy[at].start = s.start
	default:
		p.busy[k] = slices.Insert(busy, at, s)
	}
}

// Look computes the table of optimistic costs from what tasks are believed to take now and the slots that take work. A planner that looks ahead uses it until it
// is called again.
func (p *Planner) Look(now *Progress) {
	slots := slices.Clone(p.slots)
	for k := range slots {
		if math.IsInf(now.Free[k], 1) {
			slots[k].Speed = 1e-9 // as good as none
		}
	}
	p.after = p.g.OptimisticCosts(now.Seconds, slots)
}

// push and pop keep the nodes that can be placed as a heap: highest priority first, then the smaller index.
func (p *Planner) push(i int32, priority []float64) {
	h := append(p.heap, i)
	for at := len(h) - 1; at > 0; {
		up := (at - 1) / 2
		if !before(h[at], h[up], priority) {
			break
		}
		h[at], h[up] = h[up], h[at]
		at = up
	}
	p.heap = h
}

func (p *Planner) pop(priority []float64) int32 {
	h := p.heap
	top := h[0]
	last := len(h) - 1
	h[0] = h[last]
	h = h[:last]
	for at := 0; ; {
		least := at
		for down := 2*at + 1; down <= 2*at+2 && down < len(h); down++ {
			if before(h[down], h[least], priority) {
				least = down
			}
		}
		if least == at {
			break
		}
		h[at], h[least] = h[least], h[at]
		at = least
	}
	p.heap = h
	return top
}

func before(a, b int32, priority []float64) bool {
	return priority[a] > priority[b] || priority[a] == priority[b] && a < b
}
