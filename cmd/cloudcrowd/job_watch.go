package main

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var jobWatchPage = page{
	use:   "watch [options] JOB",
	short: "follow a job until it ends",
	text: `
Shows the progress of each stage until the job has ended, then its report.
Ctrl-C stops watching, not the job. With --events, or with --json, prints what
happens instead, a line an event; the last line is the job.
`,
	examples: `
cloudcrowd job watch last
cloudcrowd job watch --events last
`,
	see: []string{"run", "job results"},
}

func (a *app) jobWatchCommand() *cobra.Command {
	var events bool
	c := jobWatchPage.command(1, 1, func(ctx context.Context, args []string) error {
		api, job, err := a.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		if events || a.json {
			job, err = a.followEvents(ctx, api, job)
		} else {
			job, err = a.follow(ctx, api, job.ID)
		}
		if err != nil {
			return err
		}
		if a.json {
			err = a.object(job.JobSummary)
		} else {
			a.printf("\n")
			a.showJob(job)
		}
		if err == nil && job.State != cloudcrowd.JobDone {
			err = errReported{cloudcrowd.Unsuccessful}
		}
		return err
	})
	c.Flags().BoolVar(&events, "events", false, "print events instead of bars")
	return c
}

// followEvents prints a job's events until it has ended.
func (a *app) followEvents(ctx context.Context, api *client.Client, job cloudcrowd.Job) (cloudcrowd.Job, error) {
	if job.State.Ended() {
		return job, nil
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan cloudcrowd.Job, 1)
	go func() { // the feed may have said the last word before it was opened: ask, too
		defer stop()
		quiet := &app{stdout: a.stdout, stderr: a.stderr, json: true}
		if j, err := quiet.follow(watching, api, job.ID); err == nil {
			ended <- j
		}
		close(ended)
	}()
	var failed error
	for e, err := range api.Events(watching, "", job.ID) {
		switch {
		case err != nil:
		case a.json:
			err = a.object(e)
		default:
			a.printf("%s  %-18s %s\n", a.ink.dim(clock(e.At)), e.Type, e.Text)
		}
		if err != nil {
			failed = err
			stop()
			break
		}
	}
	if j, ok := <-ended; ok {
		return j, nil
	}
	if ctx.Err() != nil {
		return job, context.Cause(ctx)
	}
	return job, failed
}
