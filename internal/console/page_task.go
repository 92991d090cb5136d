package console

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// taskView is: what happened here?
type taskView struct {
	Task     cloudcrowd.Task
	JobName  string
	Attempts []attemptView
	Explain  []string
	Prev     string // neighbours in the stage
	Next     string
	Outputs  Table
	CSV      string
	JSON     string
}

// attemptView is one column of the comparison.
type attemptView struct {
	cloudcrowd.Attempt
	Worker    Cell
	Reason    string // of the verdict
	Seconds   string
	Canonical bool
	Agrees    string // "agrees", "differs", ""
	Outcome   string
	Usage     []pair
	Stderr    string
	LogURL    string
	WhyParts  []pair
	WhyWords  string
}

// pair is a name and a value.
type pair struct{ Name, Value string }

// ownTask loads a task and hides it from those who may not see its job.
func (c *Console) ownTask(ctx context.Context, v viewer, id string) (cloudcrowd.Task, error) {
	tid, err := cloudcrowd.ParseTaskID(id)
	if err != nil {
		return cloudcrowd.Task{}, cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no task %q here.", id).WithHint("A task's id looks like jXXXXXXXXXXXXXXXX-0-17.")
	}
	if _, err := c.ownJob(ctx, v, tid.Job); err != nil {
		return cloudcrowd.Task{}, err
	}
	return c.cfg.Backend.Task(ctx, tid)
}

func (c *Console) task(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	t, err := c.ownTask(ctx, v, r.PathValue("task"))
	if err != nil {
		return err
	}
	attempts := tableSpec{Name: "attempts", Columns: attemptColumns, Rows: func(context.Context, store.Page) ([][]Cell, string, error) {
		return c.attemptRows(v, t.Attempts), "", nil
	}}
	outputs := c.taskOutputs(t)
	if done, err := c.export(w, r, t.ID.String(), attempts, outputs); done || err != nil {
		return err
	}
	view := taskView{Task: t, CSV: c.with(r, "table", "attempts", "format", "csv"), JSON: c.with(r, "table", "attempts", "format", "json")}
	if view.Outputs, err = c.table(r, outputs); err != nil {
		return err
	}
	j, err := c.cfg.Backend.Job(ctx, t.Job)
	if err != nil {
		return err
	}
	view.JobName = j.Name
	if e, err := c.cfg.Backend.ExplainTask(ctx, t.ID); err == nil {
		view.Explain = e.Lines
	}
	var accepted cloudcrowd.Digest
	for _, a := range t.Attempts {
		if a.ID.N == t.Canonical {
			accepted = a.ResultDigest
		}
	}
	for _, a := range t.Attempts {
		view.Attempts = append(view.Attempts, c.attemptView(v, t, a, accepted))
	}
	if t.Index > 0 {
		view.Prev = c.taskURL(cloudcrowd.TaskID{Job: t.Job, Stage: t.ID.Stage, Index: t.Index - 1})
	}
	if int(t.ID.Stage) < len(j.Stages) && int64(t.Index)+1 < j.Stages[t.ID.Stage].Tasks {
		view.Next = c.taskURL(cloudcrowd.TaskID{Job: t.Job, Stage: t.ID.Stage, Index: t.Index + 1})
	}
	p := page{Title: fmt.Sprintf("%s #%d", t.Stage, t.Index), Section: "jobs", Viewer: v, V: view, Events: "?job=" + string(t.Job)}
	fragments := []string{"task.body"}
	if (t.State == cloudcrowd.TaskDone || t.State == cloudcrowd.TaskFailed) && wants(r).names == nil {
		fragments = nil
	}
	return c.show(w, r, http.StatusOK, "task", fragments, p)
}

func (c *Console) taskOutputs(t cloudcrowd.Task) tableSpec {
	rows := make([][]Cell, len(t.Outputs))
	for i, o := range t.Outputs {
		rows[i] = []Cell{text(o.Path), bytesCell(o.SizeBytes), {Text: o.Digest.Short(), Title: "SHA-256 " + string(o.Digest), Copy: string(o.Digest), Raw: string(o.Digest)}}
	}
	return tableSpec{Name: "outputs", Caption: "Output files", Rows: rowsOf(rows), Empty: Empty{Text: "No accepted result yet."},
		Columns: []Column{{Key: "path", Title: "File"}, {Key: "size_bytes", Title: "Size", Number: true}, {Key: "digest", Title: "SHA-256", Priority: 2}}}
}

