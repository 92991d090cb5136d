package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var runPage = page{
	use:   "run [options] FILE",
	short: "run a job and fetch its files",
	text: `
Reads a job file, compiles programs given as Go folders, uploads what the
server lacks, submits the job, shows its progress, and stores the result files
below --out: under their own names, or, where two have the same name, in
folders by stage and task. Then prints what it cost, who worked, and whose
results were refused.

If no server is configured, or with --local, the job runs on this machine: a
server and workers of two owners are started for it and stopped afterwards.

The job belongs to the server once it is submitted: Ctrl-C stops watching, and
the job goes on; the message says how to come back to it. With
--cancel-on-interrupt Ctrl-C cancels the job.

Ends with status 8 if the job failed, after printing the reason, the last
words of the failed program and what to do.
`,
	examples: `
cloudcrowd run job.yaml
cloudcrowd run examples/kmers/job.yaml --out spectrum
cloudcrowd run job.yaml --input genome=other.fasta.gz --param k=31 --budget 2.5
cloudcrowd run job.yaml --dry-run
cloudcrowd run job.yaml --json | tail -n 1
`,
	see: []string{"plan", "submit", "job watch", "job results", "help exit-codes"},
}

// runOptions are what run does beside the job itself.
type runOptions struct {
	out    string
	key    string
	local  bool
	cancel bool // the job when interrupted
	gone   bool // the server ends with the job: its addresses are of no use
}

func (a *app) runCommand() *cobra.Command {
	var o jobOptions
	var r runOptions
	var dry bool
	c := runPage.command(1, 1, func(ctx context.Context, args []string) error {
		job, err := a.load(args[0], o)
		if err != nil {
			return err
		}
		if r.out == "" {
			r.out = folderName(job.Spec.Name) + "-out"
		}
		api, err := a.connect()
		switch {
		case r.local || errors.Is(err, errNoServer):
			if !r.local {
				a.notef("no server is configured; running on this machine (a server and two workers, just for this job)\n")
			}
			return a.runHere(ctx, job, r, dry)
		case err != nil:
			return err
		}
		if _, err := api.WhoAmI(ctx); err != nil { // before compiling and uploading
			return orLocally(err)
		}
		if dry {
			return a.plan(ctx, api, job)
		}
		out, err := a.runJob(ctx, api, job, r)
		return a.finish(out, err)
	})
	o.flags(c)
	f := c.Flags()
	f.StringVarP(&r.out, "out", "o", "", "store the result files below `DIR` (default: the job's name and \"-out\")")
	f.StringVar(&r.key, "key", "", "idempotency `KEY`: repeating the command with it submits nothing new")
	f.BoolVar(&r.local, "local", false, "run on this machine, without a server")
	f.BoolVar(&r.cancel, "cancel-on-interrupt", false, "Ctrl-C cancels the job instead of leaving it to the server")
	f.BoolVar(&dry, "dry-run", false, "print the plan and submit nothing")
	return c
}

// orLocally adds to the hint of an error about a server that is away how to do without it.
func orLocally(err error) error {
	e, ok := errors.AsType[*cloudcrowd.Error](err)
	if !ok || e.Code != cloudcrowd.Unavailable {
		return err
	}
	return e.WithHint("%s, or run the job on this machine with --local", first(e.Hint, "try again later"))
}

// finish prints the last line for programs.
func (a *app) finish(o outcome, err error) error {
	if a.json && o.Job != "" && (err == nil || cloudcrowd.CodeOf(err) == cloudcrowd.Unsuccessful) {
		if jsonErr := a.object(o); jsonErr != nil {
			return jsonErr
		}
		if err != nil {
			return errReported{cloudcrowd.Unsuccessful}
		}
	}
	return err
}

// runJob uploads, submits, follows and fetches, and prints the report.
func (a *app) runJob(ctx context.Context, api *client.Client, job *jobFile, r runOptions) (outcome, error) {
	started := time.Now()
	spec, err := a.resolve(ctx, api, job)
	if err != nil {
		return outcome{}, err
	}
	plan, err := api.Plan(ctx, spec)
	if err != nil {
		return outcome{}, err
	}
	a.notef("%s: %s\n", a.errInk.bold(spec.Name), planBrief(plan))
	for _, note := range plan.Notes {
		a.notef("· %s\n", note)
	}
	submitted, err := api.Submit(ctx, spec, r.key)
	if err != nil {
		return outcome{}, err
	}
	id := submitted.ID
	console := consoleJob(api, id)
	if r.gone {
		console = ""
	}
	a.notef("job %s  %s\n\n", id, a.errInk.dim(console))
	if a.json {
		if err := a.object(outcome{State: submitted.State, Job: id, Name: spec.Name, Console: console}); err != nil {
			return outcome{}, err
		}
	}
	ended, err := a.follow(ctx, api, id)
	if err != nil {
		return outcome{}, a.detach(ctx, api, id, r, err)
	}
	a.notef("\n")
	out := outcomeOf(ended)
	out.Console, out.Seconds = console, time.Since(started).Seconds()
	if sum, ok := ledgerSum(ctx, api); ok {
		out.Sum = &sum
	}
	if ended.State != cloudcrowd.JobDone {
		return out, a.unsuccessful(ctx, api, ended)
	}
	if out.Files, err = a.fetch(ctx, api, ended, r.out); err != nil {
		return out, fmt.Errorf("the job is done, but its files could not be stored (`cloudcrowd job results --out DIR %s` tries again): %w", id, err)
	}
	out.Out = r.out
	a.report(out, ended)
	return out, nil
}

// detach leaves a job to the server, or cancels it, when its watcher is interrupted.
func (a *app) detach(ctx context.Context, api *client.Client, id cloudcrowd.JobID, r runOptions, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if !r.cancel {
		a.notef("\nthe job goes on without you.\n  cloudcrowd job watch %s\n  cloudcrowd job results --out %s %s\n  cloudcrowd job cancel %s\n", id, r.out, id, id)
		return err
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer stop()
	if _, cancelErr := api.Cancel(last, id, "interrupted"); cancelErr != nil {
		return fmt.Errorf("the job could not be cancelled: %w", cancelErr)
	}
	a.notef("\njob %s is cancelled\n", id)
	return err
}

// ledgerSum is the sum of all accounts as the server says; ok is false if it cannot be asked.
func ledgerSum(ctx context.Context, api *client.Client) (cloudcrowd.Credits, bool) {
	status, err := api.Status(ctx)
	return status.LedgerSum, err == nil
}
