// Package replay runs a recorded workflow over a described crowd on a virtual clock, with the decisions of package scheduler: what it would have taken there, in
// which order, with which bytes moved, when lengths have to be learned, workers come and go and attempts straggle. Everything derives from one seed.
package replay

import (
	"math"
	"math/rand/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// Crowd describes the workers. Speeds are lognormal with median 1.
type Crowd struct {
	Workers   int     `json:"workers"`
	Slots     int     `json:"slots"` // of each worker
	Sigma     float64 `json:"sigma"`
	Bandwidth float64 `json:"bandwidth"` // bytes per second of each worker's link
	Seed      uint64  `json:"seed"`
	Number    uint64  `json:"crowd"` // which of the crowds of the seed
}

// DefaultCrowd is what a workflow is replayed over where nothing else is said.
var DefaultCrowd = Crowd{Workers: 32, Slots: 1, Sigma: 0.6, Bandwidth: 12.5e6, Seed: 1}

// Order is the rule by which work is given out.
type Order string

const (
	Planned   Order = "planned"    // the scheduler's: plans of the whole graph, made again as tasks end
	List      Order = "list"       // upward rank and earliest finish, one plan (HEFT)
	FIFO      Order = "fifo"       // as tasks get ready, each where it ends first
	FirstFree Order = "first-free" // the head of the queue to the first free slot
)

// Mode says how a replay goes beyond the crowd.
type Mode struct {
	Order      Order   `json:"order"`
	Learned    bool    `json:"learned"`     // lengths are learned from finished tasks
	Error      float64 `json:"error"`       // lognormal error of what is known of lengths beforehand, when they are learned
	Up         float64 `json:"up"`          // mean seconds a worker stays; 0: for ever
	Down       float64 `json:"down"`        // mean seconds it is away
	Straggle   float64 `json:"straggle"`    // share of attempts that take StraggleTimes as long
	Speculate  float64 `json:"speculate"`   // share of the work that may be spent on second copies of stragglers
	FetchInput bool    `json:"fetch_input"` // files that no task writes have to be fetched, too; otherwise every worker has them
	Plans      int     `json:"plans"`       // how many plans are tried before the start; replanning tries a few
}

// steady reports whether everything happens as planned, so that plans need not change.
func (m Mode) steady() bool { return !m.Learned && m.Up == 0 && m.Straggle == 0 }

// StraggleTimes is how much longer an attempt takes that straggles.
const StraggleTimes = 5

// Report is the outcome of one replay.
type Report struct {
	Makespan  float64
	Bound     float64 // LowerBound of the scheduler, in the crowd as it is when nobody leaves
	Moved     int64   // bytes fetched
	Attempts  int     // started, second copies and those that were lost included
	Lost      int     // attempts that ended because their worker left
	Copies    int     // second copies started
	CopyShare float64 // seconds spent on second copies as a share of all that was computed
	Plans     int     // times a plan was made, searches counted once
}

// Ratio is the makespan over the bound, 1 where there is nothing to do.
func (r Report) Ratio() float64 {
	if r.Bound == 0 {
		return 1
	}
	return r.Makespan / r.Bound
}

// Make draws the workers' slots.
func (c Crowd) Make() []scheduler.Slot {
	rnd := rand.New(rand.NewPCG(c.Seed, c.Number<<8))
	slots := make([]scheduler.Slot, 0, c.Workers*c.Slots)
	for w := range c.Workers {
		speed := math.Exp(c.Sigma * rnd.NormFloat64())
		for range c.Slots {
			slots = append(slots, scheduler.Slot{Worker: int32(w), Speed: speed, Bandwidth: c.Bandwidth})
		}
	}
	return slots
}

// Validate names the first option that cannot be.
func (c Crowd) Validate() error {
	switch {
	case c.Workers < 1 || c.Workers > 10_000:
		return cloudcrowd.Fieldf("workers", "it must be from 1 to 10,000")
	case c.Slots < 1 || c.Slots > 256:
		return cloudcrowd.Fieldf("slots", "it must be from 1 to 256")
	case !(c.Sigma >= 0 && c.Sigma <= 3):
		return cloudcrowd.Fieldf("sigma", "it must be from 0 to 3")
	case !(c.Bandwidth > 0) || math.IsInf(c.Bandwidth, 1):
		return cloudcrowd.Fieldf("bandwidth", "it must be a number of bytes a second above 0")
	}
	return nil
}

// Graph takes from a workflow what the scheduler plans with: the graph and the lengths on the reference core.
func Graph(w *wfformat.Workflow, fetchInput bool) (*scheduler.Graph, []float64) {
	g := &scheduler.Graph{Nodes: make([]scheduler.Node, len(w.Tasks)), Bytes: make([]int64, len(w.Files))}
	seconds := make([]float64, len(w.Tasks))
	for f := range w.Files {
		g.Bytes[f] = w.Files[f].SizeBytes
	}
	for i, t := range w.Tasks {
		n := &g.Nodes[i]
		seconds[i] = t.Seconds
		for _, p := range t.Parents {
			n.In = append(n.In, scheduler.Edge{From: int32(p)})
		}
		var before []int32
		for _, f := range t.Inputs {
			switch p := w.Files[f].Producer; {
			case p < 0:
				before = append(before, int32(f))
			case p != i:
				for k := range n.In {
					if n.In[k].From == int32(p) {
						n.In[k].Files = append(n.In[k].Files, int32(f))
					}
				}
			}
		}
		if fetchInput && len(before) > 0 {
			n.In = append(n.In, scheduler.Edge{From: -1, Files: before})
		}
		for _, c := range t.Children {
			n.Out = append(n.Out, int32(c))
		}
		for _, f := range t.Outputs {
			if w.Files[f].Producer == i {
				n.Outputs = append(n.Outputs, int32(f))
			}
		}
	}
	return g, seconds
}