func (c *Console) attemptView(v viewer, t cloudcrowd.Task, a cloudcrowd.Attempt, accepted cloudcrowd.Digest) attemptView {
	av := attemptView{Attempt: a, Reason: strings.TrimSuffix(verdict(a), "."), Worker: c.workerCell(v, a.Worker, a.WorkerName), Canonical: t.Canonical > 0 && a.ID.N == t.Canonical}
	if a.EndedAt > 0 {
		av.Seconds = span(float64(a.EndedAt-a.LeasedAt) / 1e6)
	} else {
		av.Seconds = span(float64(cloudcrowd.TimeOf(c.cfg.Now())-a.LeasedAt)/1e6) + " so far"
	}
	if accepted != "" && a.ResultDigest != "" {
		av.Agrees = "differs"
		if a.ResultDigest == accepted {
			av.Agrees = "agrees"
		}
	}
	if res := a.Result; res != nil {
		av.Outcome = string(res.Outcome)
		if res.ExitCode != 0 {
			av.Outcome += fmt.Sprintf(", exit status %d", res.ExitCode)
		}
		if res.Reason != "" {
			av.Outcome += ": " + res.Reason
		}
		u := res.Usage
		av.Usage = []pair{{"CPU time", span(u.CPUSeconds)}, {"Wall time", span(u.WallSeconds)}, {"Peak memory", cloudcrowd.Bytes(u.PeakMemoryBytes)},
			{"Fetched", cloudcrowd.Bytes(u.InputBytes)}, {"Output", cloudcrowd.Bytes(u.OutputBytes)}}
		av.Stderr = strings.ToValidUTF8(res.StderrTail, "�")
		if res.Log != "" && c.cfg.Blobs != nil {
			av.LogURL = fmt.Sprintf("%s/log/%d", c.taskURL(t.ID), a.ID.N)
		}
	}
	y := a.Why
	av.WhyParts = []pair{{"Wait for a slot", span(y.WaitSeconds)}, {"Fetch what it lacks", span(y.FetchSeconds)}, {"Run", span(y.RunSeconds)}, {"Expected finish", span(y.FinishSeconds)},
		{"Longest path left", span(y.Rank)}, {"Workers considered", count(y.Candidates)}}
	if t := y.Turn; t != nil {
		av.WhyParts = append(av.WhyParts, pair{"Used lately by the requester", fmt.Sprintf("%.0f core-seconds", t.UsageCoreSeconds)},
			pair{"Attempts the requester had running", ofQuota(t.Running, t.Quota)}, pair{"Requesters with work", count(t.Requesters)}, pair{"Priority of the job", fmt.Sprint(t.Priority)})
		if t.Slack != 0 {
			av.WhyParts = append(av.WhyParts, pair{"Slack to its deadline", fmt.Sprintf("%.0f s", t.Slack)})
		}
	}
	if l := y.Late; l != nil {
		av.WhyParts = append(av.WhyParts, pair{"Second copy of attempt", fmt.Sprint(l.N)}, pair{"That one had taken", span(l.ElapsedSeconds)}, pair{"It was expected to take", span(l.ExpectedSeconds)},
			pair{"It was believed to take still", span(l.RemainingSeconds)})
	}
	purpose := y.Purpose
	if purpose == "" {
		purpose = "first"
	}
	av.WhyWords = fmt.Sprintf("The %s attempt. Of %s this one was expected to finish soonest", purpose, plural(y.Candidates, "worker that could take it", "workers that could take it"))
	if y.RunnerUp != "" {
		av.WhyWords += fmt.Sprintf("; next best was %s at %s", y.RunnerUp, span(y.RunnerUpSecs))
	}
	av.WhyWords += "."
	return av
}

func ofQuota(n, quota int64) string {
	if quota > 0 {
		return fmt.Sprintf("%d of at most %d", n, quota)
	}
	return fmt.Sprint(n)
}
