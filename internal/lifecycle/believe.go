package lifecycle

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// believed reports whether a worker's result is accepted without a second one: its owner is the requester or the operator, and no other machine is here
// that could check it. With a second machine even one's own results are compared: machines fail, too.
func (a *assigner) believed(w *scheduler.Worker, j *Job) bool {
	return a.d.trusted(w.Owner, j) && a.partiesOf(j) < 2
}

// partiesOf is how many could answer for results of a job now: none, one, or two for more.
func (a *assigner) partiesOf(j *Job) int {
	if n, ok := a.parties[j.Account]; ok {
		return n
	}
	parties := map[string]bool{}
	for _, w := range a.workers {
		if !w.Closed && w.Unable == "" && !a.d.exiled(w.ID) {
			at := Attempt{Worker: w.ID, Owner: w.Owner, Trusted: a.d.trusted(w.Owner, j)}
			if parties[at.Party()] = true; len(parties) > 1 {
				break // nobody asks for more
			}
		}
	}
	if a.parties == nil {
		a.parties = map[cloudcrowd.AccountID]int{}
	}
	a.parties[j.Account] = len(parties)
	return len(parties)
}

// reconsider decides anew how many results a task needs that was to be believed alone, because of the worker it was given to, when it goes to another one after that did
// not deliver. Without it a stranger's result would be accepted on somebody else's record.
func (a *assigner) reconsider(src *source, id cloudcrowd.TaskID, t *Task, w *scheduler.Worker) {
	v := src.job.Spec.Stages[src.stage].Verify
	if t.Quorum > 1 || v.None || v.Replicas > 0 {
		return
	}
	for _, at := range t.Attempts {
		if at.Round == t.Round && (at.State == cloudcrowd.AttemptLeased || at.State == cloudcrowd.AttemptReported) {
			return // a second copy, for which a worker was chosen that is believed alone, too
		}
	}
	if need := verify.ForTask(v, a.d.Record(w.ID), a.believed(w, src.job), a.d.Rand.Float64()); need.Quorum != t.Quorum || need.Alone != t.Alone {
		a.d.emit(Event{QuorumSet: &QuorumSet{Task: id, Quorum: need.Quorum, Alone: need.Alone, Reason: need.Why}})
	}
}

// aloneAfter is how long a result of one's own machine waits for another machine to check it.
const aloneAfter = cloudcrowd.Time(15e6)

// settleForLess accepts a result of a trusted machine where a confidence is asked for and, for some time now, nobody is here who could check it.
// Replicas that the job asks for by number are always waited for.
func (a *assigner) settleForLess(j *Job, i int, id cloudcrowd.TaskID, t *Task) {
	if j.Spec.Stages[i].Verify.Confidence == 0 || a.partiesOf(j) > 1 {
		return
	}
	votes, own := 0, false
	for _, at := range t.Attempts {
		switch {
		case at.Round != t.Round:
		case at.State == cloudcrowd.AttemptLeased:
			return
		case at.State == cloudcrowd.AttemptReported:
			if a.d.At-at.EndedAt < aloneAfter {
				return
			}
			votes++
			own = own || at.Trusted
		}
	}
	if votes == 1 && own {
		a.d.emit(Event{QuorumSet: &QuorumSet{Task: id, Quorum: 1, Reason: "nobody else is connected who could check it, and its worker belongs to the requester or the operator"}})
		a.d.settle(id)
	}
}
