package main

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var simPage = page{
	use:   "sim --workflow FILE [options] [FILE…]",
	short: "replay a recorded workflow over a crowd, on a virtual clock",
	text: `
Asks the scheduler what it would do, without a server and without waiting.

With --workflow, replays recorded scientific workflows in WfFormat
(https://wfcommons.org), packed by gzip or not, over a crowd: workers of
lognormal speed with median 1, each with its own link. Prints how long the
workflow takes (makespan), a lower bound no schedule can beat (the larger of
the longest path on the fastest worker and of all work over all speed), their
ratio, the bytes moved, and the same for the plain orders: list (upward rank
and earliest finish, planned once), FIFO (as tasks get ready, each where it
ends first) and first free (the head of the queue to the first free worker).
The tight bound also counts that a task runs on one worker as a whole.

Figures are means over --crowds crowds; several files make a table with the
geometric mean over them. Files that no task writes are with every worker
beforehand, unless --fetch-inputs. Everything derives from --seed.
`,
	examples: `
cloudcrowd sim --workflow montage.json.gz
cloudcrowd sim --workflow a.json b.json c.json --crowds 20 --json
cloudcrowd sim --workflow a.json --runtimes learned --error 0.2
cloudcrowd sim --workflow a.json --churn 10m/2m --stragglers 0.05 --speculate 0.05
cloudcrowd sim --workflow a.json --trace decisions.jsonl
cloudcrowd sim --workflow a.json --replay decisions.jsonl
`,
	see: []string{"import", "bench", "job explain"},
}

// simMode is one thing that sim simulates, chosen by the flag of its name. Its flags are its own.
type simMode struct {
	flag  string // that chooses it
	takes bool   // arguments
	flags *pflag.FlagSet
	run   run
}

func (a *app) simModes() []simMode { return []simMode{a.simWorkflow()} }

func (a *app) simCommand() *cobra.Command {
	modes := a.simModes()
	var c *cobra.Command
	c = simPage.command(0, -1, func(ctx context.Context, args []string) error {
		chosen := -1
		var names []string
		for i, m := range modes {
			names = append(names, "--"+m.flag)
			if !m.flags.Changed(m.flag) {
				continue
			}
			if chosen >= 0 {
				return cloudcrowd.Errorf(cloudcrowd.Invalid, "--%s and --%s are different simulations; give one", modes[chosen].flag, m.flag)
			}
			chosen = i
		}
		if chosen < 0 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "say what to simulate: %s", strings.Join(names, " or ")).WithHint("cloudcrowd help sim")
		}
		var wrong error
		c.Flags().Visit(func(f *pflag.Flag) {
			for i, m := range modes {
				if i != chosen && m.flags.Lookup(f.Name) == f && wrong == nil {
					wrong = cloudcrowd.Errorf(cloudcrowd.Invalid, "--%s goes with --%s, not with --%s", f.Name, m.flag, modes[chosen].flag)
				}
			}
		})
		if wrong != nil {
			return wrong
		}
		if len(args) > 0 && !modes[chosen].takes {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "sim --%s takes no arguments, found %q", modes[chosen].flag, args[0])
		}
		return modes[chosen].run(ctx, args)
	})
	for _, m := range modes {
		c.Flags().AddFlagSet(m.flags)
	}
	return c
}
