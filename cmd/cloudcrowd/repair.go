package main

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"github.com/spf13/cobra"
)

var repairPage = page{
	use:   "repair --data FOLDER",
	short: "make a damaged database again from its journal",
	text: `
For a SQLite database that "cloudcrowd fsck" calls faulty, while the server is
stopped. Copies what no journal tells (the journals themselves, tokens,
invites, workers, settings) into a new database, derives from the journals the
ledger and the tables that lists are read from, makes indexes anew, checks the
result, and puts it in the place of the old database. That one is kept beside
it as cloudcrowd.db.damaged-TIME. Needs room for the database once more.

If a journal, or something else that no journal tells, is damaged, it is
named, nothing is changed, and the status is 8: "cloudcrowd restore" makes a
data folder of a backup. Blobs are not looked at; fsck does that.
`,
	examples: `
cloudcrowd repair --data /var/lib/cloudcrowd --dry-run
cloudcrowd repair --data /var/lib/cloudcrowd
`,
	see: []string{"fsck", "restore", "backup verify"},
}

func (a *app) repairCommand() *cobra.Command {
	var dir string
	var dryRun bool
	c := repairPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := isFolder("--data", dir); err != nil {
			return err
		}
		r, err := platform.Repair(ctx, dir, dryRun)
		if err != nil {
			return err
		}
		if a.json {
			err = a.object(r)
		} else {
			for _, p := range r.Problems {
				a.printf("%s: %s\n", p.Subject, p.Text)
			}
			switch {
			case r.Verdict != platform.Clean:
				a.printf("%s; nothing was changed: restore the newest backup that \"cloudcrowd backup verify\" calls clean\n", a.ink.state(r.Verdict))
			case dryRun:
				a.printf("it can be repaired: %s, %s; nothing was changed\n", plural(r.Jobs, "job"), plural(r.Tasks, "task"))
			default:
				a.printf("repaired: %s, %s; the old database is kept as %s\n", plural(r.Jobs, "job"), plural(r.Tasks, "task"), r.Kept)
			}
		}
		if err == nil && r.Verdict != platform.Clean {
			err = errReported{cloudcrowd.Unsuccessful}
		}
		return err
	})
	c.Flags().StringVar(&dir, "data", defaultData, "data `FOLDER` of the server")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "make the new database and check it, but do not use it")
	return c
}
