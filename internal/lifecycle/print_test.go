package lifecycle

import (
	"fmt"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// print puts events into words, one line each.
func (w *world) print(events []Event) string {
	var b strings.Builder
	for _, ev := range events {
		b.WriteString(w.line(ev) + "\n")
	}
	return b.String()
}

func (w *world) job(id cloudcrowd.JobID) string {
	for name, other := range w.jobs {
		if other == id {
			return name
		}
	}
	return string(id)
}

func (w *world) taskName(id cloudcrowd.TaskID) string {
	name := "?"
	if j := w.state.Jobs[id.Job]; j != nil {
		name = j.Spec.Stages[id.Stage].Name
	}
	text := fmt.Sprintf("%s/%d", name, id.Index)
	if id.Job != w.last {
		text = w.job(id.Job) + ":" + text
	}
	return text
}

func (w *world) attemptName(id cloudcrowd.AttemptID) string {
	return fmt.Sprintf("%s/%d", w.taskName(id.Task), id.N)
}

func (w *world) line(ev Event) string {
	colon := func(s string) string {
		if s == "" {
			return ""
		}
		return ": " + s
	}
	paid := func(list []Paid) string {
		text := ""
		for _, p := range list {
			text += fmt.Sprintf(" paid %d: %d", p.N, p.Gross)
			if p.Deferred {
				text += " later"
			}
		}
		return text
	}
	switch {
	case ev.JobSubmitted != nil:
		e := ev.JobSubmitted
		return fmt.Sprintf("submitted by %s, budget %d", e.Account, e.Spec.Budget)
	case ev.StageIndexed != nil:
		e := ev.StageIndexed
		return fmt.Sprintf("indexed %s: %d units", w.state.Jobs[e.Job].Spec.Stages[e.Stage].Name, e.Index.Units)
	case ev.TaskCarved != nil:
		e := ev.TaskCarved
		text := fmt.Sprintf("carved %s [%d,%d) quorum %d of %d", w.taskName(e.Task), e.Unit.Lo, e.Unit.Hi, e.Quorum, e.Start)
		if e.Final {
			text += " final"
		}
		if e.Alone {
			text += " alone"
		}
		return text
	case ev.AttemptLeased != nil:
		e := ev.AttemptLeased
		return fmt.Sprintf("leased %s to %s (%s), reserve %d", w.attemptName(e.ID), w.names[e.Worker], e.Why.Purpose, e.Reserve)
	case ev.AttemptReported != nil:
		e := ev.AttemptReported
		return fmt.Sprintf("reported %s %s", w.attemptName(e.ID), e.Digest[:6])
	case ev.AttemptEnded != nil:
		e := ev.AttemptEnded
		return fmt.Sprintf("ended %s %s%s", w.attemptName(e.ID), e.State, colon(e.Verdict))
	case ev.TaskDone != nil:
		e := ev.TaskDone
		text := fmt.Sprintf("done %s canonical %d%s", w.taskName(e.Task), e.Canonical, paid(e.Paid))
		if len(e.Refused) > 0 {
			text += fmt.Sprintf(" refused %v", e.Refused)
		}
		return text
	case ev.TaskFailed != nil:
		e := ev.TaskFailed
		return fmt.Sprintf("failed %s%s: %s", w.taskName(e.Task), paid(e.Paid), e.Reason)
	case ev.TaskReopened != nil:
		e := ev.TaskReopened
		word := "checked again"
		if e.Redo {
			word = "redone"
		}
		return fmt.Sprintf("reopened %s to be %s, quorum %d: %s", w.taskName(e.Task), word, e.Quorum, e.Reason)
	case ev.QuorumSet != nil:
		alone := ""
		if ev.QuorumSet.Alone {
			alone = " alone"
		}
		return fmt.Sprintf("set %s to quorum %d%s: %s", w.taskName(ev.QuorumSet.Task), ev.QuorumSet.Quorum, alone, ev.QuorumSet.Reason)
	case ev.AttemptCompared != nil:
		e := ev.AttemptCompared
		_, _, _, a := w.state.Find(e.ID)
		return fmt.Sprintf("compared %s %s: %s", w.attemptName(e.ID), e.Digest[:6], a.Verdict)
	case ev.HalfLifeSet != nil:
		return fmt.Sprintf("half-life %s", ev.HalfLifeSet.HalfLife)
	case ev.StageMerged != nil:
		e := ev.StageMerged
		if e.Redo {
			return fmt.Sprintf("unmerged %s", w.state.Jobs[e.Job].Spec.Stages[e.Stage].Name)
		}
		return fmt.Sprintf("merged %s", w.state.Jobs[e.Job].Spec.Stages[e.Stage].Name)
	case ev.JobEnded != nil:
		e := ev.JobEnded
		return fmt.Sprintf("job %s is %s, hold %s%s", w.job(e.Job), e.State, e.Hold, colon(e.Reason))
	case ev.CreditsIssued != nil:
		e := ev.CreditsIssued
		return fmt.Sprintf("issued %d to %s by %s", e.Amount, e.To, e.By)
	}
	return "?"
}

// show is a job in full.
func (w *world) show(id cloudcrowd.JobID) string {
	j := w.state.Jobs[id]
	var b strings.Builder
	fmt.Fprintf(&b, "job %s: budget %d, posted %d, owed %d, reserved %d\n", j.State, j.Budget, j.Posted, j.Deferred, j.Reserved)
	for si, st := range j.Stages {
		fmt.Fprintf(&b, "%s %s\n", j.Spec.Stages[si].Name, st.State)
		for ti, t := range st.Tasks {
			fmt.Fprintf(&b, "  %d %s", ti, t.State)
			for _, a := range t.Attempts {
				fmt.Fprintf(&b, " · %d %s %s", a.N, w.names[a.Worker], a.State)
				if a.Charge > 0 {
					fmt.Fprintf(&b, " %d", a.Charge)
				}
				if a.Deferred {
					b.WriteString(" owed")
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
