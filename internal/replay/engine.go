package replay

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
)

// replans bounds how often a plan is made again in one replay, and replanSearch how many plans each of them tries.
const (
	replans      = 400
	replanSearch = 4
)

// attempt is one try of a task on a slot.
type attempt struct {
	task       int32
	slot       int32
	start, end float64 // end as it will be
	expected   float64 // length as believed at the start
	copy       bool
	late       bool // it was noticed that it is suspicious
}

// engine is one replay under way.
type engine struct {
	mode    Mode
	g       *scheduler.Graph
	seconds []float64 // as they are
	slots   []scheduler.Slot
	of      [][]int32 // slots of each worker
	planner *scheduler.Planner
	rnd     *rand.Rand // attempts and search
	believe *estimates // nil: lengths are known

	now      float64
	progress scheduler.Progress
	done     []bool
	running  [][]int32 // by task: slots
	waits    []int     // parents not done
	left     int
	at       []*attempt // by slot
	up       []bool     // by worker
	turns    []float64  // by worker: when it leaves or returns
	churn    *rand.Rand

	plan      scheduler.Plan
	queue     [][]int32 // by slot: tasks in the order they are to start
	seat      []int32   // by task: slot it is queued at
	stale     int       // tasks ended since the plan was made
	force     bool      // the plan must be made again
	hungry    []int32   // tasks for which something new can be fetched
	fifo      []int32   // tasks that wait for a slot, with FIFO and FirstFree
	decisions map[int32]Decision
	trace     func(Decision)
	names     []string // of tasks

	report              Report
	copySecs, totalSecs float64
}

// Run replays a workflow. trace, if not nil, is told every decision when its task starts.
func Run(ctx context.Context, w *wfformat.Workflow, crowd Crowd, mode Mode, trace func(Decision)) (Report, error) {
	if err := crowd.Validate(); err != nil {
		return Report{}, err
	}
	g, seconds := Graph(w, mode.FetchInput)
	slots := crowd.Make()
	e := &engine{mode: mode, g: g, seconds: seconds, slots: slots, planner: scheduler.NewPlanner(g, slots), trace: trace,
		rnd: rand.New(rand.NewPCG(crowd.Seed, crowd.Number<<8+1)), churn: rand.New(rand.NewPCG(crowd.Seed, crowd.Number<<8+2)),
		done: make([]bool, len(seconds)), running: make([][]int32, len(seconds)), waits: make([]int, len(seconds)), left: len(seconds),
		at: make([]*attempt, len(slots)), up: make([]bool, crowd.Workers), turns: make([]float64, crowd.Workers), of: make([][]int32, crowd.Workers),
		queue: make([][]int32, len(slots)), seat: make([]int32, len(seconds)), decisions: map[int32]Decision{}, force: true}
	e.report.Bound = g.LowerBound(seconds, slots)
	if err := e.hopeless(w); err != nil {
		return Report{}, err
	}
	if mode.Learned {
		e.believe = priors(w, mode.Error, rand.New(rand.NewPCG(crowd.Seed, crowd.Number<<8+3)))
	}
	for k, s := range slots {
		e.of[s.Worker] = append(e.of[s.Worker], int32(k))
	}
	for i := range e.up {
		e.up[i], e.turns[i] = true, math.Inf(1)
		if mode.Up > 0 {
			e.turns[i] = e.churn.ExpFloat64() * mode.Up
		}
	}
	e.progress = scheduler.Progress{Seconds: make([]float64, len(seconds)), Placed: make([]scheduler.Placed, len(seconds)),
		Free: make([]float64, len(slots)), Has: make([][]scheduler.Has, len(g.Bytes))}
	if mode.Learned {
		e.progress.Doubt = make([]float64, len(seconds))
	}
	for i, n := range g.Nodes {
		e.progress.Placed[i].Slot, e.seat[i] = scheduler.None, scheduler.None
		for _, edge := range n.In {
			if edge.From >= 0 {
				e.waits[i]++
			}
		}
		if e.waits[i] == 0 {
			e.ready(int32(i))
		}
	}
	for _, t := range w.Tasks {
		e.names = append(e.names, t.ID)
	}
	err := e.run(ctx)
	return e.report, err
}

// mostStays is how many times the mean stay of a worker a task may take on the fastest one: one in e^10, or 22,000, of its attempts ends then.
const mostStays = 10

