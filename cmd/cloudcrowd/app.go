package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

var rootPage = page{
	use:   "cloudcrowd COMMAND",
	short: "run jobs on a crowd of computers, with checked results",
	text: `
CloudCrowd turns any set of computers into one pool that runs jobs for people
who cannot trust each other, checks the answers, and pays for the work.

A requester describes a job: programs, data, and how it may be cut up.
CloudCrowd splits it into tasks, runs them in sandboxes on workers, verifies
the results, merges them, and charges the job's budget. This one program is
the server, the worker, and the command line.

To see all of it work on this machine: cloudcrowd demo
`,
	examples: `
cloudcrowd demo                        a server, four workers (one of them lies), a real job
cloudcrowd server                      start a server; prints an admin link and a join link
cloudcrowd worker --join LINK          lend this machine to it
cloudcrowd run job.yaml --out results  run a job and fetch its files
cloudcrowd help exit-codes             what the exit status says
`,
	see: []string{"demo", "server", "worker", "run", "help exit-codes", "help environment"},
}

// app is one run of the program: where it reads and writes, and the options every command has.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	ink            ink // for stdout
	errInk         ink // for stderr

	json   bool
	server string // address or link
	token  string
	pin    string
}

// main runs one command and returns the exit status.
func (a *app) main(ctx context.Context, args []string) int {
	a.ink, a.errInk = inkFor(a.stdout, a.getenv), inkFor(a.stderr, a.getenv)
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.json { // the option may stand behind what could not be read
		for _, arg := range args {
			a.json = a.json || arg == "--json"
		}
	}
	complain(a.stdout, a.stderr, a.json, a.errInk, err)
	return exitStatus(err)
}

// root makes the tree of all commands.
func (a *app) root() *cobra.Command {
	root := rootPage.group(a.commands()...)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) {
		writePage(c.OutOrStdout(), c)
	})
	root.SetHelpCommand(a.helpCommand())
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print JSON: one object a line, the last one the result")
	f.StringVar(&a.server, "server", "", "`ADDRESS` or admin link of the server, or of several of a crowd with commas between them (or CLOUDCROWD_SERVER)")
	f.StringVar(&a.token, "token", "", "`TOKEN` that says who you are (or CLOUDCROWD_TOKEN)")
	f.StringVar(&a.pin, "pin", "", "`FINGERPRINT` of a self-signed server certificate (or CLOUDCROWD_PIN)")
	return root
}

// printf writes to standard output, for people: silent with --json.
func (a *app) printf(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.stdout, format, args...)
	}
}

// notef writes to standard error what is no result: silent with --json.
func (a *app) notef(format string, args ...any) {
	if !a.json {
		fmt.Fprintf(a.stderr, format, args...)
	}
}

// object prints a value as one line of JSON.
func (a *app) object(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false) // links stay as they are
	return e.Encode(v)
}

// list prints rows as JSON, one a line, with --json, otherwise as a table or, if there are none, the sentence that says what would make some.
func list[T any](a *app, items []T, headings []string, row func(T) []string, none string) error {
	if a.json {
		for _, item := range items {
			if err := a.object(item); err != nil {
				return err
			}
		}
		return nil
	}
	rows := make([][]string, len(items))
	for i, item := range items {
		rows[i] = row(item)
	}
	if len(rows) == 0 {
		fmt.Fprintln(a.stderr, none)
		return nil
	}
	_, err := io.WriteString(a.stdout, table(a.ink, headings, rows))
	return err
}

// facts prints names and values under each other, leaving out empty values.
func (a *app) facts(pairs ...string) {
	width := 0
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			width = max(width, textWidth(pairs[i]))
		}
	}
	for i := 0; i < len(pairs); i += 2 {
		if value := pairs[i+1]; value != "" {
			indent := "\n" + strings.Repeat(" ", width+2)
			a.printf("%s  %s\n", a.ink.dim(pad(pairs[i], width, false)), strings.ReplaceAll(value, "\n", indent))
		}
	}
}

// realApp is the program as the operating system started it.
func realApp() *app {
	return &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
}
