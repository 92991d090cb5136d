package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/market"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// MaxMishaps is how often a task may be lost or broken by machines before it fails.
const MaxMishaps = 20

// Decider makes one batch: each method decides one command against the state and applies what follows at once, so that the next command sees it.
// Events and Out are what the loop commits. If the commit fails, the state must be dropped.
type Decider struct {
	State    *State
	At       cloudcrowd.Time
	Rand     *rand.Rand // lotteries; secret in production, seeded in simulation
	Prices   cloudcrowd.Prices
	Operator cloudcrowd.AccountID // owner of house machines, which everyone trusts
	// Elsewhere is what the other shards know of workers: a fact, like the time, of a moment ago; never journaled. nil where there are none.
	Elsewhere map[cloudcrowd.WorkerID]cloudcrowd.Record
	// Uses is what requesters have and had of the workers in the other shards: a fact of a moment ago, never journaled. nil where there are none.
	Uses map[cloudcrowd.AccountID]Use
	// Field is of the workers that Assign is given, where the caller keeps it from one time to the next; nil: Assign makes it.
	Field   *scheduler.Field
	Sharing cloudcrowd.Sharing // see Share
	Copies  bool               // Assign looks for stragglers, too; now and then is often enough
	Most    int                // leases that Assign gives at most; 0: as many as there is room for

	Events []Event
	Out    Out
	Seen   int // events that the loop has already taken note of; for its use
}

func (d *Decider) emit(ev Event) {
	d.State.Apply(ev, d.At, &d.Out)
	d.Events = append(d.Events, ev)
}

// Record is a worker's standing by what this shard and the others know.
func (d *Decider) Record(w cloudcrowd.WorkerID) cloudcrowd.Record {
	r := d.State.Record(w)
	if o, ok := d.Elsewhere[w]; ok {
		r = r.Add(o)
	}
	return r
}

// exiled reports whether a worker gets no work at present, because results of his were refused.
func (d *Decider) exiled(w cloudcrowd.WorkerID) bool {
	if len(d.Elsewhere) == 0 && d.State.refused[w] == nil { // so it is with nearly all, and their records are not in any cache
		return false
	}
	return verify.Exiled(d.Record(w), d.At)
}

// Submit accepts a job under the given id. The caller has validated the spec. A key seen before returns the job it made then.
func (d *Decider) Submit(id cloudcrowd.JobID, account cloudcrowd.AccountID, key string, spec cloudcrowd.JobSpec) (cloudcrowd.JobID, error) {
	if k, ok := d.State.Keys[string(account)+"/"+key]; ok && key != "" {
		if made := cloudcrowd.JobID(k.Made); made.Valid() {
			return made, nil
		}
		return "", keyUsed(key)
	}
	if spec.Budget <= 0 {
		return "", cloudcrowd.Fieldf("budget", "the budget must be positive")
	}
	e := &JobSubmitted{Job: id, Account: account, Key: key, Spec: spec}
	if spec.Deadline > 0 {
		e.Deadline = d.At + cloudcrowd.Time(spec.Deadline/1000)
	}
	d.emit(Event{JobSubmitted: e})
	d.finish(id)
	return id, nil
}

// Issue creates credits in an account and returns the id of the transfer.
func (d *Decider) Issue(to cloudcrowd.AccountID, amount cloudcrowd.Credits, by cloudcrowd.AccountID, note, key string) (string, error) {
	if k, ok := d.State.Keys[string(by)+"/"+key]; ok && key != "" {
		if cloudcrowd.JobID(k.Made).Valid() {
			return "", keyUsed(key)
		}
		return k.Made, nil
	}
	switch {
	case amount <= 0:
		return "", cloudcrowd.Fieldf("amount_microcredits", "the amount must be positive")
	case to == cloudcrowd.IssuerAccount || to == cloudcrowd.FeeAccount:
		return "", cloudcrowd.Fieldf("account", "credits are not issued to %q", to)
	}
	d.emit(Event{CreditsIssued: &CreditsIssued{To: to, Amount: amount, By: by, Note: note, Key: key}})
	return d.Out.lastIssue, nil
}

func keyUsed(key string) error {
	return cloudcrowd.Errorf(cloudcrowd.Conflict, "the idempotency key %q was used for something else", key).WithHint("use a new key for every new request")
}

