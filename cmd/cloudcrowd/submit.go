package main

import (
	"context"

	"github.com/spf13/cobra"
)

var submitPage = page{
	use:   "submit [options] FILE",
	short: "submit a job without waiting for it",
	text: `
Uploads what the server lacks, submits the job and prints its id. Follow it
with "job watch", fetch its files with "job results".

--key makes submitting safe to repeat: the same key from the same account
within 24 hours is the same job.
`,
	examples: `
cloudcrowd submit job.yaml
cloudcrowd submit --key nightly-2026-11-22 job.yaml
`,
	see: []string{"run", "job watch", "job results"},
}

func (a *app) submitCommand() *cobra.Command {
	var o jobOptions
	var key string
	c := submitPage.command(1, 1, func(ctx context.Context, args []string) error {
		job, err := a.load(args[0], o)
		if err != nil {
			return err
		}
		api, err := a.connect()
		if err != nil {
			return err
		}
		spec, err := a.resolve(ctx, api, job)
		if err != nil {
			return err
		}
		submitted, err := api.Submit(ctx, spec, key)
		if err != nil {
			return err
		}
		if a.json {
			o := outcomeOf(submitted)
			o.Console = consoleJob(api, submitted.ID)
			return a.object(o)
		}
		a.printf("%s\n", submitted.ID)
		return nil
	})
	o.flags(c)
	c.Flags().StringVar(&key, "key", "", "idempotency `KEY`: repeating the command with it submits nothing new")
	return c
}
