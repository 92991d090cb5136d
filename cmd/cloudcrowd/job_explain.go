package main

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var jobExplainPage = page{
	use:   "explain JOB or TASK",
	short: "why a job or task waits, went where it went, or failed",
	text: `
For a waiting job or task: why it waits and what would move it. For a finished
task: why it went to these workers, which results agreed, which were refused,
and what it cost.
`,
	examples: `
cloudcrowd job explain last
cloudcrowd job explain j06f3k2m9q1xw8r4t-0-17
`,
	see: []string{"job tasks", "workers"},
}

func (a *app) jobExplainCommand() *cobra.Command {
	return jobExplainPage.command(1, 1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		var e cloudcrowd.Explanation
		if task, taskErr := cloudcrowd.ParseTaskID(args[0]); taskErr == nil {
			e, err = api.ExplainTask(ctx, task)
		} else {
			var id cloudcrowd.JobID
			if id, err = a.resolveJob(ctx, api, args[0]); err == nil {
				e, err = api.Explain(ctx, id)
			}
		}
		if err != nil {
			return err
		}
		if a.json {
			return a.object(e)
		}
		a.printf("%s\n", a.ink.bold(e.Subject))
		for _, line := range e.Lines {
			a.printf("· %s\n", strings.Join(wrap(line, 96), "\n  "))
		}
		return nil
	})
}
