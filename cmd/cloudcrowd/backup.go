package main

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"github.com/spf13/cobra"
)

var backupPage = page{
	use:   "backup --data FOLDER --out FOLDER|FILE.tar.zst",
	short: "copy everything a server knows, while it works",
	text: `
Copies a server's data folder as it is at one moment, also beside the running
server, on the same machine and as the same user: the database, all blobs, and
the server's secrets. All that was acknowledged before the command began is in
it. A folder that holds an earlier backup of the same server gets only the
blobs that are new; a name that ends in .tar.zst makes one file.

The secrets are the operator's token, the invite of house machines, keys of
certificates made here, and the key that signs sessions and grants. Whoever
has the backup is the operator. With --no-secrets they are left out; a server
restored from that makes new ones: with a certificate of its own, everybody
needs new links; who is signed in with a browser signs in again.

Blobs of the server that are damaged are left out and named; then the status
is 8. "cloudcrowd restore" makes a data folder of a backup.
`,
	examples: `
cloudcrowd backup --data /var/lib/cloudcrowd --out /mnt/backup/cloudcrowd
cloudcrowd backup --data /var/lib/cloudcrowd --out cloudcrowd-$(date +%F).tar.zst
`,
	see: []string{"backup verify", "restore", "fsck"},
}

var backupVerifyPage = page{
	use:   "verify BACKUP",
	short: "read a backup and say what is damaged or missing",
	text: `
Compares every file and blob of a backup with its digest and lets the database
check its own structures. Needs room for the database in the folder of
temporary files. Prints "clean", or each thing that is damaged or missing, and
ends with status 8 then.
`,
	examples: `
cloudcrowd backup verify /mnt/backup/cloudcrowd
cloudcrowd backup verify cloudcrowd-2026-11-26.tar.zst --json
`,
	see: []string{"backup", "restore"},
}

var restorePage = page{
	use:   "restore BACKUP --data FOLDER",
	short: "make a data folder of a backup",
	text: `
Puts a backup into a folder that is empty or not there, comparing everything
with its digest, and then recomputes everything as "cloudcrowd fsck" does. If
the backup is damaged, what is wrong is named, nothing stays in the folder,
and the status is 8.

A server that is started on the folder continues all jobs as they were at the
moment of the backup. Results that came after it are computed again, unless
their workers still have them. Never run it while the original still runs:
both would lead the same jobs and move the same credits.
`,
	examples: `
cloudcrowd restore /mnt/backup/cloudcrowd --data /var/lib/cloudcrowd
cloudcrowd restore cloudcrowd-2026-11-26.tar.zst --data /srv/cloudcrowd
`,
	see: []string{"backup", "backup verify", "fsck", "server"},
}

func (a *app) backupCommand() *cobra.Command {
	var dir, out string
	o := platform.BackupOptions{Version: version()}
	c := backupPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if out == "" {
			return cloudcrowd.Fieldf("--out", "must name a folder, or a file that ends in .tar.zst")
		}
		switch filepath.Ext(out) {
		case ".tar", ".tgz", ".gz", ".xz", ".bz2", ".zip", ".zst":
			if !strings.HasSuffix(out, ".tar.zst") {
				return cloudcrowd.Fieldf("--out", "an archive ends in .tar.zst, found %q", filepath.Base(out)).WithHint("a folder's name ends otherwise")
			}
		}
		if err := isFolder("--data", dir); err != nil {
			return err
		}
		r, err := platform.Backup(ctx, dir, out, o)
		if err != nil {
			return err
		}
		if a.json {
			err = a.object(r)
		} else {
			a.printManifest(r.Path, &r.Manifest)
			a.printf("%s were new, %.1f s\n", plural(r.NewBlobs, "blob"), r.Seconds)
			if len(r.Secrets) > 0 {
				a.notef("it holds the server's secrets: whoever can read it is the operator (--no-secrets leaves them out)\n")
			}
			for _, d := range r.Damaged {
				a.printf("blob %s of the server is damaged and not in the backup\n", d)
			}
		}
		if err == nil && len(r.Damaged) > 0 {
			err = errReported{cloudcrowd.Unsuccessful}
		}
		return err
	})
	c.Flags().StringVar(&dir, "data", defaultData, "data `FOLDER` of the server")
	c.Flags().StringVar(&out, "out", "", "`PLACE` of the backup: a folder, or a file that ends in .tar.zst")
	c.Flags().BoolVar(&o.NoSecrets, "no-secrets", false, "leave out tokens in the clear and all keys")
	c.AddCommand(a.backupVerifyCommand())
	return c
}

func (a *app) printManifest(path string, m *platform.Manifest) {
	rows := int64(0)
	for _, n := range m.Rows {
		rows += n
	}
	secrets := "none"
	if len(m.Secrets) > 0 {
		secrets = plural(len(m.Secrets), "file")
	}
	a.facts("backup", path, "of", m.At.Time().Local().Format(time.DateTime), "made by", m.Version, "journal", plural(rows, "row"),
		"database", cloudcrowd.Bytes(m.Database.Size), "blobs", strconv.FormatInt(m.Blobs, 10)+", "+cloudcrowd.Bytes(m.Bytes), "secrets", secrets)
}

func (a *app) printProblems(r platform.VerifyReport) {
	for _, p := range r.Problems {
		a.printf("%s: %s\n", p.Subject, p.Text)
	}
	if r.Omitted > 0 {
		a.printf("… and %s\n", plural(r.Omitted, "further problem"))
	}
}

func (a *app) backupVerifyCommand() *cobra.Command {
	return backupVerifyPage.command(1, 1, func(ctx context.Context, args []string) error {
		r, err := platform.VerifyBackup(ctx, args[0])
		if err != nil {
			return err
		}
		if a.json {
			err = a.object(r)
		} else {
			a.printProblems(r)
			if r.Manifest != nil {
				a.printManifest(args[0], r.Manifest)
			}
			a.printf("%s\n", a.ink.state(r.Verdict))
		}
		if err == nil && r.Verdict != platform.Clean {
			err = errReported{cloudcrowd.Unsuccessful}
		}
		return err
	})
}

func (a *app) restoreCommand() *cobra.Command {
	var dir string
	c := restorePage.command(1, 1, func(ctx context.Context, args []string) error {
		r, err := platform.Restore(ctx, args[0], dir)
		if err != nil {
			return err
		}
		good := r.Verdict == platform.Clean && r.Fsck != nil && r.Fsck.Verdict == platform.Clean
		if a.json {
			err = a.object(r)
		} else {
			a.printProblems(r.VerifyReport)
			if r.Manifest != nil {
				a.printManifest(args[0], r.Manifest)
			}
			switch {
			case r.Fsck == nil:
				a.printf("%s; nothing was restored\n", a.ink.state(r.Verdict))
			default:
				for _, p := range r.Fsck.Problems {
					a.printf("%s: %s\n", p.Subject, p.Text)
				}
				a.printf("restored to %s; %s: %s, %s, %s\n", dir, a.ink.state(r.Fsck.Verdict), plural(r.Fsck.Jobs, "job"), plural(r.Fsck.Tasks, "task"), plural(r.Fsck.Transfers, "transfer"))
			}
		}
		if err == nil && !good {
			err = errReported{cloudcrowd.Unsuccessful}
		}
		return err
	})
	c.Flags().StringVar(&dir, "data", defaultData, "`FOLDER` to make, empty or not there")
	return c
}
