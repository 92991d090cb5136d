package replay

import (
	"math"

	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
)

// decide gives out work until every slot that can do something does.
func (e *engine) decide() {
	switch e.mode.Order {
	case FirstFree:
		e.firstFree()
	case FIFO:
		e.inOrder()
	default:
		every := max(1, len(e.seconds)/replans)
		if e.force || e.believe != nil && e.stale >= every && e.mode.Order == Planned {
			e.replan()
		}
	}
	e.prefetch()
	for k := range e.slots {
		e.serve(int32(k))
	}
	e.prefetch()
	if e.mode.Speculate > 0 {
		e.speculate()
	}
}

// serve starts on an idle slot the task whose turn it is. If that one's bytes or parents are not there yet, a later one may go before it that will have ended by then.
func (e *engine) serve(k int32) {
	w := e.slots[k].Worker
	if e.at[k] != nil || !e.up[w] {
		return
	}
	before := math.Inf(1) // when the first of the queue is expected to be able to start
	for n, i := range e.queue[k] {
		if e.waits[i] == 0 && e.arrived(i, w) <= e.now && e.now+e.expect(i)/e.slots[k].Speed <= before+1e-9 {
			e.queue[k] = append(e.queue[k][:n], e.queue[k][n+1:]...)
			e.seat[i] = scheduler.None
			e.start(i, k, e.now, false)
			return
		}
		if n == 0 {
			before = math.Max(e.startable(i, w), e.now)
		}
		if n >= 8 {
			break
		}
	}
}

// startable estimates when a worker can begin a queued task.
func (e *engine) startable(i, w int32) float64 {
	if e.waits[i] == 0 {
		return e.arrived(i, w)
	}
	if e.plan.Placed != nil {
		return e.plan.Placed[i].Start
	}
	return math.Inf(1)
}

// replan makes the plan and seats every task that has not started.
func (e *engine) replan() {
	p := &e.progress
	p.Now = e.now
	for i := range p.Seconds {
		if e.believe == nil {
			p.Seconds[i] = e.seconds[i]
		} else {
			p.Seconds[i], p.Doubt[i] = e.believe.believe(i)
		}
	}
	for k, a := range e.at {
		p.Free[k] = e.now
		if !e.up[e.slots[k].Worker] {
			p.Free[k] = math.Inf(1)
		}
		if a == nil {
			continue
		}
		end := e.believed(a)
		if e.believe == nil && e.mode.Straggle == 0 { // known
			end = a.end
		}
		p.Free[k] = end
		if at := &p.Placed[a.task]; at.Slot == int32(k) || at.End > end {
			*at = scheduler.Placed{Slot: int32(k), Start: a.start, End: end}
		}
	}
	var before *scheduler.Plan
	plans := 1
	if e.mode.Order == Planned {
		plans = max(e.mode.Plans, 1)
	}
	if e.plan.Placed != nil {
		before, plans = &e.plan, min(plans, replanSearch)
	}
	e.plan = e.planner.Search(p, before, plans, e.rnd)
	e.report.Plans++
	e.force, e.stale = false, 0
	if e.trace != nil {
		e.explain()
	}
	for k := range e.queue {
		e.queue[k] = e.queue[k][:0]
	}
	for i, at := range e.plan.Placed {
		e.seat[i] = scheduler.None
		if e.done[i] || len(e.running[i]) > 0 || at.Slot == scheduler.None {
			continue
		}
		e.seat[i] = at.Slot
		e.queue[at.Slot] = append(e.queue[at.Slot], int32(i))
		e.hungry = append(e.hungry, int32(i))
	}
	for k := range e.queue {
		e.byStart(e.queue[k])
	}
}

// ahead is how many tasks of a slot's queue are fetched for while plans may change. More cost bytes that nobody reads where a task goes elsewhere after all; fewer cost waiting.
const ahead = 16

// prefetch moves what queued tasks read as far as it exists: of all that the last event may have completed where the plan stays as it is, otherwise of the next
// ones of each slot.
func (e *engine) prefetch() {
	list := e.hungry
	e.hungry = nil
	if !e.mode.steady() {
		list = nil
		for _, queue := range e.queue {
			list = append(list, queue[:min(ahead, len(queue))]...)
		}
	}
	e.byStart(list)
	for _, i := range list {
		if k := e.seat[i]; k != scheduler.None {
			e.fetch(i, e.slots[k].Worker)
		}
	}
}

