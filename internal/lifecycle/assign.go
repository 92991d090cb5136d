package lifecycle

import (
	"fmt"
	"math"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/market"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// Leased is a new attempt and who has it.
type Leased struct {
	ID     cloudcrowd.AttemptID
	Worker *scheduler.Worker
}

// Assign hands out leases: requesters take turns by fair share, the jobs of one go by priority and slack, the stages of a job by longest remaining path, and each
// piece goes where it finishes earliest. It returns the new attempts; their workers' Held is updated, expires being when a lease ends unless extended.
func (d *Decider) Assign(workers []*scheduler.Worker, expires cloudcrowd.Time) []Leased {
	if len(d.State.running) == 0 {
		return nil
	}
	if d.Field == nil {
		d.Field = scheduler.NewField(workers, d.At)
	} else {
		d.Field.Refresh(d.At)
	}
	slots, free := d.Field.Slots()
	if free == 0 && !d.anyFailures() {
		return nil
	}
	if d.Most > 0 {
		free = min(free, d.Most)
	}
	a := assigner{d: d, workers: workers, field: d.Field, slots: slots, free: free, planned: 4*slots + 16, expires: expires, order: d.order(slots)}
	a.fuse()
	a.look()
	a.round()
	if d.Copies {
		a.copies()
	}
	return a.leased
}

// anyFailures reports whether a task waits that has failed somewhere: it may have to fail everywhere even if no slot is free.
func (d *Decider) anyFailures() bool {
	return d.State.failing > 0
}

// Ranks are the upward ranks of a job's stages in seconds: the estimated time of one of its tasks on the reference core and of the longest path after it.
func (j *Job) Ranks() []float64 {
	ranks := make([]float64, len(j.Stages))
	for i := range ranks {
		ranks[i] = j.expect(i, 0)
	}
	scheduler.Raise(ranks, func(i int, raise func(int, float64)) {
		for _, name := range j.Spec.Stages[i].After {
			raise(j.Spec.StageIndex(name), 0)
		}
	})
	return ranks
}

// expect estimates the normalised core-seconds of a task of a stage with the given units (0: a typical task).
func (j *Job) expect(i int, units int64) float64 {
	st, spec := j.Stages[i], &j.Spec.Stages[i]
	target := float64(spec.Target) / 1e9
	per := st.CoreSecondsPerUnit()
	if per <= 0 {
		per = st.Prior // as the plan did, by which the budget was chosen
	}
	switch {
	case per <= 0:
		return target
	case units > 0:
		return per * float64(units)
	case decompose.Divisible(spec.Split):
		return target
	}
	return per * float64(max(st.Largest, 1))
}

// known reports whether it was measured, in this job or an earlier one, what a unit of a stage takes.
func (j *Job) known(i int) bool { return j.Stages[i].SeenUnits > 0 || j.Stages[i].Prior > 0 }

type assigner struct {
	d       *Decider
	workers []*scheduler.Worker
	field   *scheduler.Field
	slots   int // of all open workers
	free    int
	order   *order
	waiting queue[*turn] // for their turn
	turn    *turn        // whose it is
	awake   bool         // see wake
	planned int          // pieces that may still be booked on busy workers, to bound the look-ahead
	expires cloudcrowd.Time
	leased  []Leased
	parties map[cloudcrowd.AccountID]int // by requester, counted when first asked for: nobody comes or goes meanwhile
}

// book lets a piece wait for a worker that frees soon.
func (a *assigner) book(c scheduler.Choice) {
	a.field.Book(c.Worker, c.Why.RunSeconds)
	a.planned--
	a.look()
}

// look ends a round in which nobody is left who takes a lease now: where all workers are busy with long tasks, each has room for a lease behind others and will not take it
// for some time, and trying to place all that waits would be in vain.
func (a *assigner) look() {
	if a.free > 0 && !a.field.Ready() {
		a.free = 0
	}
}

// openTasks serves tasks that exist and want more attempts.
func (a *assigner) openTasks(src *source) {
	st := src.job.Stages[src.stage]
	if !src.listed {
		src.listed = true
		if st.want.n > 0 {
			src.open = st.want.list()
		}
	}
	for ; len(src.open) > 0; src.open = src.open[1:] {
		if src.job.State.Ended() || a.planned <= 0 || a.turn.left <= 0 {
			return
		}
		ti := src.open[0]
		if !src.job.Sourced(src.stage, st.Tasks[ti]) {
			continue
		}
		id := cloudcrowd.TaskID{Job: src.job.ID, Stage: int32(src.stage), Index: ti}
		for st.Tasks[ti].Wanted() > 0 && !a.turn.full() && a.serve(src, id, st.Tasks[ti]) {
		}
	}
}

// serve places one attempt of an existing task; false if that is not possible now.
func (a *assigner) serve(src *source, id cloudcrowd.TaskID, t *Task) bool {
	it := a.d.item(src.job, src.stage, t)
	it.Rank = src.rank
	c := a.field.Place(it)
	if c.Worker == nil {
		// Somebody it was lost or broken on before is better than nobody.
		again := it
		again.Excluded = a.d.barred(src.job, src.stage, t, true)
		if c = a.field.Place(again); c.Worker == nil {
			if a.failedEverywhere(t) {
				a.d.FailTask(id, "failed on every worker that is here")
			} else {
				a.settleForLess(src.job, src.stage, id, t)
			}
			return false
		}
	}
	if !c.Now {
		a.book(c)
		return false
	}
	a.reconsider(src, id, t, c.Worker)
	return a.lease(src, id, t, c, it)
}

// failedEverywhere reports whether the program failed on every worker that takes work, at least one.
func (a *assigner) failedEverywhere(t *Task) bool {
	if t.Failures == 0 {
		return false
	}
	failed := map[cloudcrowd.WorkerID]bool{}
	for _, at := range t.Attempts {
		if at.State == cloudcrowd.AttemptLeased || at.State == cloudcrowd.AttemptReported {
			return false
		}
		if at.State == cloudcrowd.AttemptFailed && at.Result != nil && at.Result.Outcome.ProgramFault() {
			failed[at.Worker] = true
		}
	}
	for _, w := range a.workers {
		if !w.Closed && !failed[w.ID] && !a.d.exiled(w.ID) {
			return false
		}
	}
	return true
}

const (
	farAhead   = 256  // parts looked at behind the one that is not there yet
	mostOpened = 1024 // open tasks of a stage beyond which no further ones are cut before their turn
)

// overtake cuts tasks of an `each` stage up to the last one whose part is there, so that chains do not wait for the slowest before them; those whose part is not there
// get no attempt until it is. It can be done where what a task needs to be believed does not depend on who gets it first.
func (a *assigner) overtake(src *source) {
	j, i := src.job, src.stage
	st, spec := j.Stages[i], &j.Spec.Stages[i]
	if spec.Split == nil || spec.Split.Kind != cloudcrowd.SplitEach || spec.Verify.Confidence > 0 || st.open.n > mostOpened {
		return
	}
	up := j.Spec.StageIndex(spec.Split.Stage)
	if _, there := j.Part(up, st.Next); there {
		return
	}
	n, _ := j.Parts(up)
	last := int64(-1)
	for k := st.Next; k < min(n, st.Next+farAhead); k++ {
		if _, there := j.Part(up, k); there {
			last = k
		}
	}
	need := verify.ForTask(spec.Verify, cloudcrowd.Record{}, false, 1)
	for k := st.Next; k <= last; k++ {
		a.d.emit(Event{TaskCarved: &TaskCarved{Task: cloudcrowd.TaskID{Job: j.ID, Stage: int32(i), Index: int32(len(st.Tasks))}, Unit: cloudcrowd.Unit{Lo: k, Hi: k + 1},
			Quorum: need.Quorum, Start: need.Start, Need: need.Why}})
	}
}

// carve cuts new tasks while somebody can take them at once.
func (a *assigner) carve(src *source) {
	j, i := src.job, src.stage
	st, spec := j.Stages[i], &j.Spec.Stages[i]
	for a.free > 0 && a.turn.left > 0 && !j.State.Ended() {
		probing := decompose.Divisible(spec.Split) && st.SeenUnits == 0
		if probing && len(st.Tasks) >= a.slots {
			return // wait for a first measurement
		}
		cut, ok := a.next(j, i, 0)
		if !ok {
			return
		}
		id := cloudcrowd.TaskID{Job: j.ID, Stage: int32(i), Index: int32(len(st.Tasks))}
		it := scheduler.Item{CoreSeconds: j.expect(i, cut.unit.Hi-cut.unit.Lo), MemoryBytes: spec.Resources.MemoryBytes, Blobs: j.blobs(i, cut.unit, cut.level),
			Excluded: a.d.barred(j, i, nil, false), Rank: src.rank, FreeOnly: decompose.Divisible(spec.Split)}
		c := a.field.Place(it)
		if c.Worker == nil {
			return
		}
		if !c.Now {
			// A faster worker frees soon: this piece waits for it, the one after may suit somebody else.
			a.book(c)
			src.later += cut.unit.Hi - cut.unit.Lo
			if total, _ := j.Total(i); spec.Merge != nil || st.Next+src.later >= total || a.planned <= 0 {
				return
			}
			continue
		}
		if decompose.Divisible(spec.Split) {
			cut, _ = a.next(j, i, c.Worker.Speed)
			it.CoreSeconds = j.expect(i, cut.unit.Hi-cut.unit.Lo)
			c.Why.FinishSeconds -= c.Why.RunSeconds
			c.Why.RunSeconds = it.CoreSeconds / math.Max(c.Worker.Speed, 0.01)
			c.Why.FinishSeconds += c.Why.RunSeconds
		}
		if !a.affordable(j, i, it.CoreSeconds) {
			return
		}
		var record cloudcrowd.Record // where it does not matter it is not looked up
		if spec.Verify.Confidence > 0 {
			record = a.d.Record(c.Worker.ID)
		}
		need := verify.ForTask(spec.Verify, record, a.believed(c.Worker, j), a.d.Rand.Float64())
		a.d.emit(Event{TaskCarved: &TaskCarved{Task: id, Unit: cut.unit, Level: cut.level, Pos: cut.pos, Final: cut.final,
			Quorum: need.Quorum, Start: need.Start, Alone: need.Alone, Need: need.Why}})
		t := st.Tasks[id.Index]
		if !a.lease(src, id, t, c, it) {
			return
		}
		for range t.Wanted() {
			if a.turn.full() || !a.serve(src, id, t) {
				break
			}
		}
	}
}

// next finds what the stage gives next, sized for a worker of the given speed (0: a typical one). It changes nothing.
func (a *assigner) next(j *Job, i int, speed float64) (node, bool) {
	st, spec := j.Stages[i], &j.Spec.Stages[i]
	if spec.Merge != nil {
		return j.nextNode(i)
	}
	total, _ := j.Total(i)
	if st.Next >= total {
		return node{}, false
	}
	if spec.Split != nil && spec.Split.Kind == cloudcrowd.SplitEach {
		if _, ok := j.Part(j.Spec.StageIndex(spec.Split.Stage), st.Next); !ok {
			return node{}, false
		}
	}
	if speed <= 0 {
		speed = 1
	}
	want := scheduler.Chunk(st.CoreSecondsPerUnit(), float64(spec.Target)/1e9, speed, total-st.Next, total, st.Largest, a.slots)
	return node{unit: cloudcrowd.Unit{Lo: st.Next, Hi: decompose.NextHi(spec.Split, st.Index, total, st.Next, want)}}, true
}

// reserve is what is set aside for an attempt expected to take the given core-seconds: four times that and a second, for estimates are rough.
func (d *Decider) reserve(j *Job, i int, core float64) cloudcrowd.Credits {
	return market.Ceiling(d.Prices, 4*core+1, j.Spec.Stages[i].Resources)
}

// affordable reports whether budget is left for an attempt. A job with nothing under way and too little left has failed.
func (a *assigner) affordable(j *Job, i int, core float64) bool {
	if a.d.reserve(j, i, core) <= j.Available() {
		return true
	}
	for _, st := range j.Stages {
		if st.Running > 0 {
			return false // something may still be released
		}
	}
	if j.Stages[i].CoreSecondsPerUnit() == 0 {
		core = math.Min(core, 1) // nothing is known yet: as long as the cheapest plan takes, by which the job was accepted
	}
	if market.Ceiling(a.d.Prices, core, j.Spec.Stages[i].Resources) <= j.Available() {
		return true
	}
	a.d.Fail(j.ID, fmt.Sprintf("the budget of %s credits does not last until stage %s is done: %s are left, and one more attempt may cost %s; submit again with a larger budget",
		j.Budget, j.Spec.Stages[i].Name, j.Available(), market.Ceiling(a.d.Prices, core, j.Spec.Stages[i].Resources)))
	return false
}

func (a *assigner) lease(src *source, id cloudcrowd.TaskID, t *Task, c scheduler.Choice, it scheduler.Item) bool {
	j, w, turn := src.job, c.Worker, a.turn
	if !a.affordable(j, src.stage, it.CoreSeconds) {
		return false
	}
	attempt := cloudcrowd.AttemptID{Task: id, N: int32(len(t.Attempts)) + 1}
	if c.Why.Purpose == "" {
		c.Why.Purpose = purpose(t)
	}
	c.Why.Turn = a.explain(src)
	a.d.emit(Event{AttemptLeased: &AttemptLeased{ID: attempt, Worker: w.ID, Owner: w.Owner, Trusted: a.d.trusted(w.Owner, j), Copy: c.Why.Purpose == Copy,
		Reserve: min(a.d.reserve(j, src.stage, it.CoreSeconds), j.Available()), Expected: c.Why.RunSeconds + c.Why.FetchSeconds, Speed: w.Speed, Why: c.Why}})
	a.field.Lease(w, scheduler.Held{ID: attempt, MemoryBytes: it.MemoryBytes, Expected: c.Why.RunSeconds + c.Why.FetchSeconds, LeasedAt: a.d.At, Expires: a.expires,
		Until: LeaseLimit(&j.Spec.Stages[src.stage], a.d.At)})
	for _, b := range it.Blobs {
		w.Keep(b.Digest)
	}
	a.leased = append(a.leased, Leased{attempt, w})
	a.free--
	turn.left--
	turn.attempts++
	turn.slots += occupied(it.CoreSeconds)
	return true
}

// LeaseLimit is when a lease ends even if its worker goes on to say that it is at work: its own timeout, that of whatever runs before it on the same slot, and some
// time to fetch inputs and store results. Without it, one worker that never answers could hold a job for ever.
func LeaseLimit(s *cloudcrowd.Stage, leased cloudcrowd.Time) cloudcrowd.Time {
	if s.Timeout <= 0 {
		return 0
	}
	const transfers = cloudcrowd.Time(10 * 60e6)
	return leased + 2*cloudcrowd.Time(s.Timeout/1000) + transfers
}

// purpose says why a task gets another attempt.
func purpose(t *Task) string {
	votes, leased := 0, 0
	for _, a := range t.Attempts {
		switch {
		case a.Round != t.Round:
		case a.State == cloudcrowd.AttemptReported:
			votes++
		case a.State == cloudcrowd.AttemptLeased:
			leased++
		}
	}
	v := verify.Quorum(t.Votes(), t.Quorum)
	switch {
	case v.Disagree:
		return "tie-break"
	case votes+leased > 0:
		return "replica"
	case t.Round > 0:
		return "redo"
	case len(t.Attempts) > 0:
		return "retry"
	}
	return "first"
}

func (d *Decider) trusted(owner cloudcrowd.AccountID, j *Job) bool {
	return owner == j.Account || owner == d.Operator && owner != ""
}

// item describes a further attempt of an existing task.
func (d *Decider) item(j *Job, i int, t *Task) scheduler.Item {
	return scheduler.Item{CoreSeconds: j.expect(i, t.Unit.Hi-t.Unit.Lo), MemoryBytes: j.Spec.Stages[i].Resources.MemoryBytes,
		Blobs: j.blobs(i, t.Unit, t.Level), Excluded: d.barred(j, i, t, false)}
}

// mostParts bounds what of the stages before is looked at: where there is more, no worker has most of it.
const mostParts = 32

// blobs lists the large inputs a task needs, for placement: module, whole inputs, parts. Pieces of divisible inputs are left out: nobody has them.
func (j *Job) blobs(i int, u cloudcrowd.Unit, level int32) []scheduler.Blob {
	spec, st := &j.Spec.Stages[i], j.Stages[i]
	var list []scheduler.Blob
	program := spec.Run
	if spec.Merge != nil {
		program = spec.Merge.Program
	}
	if program != nil {
		list = append(list, scheduler.Blob{Digest: program.Module, SizeBytes: program.ModuleSize})
	}
	for _, name := range spec.Inputs {
		for _, f := range j.Spec.Inputs[name].Files {
			list = append(list, scheduler.Blob{Digest: f.Digest, SizeBytes: f.SizeBytes})
		}
	}
	stream := streamsFrom(spec)
	for _, name := range spec.After { // what every task of the stage reads
		if up := j.Spec.StageIndex(name); name != stream {
			if n, _ := j.Parts(up); n <= mostParts {
				for k := range n {
					p, _ := j.Part(up, k)
					for _, f := range p.Outputs[:min(len(p.Outputs), mostParts)] {
						list = append(list, scheduler.Blob{Digest: f.Digest, SizeBytes: f.SizeBytes})
					}
				}
			}
		}
	}
	if stream != "" {
		up := j.Spec.StageIndex(stream)
		hi := u.Hi
		if spec.Merge == nil {
			hi = u.Lo + 1
		}
		for k := u.Lo; k < hi; k++ {
			var outputs []cloudcrowd.OutputFile
			if level == 0 {
				p, _ := j.Part(up, k)
				outputs = p.Outputs
			} else {
				outputs = st.Tasks[st.Levels[level-1][k]].Outputs
			}
			for _, f := range outputs {
				list = append(list, scheduler.Blob{Digest: f.Digest, SizeBytes: f.SizeBytes})
			}
		}
	}
	return list
}

// Consider answers where a further attempt of a task would go, without deciding anything. Workers must be prepared.
func (d *Decider) Consider(j *Job, i int, t *Task, workers []*scheduler.Worker) scheduler.Choice {
	it := d.item(j, i, t)
	c := scheduler.Place(it, workers)
	if c.Worker == nil {
		it.Excluded = d.barred(j, i, t, true)
		if again := scheduler.Place(it, workers); again.Worker != nil {
			return again
		}
	}
	return c
}

// Short reports whether the budget left does not cover another attempt of a stage now.
func (d *Decider) Short(j *Job, i int) bool {
	return d.reserve(j, i, j.expect(i, 0)) > j.Available()
}
