package main

import (
	"context"
	"fmt"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// outcome is the last line of run, submit --wait and demo with --json.
type outcome struct {
	State    cloudcrowd.JobState `json:"state"`
	Job      cloudcrowd.JobID    `json:"job"`
	Name     string              `json:"name"`
	Reason   string              `json:"reason,omitempty"`
	Out      string              `json:"out,omitempty"` // folder of the result files
	Files    []string            `json:"files,omitempty"`
	Tasks    int64               `json:"tasks"`
	Attempts int64               `json:"attempts"`
	Refused  int64               `json:"refused"`
	Failed   int64               `json:"failed"`
	Cost     cloudcrowd.Credits  `json:"cost_microcredits"`
	Seconds  float64             `json:"seconds"`
	Sum      *cloudcrowd.Credits `json:"ledger_sum,omitempty"` // over all accounts, as the server says
	Fsck     string              `json:"fsck,omitempty"`       // of a server of this process
	Console  string              `json:"console,omitempty"`
}

func outcomeOf(j cloudcrowd.Job) outcome {
	o := outcome{State: j.State, Job: j.ID, Name: j.Name, Reason: j.Reason, Tasks: j.Tasks, Attempts: j.Attempts, Refused: j.Refused, Failed: j.Failed,
		Cost: j.Cost}
	if j.EndedAt > 0 {
		o.Seconds = j.EndedAt.Time().Sub(j.SubmittedAt.Time()).Seconds()
	}
	return o
}

// refusals says in a sentence each whose results were refused.
func refusals(workers []cloudcrowd.JobWorker) []string {
	var lines []string
	for _, w := range workers {
		if w.Refused > 0 {
			lines = append(lines, fmt.Sprintf("%s from %s (owner %s): not what the others agreed on; unpaid", plural(w.Refused, "result"),
				workerName(w.Name, w.Worker), w.Owner))
		}
	}
	return lines
}

// report prints what a finished job came to.
func (a *app) report(o outcome, j cloudcrowd.Job) {
	a.printf("%s\n", a.ink.green("done")+" in "+seconds(o.Seconds))
	a.facts("work", fmt.Sprintf("%s, %s", plural(o.Tasks, "task"), plural(o.Attempts, "attempt")),
		"refused", a.ink.red(strings.Join(refusals(j.Workers), "\n")),
		"failed", failedWords(o.Failed),
		"cost", fmt.Sprintf("%s credits of %s held; %s went back", o.Cost, j.Budget, j.Budget-o.Cost),
		"console", o.Console,
		"files", strings.Join(o.Files, "\n"))
	if len(j.Workers) > 0 {
		a.printf("\n%s", jobWorkers(a.ink, j.Workers))
	}
}

func failedWords(n int64) string {
	if n == 0 {
		return ""
	}
	return plural(n, "attempt") + " failed or lost, tried again elsewhere"
}

// unsuccessful is the error for a job that ended without its result: the reason, what the program said last, and what to do.
func (a *app) unsuccessful(ctx context.Context, api *client.Client, j cloudcrowd.Job) error {
	e := cloudcrowd.Errorf(cloudcrowd.Unsuccessful, "the job is %s", j.State)
	if j.Reason != "" {
		e = cloudcrowd.Errorf(cloudcrowd.Unsuccessful, "the job %s: %s", verb(j.State), j.Reason)
	}
	if j.State == cloudcrowd.JobCancelled {
		return e
	}
	if stderr := lastWords(ctx, api, j.ID); stderr != "" {
		a.notef("\nthe program's last words on stderr:\n")
		for line := range strings.Lines(printable(stderr)) {
			a.notef("  %s\n", strings.TrimRight(line, "\n"))
		}
		a.notef("\n")
	}
	return e.WithHint("`cloudcrowd job logs %s` prints the logs of the failed attempts, `cloudcrowd job explain %s` says more", j.ID, j.ID)
}

func verb(s cloudcrowd.JobState) string {
	if s == cloudcrowd.JobCancelled {
		return "was cancelled"
	}
	return string(s)
}

// lastWords is the stderr of the last failed attempt of a job's first failed task, "" if there is none.
func lastWords(ctx context.Context, api *client.Client, id cloudcrowd.JobID) string {
	tasks, err := api.Tasks(ctx, id, client.TaskQuery{State: cloudcrowd.TaskFailed, PageQuery: client.PageQuery{Limit: 1}})
	if err != nil || len(tasks.Items) == 0 {
		return ""
	}
	text := ""
	for _, at := range tasks.Items[0].Attempts {
		if at.Result != nil && at.Result.StderrTail != "" {
			text = at.Result.StderrTail
		}
	}
	return text
}