// Indexed takes the index of a stage's divisible input.
func (d *Decider) Indexed(job cloudcrowd.JobID, stage int32, ix *decompose.Index) {
	j := d.State.Job(job)
	if j == nil || j.State.Ended() || j.Stages[stage].Index != nil {
		return
	}
	d.emit(Event{StageIndexed: &StageIndexed{Job: job, Stage: stage, Index: ix}})
	d.finish(job)
}

// Merged takes the files of a built-in merge. basis must still be MergeBasis, else the parts have changed meanwhile and it is done again.
func (d *Decider) Merged(job cloudcrowd.JobID, stage int32, basis cloudcrowd.Digest, files []cloudcrowd.OutputFile) {
	j := d.State.Job(job)
	if j == nil || j.State.Ended() || j.Stages[stage].State != cloudcrowd.StageMerging || d.State.MergeBasis(job, stage) != basis {
		return
	}
	d.emit(Event{StageMerged: &StageMerged{Job: job, Stage: stage, Outputs: files}})
	d.finish(job)
}

// MergeBasis digests the parts a built-in merge reads.
func (s *State) MergeBasis(job cloudcrowd.JobID, stage int32) cloudcrowd.Digest {
	j := s.Job(job)
	up := j.Spec.StageIndex(j.Spec.Stages[stage].After[0])
	h := sha256.New()
	n, _ := j.Parts(up)
	for k := range n {
		p, _ := j.Part(up, k)
		digestOutputs(h, p.Outputs)
	}
	return cloudcrowd.Digest(hex.EncodeToString(h.Sum(nil)))
}

// Fail ends a job because the server could not do its part (a malformed input, parts that do not merge).
func (d *Decider) Fail(job cloudcrowd.JobID, reason string) {
	d.end(job, cloudcrowd.JobFailed, reason, cloudcrowd.HoldVoided)
}

// Cancel ends a job by request.
func (d *Decider) Cancel(job cloudcrowd.JobID, reason string) error {
	j := d.State.Job(job)
	if j == nil {
		return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no open job %s", job)
	}
	if j.State.Ended() {
		return cloudcrowd.Errorf(cloudcrowd.Conflict, "job %s is already %s", job, j.State)
	}
	d.end(job, cloudcrowd.JobCancelled, reason, cloudcrowd.HoldVoided)
	return nil
}

// Tick ends jobs past their deadline.
func (d *Decider) Tick() {
	var due []cloudcrowd.JobID
	for q := &d.State.deadlines; q.len() > 0 && q.list[0].at <= d.At; {
		due = append(due, q.pop().job)
	}
	slices.Sort(due)
	for _, id := range due {
		j := d.State.Job(id)
		if j == nil || j.State.Ended() {
			continue
		}
		done := 0
		for _, st := range j.Stages {
			if st.State == cloudcrowd.StageDone {
				done++
			}
		}
		d.end(id, cloudcrowd.JobFailed, fmt.Sprintf("the deadline of %s passed with %d of %d stages done", j.Spec.Deadline, done, len(j.Stages)), cloudcrowd.HoldExpired)
	}
}

// end stops all attempts and ends the job.
func (d *Decider) end(job cloudcrowd.JobID, state cloudcrowd.JobState, reason string, hold cloudcrowd.HoldState) {
	j := d.State.Job(job)
	if j == nil || j.State.Ended() {
		return
	}
	for si, st := range j.Stages {
		for _, ti := range st.open.list() {
			d.stop(cloudcrowd.TaskID{Job: job, Stage: int32(si), Index: ti}, st.Tasks[ti], "the job ended before its result was needed")
		}
		// A failed task has left the open set with attempts still out.
		for ti, t := range st.Tasks {
			if t.State == cloudcrowd.TaskFailed {
				d.stop(cloudcrowd.TaskID{Job: job, Stage: int32(si), Index: int32(ti)}, t, "the task failed meanwhile")
			}
		}
	}
	if hold == cloudcrowd.HoldVoided && j.Posted+j.Deferred == j.Budget {
		hold = cloudcrowd.HoldPosted
	}
	d.emit(Event{JobEnded: &JobEnded{Job: job, State: state, Reason: reason, Hold: hold}})
}

