package taskmanager

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// Explain implements api.Backend: why a job stands where it stands.
func (m *Manager) Explain(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error) {
	e := cloudcrowd.Explanation{Subject: string(id)}
	found := false
	err := m.view(ctx, func(l *loop) {
		j := l.st.Jobs[id]
		if j == nil {
			return
		}
		found = true
		e.Subject = fmt.Sprintf("job %s (%s)", id, j.Spec.Name)
		if j.State.Ended() {
			e.Lines = endedLines(jobView(m, l.st, j, l.now(), l))
			return
		}
		slots := 0
		for _, w := range l.open() {
			slots += w.Slots
		}
		e.Standing = l.decider().Standing(j, slots)
		e.Lines = append(l.explainJob(j), standingLines(e.Standing)...)
	})
	if err != nil || found {
		return e, err
	}
	job, err := m.Job(ctx, id)
	if err != nil {
		return e, err
	}
	e.Subject = fmt.Sprintf("job %s (%s)", id, job.Name)
	e.Lines = endedLines(job)
	return e, nil
}

func endedLines(j cloudcrowd.Job) []string {
	verb := "is " + string(j.State)
	if j.State == cloudcrowd.JobFailed {
		verb = "failed"
	}
	line := fmt.Sprintf("It %s after %.1f s: %s, %s, %d results refused, %d attempts failed or lost.", verb, float64(j.EndedAt-j.SubmittedAt)/1e6,
		plural(j.Tasks, "task", "tasks"), plural(j.Attempts, "attempt", "attempts"), j.Refused, j.Failed)
	list := []string{line, fmt.Sprintf("It cost %s of the %s credits held; the rest went back.", j.Cost, j.Budget)}
	return append(list, j.Notes...)
}

func (l *loop) explainJob(j *lifecycle.Job) []string {
	var list []string
	for i, st := range j.Stages {
		name := j.Spec.Stages[i].Name
		switch st.State {
		case cloudcrowd.StageWaiting:
			list = append(list, fmt.Sprintf("Stage %s waits for %s.", name, strings.Join(j.Spec.Stages[i].After, " and ")))
		case cloudcrowd.StagePreparing:
			list = append(list, fmt.Sprintf("Stage %s: its input is being read to find where it can be cut.", name))
		case cloudcrowd.StageMerging:
			list = append(list, fmt.Sprintf("Stage %s is being merged by the server.", name))
		case cloudcrowd.StageRunning:
			list = append(list, l.explainStage(j, i)...)
		}
	}
	if len(l.open()) == 0 {
		list = append([]string{"No worker is connected that takes work. Start one with the join link (cloudcrowd worker --join LINK)."}, list...)
	}
	if j.Deadline > 0 {
		list = append(list, fmt.Sprintf("Its deadline is in %.0f s.", float64(j.Deadline-l.now())/1e6))
	}
	return append(list, notes(l.m, j, l)...)
}

