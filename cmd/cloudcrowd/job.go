package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var jobPage = page{
	use:   "job COMMAND",
	short: "look at one job, watch it, cancel it, fetch its files",
	text: `
JOB is the id that run and submit print, or the beginning of one of your
jobs' ids or names, or "last" for your newest job. TASK is a task's id,
"JOB-STAGE-INDEX" with the numbers of stage and task, as job tasks prints it.
`,
	see: []string{"jobs", "run"},
}

var jobShowPage = page{
	use:   "show JOB",
	short: "state, stages, cost and workers of a job",
	text: `
Prints what a job is, how far each stage is, what it has cost, who worked on
it, which results were refused, and which files are its result.
`,
	examples: `
cloudcrowd job show last
cloudcrowd job show last --json
`,
	see: []string{"job watch", "job explain", "job tasks"},
}

var jobCancelPage = page{
	use:   "cancel [--reason TEXT] JOB",
	short: "end a running job",
	text: `
Ends a job. Attempts that run now are stopped; what has been accepted stays
paid; the rest of the budget goes back at once.
`,
	examples: `cloudcrowd job cancel last --reason "wrong input"`,
	see:      []string{"jobs"},
}

func (a *app) jobCommand() *cobra.Command {
	return jobPage.group(a.jobShowCommand(), a.jobWatchCommand(), a.jobCancelCommand(), a.jobExplainCommand(), a.jobTasksCommand(), a.jobLogsCommand(),
		a.jobResultsCommand())
}

func (a *app) jobShowCommand() *cobra.Command {
	return jobShowPage.command(1, 1, func(ctx context.Context, args []string) error {
		_, job, err := a.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		if a.json {
			return a.object(job)
		}
		a.showJob(job)
		return nil
	})
}

// showJob prints a job in full, for people.
func (a *app) showJob(j cloudcrowd.Job) {
	spent := fmt.Sprintf("%s of %s credits", j.Cost, j.Budget)
	took := ""
	if j.EndedAt > 0 {
		took = seconds(j.EndedAt.Time().Sub(j.SubmittedAt.Time()).Seconds())
	}
	a.facts("job", string(j.ID), "name", j.Name, "account", string(j.Account), "state", a.ink.state(string(j.State)), "reason", j.Reason,
		"submitted", clock(j.SubmittedAt), "ended", clock(j.EndedAt), "took", took, "deadline", clock(j.Deadline), "left", remaining(j.RemainingSeconds),
		"attempts", fmt.Sprintf("%d, %d refused, %d failed or lost", j.Attempts, j.Refused, j.Failed), "cost", spent)
	a.printf("\n")
	for _, line := range stageBars(a.ink, j.State, j.Stages, terminalWidth(a.stdout)) {
		a.printf("%s\n", line)
	}
	if len(j.Workers) > 0 {
		a.printf("\n%s", jobWorkers(a.ink, j.Workers))
	}
	if len(j.Outputs) > 0 {
		var rows [][]string
		for _, o := range j.Outputs {
			rows = append(rows, []string{o.Stage, o.Path, cloudcrowd.Bytes(o.SizeBytes), o.Digest.Short()})
		}
		a.printf("\n%s", table(a.ink, []string{"STAGE", "FILE", ">SIZE", "DIGEST"}, rows))
	}
	if len(j.Notes) > 0 {
		a.printf("\n")
	}
	for _, note := range j.Notes {
		a.printf("%s\n", strings.Join(wrap("· "+note, 100), "\n  "))
	}
}

// jobWorkers is the table of who worked on a job.
func jobWorkers(k ink, workers []cloudcrowd.JobWorker) string {
	var rows [][]string
	for _, w := range workers {
		refused := grouped(w.Refused)
		if w.Refused > 0 {
			refused = k.red(refused)
		}
		rows = append(rows, []string{workerName(w.Name, w.Worker), string(w.Owner), grouped(w.Attempts), grouped(w.Accepted), refused, grouped(w.Failed),
			w.Earned.String()})
	}
	return table(k, []string{"WORKER", "OWNER", ">ATTEMPTS", ">ACCEPTED", ">REFUSED", ">FAILED", ">EARNED"}, rows)
}

func workerName(name string, id cloudcrowd.WorkerID) string {
	if name == "" {
		return id.Short()
	}
	return name
}

func (a *app) jobCancelCommand() *cobra.Command {
	var reason string
	c := jobCancelPage.command(1, 1, func(ctx context.Context, args []string) error {
		api, job, err := a.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		if job, err = api.Cancel(ctx, job.ID, reason); err != nil {
			return err
		}
		if a.json {
			return a.object(job.JobSummary)
		}
		a.printf("%s is %s; it cost %s credits, %s went back\n", job.ID, a.ink.state(string(job.State)), job.Cost, job.Budget-job.Cost)
		return nil
	})
	c.Flags().StringVar(&reason, "reason", "", "`TEXT` that is kept with the job")
	return c
}

// findJob connects and resolves what a person typed for a job: an id, the beginning of an id or name, or "last".
func (a *app) findJob(ctx context.Context, word string) (*client.Client, cloudcrowd.Job, error) {
	api, err := a.connect()
	if err != nil {
		return nil, cloudcrowd.Job{}, err
	}
	id, err := a.resolveJob(ctx, api, word)
	if err != nil {
		return nil, cloudcrowd.Job{}, err
	}
	job, err := api.Job(ctx, id)
	return api, job, err
}

// resolveLimit bounds how many of the newest jobs are looked through for a name.
const resolveLimit = 200

func (a *app) resolveJob(ctx context.Context, api *client.Client, word string) (cloudcrowd.JobID, error) {
	if id := cloudcrowd.JobID(word); id.Valid() {
		return id, nil
	}
	text := word
	if word == "last" {
		text = ""
	}
	jobs, err := api.Jobs(ctx, client.JobQuery{Text: text, PageQuery: client.PageQuery{Limit: resolveLimit}})
	if err != nil {
		return "", err
	}
	return pickJob(jobs.Items, word)
}

// pickJob chooses among jobs, newest first, the one a word means.
func pickJob(jobs []cloudcrowd.JobSummary, word string) (cloudcrowd.JobID, error) {
	if word == "last" {
		if len(jobs) == 0 {
			return "", cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no job yet").WithHint("`cloudcrowd run job.yaml` submits one")
		}
		return jobs[0].ID, nil
	}
	var found []cloudcrowd.JobSummary
	for _, j := range jobs {
		if strings.HasPrefix(string(j.ID), word) || strings.HasPrefix(strings.ToLower(j.Name), strings.ToLower(word)) {
			found = append(found, j)
		}
	}
	switch len(found) {
	case 0:
		return "", cloudcrowd.Errorf(cloudcrowd.NotFound, "no job begins with %q", word).WithHint("`cloudcrowd jobs` lists them")
	case 1:
		return found[0].ID, nil
	}
	return "", cloudcrowd.Errorf(cloudcrowd.Conflict, "%d jobs begin with %q; the newest is %s, submitted %s ago", len(found), word, found[0].ID,
		age(found[0].SubmittedAt, time.Now())).WithHint("write more of the id; `cloudcrowd jobs` lists them")
}
