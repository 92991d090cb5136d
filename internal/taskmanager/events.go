package taskmanager

import (
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// publish gives a committed batch to watchers: what happened, and what putting it into words needs of the state.
func (l *loop) publish(d *lifecycle.Decider) {
	l.m.feed.publish(len(d.Events), func(n int, f *fact) {
		ev := d.Events[n]
		*f = fact{shard: l.st.Shard, seq: l.st.Seq, n: n, at: d.At, event: ev}
		id, stage := subject(ev)
		f.job = id.Task.Job
		if j := l.st.Job(f.job); j != nil {
			f.account = j.Account
			if stage {
				f.stage = j.Spec.Stages[id.Task.Stage].Name
			}
			if id.N > 0 {
				if _, _, _, a := l.st.Find(id); a != nil {
					f.worker = a.Worker
				}
			}
		}
		if ev.CreditsIssued != nil {
			f.account = ev.CreditsIssued.To
		}
	})
}

// subject is what an event is about: a job alone, or with stage set, one of its stages, tasks, or (N above 0) attempts.
func subject(ev lifecycle.Event) (id cloudcrowd.AttemptID, stage bool) {
	ofTask := func(t cloudcrowd.TaskID, n int32) (cloudcrowd.AttemptID, bool) {
		return cloudcrowd.AttemptID{Task: t, N: n}, true
	}
	switch {
	case ev.JobSubmitted != nil:
		id.Task.Job = ev.JobSubmitted.Job
	case ev.StageIndexed != nil:
		return ofTask(cloudcrowd.TaskID{Job: ev.StageIndexed.Job, Stage: ev.StageIndexed.Stage}, 0)
	case ev.TaskCarved != nil:
		return ofTask(ev.TaskCarved.Task, 0)
	case ev.AttemptLeased != nil:
		return ev.AttemptLeased.ID, true
	case ev.AttemptReported != nil:
		return ev.AttemptReported.ID, true
	case ev.AttemptEnded != nil:
		return ev.AttemptEnded.ID, true
	case ev.TaskDone != nil:
		return ofTask(ev.TaskDone.Task, ev.TaskDone.Canonical)
	case ev.TaskFailed != nil:
		return ofTask(ev.TaskFailed.Task, 0)
	case ev.TaskReopened != nil:
		return ofTask(ev.TaskReopened.Task, 0)
	case ev.AttemptCompared != nil:
		return ev.AttemptCompared.ID, true
	case ev.QuorumSet != nil:
		return ofTask(ev.QuorumSet.Task, 0)
	case ev.StageMerged != nil:
		return ofTask(cloudcrowd.TaskID{Job: ev.StageMerged.Job, Stage: ev.StageMerged.Stage}, 0)
	case ev.JobEnded != nil:
		id.Task.Job = ev.JobEnded.Job
	}
	return id, false
}

// words puts a fact into a sentence.
func (m *Manager) words(f *fact) cloudcrowd.Event {
	id, stage := subject(f.event)
	kind, text := m.predicate(f)
	e := cloudcrowd.Event{ID: f.id(), Type: kind, At: f.at, Job: f.job, Account: f.account, Stage: f.stage, Worker: f.worker, Text: text}
	switch {
	case !stage:
	case f.event.StageIndexed != nil || f.event.StageMerged != nil:
		e.Text = fmt.Sprintf("stage %s %s", f.stage, text)
	default:
		e.Task, e.Attempt = id.Task.Index, id.N
		e.Text = fmt.Sprintf("%s %d %s", f.stage, id.Task.Index, text)
		if f.worker != "" {
			e.Text = fmt.Sprintf("%s %d, attempt %d, %s", f.stage, id.Task.Index, id.N, text)
		}
	}
	return e
}

// predicate names an event and says what happened to its subject.
func (m *Manager) predicate(f *fact) (kind, text string) {
	switch ev := f.event; {
	case ev.JobSubmitted != nil:
		e := ev.JobSubmitted
		return "job.submitted", fmt.Sprintf("%s was accepted; %s credits are held", e.Spec.Name, e.Spec.Budget)
	case ev.StageIndexed != nil:
		e := ev.StageIndexed
		return "stage.indexed", fmt.Sprintf("can be cut: its input is read, %s in %s", plural(e.Index.Units, "unit", "units"), cloudcrowd.Bytes(e.Index.Bytes))
	case ev.TaskCarved != nil:
		return "task.carved", "was cut: " + ev.TaskCarved.Need
	case ev.AttemptLeased != nil:
		return "attempt.leased", fmt.Sprintf("was leased to %s (%s)", m.name(ev.AttemptLeased.Worker), ev.AttemptLeased.Why.Purpose)
	case ev.AttemptCompared != nil:
		return "attempt.compared", "came back after the other copy of its task; its result was compared"
	case ev.HalfLifeSet != nil:
		return "sharing.half-life", fmt.Sprintf("what requesters used counts half after %s", ev.HalfLifeSet.HalfLife)
	case ev.AttemptReported != nil:
		return "attempt.reported", "came back with a result"
	case ev.AttemptEnded != nil:
		e := ev.AttemptEnded
		return "attempt." + string(e.State), "ended: " + orElse(e.Verdict, string(e.State))
	case ev.TaskDone != nil:
		if n := len(ev.TaskDone.Refused); n > 0 {
			return "task.refused", fmt.Sprintf("has its canonical result; %s refused", plural(int64(n), "result was", "results were"))
		}
		return "task.done", "has its canonical result"
	case ev.TaskFailed != nil:
		return "task.failed", ev.TaskFailed.Reason
	case ev.TaskReopened != nil:
		return "task.reopened", ev.TaskReopened.Reason
	case ev.QuorumSet != nil:
		return "task.quorum", fmt.Sprintf("needs %s now: %s", plural(int64(ev.QuorumSet.Quorum), "result", "results that agree"), ev.QuorumSet.Reason)
	case ev.StageMerged != nil:
		return "stage.merged", "was merged"
	case ev.JobEnded != nil:
		text := "is " + string(ev.JobEnded.State)
		if ev.JobEnded.Reason != "" {
			text += ": " + ev.JobEnded.Reason
		}
		return "job." + string(ev.JobEnded.State), text
	case ev.CreditsIssued != nil:
		e := ev.CreditsIssued
		return "credits.issued", fmt.Sprintf("%s credits were issued to %s by %s", e.Amount, e.To, e.By)
	}
	return "", ""
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
