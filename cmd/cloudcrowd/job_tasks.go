package main

import (
	"context"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var jobTasksPage = page{
	use:   "tasks [options] JOB",
	short: "list the tasks of a job with their attempts",
	text: `
One line a task: id, stage, state, what it covers, and its attempts as
"worker state". A stage over a divisible input is cut as it goes, so the list
grows while the job runs.
`,
	examples: `
cloudcrowd job tasks last
cloudcrowd job tasks last --stage count --state failed
`,
	see: []string{"job explain", "job logs"},
}

func (a *app) jobTasksCommand() *cobra.Command {
	var stage, state string
	var limit int
	c := jobTasksPage.command(1, 1, func(ctx context.Context, args []string) error {
		if err := oneOf("--state", state, "", "waiting", "running", "done", "failed"); err != nil {
			return err
		}
		api, job, err := a.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		if stage != "" && job.Spec.StageIndex(stage) < 0 {
			var names []string
			for _, s := range job.Spec.Stages {
				names = append(names, s.Name)
			}
			return oneOf("--stage", stage, names...)
		}
		tasks, err := collect(limit, func(p client.PageQuery) (client.Page[cloudcrowd.Task], error) {
			return api.Tasks(ctx, job.ID, client.TaskQuery{PageQuery: p, Stage: stage, State: cloudcrowd.TaskState(state)})
		})
		if err != nil {
			return err
		}
		headings := []string{"TASK", "STAGE", "STATE", "COVERS", ">CREDITS", ">AGE", "ATTEMPTS"}
		return list(a, tasks, headings, func(t cloudcrowd.Task) []string {
			state := string(t.State)
			if job.State.Ended() && (t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning) { // nobody works on it any more
				state = string(cloudcrowd.JobCancelled)
			}
			return []string{t.ID.String(), t.Stage, a.ink.state(state), t.Label, t.Cost.String(), age(t.CreatedAt, time.Now()),
				attemptWords(a.ink, t.Attempts)}
		}, "no tasks yet; `cloudcrowd job explain "+string(job.ID)+"` says why")
	})
	f := c.Flags()
	f.StringVar(&stage, "stage", "", "only tasks of this `STAGE`")
	f.StringVar(&state, "state", "", "only tasks in this `STATE`: waiting, running, done or failed")
	f.IntVar(&limit, "limit", 200, "at most `N` tasks; 0 means all")
	return c
}

func attemptWords(k ink, attempts []cloudcrowd.Attempt) string {
	var words []string
	for _, at := range attempts {
		words = append(words, workerName(at.WorkerName, at.Worker)+" "+k.state(string(at.State)))
	}
	return strings.Join(words, ", ")
}
