package lifecycle

import (
	"fmt"
	"maps"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Check recomputes what the state derives and counts, and returns a sentence for everything that disagrees. It is the set of invariants that simulation holds after
// every commit and fsck after every replay.
func (s *State) Check() []string {
	var bad []string
	running, failing := 0, 0
	expected := map[deadline]bool{}
	for _, d := range s.deadlines.list {
		expected[d] = true
	}
	for _, id := range slices.Sorted(maps.Keys(s.Jobs)) {
		if !s.Jobs[id].State.Ended() {
			running++
			if s.Jobs[id].Failed > 0 {
				failing++
			}
			if at := s.Jobs[id].Deadline; at > 0 && !expected[deadline{at, id}] {
				bad = append(bad, fmt.Sprintf("job %s: its deadline is not waited for", id))
			}
			if at, found := s.place(id); !found || s.running[at] != s.Jobs[id] {
				bad = append(bad, fmt.Sprintf("job %s: it runs but is not among the running jobs", id))
			}
		}
		bad = append(bad, s.Jobs[id].Check()...)
	}
	if failing != s.failing {
		bad = append(bad, fmt.Sprintf("%d running jobs have failed attempts, %d are counted", failing, s.failing))
	}
	if running != len(s.running) {
		bad = append(bad, fmt.Sprintf("%d jobs run, %d are listed as running", running, len(s.running)))
	}
	return bad
}

// unknown is where a cursor would be after a task that left nothing.
const unknown = -1

type place struct{ stage, task int }

func (p place) String() string { return fmt.Sprintf("task %d-%d", p.stage, p.task) }

// Check is what State.Check holds of one job.
func (j *Job) Check() (bad []string) {
	say := func(format string, args ...any) {
		bad = append(bad, fmt.Sprintf("job %s: ", j.ID)+fmt.Sprintf(format, args...))
	}
	var reserved, posted, deferred cloudcrowd.Credits
	var attempts, refused int64
	for si, st := range j.Stages {
		var running, next, retired int64
		done, unitsDone, cost := st.Retired.Tasks, st.Retired.Units, st.Retired.Cost
		attempts += st.Retired.Attempts
		refused += st.Retired.Refused
		posted += st.Retired.Cost
		for ti, t := range st.Tasks {
			where := place{si, ti} // put into words only where something is wrong
			switch {
			case t == gone:
				next = unknown // where it ended
			case j.Spec.Stages[si].Merge == nil:
				if t.Unit.Lo != next && next != unknown {
					say("%s starts at %d, the one before ended at %d", where, t.Unit.Lo, next)
				}
				next = t.Unit.Hi
			}
			open := t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning
			if st.open.has(int32(ti)) != open {
				say("%s is %s but its place among open tasks says otherwise", where, t.State)
			}
			if st.want.has(int32(ti)) != (t.Wanted() > 0) {
				say("%s wants %d attempts but its place among those that want some says otherwise", where, t.Wanted())
			}
			switch {
			case t.Retired:
				retired++
				if t.State != cloudcrowd.TaskDone || len(t.Attempts) > 0 {
					say("%s is retired though it is %s with %d attempts", where, t.State, len(t.Attempts))
				}
				continue
			case t.State == cloudcrowd.TaskDone:
				done++
				unitsDone += t.Unit.Hi - t.Unit.Lo
				if t.Canonical < 1 || int(t.Canonical) > len(t.Attempts) || t.Attempts[t.Canonical-1].State != cloudcrowd.AttemptAccepted {
					say("%s is done without an accepted canonical result", where)
				}
			case j.State == cloudcrowd.JobDone:
				say("%s is %s though the job is done", where, t.State)
			}
			var paid cloudcrowd.Credits
			for i, a := range t.Attempts {
				if a.N != int32(i)+1 {
					say("%s: attempt %d stands at place %d", where, a.N, i+1)
				}
				attempts++
				paid += a.Charge
				cost += a.Charge
				switch a.State {
				case cloudcrowd.AttemptLeased:
					running++
					reserved += a.Reserve
					if j.State.Ended() {
						say("%s: attempt %d is leased though the job is %s", where, a.N, j.State)
					}
				case cloudcrowd.AttemptReported:
					reserved += a.Reserve
					if a.Deferred {
						deferred += a.Charge
					} else {
						posted += a.Charge
					}
				case cloudcrowd.AttemptRefused:
					refused++
					if a.Charge != 0 {
						say("%s: attempt %d was refused but costs %d", where, a.N, a.Charge)
					}
				case cloudcrowd.AttemptAccepted, cloudcrowd.AttemptFailed:
					if a.Deferred {
						deferred += a.Charge
					} else {
						posted += a.Charge
					}
				default:
					if a.Charge != 0 {
						say("%s: attempt %d is %s but costs %d", where, a.N, a.State, a.Charge)
					}
				}
			}
			if paid != t.Cost {
				say("%s costs %d, its attempts %d", where, t.Cost, paid)
			}
		}
		if done != st.Done || unitsDone != st.UnitsDone || running != st.Running || cost != st.Cost {
			say("stage %d counts done %d, units %d, running %d, cost %d; its tasks say %d, %d, %d, %d", si, st.Done, st.UnitsDone, st.Running, st.Cost, done, unitsDone, running, cost)
		}
		if retired != st.Retired.Tasks {
			say("stage %d counts %d retired tasks, %d are", si, st.Retired.Tasks, retired)
		}
		if j.Spec.Stages[si].Merge == nil && next != st.Next && next != unknown {
			say("stage %d: its cursor is at %d, its tasks end at %d", si, st.Next, next)
		}
		if got := j.stageState(si); got != st.State {
			say("stage %d is %s, its tasks say %s", si, st.State, got)
		}
		if j.State == cloudcrowd.JobDone && st.State != cloudcrowd.StageDone {
			say("stage %d is %s though the job is done", si, st.State)
		}
	}
	if attempts != j.Attempts || refused != j.Refused {
		say("it counts %d attempts, %d refused; its tasks say %d and %d", j.Attempts, j.Refused, attempts, refused)
	}
	if reserved != j.Reserved || posted != j.Posted || deferred != j.Deferred {
		say("it has reserved %d, posted %d, deferred %d; its attempts say %d, %d, %d", j.Reserved, j.Posted, j.Deferred, reserved, posted, deferred)
	}
	if j.Available() < 0 {
		say("more than its budget of %d is posted, owed or reserved", j.Budget)
	}
	return bad
}
