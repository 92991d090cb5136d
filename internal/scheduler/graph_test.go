package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// diamond is a → b, c → d; a writes a large file that b reads, c only waits.
func diamond() (*Graph, []float64) {
	return &Graph{Bytes: []int64{10e6}, Nodes: []Node{{Out: []int32{1, 2}, Outputs: []int32{0}}, {In: []Edge{{From: 0, Files: []int32{0}}}, Out: []int32{3}},
		{In: []Edge{{From: 0}}, Out: []int32{3}}, {In: []Edge{{From: 1}, {From: 2}}}}}, []float64{1, 2, 3, 4}
}

func fresh(g *Graph, seconds []float64, slots int) *Progress {
	now := &Progress{Seconds: seconds, Placed: make([]Placed, len(g.Nodes)), Free: make([]float64, slots), Has: make([][]Has, len(g.Bytes))}
	for i := range now.Placed {
		now.Placed[i].Slot = None
	}
	return now
}

// Ranks, bounds and optimistic costs of a graph small enough to work out by hand.
func TestRanks(t *testing.T) {
	t.Parallel()
	g, seconds := diamond()
	ranks := g.UpwardRanks(seconds, 2, 1e-6)
	for i, want := range []float64{2 + 10 + 4 + 8, 4 + 8, 6 + 8, 8} {
		if math.Abs(ranks[i]-want) > 1e-9 {
			t.Errorf("rank %d is %v, want %v", i, ranks[i], want)
		}
	}
	slots := []Slot{{Worker: 0, Speed: 1, Bandwidth: 1e6}, {Worker: 1, Speed: 2, Bandwidth: 1e6}}
	if b := g.LowerBound(seconds, slots); b != 4 { // path 8 at speed 2, work 10 over 3
		t.Errorf("bound %v", b)
	}
	after := g.OptimisticCosts(seconds, slots)
	// From the end of a on the slow slot: b stays there for 2 s, or moves 10 s; then d takes 2 s on the fast slot. c takes 1.5 s on the fast slot.
	for i, want := range []float64{4, 3.5, 2, 2, 2, 2, 0, 0} {
		if math.Abs(after[i]-want) > 1e-9 {
			t.Errorf("optimistic cost %d is %v, want %v", i, after[i], want)
		}
	}
}

// A child prefers the worker that has its parent's output, a chain stays together, until moving is quicker than waiting.
func TestChainStays(t *testing.T) {
	t.Parallel()
	g, seconds := diamond()
	slots := []Slot{{Worker: 0, Speed: 1, Bandwidth: 1e6}, {Worker: 1, Speed: 1.05, Bandwidth: 1e6}, {Worker: 2, Speed: 1, Bandwidth: 1e6}}
	p := NewPlanner(g, slots)
	now := fresh(g, seconds, 3)
	plan := p.Search(now, nil, 1, rand.New(rand.NewPCG(1, 1)))
	if plan.Placed[0].Slot != 1 || plan.Placed[1].Slot != 1 || plan.Moved != 0 {
		t.Fatalf("%+v", plan)
	}
	// Where something else runs on the worker that has the file for longer than the file takes, the child goes elsewhere.
	now.Placed[0], now.Has[0], now.Now = Placed{Slot: 1, Start: 0, End: 1}, []Has{{Worker: 1, At: 1}}, 1
	now.Free = []float64{1, 100, 100}
	if plan = p.List(now, plan.Priority, Policy{Insert: true}, nil); plan.Placed[1].Slot != 0 || plan.Moved != 10e6 || plan.Placed[1].Start != 11 {
		t.Fatalf("%+v", plan)
	}
	// What is on its way is not fetched again.
	now.Has[0] = append(now.Has[0], Has{Worker: 0, At: 3})
	if plan = p.List(now, plan.Priority, Policy{Insert: true}, nil); plan.Moved != 0 || plan.Placed[1].Start < 3 {
		t.Fatalf("%+v", plan)
	}
	// Slots that take nothing get nothing; if none takes anything, nothing is placed.
	now.Free = []float64{math.Inf(1), math.Inf(1), math.Inf(1)}
	if plan = p.List(now, plan.Priority, Policy{Insert: true}, nil); plan.Placed[1].Slot != None {
		t.Fatalf("%+v", plan)
	}
}