// stop cancels a task's attempts of the present round that are leased, or reported without a verdict.
func (d *Decider) stop(id cloudcrowd.TaskID, t *Task, why string) {
	for _, a := range t.Attempts {
		if !a.State.Ended() {
			d.emit(Event{AttemptEnded: &AttemptEnded{ID: cloudcrowd.AttemptID{Task: id, N: a.N}, State: cloudcrowd.AttemptCancelled, Verdict: why}})
		}
	}
}

// finish ends the job as done if every stage is.
func (d *Decider) finish(job cloudcrowd.JobID) {
	j := d.State.Job(job)
	if j == nil || j.State.Ended() {
		return
	}
	for _, st := range j.Stages {
		if st.State != cloudcrowd.StageDone {
			return
		}
	}
	d.end(job, cloudcrowd.JobDone, "", cloudcrowd.HoldVoided)
}

// Report takes an attempt's result from a worker. speed is the worker's, in reference cores. It returns false where the attempt is not this
// worker's to report; every other report may be acknowledged once the batch is committed, wanted or not.
func (d *Decider) Report(w cloudcrowd.WorkerID, id cloudcrowd.AttemptID, r cloudcrowd.Result) bool {
	j, _, t, a := d.State.Find(id)
	if a == nil {
		return true // of a job that is gone: nobody wants it any more
	}
	if a.Worker != w {
		return false
	}
	late := a.State == cloudcrowd.AttemptLost
	overtaken := a.State == cloudcrowd.AttemptCancelled && a.Round == t.Round && t.State == cloudcrowd.TaskDone && !t.Retired && !j.State.Ended()
	if !overtaken && (j.State.Ended() || a.Round != t.Round || t.Canonical != 0 && t.State == cloudcrowd.TaskDone || a.State != cloudcrowd.AttemptLeased && !late) {
		return true // a duplicate, or no longer wanted
	}
	observed := math.Max(float64(d.At-a.LeasedAt)/1e6, 1e-6) // a clock that was set back must not make any claim believable
	core := market.CoreSeconds(r.Usage, a.Speed, observed, j.Spec.Stages[id.Task.Stage].Resources.Cores)
	if overtaken {
		d.compare(id, r, core)
		return true
	}
	// Where results are compared, one that no sandbox could have let through is refused like any other wrong one.
	if limit := j.Spec.Stages[id.Task.Stage].Resources.OutputBytes; t.Quorum == 1 && r.Outcome == cloudcrowd.Succeeded && outputBytes(r) > limit {
		r = cloudcrowd.Result{Outcome: cloudcrowd.Broken, Usage: r.Usage,
			Reason: fmt.Sprintf("the worker's report was refused: its outputs have %s, the limit is %s", cloudcrowd.Bytes(outputBytes(r)), cloudcrowd.Bytes(limit))}
	}
	if r.Outcome != cloudcrowd.Succeeded {
		if late {
			return true
		}
		state := cloudcrowd.AttemptFailed
		if r.Outcome == cloudcrowd.Stopped {
			state = cloudcrowd.AttemptReturned
		}
		d.emit(Event{AttemptEnded: &AttemptEnded{ID: id, State: state, Result: &r, Verdict: r.Reason, CoreSeconds: core}})
		d.afterFailure(id.Task)
		return true
	}
	d.emit(Event{AttemptReported: &AttemptReported{ID: id, Result: r, Digest: ResultDigest(r), CoreSeconds: core, Reserve: d.claim(j, id, a, r, core)}})
	d.settle(id.Task)
	return true
}

// claim is the price of a result by what its worker says it took.
func (d *Decider) claim(j *Job, id cloudcrowd.AttemptID, a *Attempt, r cloudcrowd.Result, core float64) cloudcrowd.Credits {
	wall := min(r.Usage.WallSeconds, max(float64(d.At-a.LeasedAt)/1e6, 0))
	var output int64
	for _, f := range r.Outputs {
		output += f.SizeBytes
	}
	return market.Gross(d.Prices, core, wall, min(r.Usage.PeakMemoryBytes, j.Spec.Stages[id.Task.Stage].Resources.MemoryBytes), output)
}

// Lost ends a lease that expired; Returned one that was handed back without blame.
func (d *Decider) Lost(id cloudcrowd.AttemptID, why string) {
	d.release(id, cloudcrowd.AttemptLost, why)
}

