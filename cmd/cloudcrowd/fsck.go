package main

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"github.com/spf13/cobra"
)

var fsckPage = page{
	use:   "fsck --data FOLDER",
	short: "recompute everything a server knows and say what disagrees",
	text: `
Replays the journal and recomputes balances, holds, leases, the states of
jobs and tasks, the tables that lists are read from, and the digests of all
blobs. Reads only, also beside a running server. Blobs are read from where
the server last kept them, a bucket too, unless --blobs names another bucket.

With --store, journal and ledger are read from that PostgreSQL database, and
blobs from the data folder.

Prints "clean", or each thing that disagrees, and ends with status 8 then.
`,
	examples: `
cloudcrowd fsck --data /var/lib/cloudcrowd
cloudcrowd fsck --data cloudcrowd-data --json
cloudcrowd fsck --data cloudcrowd-data --store postgres://cloudcrowd@db.example.org/cloudcrowd
`,
	see: []string{"ledger check", "blobs verify"},
}

func (a *app) fsckCommand() *cobra.Command {
	var dir string
	var o platform.FsckOptions
	var c *cobra.Command
	c = fsckPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := checkStoreArguments(c, o.Database); err != nil {
			return err
		}
		if err := isFolder("--data", dir); err != nil {
			return err
		}
		report, err := platform.Fsck(ctx, dir, o)
		if err != nil {
			return err
		}
		if a.json {
			err = a.object(report)
		} else {
			for _, p := range report.Problems {
				a.printf("%s: %s\n", p.Subject, p.Text)
			}
			if report.Omitted > 0 {
				a.printf("… and %s\n", plural(report.Omitted, "further problem"))
			}
			for _, n := range report.Notes {
				a.notef("note: %s: %s\n", n.Subject, n.Text)
			}
			a.printf("%s: %s, %s, %s, %s\n", a.ink.state(report.Verdict), plural(report.Jobs, "job"), plural(report.Tasks, "task"),
				plural(report.Transfers, "transfer"), plural(report.Blobs, "blob"))
		}
		if err == nil && report.Verdict != platform.Clean {
			err = errReported{cloudcrowd.Unsuccessful}
		}
		return err
	})
	c.Flags().StringVar(&dir, "data", defaultData, "data `FOLDER` of the server")
	storeFlags(c, &o.Database)
	c.Flags().StringVar(&o.Blobs, "blobs", "", "look for blobs in the bucket at this `URL`")
	c.Flags().BoolVar(&o.Quick, "quick", false, "do not read every blob again, only whether it is there")
	return c
}