// Plans of random graphs hold: every task starts after its parents' bytes are there, no slot does two things at once, the end is that of the last task and not below
// either bound; a search is never worse than plain list scheduling, and the recorded scores contain the choice.
func TestPlansHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := &Graph{}
		var seconds []float64
		for i := range rapid.IntRange(1, 25).Draw(t, "nodes") {
			g.Bytes = append(g.Bytes, int64(rapid.IntRange(0, 20).Draw(t, "bytes"))*1e6)
			n := Node{Outputs: []int32{int32(i)}}
			for from := range i {
				switch rapid.IntRange(0, 5).Draw(t, "edge") {
				case 0:
					n.In = append(n.In, Edge{From: int32(from), Files: []int32{int32(from)}})
				case 1:
					n.In = append(n.In, Edge{From: int32(from)})
				default:
					continue
				}
				g.Nodes[from].Out = append(g.Nodes[from].Out, int32(i))
			}
			g.Nodes, seconds = append(g.Nodes, n), append(seconds, float64(rapid.IntRange(0, 50).Draw(t, "seconds"))/10)
		}
		var slots []Slot
		for k := range rapid.IntRange(1, 6).Draw(t, "slots") {
			slots = append(slots, Slot{Worker: int32(k / 2), Speed: float64(rapid.IntRange(1, 30).Draw(t, "speed")) / 10, Bandwidth: 1e7})
		}
		for k := range slots { // of one worker alike
			slots[k].Speed = slots[k/2*2].Speed
		}
		p, now := NewPlanner(g, slots), fresh(g, seconds, len(slots))
		slower, perByte := Typical(slots)
		plain := p.List(now, g.UpwardRanks(seconds, slower, perByte), Policy{Insert: true}, nil)
		plan := p.Search(now, nil, 30, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		if plan.End > plain.End {
			t.Fatalf("searched: %v, plain: %v", plan.End, plain.End)
		}
		const eps = 1e-9
		last := 0.0
		for i, at := range plan.Placed {
			last = math.Max(last, at.End)
			s := slots[at.Slot]
			if math.Abs(at.End-at.Start-seconds[i]/s.Speed) > eps {
				t.Fatalf("task %d takes %v", i, at.End-at.Start)
			}
			for _, e := range g.Nodes[i].In {
				from := plan.Placed[e.From]
				if at.Start < from.End-eps {
					t.Fatalf("task %d starts before its parent %d ends", i, e.From)
				}
			}
			for j, other := range plan.Placed[:i] {
				if other.Slot == at.Slot && other.Start < at.End-eps && at.Start < other.End-eps {
					t.Fatalf("tasks %d and %d run at once on slot %d: %v %v", j, i, at.Slot, other, at)
				}
			}
		}
		low, tight := g.LowerBound(seconds, slots), g.TightBound(seconds, slots, 8)
		if math.Abs(last-plan.End) > eps || plan.End < low-eps || tight < low || plan.End < tight*(1-eps)-eps {
			t.Fatalf("end %v of %v, bounds %v %v", plan.End, last, low, tight)
		}
		decided := 0
		p.List(now, plan.Priority, plan.Policy, func(_ int32, chosen Score, all []Score) {
			decided++
			for _, s := range all {
				if s == chosen {
					return
				}
			}
			t.Fatalf("%+v is not among %+v", chosen, all)
		})
		if decided != len(seconds) {
			t.Fatalf("%d decisions for %d tasks", decided, len(seconds))
		}
	})
}

func BenchmarkList(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	g, seconds, slots := &Graph{}, []float64{}, []Slot{}
	for i := range 1000 {
		g.Bytes = append(g.Bytes, 1e6)
		n := Node{Outputs: []int32{int32(i)}}
		for k := 0; k < 2 && i > 0; k++ {
			from := rnd.IntN(i)
			if k == 1 && n.In[0].From == int32(from) {
				continue
			}
			n.In = append(n.In, Edge{From: int32(from), Files: []int32{int32(from)}})
			g.Nodes[from].Out = append(g.Nodes[from].Out, int32(i))
		}
		g.Nodes, seconds = append(g.Nodes, n), append(seconds, rnd.ExpFloat64())
	}
	for k := range 32 {
		slots = append(slots, Slot{Worker: int32(k), Speed: math.Exp(0.6 * rnd.NormFloat64()), Bandwidth: 12.5e6})
	}
	p, now := NewPlanner(g, slots), fresh(g, seconds, 32)
	slower, perByte := Typical(slots)
	ranks := g.UpwardRanks(seconds, slower, perByte)
	for b.Loop() {
		p.List(now, ranks, Policy{Insert: true}, nil)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/decision")
}
