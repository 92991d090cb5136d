package taskmanager

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
)

// name is a worker's name for people, from the directory, remembered.
func (m *Manager) name(w cloudcrowd.WorkerID) string {
	if name := m.known(w); name != "" {
		return name
	}
	return w.Short()
}

// nameOf is the name of an attempt's worker. It is kept beside what the worker did for the job, which whoever changes an attempt has at hand.
func (m *Manager) nameOf(a *lifecycle.Attempt) string {
	p := a.Part()
	if p == nil {
		return m.name(a.Worker)
	}
	if p.Name == "" {
		p.Name = m.known(a.Worker)
	}
	if p.Name == "" {
		return a.Worker.Short()
	}
	return p.Name
}

// known is a worker's name in the directory; "" if it has none, or cannot be read.
func (m *Manager) known(w cloudcrowd.WorkerID) string {
	if v, ok := m.names.Load(w); ok {
		return v.(string)
	}
	row, err := m.cfg.Store.Worker(context.Background(), w)
	if err != nil || row.Name == "" {
		return ""
	}
	m.names.Store(w, row.Name)
	return row.Name
}

// jobView draws a job from memory. l adds what only the loop knows; nil leaves it out.
func jobView(m *Manager, st *lifecycle.State, j *lifecycle.Job, now cloudcrowd.Time, l *loop) cloudcrowd.Job {
	v := cloudcrowd.Job{JobSummary: summary(j, now, l), Spec: j.Spec, Notes: notes(m, j, l)}
	for w, p := range j.Workers {
		v.Workers = append(v.Workers, cloudcrowd.JobWorker{Worker: w, Name: m.name(w), Owner: p.Owner, Attempts: p.Attempts, Accepted: p.Accepted,
			Refused: p.Refused, Failed: p.Failed, Earned: p.Earned, CPUSeconds: p.CPUSeconds})
	}
	slices.SortFunc(v.Workers, func(a, b cloudcrowd.JobWorker) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(string(a.Worker), string(b.Worker))
	})
	for i := range j.Spec.Stages {
		if j.Stages[i].State == cloudcrowd.StageDone && slices.Contains(j.Spec.Outputs, j.Spec.Stages[i].Name) {
			v.Outputs = append(v.Outputs, j.Outputs(i)...)
		}
	}
	v.Hold = cloudcrowd.Hold{Job: j.ID, Account: j.Account, Amount: j.Budget, Posted: j.Posted, State: cloudcrowd.HoldPending, At: j.SubmittedAt}
	if j.Hold != "" {
		v.Hold.State = j.Hold
	}
	return v
}

func summary(j *lifecycle.Job, now cloudcrowd.Time, l *loop) cloudcrowd.JobSummary {
	s := cloudcrowd.JobSummary{ID: j.ID, Name: j.Spec.Name, Account: j.Account, State: j.State, Reason: j.Reason, SubmittedAt: j.SubmittedAt, EndedAt: j.EndedAt,
		Deadline: j.Deadline, Attempts: j.Attempts, Refused: j.Refused, Failed: j.Failed, Budget: j.Budget, Cost: j.Posted + j.Deferred}
	for i, st := range j.Stages {
		s.Stages = append(s.Stages, stageView(j, i))
		s.Tasks += int64(len(st.Tasks))
		s.TasksDone += st.Done
	}
	s.Progress = progress(s.Stages)
	if j.State == cloudcrowd.JobDone {
		s.Progress = 1
	}
	if !j.State.Ended() {
		s.RemainingSeconds = remaining(j, s.Progress, now, l)
	}
	return s
}

// progress is the mean over stages of the share of units done.
func progress(stages []cloudcrowd.StageView) float64 {
	if len(stages) == 0 {
		return 0
	}
	sum := 0.0
	for _, s := range stages {
		switch {
		case s.State == cloudcrowd.StageDone:
			sum++
		case s.UnitsTotal > 0:
			sum += math.Min(float64(s.UnitsDone)/float64(s.UnitsTotal), 0.99)
		}
	}
	return sum / float64(len(stages))
}

// remaining estimates the seconds left as a range: the work left over all connected slots, and the pace so far. 0,0 while nothing is known.
func remaining(j *lifecycle.Job, progress float64, now cloudcrowd.Time, l *loop) [2]float64 {
	elapsed := float64(now-j.SubmittedAt) / 1e6
	if progress <= 0 || elapsed <= 0 {
		return [2]float64{}
	}
	pace := elapsed * (1 - progress) / progress
	center := pace
	if l != nil {
		var speed float64
		for _, s := range l.sessions {
			if s.online {
				speed += s.sched.Speed * float64(s.sched.Slots)
			}
		}
		work := 0.0
		for i, st := range j.Stages {
			if total, known := j.Total(i); known && j.Spec.Stages[i].Merge == nil {
				work += float64(total-st.UnitsDone) * st.CoreSecondsPerUnit()
			}
		}
		// The work left knows nothing of merges and replicas, the pace nothing of what comes: the truth has been between.
		if speed > 0 && work > 0 {
			center = math.Sqrt(pace * math.Max(work/speed, 0.1*pace))
		}
	}
	return [2]float64{math.Round(7*center) / 10, math.Round(15*center) / 10}
}