// standingLines puts a job's standing into words.
func standingLines(s *cloudcrowd.Standing) []string {
	if s == nil {
		return nil
	}
	line := fmt.Sprintf("%s used %.1f core-seconds lately, counting half after %s, and has %s running", s.Requester, s.UsageCoreSeconds,
		cloudcrowd.Duration(s.HalfLifeSeconds*1e9), plural(s.Running, "attempt", "attempts"))
	switch {
	case s.Quota > 0 && s.Running-s.Late >= s.Quota:
		line += fmt.Sprintf(", as many as its quota of %d allows: nothing more is started until one ends.", s.Quota)
	case s.Quota > 0:
		line += fmt.Sprintf(" of a quota of %d.", s.Quota)
	default:
		line += "."
	}
	if s.Weight != 1 {
		line += fmt.Sprintf(" Its share has the weight %g.", s.Weight)
	}
	if s.Requesters > 1 {
		line += fmt.Sprintf(" By that it is number %d of %d requesters who have work to be done.", s.Place, s.Requesters)
	}
	list := []string{line}
	line = fmt.Sprintf("The job is number %d of %s of its requester: priority %d", s.JobPlace, plural(int64(s.Jobs), "job", "jobs"), s.Priority)
	if s.Gained > 0 {
		line += fmt.Sprintf(" and %d by waiting", s.Gained)
	}
	if s.SlackSeconds != nil {
		line += fmt.Sprintf(", slack %.0f s until all workers must be at work for its deadline", *s.SlackSeconds)
	}
	list = append(list, line+".")
	var ranks []string
	for _, r := range s.RankSeconds {
		ranks = append(ranks, fmt.Sprintf("%s %.3g s", r.Stage, r.Seconds))
	}
	if len(ranks) > 0 {
		list = append(list, "Longest path to the end, by which stages are served: "+strings.Join(ranks, ", ")+".")
	}
	if s.CopiedSeconds > 0 {
		list = append(list, fmt.Sprintf("Second copies of stragglers were expected to take %.1f core-seconds beside %.1f of other attempts; at most %.3g %% are allowed beyond the first.",
			s.CopiedSeconds, s.WorkSeconds, 100*s.Speculate))
	}
	return list
}

func (l *loop) explainStage(j *lifecycle.Job, i int) []string {
	st, name := j.Stages[i], j.Spec.Stages[i].Name
	line := fmt.Sprintf("Stage %s: %d of %d tasks done, %d attempts running.", name, st.Done, len(st.Tasks), st.Running)
	if per := st.CoreSecondsPerUnit(); per > 0 {
		line += " " + unitCost(per)
	}
	if len(st.Tasks) == 0 {
		line = fmt.Sprintf("Stage %s: no task yet; they are made as workers become free or results come in.", name)
	}
	list := []string{line}
	shown := 0
	for _, ti := range st.Open() {
		if t := st.Tasks[ti]; t.State == cloudcrowd.TaskWaiting && shown < 5 {
			shown++
			list = append(list, fmt.Sprintf("Task %s %d waits: %s.", name, ti, l.waiting(j, i, t)))
		}
	}
	if total, known := j.Total(i); j.Spec.Stages[i].Merge == nil && known && st.Next < total && shown == 0 {
		why := "every slot is busy"
		if d := l.decider(); d.Short(j, i) {
			why = fmt.Sprintf("the budget left (%s credits) does not cover another attempt until running ones end", j.Available())
		} else if len(l.open()) == 0 {
			why = "no worker is connected that takes work"
		} else if free(l) > 0 {
			why = "the first tasks are still being measured, or a faster worker frees soon"
		}
		list = append(list, fmt.Sprintf("Stage %s has %d of %d units not cut yet: %s.", name, total-st.Next, total, why))
	}
	return list
}

// unitCost says what units cost in a number that people can read.
func unitCost(coreSeconds float64) string {
	switch {
	case coreSeconds >= 0.01:
		return fmt.Sprintf("A unit takes %.3g core-seconds.", coreSeconds)
	case coreSeconds >= 1e-5:
		return fmt.Sprintf("A thousand units take %.3g core-seconds.", coreSeconds*1e3)
	}
	return fmt.Sprintf("A million units take %.3g core-seconds.", coreSeconds*1e6)
}

func free(l *loop) int {
	n := 0
	for _, w := range l.open() {
		n += w.Free()
	}
	return n
}

func (l *loop) decider() *lifecycle.Decider {
	return &lifecycle.Decider{State: l.st, At: l.now(), Prices: l.m.cfg.Prices, Operator: l.m.cfg.Operator, Sharing: l.m.cfg.Sharing, Elsewhere: l.others.known, Uses: l.usesElsewhere()}
}