// hopeless refuses a task that hardly ever ends before its worker leaves.
func (e *engine) hopeless(w *wfformat.Workflow) error {
	if e.mode.Up <= 0 || len(e.seconds) == 0 {
		return nil
	}
	fastest := slices.MaxFunc(e.slots, func(a, b scheduler.Slot) int { return cmp.Compare(a.Speed, b.Speed) }).Speed
	longest := 0
	for i, s := range e.seconds {
		if s > e.seconds[longest] {
			longest = i
		}
	}
	if least := e.seconds[longest] / fastest; least > mostStays*e.mode.Up {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "task %s takes %.3g s on the fastest worker, and workers stay for %.3g s: it would hardly ever end", w.Tasks[longest].ID, least, e.mode.Up).
			WithHint("let workers stay for longer, or choose more of them or a wider --sigma")
	}
	return nil
}

// priors draws what is known of lengths beforehand.
func priors(w *wfformat.Workflow, sigma float64, rnd *rand.Rand) *estimates {
	known := make([]float64, len(w.Tasks))
	for i, t := range w.Tasks {
		known[i] = t.Seconds * math.Exp(sigma*rnd.NormFloat64())
	}
	return newEstimates(w, known, sigma)
}

func (e *engine) expect(i int32) float64 {
	if e.believe != nil {
		return e.believe.expect(int(i))
	}
	return e.seconds[i]
}

// run goes from event to event until every task is done.
func (e *engine) run(ctx context.Context) error {
	for steps := 0; e.left > 0; steps++ {
		if steps%64 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e.decide()
		next := e.next()
		if math.IsInf(next, 1) {
			return cloudcrowd.Errorf(cloudcrowd.Internal, "at %.3f s nothing happens any more and %d tasks are left", e.now, e.left)
		}
		if next > 1e10 {
			if e.mode.Up > 0 {
				return cloudcrowd.Errorf(cloudcrowd.Invalid, "after 300 years %d tasks are left: workers leave before they finish one", e.left).
					WithHint("let them stay longer")
			}
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "after 300 years %d tasks are left: there is too much work for so few workers", e.left)
		}
		e.now = math.Max(next, e.now)
		e.settle()
	}
	e.report.Makespan = e.now
	if e.totalSecs > 0 {
		e.report.CopyShare = e.copySecs / e.totalSecs
	}
	return nil
}

// next is the time of the next event.
func (e *engine) next() float64 {
	next := math.Inf(1)
	for k, a := range e.at {
		if a != nil {
			next = math.Min(next, a.end)
			if at := e.suspicious(a); !e.mode.steady() && at > e.now && !a.copy {
				next = math.Min(next, at)
			}
			continue
		}
		if !e.up[e.slots[k].Worker] {
			continue
		}
		for _, i := range e.queue[k] {
			if e.waits[i] == 0 {
				if at := e.arrived(i, e.slots[k].Worker); at > e.now {
					next = math.Min(next, at)
				}
			}
		}
	}
	for _, t := range e.turns {
		next = math.Min(next, t)
	}
	return next
}

// settle takes in what has happened by now.
func (e *engine) settle() {
	for k := range e.at {
		if a := e.at[k]; a != nil && a.end <= e.now {
			e.finish(a)
		}
	}
	for _, a := range e.at {
		if a != nil && !a.late && !e.mode.steady() && e.suspicious(a) <= e.now {
			a.late = true
			e.force = e.force || e.mode.Order == Planned && e.report.Plans < replans // what waits behind it may go elsewhere
		}
	}
	for w := range e.turns {
		if e.turns[w] > e.now {
			continue
		}
		mean := e.mode.Up
		if e.up[w] {
			mean = e.mode.Down
			e.leave(int32(w))
		}
		e.up[w] = !e.up[w]
		e.turns[w] = e.now + e.churn.ExpFloat64()*mean
		e.force = true
	}
}

// finish ends a task by its first attempt that ends; the others stop.
func (e *engine) finish(a *attempt) {
	i := a.task
	for _, k := range e.running[i] {
		other := e.at[k]
		spent := e.now - other.start
		e.totalSecs += spent
		if other.copy {
			e.copySecs += spent
		}
		e.at[k] = nil
	}
	e.running[i] = nil
	e.done[i] = true
	e.left--
	e.stale++
	if e.believe != nil {
		e.believe.finished(int(i), e.length(a))
	}
	worker := e.slots[a.slot].Worker
	if planned := e.plan.Placed; planned != nil && math.Abs(planned[i].End-e.now) > 1e-6*math.Max(1, e.now) {
		e.force = e.force || e.mode.Order == Planned && e.report.Plans < replans
	}
	e.progress.Placed[i] = scheduler.Placed{Slot: a.slot, Start: a.start, End: e.now}
	for _, f := range e.g.Nodes[i].Outputs {
		e.progress.Has[f] = append(e.progress.Has[f], scheduler.Has{Worker: worker, At: e.now})
	}
	for _, c := range e.g.Nodes[i].Out {
		if e.waits[c]--; e.waits[c] == 0 {
			e.ready(c)
		}
		e.hungry = append(e.hungry, c)
	}
}