func stageView(j *lifecycle.Job, i int) cloudcrowd.StageView {
	spec, st := &j.Spec.Stages[i], j.Stages[i]
	v := cloudcrowd.StageView{Name: spec.Name, After: spec.After, Kind: kindOf(spec), State: st.State, UnitsCarved: st.Next, UnitsDone: st.UnitsDone,
		Tasks: int64(len(st.Tasks)), TasksDone: st.Done, TasksFailed: st.Failed, Running: st.Running, Refused: st.Refused, Cost: st.Cost,
		StartedAt: st.StartedAt, EndedAt: st.EndedAt}
	if total, known := j.Total(i); known {
		v.UnitsTotal = total
	}
	if spec.Merge != nil { // a tree: nodes are its units
		v.UnitsTotal, v.UnitsCarved, v.UnitsDone = 0, int64(len(st.Tasks)), st.Done
		if n, final := j.Parts(j.Spec.StageIndex(spec.After[0])); final && !spec.Merge.Builtin() {
			for n > 1 || v.UnitsTotal == 0 && n == 1 {
				n = (n + int64(spec.Merge.FanIn) - 1) / int64(spec.Merge.FanIn)
				v.UnitsTotal += n
			}
		}
	}
	return v
}

// kindOf names what a stage does, for people: "fasta → kmers count".
func kindOf(spec *cloudcrowd.Stage) string {
	program := func(p *cloudcrowd.Program) string {
		name := p.ModuleName
		if name == "" {
			name = p.Module.Short()
		}
		name = strings.TrimSuffix(name[strings.LastIndexByte(name, '/')+1:], ".wasm")
		if len(p.Args) > 0 && !strings.HasPrefix(p.Args[0], "-") {
			name += " " + p.Args[0]
		}
		return name
	}
	switch {
	case spec.Merge.Builtin():
		return "merge " + string(spec.Merge.Kind)
	case spec.Merge != nil:
		return fmt.Sprintf("merge tree of %d → %s", spec.Merge.FanIn, program(spec.Merge.Program))
	case spec.Split != nil:
		return string(spec.Split.Kind) + " → " + program(spec.Run)
	}
	return program(spec.Run)
}

// notes are the job's history in plain sentences.
func notes(m *Manager, j *lifecycle.Job, l *loop) []string {
	var list []string
	if l != nil && len(l.undone) > 0 && !j.State.Ended() {
		for i := range j.Stages {
			if u, ok := l.undone[work{job: j.ID, stage: int32(i)}]; ok {
				list = append(list, fmt.Sprintf("The server cannot prepare or merge stage %s at present: %s. It was tried %s, and is tried again until it works.",
					j.Spec.Stages[i].Name, u.reason, plural(int64(u.tries), "time", "times")))
			}
		}
	}
	if j.Reason == "" && j.Refused == 0 && j.Failed == 0 { // most often
		return list
	}
	for _, w := range sortedWorkers(j.Workers) {
		p := j.Workers[w]
		if p.Refused > 0 {
			list = append(list, fmt.Sprintf("%s by %s (owner %s) %s refused: other workers agreed on a different one. Nothing was paid for %s.",
				plural(p.Refused, "result", "results"), m.name(w), p.Owner, map[bool]string{true: "was", false: "were"}[p.Refused == 1],
				map[bool]string{true: "it", false: "them"}[p.Refused == 1]))
		}
		if p.Failed > 0 {
			list = append(list, fmt.Sprintf("%s on %s failed or got lost.", plural(p.Failed, "attempt", "attempts"), m.name(w)))
		}
	}
	if j.Reason != "" {
		list = append(list, sentence(j.Reason))
	}
	return list
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func sentence(s string) string {
	s = strings.TrimRight(s, ".")
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func taskView(m *Manager, j *lifecycle.Job, id cloudcrowd.TaskID, t *lifecycle.Task, attempts bool) cloudcrowd.Task {
	v := cloudcrowd.Task{ID: id, Job: id.Job, Stage: j.Spec.Stages[id.Stage].Name, Index: id.Index, State: t.State, Unit: t.Unit, Label: label(j, id, t),
		Quorum: t.Quorum, Canonical: t.Canonical, Outputs: t.Outputs, Cost: t.Cost, CreatedAt: t.CreatedAt, EndedAt: t.EndedAt, Reason: t.Reason}
	if attempts {
		for _, a := range t.Attempts {
			v.Attempts = append(v.Attempts, attemptView(m, j, cloudcrowd.AttemptID{Task: id, N: a.N}, a, nil))
		}
	}
	return v
}

func label(j *lifecycle.Job, id cloudcrowd.TaskID, t *lifecycle.Task) string {
	if j.Spec.Stages[id.Stage].Merge != nil {
		return "level " + strconv.FormatInt(int64(t.Level), 10) + ", parts " + strconv.FormatInt(t.Unit.Lo, 10) + "–" + strconv.FormatInt(t.Unit.Hi-1, 10)
	}
	return decompose.Label(&j.Spec, int(id.Stage), t.Unit)
}

func attemptView(m *Manager, j *lifecycle.Job, id cloudcrowd.AttemptID, a *lifecycle.Attempt, h *scheduler.Held) cloudcrowd.Attempt {
	v := namedAttempt(j, id, a, m.name(a.Worker))
	if h != nil {
		v.Progress = h.Fraction
	}
	return v
}

// namedAttempt is an attempt of a worker of that name.
func namedAttempt(j *lifecycle.Job, id cloudcrowd.AttemptID, a *lifecycle.Attempt, name string) cloudcrowd.Attempt {
	return cloudcrowd.Attempt{ID: id, Stage: j.Spec.Stages[id.Task.Stage].Name, Worker: a.Worker, WorkerName: name, State: a.State, LeasedAt: a.LeasedAt,
		EndedAt: a.EndedAt, Result: a.Result, ResultDigest: a.Digest, Charge: a.Charge, Verdict: a.Verdict, Why: a.Why}
}