// waiting says why a task gets no attempt now.
func (l *loop) waiting(j *lifecycle.Job, i int, t *lifecycle.Task) string {
	workers := l.open()
	if !j.Sourced(i, t) {
		return "what it reads is not there yet"
	}
	if len(workers) == 0 {
		return "no worker is connected that takes work"
	}
	for _, w := range workers {
		w.Prepare(l.now())
	}
	c := l.decider().Consider(j, i, t, workers)
	switch {
	case c.Worker == nil:
		var why []string
		for reason, n := range c.Barred {
			who := "1 worker"
			if n > 1 {
				who = fmt.Sprintf("each of %d workers", n) // reasons are said of one
			}
			why = append(why, who+" "+reason)
		}
		slices.Sort(why)
		return "nobody here may have it: " + strings.Join(why, ", ")
	case c.Now:
		return "it is about to be leased to " + c.Worker.Name
	}
	return fmt.Sprintf("it finishes earliest on %s, which is busy for %.1f s more", c.Worker.Name, c.Why.WaitSeconds)
}

// ExplainTask implements api.Backend: why a task went where it went, or why it waits.
func (m *Manager) ExplainTask(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error) {
	e := cloudcrowd.Explanation{Subject: "task " + id.String()}
	t, err := m.Task(ctx, id)
	if err != nil {
		return e, err
	}
	e.Subject = fmt.Sprintf("task %d of stage %s (%s)", t.Index, t.Stage, t.Label)
	err = m.view(ctx, func(l *loop) {
		if j, _, task := l.st.FindTask(id); task != nil && task.State == cloudcrowd.TaskWaiting && !j.State.Ended() {
			e.Lines = append(e.Lines, "It waits: "+l.waiting(j, int(id.Stage), task)+".")
		}
		if _, _, task := l.st.FindTask(id); task != nil && task.Need != "" {
			e.Lines = append(e.Lines, sentence(task.Need))
		}
	})
	if err != nil {
		return e, err
	}
	for _, a := range t.Attempts {
		e.Lines = append(e.Lines, attemptLine(a))
		a.Result = nil
		e.Attempts = append(e.Attempts, a)
	}
	if t.Reason != "" {
		e.Lines = append(e.Lines, sentence(t.Reason))
	}
	return e, nil
}

func attemptLine(a cloudcrowd.Attempt) string {
	w := a.Why
	line := fmt.Sprintf("Attempt %d (%s) went to %s because it would finish there earliest, in %.2f s: wait %.2f, fetch %.2f, run %.2f", a.ID.N, orElse(w.Purpose, "first"), a.WorkerName,
		w.FinishSeconds, w.WaitSeconds, w.FetchSeconds, w.RunSeconds)
	switch {
	case w.RunnerUp != "":
		line += fmt.Sprintf("; next best of %d was %s with %.2f s", w.Candidates, w.RunnerUp, w.RunnerUpSecs)
	case w.Candidates == 1:
		line += "; nobody else could take it"
	}
	if t := w.Turn; t != nil {
		line += fmt.Sprintf("; rank %.3g s, priority %d", w.Rank, t.Priority)
		if t.Slack != 0 {
			line += fmt.Sprintf(", slack %.0f s", t.Slack)
		}
		line += fmt.Sprintf("; its requester had used %.0f core-seconds lately and had %d attempts running", t.UsageCoreSeconds, t.Running)
		if t.Quota > 0 {
			line += fmt.Sprintf(" of at most %d", t.Quota)
		}
		if t.Requesters > 1 {
			line += fmt.Sprintf(", %d requesters had work", t.Requesters)
		}
	}
	if l := w.Late; l != nil {
		line += fmt.Sprintf("; it is a second copy, for attempt %d had taken %.1f s instead of %.1f s and was believed to take %.1f s more", l.N, l.ElapsedSeconds, l.ExpectedSeconds,
			l.RemainingSeconds)
	}
	line += ". It is " + string(a.State)
	if a.Verdict != "" {
		line += " (" + a.Verdict + ")"
	}
	return line + "."
}
