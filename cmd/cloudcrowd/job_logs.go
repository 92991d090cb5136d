package main

import (
	"context"
	"io"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var jobLogsPage = page{
	use:   "logs [options] JOB or TASK",
	short: "print what the programs wrote to stdout and stderr",
	text: `
Prints, attempt by attempt, the last 64 KiB of what a program wrote to stdout
and stderr. Of a job, the logs of failed attempts are printed, with --all
those of every attempt. Attempts that wrote nothing are left out.
`,
	examples: `
cloudcrowd job logs last
cloudcrowd job logs j06f3k2m9q1xw8r4t-0-17
`,
	see: []string{"job tasks", "job explain"},
}

// attemptLog is a log in JSON output.
type attemptLog struct {
	Attempt cloudcrowd.AttemptID    `json:"attempt"`
	Worker  string                  `json:"worker"`
	State   cloudcrowd.AttemptState `json:"state"`
	Outcome cloudcrowd.Outcome      `json:"outcome"`
	Reason  string                  `json:"reason,omitempty"`
	Log     string                  `json:"log"`
}

func (a *app) jobLogsCommand() *cobra.Command {
	var all bool
	c := jobLogsPage.command(1, 1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		attempts, err := a.attemptsOf(ctx, api, args[0], &all)
		if err != nil {
			return err
		}
		printed := 0
		for _, at := range attempts {
			if at.Result == nil || !all && at.State != cloudcrowd.AttemptFailed {
				continue
			}
			text, err := logText(ctx, api, at.ID, *at.Result)
			if err != nil {
				return err
			}
			if text == "" && at.Result.Reason == "" {
				continue
			}
			printed++
			if err := a.printLog(at, text); err != nil {
				return err
			}
		}
		if printed == 0 && all {
			a.notef("no attempt wrote anything to stdout or stderr\n")
		} else if printed == 0 {
			a.notef("no attempt failed; --all prints the logs of those that did not\n")
		}
		return nil
	})
	c.Flags().BoolVar(&all, "all", false, "of a job, the logs of all attempts")
	return c
}

// attemptsOf lists the attempts of a task (all of which are wanted then) or job.
func (a *app) attemptsOf(ctx context.Context, api *client.Client, word string, all *bool) ([]cloudcrowd.Attempt, error) {
	if id, err := cloudcrowd.ParseTaskID(word); err == nil {
		*all = true
		task, err := api.Task(ctx, id)
		return task.Attempts, err
	}
	id, err := a.resolveJob(ctx, api, word)
	if err != nil {
		return nil, err
	}
	return collect(0, func(p client.PageQuery) (client.Page[cloudcrowd.Attempt], error) { return api.Attempts(ctx, id, p) })
}

// logText is what an attempt wrote: its log, or at least the end of its stderr.
func logText(ctx context.Context, api *client.Client, id cloudcrowd.AttemptID, r cloudcrowd.Result) (string, error) {
	if r.Log == "" {
		return r.StderrTail, nil
	}
	blob, err := api.AttemptLog(ctx, id)
	if err != nil {
		if r.StderrTail != "" && cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
			return r.StderrTail, nil
		}
		return "", err
	}
	defer blob.Close()
	data, err := io.ReadAll(blob)
	return string(data), err
}

func (a *app) printLog(at cloudcrowd.Attempt, text string) error {
	worker := workerName(at.WorkerName, at.Worker)
	if a.json {
		return a.object(attemptLog{at.ID, worker, at.State, at.Result.Outcome, at.Result.Reason, text})
	}
	a.printf("%s\n", a.ink.bold(at.ID.String()+" on "+worker+", "+string(at.State)))
	if at.Result.Reason != "" {
		a.printf("%s\n", at.Result.Reason)
	}
	a.printf("%s\n", printable(text))
	return nil
}

// printable makes text from a stranger's program safe for a terminal: control characters other than newline and tab are shown, not obeyed.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < 0x20:
			return '\u2400' + r
		case r == 0x7f || r >= 0x80 && r < 0xa0:
			return '\ufffd'
		}
		return r
	}, s)
}