// inOrder seats ready tasks in the order in which they got ready, each where it ends first, what is seated there already counted.
func (e *engine) inOrder() {
	e.force = false
	waiting := e.fifo
	e.fifo = nil
	for _, i := range waiting {
		if e.done[i] {
			continue
		}
		best, end := scheduler.None, math.Inf(1)
		for k, s := range e.slots {
			if !e.up[s.Worker] {
				continue
			}
			free := e.now
			if a := e.at[k]; a != nil {
				free = math.Max(a.start+a.expected, e.now)
			}
			for _, q := range e.queue[k] {
				free = math.Max(free, e.arrived(q, s.Worker)) + e.expect(q)/s.Speed
			}
			at := math.Max(free, e.wouldArrive(i, s.Worker)) + e.expect(i)/s.Speed
			if at < end {
				best, end = int32(k), at
			}
		}
		if best == scheduler.None {
			e.fifo = append(e.fifo, i)
			continue
		}
		e.seat[i] = best
		e.queue[best] = append(e.queue[best], i)
		e.fetch(i, e.slots[best].Worker)
	}
}

// wouldArrive is when a worker would have what a ready task reads if it began to fetch now.
func (e *engine) wouldArrive(i, w int32) float64 {
	last := e.now
	for _, edge := range e.g.Nodes[i].In {
		var missing int64
		for _, f := range edge.Files {
			here := false
			for _, h := range e.progress.Has[f] {
				if h.Worker == w {
					last, here = math.Max(last, h.At), true
					break
				}
			}
			if !here {
				missing += e.g.Bytes[f]
			}
		}
		last = math.Max(last, e.now+float64(missing)/e.slots[e.of[w][0]].Bandwidth)
	}
	return last
}

// firstFree gives the head of the queue to the first slot that is free; it fetches what it needs and begins.
func (e *engine) firstFree() {
	e.force = false
	for k := range e.slots {
		for e.at[k] == nil && e.up[e.slots[k].Worker] && len(e.fifo) > 0 {
			i := e.fifo[0]
			e.fifo = e.fifo[1:]
			if !e.done[i] {
				e.start(i, int32(k), e.fetch(i, e.slots[k].Worker), false)
			}
		}
	}
}

// suspicious is when an attempt has taken so much longer than expected that a second copy may be worth its time.
func (e *engine) suspicious(a *attempt) float64 { return a.start + 1.5*a.expected + 0.01 }

// believed is when an attempt is expected to end. One that has outlived what it was expected to take is as likely to take a tenth of that again, as in
// scheduler.Worker.Prepare, and one that is suspicious as long again; where lengths are learned, what has passed counts, too.
func (e *engine) believed(a *attempt) float64 {
	elapsed := e.now - a.start
	if e.suspicious(a) <= e.now {
		return e.now + elapsed
	}
	expected := a.expected
	if e.believe != nil {
		expected = e.believe.given(int(a.task), elapsed*e.slots[a.slot].Speed) / e.slots[a.slot].Speed
	}
	return math.Max(a.start+expected, e.now+0.1*math.Max(elapsed, 0.01))
}

// worth is what a second copy must be expected to save, as a share of what it takes.
const worth = 0.2

// speculate starts second copies on idle slots that have nothing else to do: of the attempt that gains most by it, as long as the copies stay within their share of
// all that was computed and it is worth it.
func (e *engine) speculate() {
	spent, copies := e.totalSecs, e.copySecs
	for _, a := range e.at {
		if a != nil {
			spent += math.Max(e.now-a.start, 0)
			if a.copy {
				copies += math.Max(e.now-a.start, a.expected)
			}
		}
	}
	for {
		var worst *attempt
		best, most := scheduler.None, math.Inf(-1)
		for k, s := range e.slots {
			if e.at[k] != nil || !e.up[s.Worker] {
				continue
			}
			until := math.Inf(1) // when the slot has something of its own to do
			for _, i := range e.queue[k] {
				until = math.Min(until, e.startable(i, s.Worker))
			}
			for _, a := range e.at {
				if a == nil || a.copy || len(e.running[a.task]) > 1 || s.Worker == e.slots[a.slot].Worker {
					continue
				}
				run := e.expect(a.task) / s.Speed
				gain := e.believed(a) - e.now - run
				if gain <= most || gain < worth*run || e.now+run > until || copies+run > e.mode.Speculate*(spent+run) {
					continue
				}
				if gain = e.believed(a) - e.wouldArrive(a.task, s.Worker) - run; gain > most && gain >= worth*run {
					worst, best, most = a, int32(k), gain
				}
			}
		}
		if worst == nil {
			return
		}
		run := e.expect(worst.task) / e.slots[best].Speed
		spent, copies = spent+run, copies+run
		e.start(worst.task, best, e.fetch(worst.task, e.slots[best].Worker), true)
	}
}
