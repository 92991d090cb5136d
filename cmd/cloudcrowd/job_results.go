package main

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var jobResultsPage = page{
	use:   "results [--out DIR] JOB",
	short: "list or fetch the result files of a job",
	text: `
Without --out lists the files. With --out stores them below DIR, under their
own names; where two files have the same name, in folders by stage and task.
Every file is checked against its digest.
`,
	examples: `
cloudcrowd job results last
cloudcrowd job results --out spectrum last
`,
	see: []string{"run", "blobs get"},
}

func (a *app) jobResultsCommand() *cobra.Command {
	var out string
	c := jobResultsPage.command(1, 1, func(ctx context.Context, args []string) error {
		api, job, err := a.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		if out == "" {
			return list(a, job.Outputs, []string{"STAGE", "FILE", ">SIZE", "DIGEST"}, func(o cloudcrowd.StageOutput) []string {
				return []string{o.Stage, o.Path, cloudcrowd.Bytes(o.SizeBytes), string(o.Digest)}
			}, "no result files yet; the job is "+string(job.State))
		}
		if job.State != cloudcrowd.JobDone {
			return cloudcrowd.Errorf(cloudcrowd.Conflict, "job %s is %s; its result is not complete", job.ID, job.State).
				WithHint("`cloudcrowd job watch %s` follows it", job.ID)
		}
		paths, err := a.fetch(ctx, api, job, out)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(map[string]any{"job": job.ID, "out": out, "files": paths})
		}
		for _, p := range paths {
			a.printf("%s\n", p)
		}
		return nil
	})
	c.Flags().StringVarP(&out, "out", "o", "", "store the files below `DIR`")
	return c
}
