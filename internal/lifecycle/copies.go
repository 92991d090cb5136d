package lifecycle

import (
	"cmp"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// Copy is the purpose of a second copy (cloudcrowd.Why).
const Copy = "copy"

const (
	lateTimes   = 2.0 // an attempt is late when it has taken so many times what was expected until its end, and more than most of its stage's
	leastLate   = 1.0 // seconds; nothing is late before
	copySaves   = 0.2 // what a copy must be expected to save, as a share of what it takes
	mostCopied  = 64  // stragglers looked at in a round
	leastShown  = 0.1 // of progress, before it is believed
	lateReports = "its result came after the other copy's: "
)

// straggler is a task whose only running attempt is late.
type straggler struct {
	turn      *turn
	src       *source
	task      int32
	attempt   *Attempt
	elapsed   float64 // seconds since it was leased
	remaining float64 // seconds it is believed to take still
}

// copies gives idle slots, which nobody else wants, second copies of stragglers: of what is believed to take longest still first, where a copy ends clearly earlier.
// The first result settles a task of a quorum of one and stops the other copy; where more must agree, it is a replica like others.
func (a *assigner) copies() {
	idle := 0
	here := map[cloudcrowd.WorkerID]*scheduler.Worker{}
	for _, w := range a.workers {
		here[w.ID] = w
		if spare(w) {
			idle++
		}
	}
	if idle == 0 {
		return
	}
	var late []straggler
	for _, r := range a.order.requesters {
		for _, p := range r.busy {
			if p.job.State.Ended() || p.job.Spec.SpeculateShare() <= 0 {
				continue
			}
			for i, st := range p.job.Stages {
				if st.State != cloudcrowd.StageRunning || st.Running == 0 {
					continue
				}
				for ti := range st.open.all() {
					if s, ok := a.d.straggler(p.job, i, ti, here); ok {
						s.turn, s.src = a.turnOf(r), a.sourceOf(p, i)
						late = append(late, s)
					}
				}
			}
		}
	}
	slices.SortFunc(late, func(x, y straggler) int {
		return cmp.Or(cmp.Compare(y.remaining, x.remaining), cmp.Compare(x.src.job.ID, y.src.job.ID), cmp.Compare(x.src.stage, y.src.stage), cmp.Compare(x.task, y.task))
	})
	for _, s := range late[:min(len(late), mostCopied)] {
		if idle == 0 {
			return
		}
		if a.copy(s) {
			idle--
		}
	}
}

// spare reports whether a worker has a slot that nothing is meant for.
func spare(w *scheduler.Worker) bool { return w.Free() > 0 && w.Held.Len() < w.Slots && w.Wait() == 0 }

// late reports whether a leased attempt has taken far longer than was expected, and than most of its stage did.
func (s *Stage) late(a *Attempt, now cloudcrowd.Time) bool {
	return float64(now-a.LeasedAt)/1e6 >= s.patience(a)
}

// patience is how many seconds after its lease an attempt is late.
func (s *Stage) patience(a *Attempt) float64 {
	return math.Max(leastLate, a.Why.FinishSeconds*math.Max(lateTimes, s.Lateness))
}

// straggler reports whether a task has one running attempt, which is late. here are the workers that are connected: the work of others is given away soon anyhow.
func (d *Decider) straggler(j *Job, i int, ti int32, here map[cloudcrowd.WorkerID]*scheduler.Worker) (s straggler, ok bool) {
	t := j.Stages[i].Tasks[ti]
	if t.State != cloudcrowd.TaskRunning {
		return s, false
	}
	for _, a := range t.Attempts {
		if a.Round == t.Round && a.State == cloudcrowd.AttemptLeased {
			if s.attempt != nil {
				return s, false
			}
			s.attempt = a
		}
	}
	if s.attempt == nil {
		return s, false
	}
	s.task, s.elapsed = ti, float64(d.At-s.attempt.LeasedAt)/1e6
	if !j.Stages[i].late(s.attempt, d.At) {
		return s, false
	}
	w := here[s.attempt.Worker]
	if w == nil {
		return s, false
	}
	s.remaining = s.elapsed // it is as likely to take as long again
	id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: j.ID, Stage: int32(i), Index: ti}, N: s.attempt.N}
	if h := w.Held.Get(id); h != nil && h.Fraction >= leastShown {
		s.remaining = math.Max(float64(d.At-h.LeasedAt)/1e6, 0) * (1/math.Min(h.Fraction, 1) - 1)
	}
	return s, true
}