// Returned ends a lease without blame.
func (d *Decider) Returned(id cloudcrowd.AttemptID, why string) {
	d.release(id, cloudcrowd.AttemptReturned, why)
}

func (d *Decider) release(id cloudcrowd.AttemptID, s cloudcrowd.AttemptState, why string) {
	if _, _, _, a := d.State.Find(id); a == nil || a.State != cloudcrowd.AttemptLeased {
		return
	}
	d.emit(Event{AttemptEnded: &AttemptEnded{ID: id, State: s, Verdict: why}})
	d.afterFailure(id.Task)
}

// afterFailure fails the task, and with it the job, when its tries are used up.
func (d *Decider) afterFailure(id cloudcrowd.TaskID) {
	j, _, t := d.State.FindTask(id)
	spec := &j.Spec.Stages[id.Stage]
	switch {
	case t.Failures > spec.Retries:
		words := "failed on 1 worker"
		if t.Failures > 1 {
			words = fmt.Sprintf("failed on %d workers", t.Failures)
		}
		d.FailTask(id, words)
	case t.Mishaps > MaxMishaps:
		d.FailTask(id, fmt.Sprintf("was lost or broken by its worker %d times", t.Mishaps))
	}
}

// FailTask ends a task without a result, and its job with the reason. Workers who agree on how the program failed are paid: they did the work.
func (d *Decider) FailTask(id cloudcrowd.TaskID, why string) {
	j, _, t := d.State.FindTask(id)
	if j.State.Ended() || t.State == cloudcrowd.TaskDone || t.State == cloudcrowd.TaskFailed {
		return
	}
	last := ""
	for _, a := range t.Attempts {
		if a.State == cloudcrowd.AttemptFailed && a.Result != nil {
			last = a.Result.Reason
			if tail := strings.TrimSpace(a.Result.StderrTail); tail != "" {
				last += "; its stderr ended: " + lastLines(tail, 3)
			}
		}
	}
	spec := &j.Spec.Stages[id.Stage]
	reason := fmt.Sprintf("task %d of stage %s (%s) %s", id.Index, spec.Name, decompose.Label(&j.Spec, int(id.Stage), t.Unit), why)
	if last != "" {
		reason += ": " + last
	}
	paid := d.chargeFailures(j, spec, t)
	d.stop(id, t, "the task failed")
	d.emit(Event{TaskFailed: &TaskFailed{Task: id, Reason: reason, Paid: paid}})
	d.Fail(id.Job, reason)
}

func lastLines(s string, n int) string {
	lines := strings.Split(s, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " / ")
}

// chargeFailures pays attempts whose failure at least two parties report alike.
func (d *Decider) chargeFailures(j *Job, spec *cloudcrowd.Stage, t *Task) []Paid {
	type kind struct {
		o    cloudcrowd.Outcome
		code int
	}
	groups := map[kind][]*Attempt{}
	parties := map[kind]map[string]bool{}
	for _, a := range t.Attempts {
		if a.State == cloudcrowd.AttemptFailed && a.Result != nil && a.Result.Outcome.ProgramFault() && a.Charge == 0 {
			k := kind{a.Result.Outcome, a.Result.ExitCode}
			if parties[k] == nil {
				parties[k] = map[string]bool{}
			}
			groups[k] = append(groups[k], a)
			parties[k][a.Party()] = true
		}
	}
	var best []*Attempt
	for k, g := range groups {
		if len(parties[k]) >= 2 && (len(g) > len(best) || len(g) == len(best) && g[0].N < best[0].N) {
			best = g
		}
	}
	return d.price(j, spec, best, false)
}