// length is what an attempt measured: the task's seconds on the reference core, which a straggler only seems to exceed.
func (e *engine) length(a *attempt) float64 {
	return (a.end - a.start) * e.slots[a.slot].Speed
}

// ready notes that nothing but a slot is missing for a task, except bytes.
func (e *engine) ready(i int32) {
	if e.mode.Order == FIFO || e.mode.Order == FirstFree {
		e.fifo = append(e.fifo, i)
	}
}

// leave takes a worker away: what it was doing is lost, what it had is still on its disk when it returns.
func (e *engine) leave(w int32) {
	for _, k := range e.of[w] {
		if a := e.at[k]; a != nil {
			e.at[k] = nil
			spent := e.now - a.start
			e.totalSecs += math.Max(spent, 0)
			if a.copy {
				e.copySecs += math.Max(spent, 0)
			}
			e.report.Lost++
			e.running[a.task] = slices.DeleteFunc(e.running[a.task], func(s int32) bool { return s == k })
			if len(e.running[a.task]) == 0 {
				e.progress.Placed[a.task].Slot = scheduler.None
				e.again(a.task)
			}
		}
		for _, i := range e.queue[k] {
			e.seat[i] = scheduler.None
			e.again(i)
		}
		e.queue[k] = e.queue[k][:0]
	}
}

func (e *engine) again(i int32) {
	if e.mode.Order == FIFO || e.mode.Order == FirstFree {
		e.fifo = append([]int32{i}, e.fifo...)
	}
}

// arrived is when a worker has all that a task reads; infinite if something is not under way.
func (e *engine) arrived(i, w int32) float64 {
	at := 0.0
	for _, edge := range e.g.Nodes[i].In {
		for _, f := range edge.Files {
			here := math.Inf(1)
			for _, h := range e.progress.Has[f] {
				if h.Worker == w {
					here = h.At
					break
				}
			}
			at = math.Max(at, here)
		}
	}
	return at
}

// fetch starts to move to a worker what a task reads, as far as it exists. It returns when that will be there.
func (e *engine) fetch(i, w int32) float64 {
	last := e.now
	for _, edge := range e.g.Nodes[i].In {
		if edge.From >= 0 && !e.done[edge.From] {
			continue
		}
		var missing int64
		var files []int32
		for _, f := range edge.Files {
			if k := slices.IndexFunc(e.progress.Has[f], func(h scheduler.Has) bool { return h.Worker == w }); k >= 0 {
				last = math.Max(last, e.progress.Has[f][k].At)
				continue
			}
			missing += e.g.Bytes[f]
			files = append(files, f)
		}
		at := e.now + float64(missing)/e.slots[e.of[w][0]].Bandwidth
		for _, f := range files {
			e.progress.Has[f] = append(e.progress.Has[f], scheduler.Has{Worker: w, At: at})
		}
		e.report.Moved += missing
		last = math.Max(last, at)
	}
	return last
}

// start lets a slot begin a task. from is when its bytes are there.
func (e *engine) start(i, k int32, from float64, second bool) {
	s := e.slots[k]
	run := e.seconds[i] / s.Speed
	if e.mode.Straggle > 0 && e.rnd.Float64() < e.mode.Straggle {
		run *= StraggleTimes
	}
	a := &attempt{task: i, slot: k, start: from, end: from + run, expected: e.expect(i) / s.Speed, copy: second}
	e.at[k] = a
	e.running[i] = append(e.running[i], k)
	e.report.Attempts++
	if second {
		e.report.Copies++
		return
	}
	e.progress.Placed[i] = scheduler.Placed{Slot: k, Start: from, End: a.end}
	if e.trace != nil {
		if d, ok := e.decisions[i]; ok {
			d.Started = from
			e.trace(d)
		}
	}
}

func (e *engine) byStart(list []int32) {
	slices.SortFunc(list, func(a, b int32) int {
		if e.plan.Placed == nil {
			return cmp.Compare(a, b)
		}
		x, y := e.plan.Placed[a], e.plan.Placed[b]
		return cmp.Or(cmp.Compare(x.Start, y.Start), cmp.Compare(x.End, y.End), cmp.Compare(a, b)) // tasks of no length go before what begins at the same time
	})
}
