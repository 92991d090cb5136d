package main

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var simPage = page{
	use:   "sim (--seeds SEEDS | --workflow FILE) [options] [FILE…]",
	short: "simulate the platform, or a workflow over a crowd",
	text: `
Simulates, without a server and without waiting.

With --seeds, runs the whole platform in one process once for each seed: the
real core and loop in one or several servers, over a store, a bus and a crowd
that fail as the profile says. After every commit it holds what CloudCrowd
promises: no accepted job lost, nothing paid twice, nothing acknowledged that
is not in the journal, and more (docs/testing.md). Prints events per second,
the faults it injected, a hash of all that happened (the same seeds have the
same), and each failing seed with the command that repeats it, the first one
with the end of its trace. Ends with status 8 if a seed failed.

Profiles: calm, where nothing goes wrong; stormy, a bad network and workers
that come and go; hostile, workers that lie, collude and grab; crashy, servers
that die anywhere, fight over the shard, and have bad disks and clocks;
servers, up to three of them that share up to three shards; overload, more
work than crowd, disk and purses can bear; all, one after the other.

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
cloudcrowd sim --seeds 1..1000 --profile crashy
cloudcrowd sim --seeds 17 --profile stormy --trace trace.txt
cloudcrowd sim --seeds 1..100 --profile all --json
cloudcrowd sim --workflow montage.json.gz
cloudcrowd sim --workflow a.json b.json c.json --crowds 20 --json
cloudcrowd sim --workflow a.json --runtimes learned --error 0.2
cloudcrowd sim --workflow a.json --churn 10m/2m --stragglers 0.05 --speculate 0.05
cloudcrowd sim --workflow a.json --trace decisions.jsonl
cloudcrowd sim --workflow a.json --replay decisions.jsonl
`,
	see: []string{"import", "bench", "fsck", "job explain"},
}

// simMode is one thing that sim simulates, chosen by the flag of its name. Its flags are its own; where two modes have one of the same name, it has the
// description of the first.
type simMode struct {
	flag  string // that chooses it
	takes bool   // arguments
	flags *pflag.FlagSet
	run   run
}

func (a *app) simModes() []simMode { return []simMode{a.simPlatform(), a.simWorkflow()} }

func (a *app) simCommand() *cobra.Command {
	modes := a.simModes()
	var c *cobra.Command
	c = simPage.command(0, -1, func(ctx context.Context, args []string) error {
		var chosen *simMode
		var names []string
		for i, m := range modes {
			names = append(names, "--"+m.flag)
			if !c.Flags().Changed(m.flag) {
				continue
			}
			if chosen != nil {
				return cloudcrowd.Errorf(cloudcrowd.Invalid, "--%s and --%s are different simulations; give one", chosen.flag, m.flag)
			}
			chosen = &modes[i]
		}
		if chosen == nil {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "say what to simulate: %s", strings.Join(names, " or ")).WithHint("cloudcrowd help sim")
		}
		if err := chosen.take(c.Flags(), modes); err != nil {
			return err
		}
		if len(args) > 0 && !chosen.takes {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "sim --%s takes no arguments, found %q", chosen.flag, args[0])
		}
		return chosen.run(ctx, args)
	})
	for _, m := range modes {
		c.Flags().AddFlagSet(m.flags)
	}
	return c
}

// take hands the flags that were given to the mode, and refuses those that only other modes have.
func (m *simMode) take(given *pflag.FlagSet, modes []simMode) (err error) {
	given.Visit(func(f *pflag.Flag) {
		mine := m.flags.Lookup(f.Name)
		switch {
		case err != nil || mine == f:
		case mine != nil: // another mode's of the same name was parsed
			err = m.flags.Set(f.Name, f.Value.String())
		default:
			for _, other := range modes {
				if other.flags.Lookup(f.Name) == f {
					err = cloudcrowd.Errorf(cloudcrowd.Invalid, "--%s goes with --%s, not with --%s", f.Name, other.flag, m.flag)
				}
			}
		}
	})
	return err
}
