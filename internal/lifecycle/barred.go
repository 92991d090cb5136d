package lifecycle

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
)

const (
	againFirst = cloudcrowd.Time(1e6)   // how long a worker on which an attempt was lost, broken or handed back does not get the same task again; doubled each time
	againLast  = cloudcrowd.Time(300e6) // and at most
)

// mayAgain reports whether a worker may try a task again that was lost, broken or handed back there: the more often that was, the later. A single worker that breaks
// all it is given would otherwise use up a job's tries within seconds. The first time it is handed back does not count: a worker that starts anew does so.
func (t *Task) mayAgain(w cloudcrowd.WorkerID, now cloudcrowd.Time) bool {
	pause, last, returned := cloudcrowd.Time(0), cloudcrowd.Time(0), false
	for _, a := range t.Attempts {
		switch {
		case a.Worker != w:
		case a.State == cloudcrowd.AttemptReturned && !returned:
			returned = true
		case a.State == cloudcrowd.AttemptFailed || a.State == cloudcrowd.AttemptLost || a.State == cloudcrowd.AttemptReturned:
			pause, last = min(max(2*pause, againFirst), againLast), a.EndedAt
		}
	}
	return now-last >= pause
}

// barred says why a worker may not have an attempt of a task (nil: of a new one). lenient lets workers try again, after a while, where the task was lost, broken or handed
// back before.
func (d *Decider) barred(j *Job, i int, t *Task, lenient bool) func(*scheduler.Worker) string {
	unverified := j.Spec.Stages[i].Verify.None
	return func(w *scheduler.Worker) string {
		if d.exiled(w.ID) {
			return "is distrusted after wrong results"
		}
		if t == nil {
			return ""
		}
		for _, a := range t.Attempts {
			switch a.State {
			case cloudcrowd.AttemptLeased, cloudcrowd.AttemptReported:
				if a.Round != t.Round {
					continue
				}
				if a.Worker == w.ID {
					return "already has a replica of it"
				}
				if a.Owner == w.Owner && !a.Trusted && !unverified {
					return "belongs to the owner of another replica"
				}
			case cloudcrowd.AttemptFailed:
				fault := a.Result != nil && a.Result.Outcome.ProgramFault()
				if a.Worker == w.ID && (fault || !lenient || !t.mayAgain(w.ID, d.At)) {
					return "failed it before"
				}
			case cloudcrowd.AttemptLost:
				if a.Worker == w.ID && (!lenient || !t.mayAgain(w.ID, d.At)) {
					return "lost it before"
				}
			case cloudcrowd.AttemptReturned:
				if a.Worker == w.ID && (!lenient || !t.mayAgain(w.ID, d.At)) {
					return "handed it back before"
				}
			case cloudcrowd.AttemptRefused:
				if a.Worker == w.ID && a.Round == t.Round {
					return "returned a wrong result for it"
				}
			}
		}
		return ""
	}
}
