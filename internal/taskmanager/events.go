package taskmanager

import (
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// events renders a committed batch for watchers.
func (l *loop) events(d *lifecycle.Decider) []cloudcrowd.Event {
	list := make([]cloudcrowd.Event, 0, len(d.Events))
	for n, ev := range d.Events {
		e := l.event(ev)
		e.ID = fmt.Sprintf("%d-%d-%d", l.st.Shard, l.st.Seq, n)
		e.At = d.At
		if j := l.st.Jobs[e.Job]; j != nil {
			e.Account = j.Account
		}
		list = append(list, e)
	}
	return list
}

func (l *loop) event(ev lifecycle.Event) cloudcrowd.Event {
	switch {
	case ev.JobSubmitted != nil:
		e := ev.JobSubmitted
		return cloudcrowd.Event{Type: "job.submitted", Job: e.Job, Text: fmt.Sprintf("%s was accepted; %s credits are held", e.Spec.Name, e.Spec.Budget)}
	case ev.StageIndexed != nil:
		e := ev.StageIndexed
		return l.stageEvent("stage.indexed", e.Job, e.Stage, fmt.Sprintf("its input was read: %d units in %s", e.Index.Units, cloudcrowd.Bytes(e.Index.Bytes)))
	case ev.TaskCarved != nil:
		return l.taskEvent("task.carved", ev.TaskCarved.Task, 0, "was cut: "+ev.TaskCarved.Need)
	case ev.AttemptLeased != nil:
		e := ev.AttemptLeased
		return l.taskEvent("attempt.leased", e.ID.Task, e.ID.N, fmt.Sprintf("was leased to %s (%s)", l.m.name(e.Worker), e.Why.Purpose))
	case ev.AttemptReported != nil:
		return l.taskEvent("attempt.reported", ev.AttemptReported.ID.Task, ev.AttemptReported.ID.N, "came back with a result")
	case ev.AttemptEnded != nil:
		e := ev.AttemptEnded
		return l.taskEvent("attempt."+string(e.State), e.ID.Task, e.ID.N, fmt.Sprintf("ended: %s", orElse(e.Verdict, string(e.State))))
	case ev.TaskDone != nil:
		e := ev.TaskDone
		text := "has its canonical result"
		if n := len(e.Refused); n > 0 {
			text += fmt.Sprintf("; %s refused", plural(int64(n), "result was", "results were"))
		}
		kind := "task.done"
		if len(e.Refused) > 0 {
			kind = "task.refused"
		}
		return l.taskEvent(kind, e.Task, e.Canonical, text)
	case ev.TaskFailed != nil:
		return l.taskEvent("task.failed", ev.TaskFailed.Task, 0, ev.TaskFailed.Reason)
	case ev.TaskReopened != nil:
		return l.taskEvent("task.reopened", ev.TaskReopened.Task, 0, ev.TaskReopened.Reason)
	case ev.QuorumLowered != nil:
		return l.taskEvent("task.quorum", ev.QuorumLowered.Task, 0, "needs fewer results: "+ev.QuorumLowered.Reason)
	case ev.StageMerged != nil:
		e := ev.StageMerged
		return l.stageEvent("stage.merged", e.Job, e.Stage, "was merged")
	case ev.JobEnded != nil:
		e := ev.JobEnded
		text := "is " + string(e.State)
		if e.Reason != "" {
			text += ": " + e.Reason
		}
		return cloudcrowd.Event{Type: "job." + string(e.State), Job: e.Job, Text: text}
	case ev.CreditsIssued != nil:
		e := ev.CreditsIssued
		return cloudcrowd.Event{Type: "credits.issued", Account: e.To, Text: fmt.Sprintf("%s credits were issued to %s by %s", e.Amount, e.To, e.By)}
	}
	return cloudcrowd.Event{}
}

func (l *loop) stageEvent(kind string, job cloudcrowd.JobID, stage int32, text string) cloudcrowd.Event {
	name := ""
	if j := l.st.Jobs[job]; j != nil {
		name = j.Spec.Stages[stage].Name
	}
	return cloudcrowd.Event{Type: kind, Job: job, Stage: name, Text: fmt.Sprintf("stage %s %s", name, text)}
}

func (l *loop) taskEvent(kind string, id cloudcrowd.TaskID, n int32, text string) cloudcrowd.Event {
	e := l.stageEvent(kind, id.Job, id.Stage, "")
	e.Task, e.Attempt = id.Index, n
	if _, _, _, a := l.st.Find(cloudcrowd.AttemptID{Task: id, N: n}); a != nil {
		e.Worker = a.Worker
		e.Text = fmt.Sprintf("%s %d, attempt %d, %s", e.Stage, id.Index, n, text)
	} else {
		e.Text = fmt.Sprintf("%s %d %s", e.Stage, id.Index, text)
	}
	return e
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
