package main

import (
	"context"
	"fmt"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var benchPage = page{
	use:   "bench COMMAND",
	short: "measure this machine and build",
	text: `
Measures parts of the platform on this machine. The figures are printed with
their conditions, and durability is never switched off.
`,
}

var benchDispatchPage = page{
	use:   "dispatch [options]",
	short: "how many tasks a second pass through a server",
	text: `
Starts a server in a temporary folder, or --data, and workers that answer at
once, connected over the real WebSocket; submits a job of no-op tasks; and
prints how many durable, verified, paid tasks a second went through, and the
time from submission to result of single tasks. Every commit is synced.
`,
	examples: `
cloudcrowd bench dispatch --tasks 20000 --workers 8
cloudcrowd bench dispatch --tasks 20000 --workers 8 --json
`,
}

func (a *app) benchCommand() *cobra.Command { return benchPage.group(a.benchDispatchCommand()) }

func (a *app) benchDispatchCommand() *cobra.Command {
	var b benchConditions
	c := benchDispatchPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if b.Tasks < 1 || b.Workers < 1 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--tasks and --workers must be at least 1")
		}
		if b.DataDir == "" {
			dir, remove, err := temporaryFolder()
			if err != nil {
				return err
			}
			defer remove()
			b.DataDir = dir
		}
		result, err := benchDispatch(ctx, b)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(result)
		}
		var names []string
		for name := range result {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			a.facts(name, fmt.Sprint(result[name]))
		}
		return nil
	})
	f := c.Flags()
	f.IntVar(&b.Tasks, "tasks", 10000, "run `N` tasks")
	f.IntVar(&b.Workers, "workers", 4, "`N` workers")
	f.StringVar(&b.DataDir, "data", "", "keep the server's data in this `FOLDER`, on the disk to measure (default: a temporary one)")
	return c
}
