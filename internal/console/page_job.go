package console

import (
	"context"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// jobView is: how far, why is it slow, can I trust it, what will it cost?
type jobView struct {
	Job       cloudcrowd.Job
	Ended     bool
	Remaining string // in a sentence
	Time      string // the same without the word around it
	Meter     template.HTML
	Words     string // progress in one sentence, read out when it changes
	Overrun   bool   // attempts were refused or failed
	Graph     template.HTML
	Timeline  template.HTML
	TimeNote  string
	Legend    []string
	Spending  template.HTML
	Previews  []Preview
	MoreFiles int
	Notes     []string
	Explain   []string
	Stages    Table
	Workers   Table
	Tasks     Table
	Outputs   Table
	StageOpts []option
	StateOpts []option
	Share     string // of the budget
	Hold      string // what became of the credits held
}

var jobFragments = []string{"job.head", "job.notes", "job.graph", "job.results", "job.timeline", "job.cost", "job.tasks"}

// ownJob loads a job and hides it from those who may not see it.
func (c *Console) ownJob(ctx context.Context, v viewer, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	gone := cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no job %s here.", id)
	if !id.Valid() {
		return cloudcrowd.Job{}, gone.WithHint("A job's id looks like j0d5x2k8m4q1z7b3 with 17 characters.")
	}
	if !v.seesJobs() {
		return cloudcrowd.Job{}, gone
	}
	j, err := c.cfg.Backend.Job(ctx, id)
	if err != nil {
		return j, err
	}
	if !v.Operator() && j.Account != v.Account {
		return cloudcrowd.Job{}, gone
	}
	return j, nil
}

func (c *Console) job(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	j, err := c.ownJob(ctx, v, cloudcrowd.JobID(r.PathValue("job")))
	if err != nil {
		return err
	}
	q := r.URL.Query()
	tasks := c.tasksSpec(j, q.Get("stage"), cloudcrowd.TaskState(q.Get("state")))
	stages, workers, outputs := c.stagesSpec(j), c.jobWorkersSpec(v, j), c.outputsSpec(j)
	if done, err := c.export(w, r, string(j.ID), tasks, stages, workers, outputs, c.attemptsSpec(v, j.ID)); done || err != nil {
		return err
	}
	view := jobView{Job: j, Ended: j.State.Ended(), Remaining: remaining(j.JobSummary), Time: strings.TrimSuffix(strings.TrimPrefix(remaining(j.JobSummary), "took "), " left"), Notes: j.Notes, Overrun: j.Refused+j.Failed > 0}
	view.Words = fmt.Sprintf("%s of the work is accepted: %s of %s", percent(j.Progress), count(j.TasksDone), plural(j.Tasks, "task", "tasks"))
	if !view.Ended {
		view.Words += " so far"
	}
	seg := draw.Segment{Done: j.Progress}
	for _, s := range segments(j.Stages) {
		seg.Running += s.Running / float64(len(j.Stages))
	}
	view.Hold = holdWords(j.Hold)
	if j.State == cloudcrowd.JobFailed {
		seg.Failed = 1 - j.Progress
	}
	view.Meter = draw.Meter(view.Words, seg)
	if j.Budget > 0 {
		view.Share = percent(float64(j.Cost) / float64(j.Budget))
	}
	want := wants(r)
	if want.any("job.notes") {
		if e, err := c.cfg.Backend.Explain(ctx, j.ID); err == nil {
			view.Explain = without(e.Lines, j.Notes)
		}
	}
	if want.any("job.graph") {
		view.Graph = c.stageGraph(j)
		if view.Stages, err = c.table(r, stages); err != nil {
			return err
		}
	}
	if want.any("job.timeline", "job.cost") {
		if err := c.fillAttempts(ctx, &view, want); err != nil {
			return err
		}
		if view.Workers, err = c.table(r, workers); err != nil {
			return err
		}
	}
	if want.any("job.results") {
		if view.Outputs, err = c.table(r, outputs); err != nil {
			return err
		}
		view.Previews, view.MoreFiles = c.previews(ctx, j)
	}
	if want.any("job.tasks") {
		if view.Tasks, err = c.table(r, tasks); err != nil {
			return err
		}
		names := make([]string, len(j.Stages))
		for i, s := range j.Stages {
			names[i] = s.Name
		}
		view.StageOpts = options(q.Get("stage"), names...)
		view.StateOpts = options(q.Get("state"), "waiting", "running", "done", "failed")
	}
	p := page{Title: j.Name, Section: "jobs", Viewer: v, V: view}
	fragments := jobFragments
	if !view.Ended {
		p.Events = "?job=" + string(j.ID)
	} else if want.names == nil {
		fragments = nil // an ended job stands still
	}
	return c.show(w, r, http.StatusOK, "job", fragments, p)
}

// without returns the lines that are not among others.
func without(lines, others []string) []string {
	seen := map[string]bool{}
	for _, o := range others {
		seen[o] = true
	}
	var out []string
	for _, l := range lines {
		if !seen[l] {
			out = append(out, l)
		}
	}
	return out
}

func (c *Console) stageGraph(j cloudcrowd.Job) template.HTML {
	if len(j.Stages) == 0 {
		return ""
	}
	index := map[string]int{}
	for i, s := range j.Stages {
		index[s.Name] = i
	}
	now := c.cfg.Now()
	nodes := make([]draw.Node, len(j.Stages))
	desc := ""
	for i, s := range j.Stages {
		state := stageWord(j, s)
		n := draw.Node{Name: s.Name, Kind: s.Kind, State: state, Segment: stageSegment(s), Detail: stageDetail(j, s)}
		if s.StartedAt > 0 {
			n.Right = span(stageSeconds(j, s, now))
		}
		for _, a := range s.After {
			if k, ok := index[a]; ok {
				n.After = append(n.After, k)
			}
		}
		nodes[i] = n
		if i < 12 {
			desc += fmt.Sprintf("%s is %s: %s. ", s.Name, state, n.Detail)
		}
	}
	return draw.Graph("stages-graph", "Graph of "+plural(len(nodes), "stage", "stages"), desc, nodes)
}

// holdWords say what became of the credits held for a job.
func holdWords(h cloudcrowd.Hold) string {
	words := fmt.Sprintf("%s credits, %s paid", amount(h.Amount), amount(h.Posted))
	if h.State == cloudcrowd.HoldPending {
		return words
	}
	return words + ", " + amount(h.Amount-h.Posted) + " went back"
}

// stageWord is a stage's state for people: what an ended job did not finish is failed or cancelled.
func stageWord(j cloudcrowd.Job, s cloudcrowd.StageView) string {
	switch {
	case s.TasksFailed > 0:
		return string(cloudcrowd.TaskFailed)
	case j.State.Ended() && s.State != cloudcrowd.StageDone:
		return string(cloudcrowd.JobCancelled)
	}
	return string(s.State)
}

// stageSeconds is how long a stage has taken, or took until it or its job ended.
func stageSeconds(j cloudcrowd.Job, s cloudcrowd.StageView, now time.Time) float64 {
	end := cloudcrowd.TimeOf(now)
	switch {
	case s.EndedAt > 0:
		end = s.EndedAt
	case j.EndedAt > 0:
		end = j.EndedAt
	}
	return float64(end-s.StartedAt) / 1e6
}

func stageDetail(j cloudcrowd.Job, s cloudcrowd.StageView) string {
	if s.Tasks == 0 {
		switch s.State {
		case cloudcrowd.StageDone, cloudcrowd.StageMerging: // built-in merges need no worker
			return "merged by the server"
		}
		if j.State.Ended() {
			return "no task"
		}
		return "no task yet"
	}
	d := count(s.TasksDone) + "/" + count(s.Tasks)
	if s.Running > 0 {
		return d + ", " + count(s.Running) + " running"
	}
	return d + " tasks"
}

func (c *Console) stagesSpec(j cloudcrowd.Job) tableSpec {
	rows := make([][]Cell, len(j.Stages))
	for i, s := range j.Stages {
		time := Cell{Text: "–"}
		if s.StartedAt > 0 {
			time = spanCell(stageSeconds(j, s, c.cfg.Now()))
		}
		word := stageWord(j, s)
		rows[i] = []Cell{{Text: s.Name, Sub: s.Kind, Raw: s.Name}, {Text: word, State: word, Raw: string(s.State)}, numberCell(s.Tasks), numberCell(s.TasksDone), numberCell(s.Running), numberCell(s.TasksFailed),
			numberCell(s.Refused), numberCell(s.UnitsDone), numberCell(s.UnitsTotal), time, moneyCell(s.Cost)}
	}
	return tableSpec{Name: "stages", Caption: "Stages", Rows: rowsOf(rows), Columns: []Column{{Key: "stage", Title: "Stage"}, {Key: "state", Title: "State"},
		{Key: "tasks", Title: "Tasks", Number: true}, {Key: "tasks_done", Title: "Done", Number: true}, {Key: "running", Title: "Running", Number: true, Priority: 2},
		{Key: "tasks_failed", Title: "Failed", Number: true, Priority: 2}, {Key: "refused", Title: "Refused", Number: true, Priority: 2},
		{Key: "units_done", Title: "Units done", Number: true, Priority: 3}, {Key: "units_total", Title: "Units", Number: true, Priority: 3},
		{Key: "seconds", Title: "Time", Number: true, Priority: 2}, {Key: "cost_microcredits", Title: "Cost", Number: true}}}
}

func (c *Console) jobWorkersSpec(v viewer, j cloudcrowd.Job) tableSpec {
	rows := make([][]Cell, len(j.Workers))
	for i, w := range j.Workers {
		refused := numberCell(w.Refused)
		if w.Refused > 0 {
			refused.State = "refused"
		}
		rows[i] = []Cell{c.workerCell(v, w.Worker, w.Name), c.accountCell(v, w.Owner), numberCell(w.Attempts), numberCell(w.Accepted), refused, numberCell(w.Failed),
			spanCell(w.CPUSeconds), moneyCell(w.Earned)}
	}
	empty := Empty{Text: "No worker has taken a task of this job yet. To add this machine:", Commands: []string{"cloudcrowd worker --join LINK"}}
	if j.State.Ended() {
		empty = Empty{Text: "No worker has taken a task of this job."}
	}
	return tableSpec{Name: "workers", Caption: "Who worked on it", Rows: rowsOf(rows), Limit: 50, Empty: empty,
		Columns: []Column{{Key: "worker", Title: "Worker"}, {Key: "owner", Title: "Owner", Priority: 2}, {Key: "attempts", Title: "Attempts", Number: true}, {Key: "accepted", Title: "Accepted", Number: true, Priority: 2},
			{Key: "refused", Title: "Refused", Number: true}, {Key: "failed", Title: "Failed", Number: true, Priority: 2}, {Key: "cpu_seconds", Title: "CPU time", Number: true, Priority: 2}, {Key: "earned_microcredits", Title: "Earned", Number: true}}}
}

func (c *Console) tasksSpec(j cloudcrowd.Job, stage string, state cloudcrowd.TaskState) tableSpec {
	empty := Empty{Text: "No task has been carved yet: tasks are cut when a worker is free to take them."}
	switch {
	case stage != "" || state != "":
		empty.Text = "No task matches this filter."
	case j.State.Ended():
		empty.Text = "No task was carved."
	}
	return tableSpec{Name: "tasks", Caption: "Tasks", Empty: empty, Limit: 50,
		Columns: []Column{{Key: "task", Title: "Task"}, {Key: "stage", Title: "Stage"}, {Key: "state", Title: "State"}, {Key: "label", Title: "Covers", Priority: 2},
			{Key: "attempts", Title: "Attempts", Number: true}, {Key: "refused", Title: "Refused", Number: true, Priority: 2}, {Key: "seconds", Title: "Time", Number: true, Priority: 2}, {Key: "cost_microcredits", Title: "Cost", Number: true, Priority: 2}},
		Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
			list, next, err := c.cfg.Backend.Tasks(ctx, j.ID, stage, state, p)
			if err != nil {
				return nil, "", err
			}
			rows := make([][]Cell, len(list))
			for i, t := range list {
				refused := 0
				for _, a := range t.Attempts {
					if a.State == cloudcrowd.AttemptRefused {
						refused++
					}
				}
				time := Cell{Text: "–"}
				if t.EndedAt > 0 {
					time = spanCell(float64(t.EndedAt-t.CreatedAt) / 1e6)
				}
				ref := numberCell(refused)
				if refused > 0 {
					ref.State = "refused"
				}
				state := stateCell(t.State)
				if j.State.Ended() && (t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning) { // nobody works on it any more
					state.Text, state.State = string(cloudcrowd.JobCancelled), string(cloudcrowd.JobCancelled)
				}
				rows[i] = []Cell{{Text: "#" + strconv.Itoa(int(t.Index)), Href: c.taskURL(t.ID), Raw: t.ID.String(), Title: t.ID.String()}, text(t.Stage), state,
					{Text: t.Label, Sub: t.Reason, Raw: t.Label}, numberCell(len(t.Attempts)), ref, time, moneyCell(t.Cost)}
			}
			return rows, next, nil
		}}
}

