package replay

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// Decision is why a task ran where it did: the parts of the score of every slot that could have had it, at the moment it was planned.
type Decision struct {
	Task       string  `json:"task"`
	Planned    float64 `json:"planned_at_s"` // virtual time at which the plan was made
	Started    float64 `json:"started_at_s"`
	Rank       float64 `json:"rank"`             // priority in the plan
	Target     float64 `json:"target,omitempty"` // end the plan aims at
	Slack      float64 `json:"slack,omitempty"`  // with Target: how many times After is left
	Weight     float64 `json:"after_weight"`     // of After in the choice
	Chosen     int32   `json:"chosen"`           // slot
	Candidates []Part  `json:"candidates"`
}

// Part is a candidate with the parts of its score, in seconds from the time of planning.
type Part struct {
	Slot   int32   `json:"slot"`
	Worker int32   `json:"worker"`
	Speed  float64 `json:"speed"`
	Wait   float64 `json:"wait_s"`
	Fetch  float64 `json:"fetch_s"`
	Run    float64 `json:"run_s"`
	Risk   float64 `json:"risk_s,omitempty"`
	After  float64 `json:"after_s"`
	Finish float64 `json:"finish_s"`
}

// explain makes the plan once more and keeps the reasons.
func (e *engine) explain() {
	policy := e.plan.Policy
	e.planner.List(&e.progress, e.plan.Priority, policy, func(node int32, chosen scheduler.Score, all []scheduler.Score) {
		d := Decision{Task: e.names[node], Planned: e.now, Rank: e.plan.Priority[node], Weight: policy.After, Target: policy.Target, Slack: policy.Slack, Chosen: chosen.Slot}
		for _, s := range all {
			slot := e.slots[s.Slot]
			d.Candidates = append(d.Candidates, Part{Slot: s.Slot, Worker: slot.Worker, Speed: slot.Speed, Wait: s.Wait, Fetch: s.Fetch, Run: s.Run, Risk: s.Risk, After: s.After, Finish: s.Finish})
		}
		e.decisions[node] = d
	})
}

// Best applies the rule to the recorded parts: the slowest slot from which the target can be met, otherwise the least finish with what is added to it.
func (d *Decision) Best() int32 {
	best, least := scheduler.None, math.Inf(1)
	if d.Target > 0 {
		slack := d.Slack
		if slack == 0 {
			slack = 1
		}
		for _, c := range d.Candidates {
			if d.Planned+c.Finish+c.After*slack <= d.Target*(1+1e-12) && c.Speed < least {
				best, least = c.Slot, c.Speed
			}
		}
	}
	if best == scheduler.None {
		for _, c := range d.Candidates {
			if cost := c.Finish + c.Risk + d.Weight*c.After; cost < least-1e-9*math.Abs(least) || best == scheduler.None {
				best, least = c.Slot, cost
			}
		}
	}
	return best
}

// cost of a candidate, for comparing two that differ in the last digits only.
func (d *Decision) cost(slot int32) float64 {
	for _, c := range d.Candidates {
		if c.Slot == slot {
			return c.Finish + c.Risk + d.Weight*c.After
		}
	}
	return math.Inf(1)
}

// Header is the first line of a recording: all a replay needs besides the workflow.
type Header struct {
	Format   string `json:"format"`
	Workflow string `json:"workflow"`
	SHA256   string `json:"sha256"` // of the workflow's file
	Crowd    Crowd  `json:"crowd"`
	Mode     Mode   `json:"mode"`
}

// TraceFormat is the value of Header.Format.
const TraceFormat = "cloudcrowd-decisions-1"

// Record replays a workflow and writes the header and every decision, one JSON object a line.
func Record(ctx context.Context, out io.Writer, w *wfformat.Workflow, h Header) (Report, int, error) {
	buffered := bufio.NewWriter(out)
	encoder := json.NewEncoder(buffered)
	failed := encoder.Encode(h)
	n := 0
	report, err := Run(ctx, w, h.Crowd, h.Mode, func(d Decision) {
		n++
		if failed == nil {
			failed = encoder.Encode(d)
		}
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = buffered.Flush()
	}
	return report, n, err
}

// ReadHeader reads the first line of a recording.
func ReadHeader(in *bufio.Reader) (Header, error) {
	var h Header
	line, err := in.ReadBytes('\n')
	if err != nil && err != io.EOF {
		return h, err
	}
	if err := json.Unmarshal(line, &h); err != nil || h.Format != TraceFormat {
		return h, cloudcrowd.Errorf(cloudcrowd.Invalid, "it is no recording of decisions: the first line must have \"format\": %q", TraceFormat)
	}
	return h, h.Crowd.Validate()
}

// Compare recomputes a recording whose header has been read. It checks of every decision that its rule gives the recorded choice, and that the replay decides the same again.
func Compare(ctx context.Context, in *bufio.Reader, w *wfformat.Workflow, h Header) (Report, int, error) {
	n := 0
	var wrong error
	report, err := Run(ctx, w, h.Crowd, h.Mode, func(d Decision) {
		if wrong != nil {
			return
		}
		n++
		line, err := in.ReadBytes('\n')
		if err != nil {
			wrong = cloudcrowd.Errorf(cloudcrowd.Conflict, "the recording ends after %d decisions, the replay goes on with %s", n-1, d.Task)
			return
		}
		var was Decision
		if err := json.Unmarshal(line, &was); err != nil {
			wrong = cloudcrowd.Errorf(cloudcrowd.Invalid, "line %d is no decision: %v", n+1, err)
			return
		}
		if best := was.Best(); best != was.Chosen && !(math.Abs(was.cost(best)-was.cost(was.Chosen)) <= 1e-9*math.Abs(was.cost(best))) {
			wrong = cloudcrowd.Errorf(cloudcrowd.Conflict, "line %d: by its parts, task %s should have gone to slot %d, not %d", n+1, was.Task, best, was.Chosen)
			return
		}
		if again, _ := json.Marshal(d); !bytes.Equal(again, bytes.TrimSpace(line)) && !near(was, d) {
			wrong = cloudcrowd.Errorf(cloudcrowd.Conflict, "line %d: recorded was task %s on slot %d at %.6f s; the replay has task %s on slot %d at %.6f s",
				n+1, was.Task, was.Chosen, was.Started, d.Task, d.Chosen, d.Started)
		}
	})
	if err == nil {
		err = wrong
	}
	if err == nil {
		if rest, _ := in.ReadBytes('\n'); len(bytes.TrimSpace(rest)) > 0 {
			err = cloudcrowd.Errorf(cloudcrowd.Conflict, "the recording has more decisions than the %d of the replay", n)
		}
	}
	return report, n, err
}

// near reports whether two decisions differ in the last digits of their numbers only, as on another kind of processor.
func near(a, b Decision) bool {
	if a.Task != b.Task || a.Chosen != b.Chosen || len(a.Candidates) != len(b.Candidates) {
		return false
	}
	same := func(x, y float64) bool { return math.Abs(x-y) <= 1e-6*math.Max(1, math.Max(math.Abs(x), math.Abs(y))) }
	if !same(a.Planned, b.Planned) || !same(a.Started, b.Started) || !same(a.Rank, b.Rank) || !same(a.Target, b.Target) {
		return false
	}
	for k := range a.Candidates {
		x, y := a.Candidates[k], b.Candidates[k]
		if x.Slot != y.Slot || x.Worker != y.Worker || !same(x.Wait, y.Wait) || !same(x.Fetch, y.Fetch) || !same(x.Run, y.Run) || !same(x.After, y.After) || !same(x.Finish, y.Finish) {
			return false
		}
	}
	return true
}
