package scheduler

import "math"

// Graph is a set of tasks of unequal length that wait for each other. Nodes stand in topological order: parents before children. It does not change while
// it is planned; lengths, which may be learned meanwhile, are arguments.
type Graph struct {
	Nodes []Node
	Bytes []int64 // size of each file
}

// Node is one task of a graph.
type Node struct {
	In      []Edge  // what it waits for
	Out     []int32 // nodes that wait for it, ascending
	Outputs []int32 // files it writes
}

// Edge is a dependency and the files that go along it.
type Edge struct {
	From  int32   // -1: files that were there before, with the server
	Files []int32 // those of From's outputs that are read; none: it only waits
}

// size is the number of bytes that go along an edge.
func (g *Graph) size(e Edge) float64 {
	sum := 0.0
	for _, f := range e.Files {
		sum += float64(g.Bytes[f])
	}
	return sum
}

// Slot is a place where one task runs at a time.
type Slot struct {
	Worker    int32   // whose; slots of one worker share what it has fetched
	Speed     float64 // 1.0 = reference core
	Bandwidth float64 // bytes per second
}

// Raise turns the lengths of nodes in topological order, in place, into upward ranks: a node's own length and the largest rank of those that wait for it, with
// what lies between (HEFT: Topcuoglu, Hariri, Wu 2002). before names what a node waits for. The stages of a job and the tasks of a graph are ranked by it alike.
func Raise(lengths []float64, before func(node int, raise func(from int, between float64))) {
	after := make([]float64, len(lengths))
	for i := len(lengths) - 1; i >= 0; i-- {
		lengths[i] += after[i]
		before(i, func(from int, between float64) { after[from] = math.Max(after[from], lengths[i]+between) })
	}
}

// UpwardRanks are the longest paths, in seconds, from the start of each node to the end of the graph. slower is how many seconds a reference second takes on a
// typical slot, perByte the seconds a byte takes where it has to move. O(nodes + edges).
func (g *Graph) UpwardRanks(seconds []float64, slower, perByte float64) []float64 {
	ranks := make([]float64, len(g.Nodes))
	for i := range ranks {
		ranks[i] = seconds[i] * slower
	}
	Raise(ranks, func(i int, raise func(int, float64)) {
		for _, e := range g.Nodes[i].In {
			if e.From >= 0 {
				raise(int(e.From), g.size(e)*perByte)
			}
		}
	})
	return ranks
}

// Typical returns how many seconds a reference second takes on average over the slots, and the seconds a byte takes, counting that it need not move if the
// next task runs on the same slot.
func Typical(slots []Slot) (slower, perByte float64) {
	if len(slots) == 0 {
		return 1, 0
	}
	n := float64(len(slots))
	for _, s := range slots {
		slower += 1 / s.Speed / n
		perByte += 1 / s.Bandwidth / n
	}
	return slower, perByte * (n - 1) / n
}

// LowerBound is a time no schedule can beat: the larger of the longest path on the fastest slot and of all work spread evenly over all slots. Bytes are not
// counted, for whoever runs everything in one place moves none.
func (g *Graph) LowerBound(seconds []float64, slots []Slot) float64 {
	fastest, all, work, path := 0.0, 0.0, 0.0, 0.0
	for _, s := range slots {
		fastest, all = math.Max(fastest, s.Speed), all+s.Speed
	}
	for i, r := range g.UpwardRanks(seconds, 1, 0) {
		path, work = math.Max(path, r), work+seconds[i]
	}
	return math.Max(path/fastest, work/all)
}

// OptimisticCosts is the table of PEFT (Arabnejad, Barbosa: List scheduling algorithm for heterogeneous systems by an optimistic cost table, IEEE TPDS 2014),
// row by row: for each node and slot the time from the end of the node there to the end of the graph if every later task ran at once on the slot that suits it best.
// O(edges · slots).
func (g *Graph) OptimisticCosts(seconds []float64, slots []Slot) []float64 {
	w := len(slots)
	table := make([]float64, len(g.Nodes)*w)
	total := make([]float64, w) // from the start of the node on each slot
	for i := len(g.Nodes) - 1; i >= 0; i-- {
		row := table[i*w : (i+1)*w]
		best := math.Inf(1)
		for k, s := range slots {
			total[k] = row[k] + seconds[i]/s.Speed
			best = math.Min(best, total[k])
		}
		for _, e := range g.Nodes[i].In {
			if e.From < 0 {
				continue
			}
			bytes, moved := g.size(e), best
			if bytes > 0 {
				moved = math.Inf(1)
				for k, s := range slots {
					moved = math.Min(moved, total[k]+bytes/s.Bandwidth)
				}
			}
			from := table[int(e.From)*w : (int(e.From)+1)*w]
			for k := range slots {
				from[k] = math.Max(from[k], math.Min(total[k], moved))
			}
		}
	}
	return table
}