// attemptName is how people speak of an attempt: its id says nothing to them.
func attemptName(a cloudcrowd.Attempt) string {
	return fmt.Sprintf("%s #%d, attempt %d", a.Stage, a.ID.Task.Index, a.ID.N)
}

// attemptsSpec lists all attempts; it is exported only, the timeline shows it.
func (c *Console) attemptsSpec(v viewer, id cloudcrowd.JobID) tableSpec {
	return tableSpec{Name: "attempts", Columns: attemptColumns, Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
		list, next, err := c.cfg.Backend.Attempts(ctx, id, p)
		return c.attemptRows(v, list), next, err
	}}
}

var attemptColumns = []Column{{Key: "attempt", Title: "Attempt"}, {Key: "stage", Title: "Stage", Priority: 2}, {Key: "worker", Title: "Worker"}, {Key: "state", Title: "State"},
	{Key: "leased_at", Title: "Leased", Priority: 2, Number: true}, {Key: "seconds", Title: "Time", Number: true}, {Key: "charge_microcredits", Title: "Charge", Number: true, Priority: 2}, {Key: "verdict", Title: "Verdict", Priority: 3}}

const workerColumn = 2 // of attemptColumns

func (c *Console) attemptRows(v viewer, list []cloudcrowd.Attempt) [][]Cell {
	rows := make([][]Cell, len(list))
	for i, a := range list {
		id := Cell{Text: attemptName(a), Raw: a.ID.String(), Title: a.ID.String()}
		if v.seesJobs() {
			id.Href = c.taskURL(a.ID.Task)
		}
		seconds := Cell{Text: "–", Raw: 0.0}
		if a.EndedAt > a.LeasedAt {
			seconds = spanCell(float64(a.EndedAt-a.LeasedAt) / 1e6)
		}
		rows[i] = []Cell{id, text(a.Stage), c.workerCell(v, a.Worker, a.WorkerName), stateCell(a.State), timeCell(a.LeasedAt), seconds, moneyCell(a.Charge), {Sub: verdict(a), Raw: a.Verdict}}
	}
	return rows
}

