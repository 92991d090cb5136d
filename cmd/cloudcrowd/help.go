package main

import (
	"fmt"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var helpPage = page{
	use:   "help [COMMAND or TOPIC]",
	short: "show a manual page",
	text: `
Prints the manual page of a command, or of one of the topics exit-codes and
environment. "cloudcrowd COMMAND --help" prints the same.
`,
	examples: `
cloudcrowd help run
cloudcrowd help job explain
cloudcrowd help exit-codes
`,
}

var exitCodesPage = page{
	use:   "exit-codes",
	short: "what the exit status of a command says",
	text:  exitCodesText(),
	see:   []string{"help environment"},
}

var environmentPage = page{
	use:   "environment",
	short: "environment variables, files and settings",
	text: `
CLOUDCROWD_SERVER      address or admin link of the server, as --server;
                       servers of one crowd with commas between them
CLOUDCROWD_TOKEN       token that says who you are, as --token
CLOUDCROWD_PIN         fingerprint of a self-signed certificate, as --pin
CLOUDCROWD_CONFIG_DIR  folder of the stored contexts; default: "cloudcrowd"
                       in the user's configuration folder
CLOUDCROWD_SERVER_X    option --x of "cloudcrowd server", dashes as
                       underscores: CLOUDCROWD_SERVER_LISTEN is --listen
CLOUDCROWD_WORKER_X    option --x of "cloudcrowd worker"
NO_COLOR               if set, nothing is coloured

Which server a command talks to is decided in this order: --server,
CLOUDCROWD_SERVER, the context chosen with "cloudcrowd login". A "cloudcrowd
server" on this machine stores the context "local" while it runs. When one of
several servers is gone, a command goes on with the next. Without a token, a
server of the chosen context's crowd is talked to with the context's.

Settings of server and worker are decided in this order: option, environment
variable, configuration file (--config), default. A configuration file is YAML
whose keys are the names of the options; an unknown key is an error.
`,
	see: []string{"login", "server", "worker"},
}

func (a *app) helpCommand() *cobra.Command {
	c := helpPage.command(0, -1, nil)
	c.RunE = func(c *cobra.Command, args []string) error {
		target := c.Root()
		for _, word := range args {
			next := slices.IndexFunc(target.Commands(), func(sub *cobra.Command) bool { return sub.Name() == word })
			if next < 0 {
				return unknownCommand(target, word)
			}
			target = target.Commands()[next]
		}
		writePage(a.stdout, target)
		return nil
	}
	return c
}

// exitMeanings says in which case each code ends a command, in the order of the table.
var exitMeanings = []struct {
	code    cloudcrowd.Code
	meaning string
}{
	{cloudcrowd.Internal, "a failure that is nobody's input: a defect, a disk"},
	{cloudcrowd.Invalid, "a mistake in the command line, the job file or a value"},
	{cloudcrowd.TooLarge, "over a size limit"},
	{cloudcrowd.DigestMismatch, "bytes that do not match their digest"},
	{cloudcrowd.Unauthorized, "no valid token"},
	{cloudcrowd.Forbidden, "a valid token that may not do this"},
	{cloudcrowd.NotFound, "no such job, task, worker, account, file"},
	{cloudcrowd.Conflict, "not possible in the present state, as cancelling an ended job"},
	{cloudcrowd.LeaseLost, "another worker holds the task"},
	{cloudcrowd.InsufficientCredits, "the account cannot cover the job's budget"},
	{cloudcrowd.Unavailable, "the server cannot be reached or cannot do this now; try later"},
	{cloudcrowd.RateLimited, "too many requests; try later"},
	{cloudcrowd.Unsuccessful, "the job failed or was cancelled, or a check (fsck, ledger check, config check, backup verify) found faults"},
}

func exitCodesText() string {
	var b strings.Builder
	b.WriteString("A command ends with one of these. With --json an error is also the last line\nof standard output: {\"error\": {\"code\": …, \"message\": …, \"hint\": …}}.\n\n")
	fmt.Fprintf(&b, "  %3d  %-21s %s\n", 0, "", "done as asked")
	slices.SortStableFunc(exitMeanings, func(x, y struct {
		code    cloudcrowd.Code
		meaning string
	}) int {
		return x.code.ExitStatus() - y.code.ExitStatus()
	})
	for _, m := range exitMeanings {
		fmt.Fprintf(&b, "  %3d  %-21s %s\n", m.code.ExitStatus(), m.code, strings.Join(wrap(m.meaning, 48), "\n"+strings.Repeat(" ", 29)))
	}
	fmt.Fprintf(&b, "  %3d  %-21s %s\n", exitInterrupted, "", "interrupted with Ctrl-C")
	return b.String()
}

// topics are the help pages without a command.
func topics() []*cobra.Command {
	return []*cobra.Command{exitCodesPage.topic(), environmentPage.topic()}
}