// price charges a group of agreeing attempts alike: by the lower median of their claims, as far as the budget reaches beyond what they reserved.
func (d *Decider) price(j *Job, spec *cloudcrowd.Stage, group []*Attempt, deferred bool) []Paid {
	if len(group) == 0 {
		return nil
	}
	var core, wall, memory []float64
	var output int64
	for _, a := range group {
		core = append(core, a.CoreSeconds)
		wall = append(wall, min(a.Result.Usage.WallSeconds, max(float64(a.EndedAt-a.LeasedAt)/1e6, 0)))
		memory = append(memory, float64(min(a.Result.Usage.PeakMemoryBytes, spec.Resources.MemoryBytes)))
		output = outputBytes(*a.Result)
	}
	cs := market.LowerMedian(core)
	gross := market.Gross(d.Prices, cs, market.LowerMedian(wall), int64(market.LowerMedian(memory)), output)
	spare := j.Available()
	before := j.Posted + j.Deferred
	var paid []Paid
	for _, a := range group {
		reserve := a.Reserve
		if a.State == cloudcrowd.AttemptFailed { // its reserve was released when it ended
			reserve = 0
		}
		charge := gross
		if over := charge - reserve; over > spare {
			charge = reserve + max(spare, 0)
		}
		spare -= charge - reserve
		if charge > 0 {
			// The fee is rounded over the whole job, not charge by charge: tiny charges would never pay any.
			fee := market.Fee(d.Prices, before+charge) - market.Fee(d.Prices, before)
			before += charge
			paid = append(paid, Paid{N: a.N, Gross: charge, Fee: min(fee, charge), CoreSeconds: cs, Deferred: deferred})
		}
	}
	return paid
}

// settle decides a task if its votes suffice.
func (d *Decider) settle(id cloudcrowd.TaskID) {
	j, _, t := d.State.FindTask(id)
	var few [4]verify.Vote
	v := verify.Quorum(t.votes(few[:0]), t.Quorum)
	switch v.State {
	case verify.Pending:
		return
	case verify.Impossible:
		d.FailTask(id, fmt.Sprintf("got %d different results and no %d agree; a program that is not deterministic cannot be verified by comparing", len(t.Votes()), t.Quorum))
		return
	}
	d.cancelLeased(id, t)
	done := &TaskDone{Task: id}
	var agree []*Attempt
	caught := map[cloudcrowd.WorkerID]cloudcrowd.Time{}
	for _, a := range t.Attempts {
		if a.Round != t.Round || a.State != cloudcrowd.AttemptReported {
			continue
		}
		if a.Digest == v.Digest {
			if done.Canonical == 0 {
				done.Canonical = a.N
			}
			if a.Charge == 0 {
				agree = append(agree, a)
			}
		} else {
			done.Refused = append(done.Refused, a.N)
			caught[a.Worker] = d.At
		}
	}
	done.Paid = d.price(j, &j.Spec.Stages[id.Stage], agree, t.Alone)
	before := t.Canonical
	changed := before != 0 && t.Attempts[before-1].Digest != v.Digest
	d.emit(Event{TaskDone: done})
	if changed {
		d.redoAbove(id, "a part it was merged from was wrong")
		d.redoAfter(id.Job, int(id.Stage), fmt.Sprintf("a result of stage %s it was made from was wrong", j.Spec.Stages[id.Stage].Name))
	}
	d.Recheck(caught)
	d.finish(id.Job)
}

func (d *Decider) cancelLeased(id cloudcrowd.TaskID, t *Task) {
	verdict := "enough results agreed without it"
	if t.copied() {
		verdict = "the other copy of the task ended first"
	}
	for _, a := range t.Attempts {
		if a.State == cloudcrowd.AttemptLeased {
			d.emit(Event{AttemptEnded: &AttemptEnded{ID: cloudcrowd.AttemptID{Task: id, N: a.N}, State: cloudcrowd.AttemptCancelled, Verdict: verdict}})
		}
	}
}

// Recheck reopens what workers that were caught, here or in another shard, had accepted alone in jobs that still run, as far as they had begun it by the given times: those
// results are unpaid until confirmed by others.
func (d *Decider) Recheck(caught map[cloudcrowd.WorkerID]cloudcrowd.Time) {
	if len(caught) == 0 {
		return
	}
	for _, id := range d.State.Running() {
		j := d.State.Job(id)
		if j.State.Ended() || !j.employs(caught) {
			continue
		}
		for si, st := range j.Stages {
			for ti, t := range st.Tasks {
				if t.State != cloudcrowd.TaskDone || !t.Alone || t.Canonical == 0 {
					continue
				}
				a := t.Attempts[t.Canonical-1]
				if at, ok := caught[a.Worker]; ok && a.Deferred && a.LeasedAt <= at {
					n := verify.Replicas(max(j.Spec.Stages[si].Verify.Confidence, 0.99), verify.ErrorRate(d.Record(a.Worker)))
					d.emit(Event{TaskReopened: &TaskReopened{Task: cloudcrowd.TaskID{Job: id, Stage: int32(si), Index: int32(ti)}, Quorum: n,
						Reason: "checked again: the worker whose result was accepted alone returned a wrong result elsewhere"}})
				}
			}
		}
	}
}