func (c *Console) outputsSpec(j cloudcrowd.Job) tableSpec {
	rows := make([][]Cell, len(j.Outputs))
	for i, o := range j.Outputs {
		made := "task #" + strconv.Itoa(int(o.Task))
		if o.Task < 0 {
			made = "merge"
		}
		rows[i] = []Cell{{Text: o.Path, Href: c.outputURL(j.ID, o)}, text(o.Stage), {Text: made, Raw: int(o.Task)}, bytesCell(o.SizeBytes),
			{Text: o.Digest.Short(), Title: "SHA-256 " + string(o.Digest), Copy: string(o.Digest), Raw: string(o.Digest)}}
	}
	empty := Empty{Text: "Results appear here when the last stage is complete."}
	if j.State.Ended() {
		empty.Text = "This job left no result."
	}
	return tableSpec{Name: "results", Caption: "Result files", Rows: rowsOf(rows), Empty: empty, Limit: 50,
		Columns: []Column{{Key: "path", Title: "File"}, {Key: "stage", Title: "Stage", Priority: 2}, {Key: "task", Title: "Made by", Priority: 2}, {Key: "size_bytes", Title: "Size", Number: true}, {Key: "digest", Title: "SHA-256", Priority: 3}}}
}

// cancelJob ends a job on its owner's or an operator's word, with the reason they gave.
func (c *Console) cancelJob(w http.ResponseWriter, r *http.Request, v viewer) error {
	j, err := c.ownJob(r.Context(), v, cloudcrowd.JobID(r.PathValue("job")))
	if err != nil {
		return err
	}
	reason := r.PostFormValue("reason")
	if reason == "" {
		reason = "cancelled in the console"
	}
	if len(reason) > 300 {
		return cloudcrowd.Fieldf("reason", "A reason has at most 300 characters.")
	}
	if err := c.cfg.Backend.Cancel(r.Context(), j.ID, v.Account, reason); err != nil {
		return err
	}
	http.Redirect(w, r, c.jobURL(j.ID), http.StatusSeeOther)
	return nil
}
