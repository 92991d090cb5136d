package lifecycle

import (
	"math"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// fuseFrom is the share of its run that a task would have to spend on fetching what the one before it made, from which on a chain goes on at once where it is.
const fuseFrom = 0.1

// fuse goes on with chains (`split: {each: …}`): where a task was settled in this batch and what follows it would finish earliest on a worker that holds its result, that
// worker gets it now, before anything else that would come first by rank but could run elsewhere as well. Nobody is overtaken by that: it is done only for the requester
// whose turn it is, and for jobs that no other of his comes before.
func (a *assigner) fuse() {
	if a.free <= 0 {
		return
	}
	if a.order.turns.len() == 0 {
		return
	}
	first := a.order.turns.list[0]
	top := first.hungry.list[0]
	for _, ev := range a.d.Events {
		if ev.TaskDone == nil {
			continue
		}
		id := ev.TaskDone.Task
		j := a.d.State.Job(id.Job)
		if j == nil || j.State.Ended() || j.Spec.Stages[id.Stage].Merge != nil {
			continue
		}
		for i := range j.Spec.Stages {
			if s := j.Spec.Stages[i].Split; s == nil || s.Kind != cloudcrowd.SplitEach || s.Stage != j.Spec.Stages[id.Stage].Name {
				continue
			}
			at := a.order.jobs[j]
			if at == nil || at.of != first || at.priority < top.priority || at.latest > top.latest || j.Stages[i].State != cloudcrowd.StageRunning {
				continue
			}
			a.turn = a.turnOf(first)
			a.turn.left = math.MaxInt
			a.follow(a.sourceOf(at, i), int64(id.Index))
		}
	}
}

// follow leases the task of an `each` stage that reads part k, where it is to go on with its chain.
func (a *assigner) follow(src *source, k int64) {
	j, i := src.job, src.stage
	st, spec := j.Stages[i], &j.Spec.Stages[i]
	if k > st.Next {
		a.overtake(src)
	}
	id := cloudcrowd.TaskID{Job: j.ID, Stage: int32(i), Index: int32(k)} // they are cut one by one, in order
	switch {
	case k > st.Next:
	case k == st.Next:
		u := cloudcrowd.Unit{Lo: k, Hi: k + 1}
		it := scheduler.Item{CoreSeconds: j.expect(i, 1), MemoryBytes: spec.Resources.MemoryBytes, Blobs: j.blobs(i, u, 0), Excluded: a.d.barred(j, i, nil, false), Rank: src.rank}
		c := a.field.Place(it)
		if a.turn.full() || !a.holds(j, i, k, c) || !a.affordable(j, i, it.CoreSeconds) {
			return
		}
		need := verify.ForTask(spec.Verify, a.d.Record(c.Worker.ID), a.believed(c.Worker, j), a.d.Rand.Float64())
		a.d.emit(Event{TaskCarved: &TaskCarved{Task: id, Unit: u, Quorum: need.Quorum, Start: need.Start, Alone: need.Alone, Need: need.Why}})
		a.lease(src, id, st.Tasks[k], c, it)
	default:
		t := st.Tasks[k]
		for range t.Wanted() {
			it := a.d.item(j, i, t)
			it.Rank = src.rank
			c := a.field.Place(it)
			if a.turn.full() || !j.Sourced(i, t) || !a.holds(j, i, k, c) {
				return
			}
			a.reconsider(src, id, t, c.Worker)
			if !a.lease(src, id, t, c, it) {
				return
			}
		}
	}
}

// holds reports whether a choice is a worker that has part k and takes another lease, be it behind others, and whether fetching the part elsewhere would take a good
// part of the run.
func (a *assigner) holds(j *Job, i int, k int64, c scheduler.Choice) bool {
	if c.Worker == nil || !c.Worker.Takes(j.Spec.Stages[i].Resources.MemoryBytes) || j.State.Ended() {
		return false
	}
	p, _ := j.Part(j.Spec.StageIndex(j.Spec.Stages[i].Split.Stage), k)
	var bytes int64
	for _, f := range p.Outputs {
		if !c.Worker.Has(f.Digest) {
			return false
		}
		bytes += f.SizeBytes
	}
	return float64(bytes)/c.Worker.Rate() >= fuseFrom*c.Why.RunSeconds
}