// copy leases a second copy of a straggler, if that is worth it and within the share of the job's work that copies may take.
func (a *assigner) copy(s straggler) bool {
	j, i := s.src.job, s.src.stage
	t := j.Stages[i].Tasks[s.task]
	it := a.d.item(j, i, t)
	if s.turn.full() || j.State.Ended() || j.Course.Copied > 0 && j.Course.Copied+it.CoreSeconds > j.Spec.SpeculateShare()*j.Course.Work {
		return false
	}
	it.Rank, it.FreeOnly = s.src.rank, true
	barred := it.Excluded
	it.Excluded = func(w *scheduler.Worker) string {
		switch {
		case !spare(w):
			return "is busy"
		case verify.ForTask(j.Spec.Stages[i].Verify, a.d.Record(w.ID), a.believed(w, j), 1).Quorum > t.Quorum:
			return "would need more results beside its own" // a task that was given to a trusted worker is not settled by a stranger
		}
		return barred(w)
	}
	c := a.field.Place(it)
	if c.Worker == nil || !c.Now || c.Why.FinishSeconds*(1+copySaves) > s.remaining {
		return false
	}
	c.Why.Purpose = Copy
	c.Why.Late = &cloudcrowd.Late{N: s.attempt.N, ElapsedSeconds: s.elapsed, ExpectedSeconds: s.attempt.Why.FinishSeconds, RemainingSeconds: s.remaining}
	a.turn = s.turn
	return a.lease(s.src, cloudcrowd.TaskID{Job: j.ID, Stage: int32(i), Index: s.task}, t, c, it)
}

// copied reports whether a task had a second copy in the present round.
func (t *Task) copied() bool {
	return slices.ContainsFunc(t.Attempts, func(a *Attempt) bool { return a.Copy && a.Round == t.Round })
}

// comparable reports whether an attempt's result may still come and be compared: it lost to another copy.
func (a *Attempt) comparable(t *Task) bool {
	return a.State == cloudcrowd.AttemptCancelled && a.Digest == "" && a.Round == t.Round
}

// compare takes the result of an attempt that was cancelled because the other copy of its task ended first: it was on its way then. It is held against the accepted
// one as a replica's would be, and is not paid, for the task is settled.
//
//   - It agrees: both count as results that others confirmed.
//   - It differs from what several parties returned: it is refused.
//   - It differs from a result that was accepted alone, on its worker's record: the task opens again with both as votes.
//   - It differs where the job asks for no more than one result: nothing follows.
func (d *Decider) compare(id cloudcrowd.AttemptID, r cloudcrowd.Result, core float64) {
	j, _, t, a := d.State.Find(id)
	spec := &j.Spec.Stages[id.Task.Stage]
	if r.Outcome != cloudcrowd.Succeeded || !a.comparable(t) || spec.Verify.None || !t.copied() {
		return
	}
	digest := ResultDigest(r)
	canon := t.Attempts[t.Canonical-1]
	if digest == canon.Digest || !t.Alone || !canon.Deferred {
		refused := digest != canon.Digest && t.confirmed()
		d.emit(Event{AttemptCompared: &AttemptCompared{ID: id, Digest: digest}})
		if refused {
			d.Recheck(map[cloudcrowd.WorkerID]cloudcrowd.Time{a.Worker: d.At})
		}
		return
	}
	d.emit(Event{TaskReopened: &TaskReopened{Task: id.Task, Quorum: max(verify.Replicas(spec.Verify.Confidence, verify.ErrorRate(cloudcrowd.Record{})), 2),
		Reason: "checked again: the two copies of it had different results"}})
	d.emit(Event{AttemptReported: &AttemptReported{ID: id, Result: r, Digest: digest, CoreSeconds: core, Reserve: d.claim(j, id, a, r, core)}})
	d.settle(id.Task)
}

// confirmed reports whether at least two parties agree on a task's canonical result.
func (t *Task) confirmed() bool {
	party, canon := "", t.Attempts[t.Canonical-1]
	for _, a := range t.Attempts {
		if a.Round != t.Round || a.Digest != canon.Digest || a.State != cloudcrowd.AttemptAccepted && a.State != cloudcrowd.AttemptCancelled {
			continue
		}
		if party != "" && a.Party() != party {
			return true
		}
		party = a.Party()
	}
	return false
}

func (s *State) applyCompared(e *AttemptCompared, at cloudcrowd.Time, out *Out) {
	j, st, t, a := s.attempt(e.ID)
	must(a.comparable(t) && t.State == cloudcrowd.TaskDone, "attempt %s is compared while %s", e.ID, a.State)
	canon := t.Attempts[t.Canonical-1]
	before := t.confirmed()
	a.Digest = e.Digest
	out.Attempts = append(out.Attempts, e.ID)
	switch {
	case e.Digest != canon.Digest && !before:
		a.Verdict = lateReports + "it differs, and the job asks for one result only"
	case e.Digest != canon.Digest:
		a.State, a.Verdict = cloudcrowd.AttemptRefused, lateReports+"it differs from "+canon.Digest.Short()+", which several independent parties returned"
		s.refuse(j, a, at, out)
		st.Refused++
		j.Refused++
	default:
		a.Verdict = lateReports + "it agrees, which counts for its worker's record; it is not paid"
		if !t.confirmed() { // of one party with the other
			return
		}
		r := s.record(j, a, out)
		r.Valid++
		r.Streak++
		if before {
			return
		}
		r = s.record(j, canon, out)
		r.Valid++
		r.Streak++
		r.Unchecked--
		canon.Verdict = "accepted: a second copy by another party returned " + canon.Digest.Short() + ", too"
		out.Attempts = append(out.Attempts, cloudcrowd.AttemptID{Task: e.ID.Task, N: canon.N})
		if t.Alone { // it needs no check any more if its worker is caught
			t.Alone = false
			st.alone--
		}
	}
}