// employs reports whether one of the workers has taken part in the job.
func (j *Job) employs(workers map[cloudcrowd.WorkerID]cloudcrowd.Time) bool {
	for w := range workers {
		if j.Workers[w] != nil {
			return true
		}
	}
	return false
}

// redo starts a task again in a new round.
func (d *Decider) redo(id cloudcrowd.TaskID, reason string) {
	j, _, t := d.State.FindTask(id)
	d.stop(id, t, "what it read has changed")
	quorum := max(t.Quorum, 1)
	if t.Alone {
		quorum = verify.Replicas(j.Spec.Stages[id.Stage].Verify.Confidence, verify.ErrorRate(cloudcrowd.Record{}))
	}
	d.emit(Event{TaskReopened: &TaskReopened{Task: id, Quorum: quorum, Redo: true, Reason: reason}})
}

// redoAbove starts the nodes of a merge tree again that were made from one whose result has changed, directly or not.
func (d *Decider) redoAbove(id cloudcrowd.TaskID, reason string) {
	j, _, t := d.State.FindTask(id)
	st := j.Stages[id.Stage]
	pos := int64(t.Pos)
	for level := int(t.Level) + 1; level < len(st.Levels); level++ {
		at := slices.IndexFunc(st.Levels[level], func(i int32) bool { return st.Tasks[i].Unit.Lo <= pos && pos < st.Tasks[i].Unit.Hi })
		if at < 0 {
			return // it is not carved yet
		}
		d.redo(cloudcrowd.TaskID{Job: id.Job, Stage: id.Stage, Index: st.Levels[level][at]}, reason)
		pos = int64(at)
	}
}

// redoAfter starts the tasks of all stages that read the given one again, in a new round: what they read has changed.
func (d *Decider) redoAfter(job cloudcrowd.JobID, stage int, reason string) {
	j := d.State.Job(job)
	name := j.Spec.Stages[stage].Name
	for i := range j.Spec.Stages {
		if !slices.Contains(j.Spec.Stages[i].After, name) {
			continue
		}
		st := j.Stages[i]
		if j.Spec.Stages[i].Merge.Builtin() && st.Merged {
			d.emit(Event{StageMerged: &StageMerged{Job: job, Stage: int32(i), Redo: true}})
		}
		if sp := j.Spec.Stages[i].Split; sp != nil && sp.Kind == cloudcrowd.SplitProgram && st.Index != nil {
			d.Fail(job, fmt.Sprintf("the list of units of stage %s was wrong and work on it had begun; submit the job again", j.Spec.Stages[i].Name))
			return
		}
		for ti := range st.Tasks {
			d.redo(cloudcrowd.TaskID{Job: job, Stage: int32(i), Index: int32(ti)}, reason)
		}
		d.redoAfter(job, i, reason)
		if d.State.Job(job).State.Ended() {
			return
		}
	}
}

func outputBytes(r cloudcrowd.Result) int64 {
	var n int64
	for _, f := range r.Outputs {
		n += f.SizeBytes
	}
	return n
}

// ResultDigest is what the quorum compares: SHA-256 over each output file's path, digest and size in order of path.
func ResultDigest(r cloudcrowd.Result) cloudcrowd.Digest {
	if len(r.Outputs) == 0 {
		return noOutputs
	}
	return resultDigest(r)
}

// noOutputs is the digest of a result without files.
var noOutputs = resultDigest(cloudcrowd.Result{})

func resultDigest(r cloudcrowd.Result) cloudcrowd.Digest {
	h := sha256.New()
	digestOutputs(h, r.Outputs)
	return cloudcrowd.Digest(hex.EncodeToString(h.Sum(nil)))
}

func digestOutputs(w io.Writer, files []cloudcrowd.OutputFile) {
	for _, f := range files {
		fmt.Fprintf(w, "%d:%s %s %d\n", len(f.Path), f.Path, f.Digest, f.SizeBytes)
	}
	fmt.Fprintln(w, "end")
}
