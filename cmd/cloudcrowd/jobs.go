package main

import (
	"context"
	"fmt"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var jobsPage = page{
	use:   "jobs [options]",
	short: "list jobs, newest first",
	text: `
Lists your jobs; an operator sees everybody's. One line a job: id, state, how
far it is, tasks, refused results, cost, age, name.
`,
	examples: `
cloudcrowd jobs
cloudcrowd jobs --state running
cloudcrowd jobs --text coli --json
`,
	see: []string{"job", "run", "submit"},
}

func (a *app) jobsCommand() *cobra.Command {
	var account, state, text string
	var limit int
	c := jobsPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := oneOf("--state", state, "", "running", "done", "failed", "cancelled"); err != nil {
			return err
		}
		api, err := a.connect()
		if err != nil {
			return err
		}
		jobs, err := collect(limit, func(p client.PageQuery) (client.Page[cloudcrowd.JobSummary], error) {
			return api.Jobs(ctx, client.JobQuery{PageQuery: p, Account: cloudcrowd.AccountID(account), State: cloudcrowd.JobState(state), Text: text})
		})
		if err != nil {
			return err
		}
		headings := []string{"JOB", "STATE", ">DONE", ">TASKS", ">REFUSED", ">CREDITS", "AGE", "NAME"}
		return list(a, jobs, headings, func(j cloudcrowd.JobSummary) []string {
			return []string{string(j.ID), a.ink.state(string(j.State)), fmt.Sprintf("%.0f %%", j.Progress*100), grouped(j.Tasks), grouped(j.Refused),
				j.Cost.String(), age(j.SubmittedAt, time.Now()), j.Name}
		}, "no jobs; `cloudcrowd run job.yaml` submits one")
	})
	f := c.Flags()
	f.StringVar(&account, "account", "", "only jobs of this `ACCOUNT`")
	f.StringVar(&state, "state", "", "only jobs in this `STATE`: running, done, failed or cancelled")
	f.StringVar(&text, "text", "", "only jobs with this `TEXT` in name or id")
	f.IntVar(&limit, "limit", 50, "at most `N` jobs; 0 means all")
	return c
}

// age is how long ago a time of the API was, in words; "" for no time.
func age(t cloudcrowd.Time, now time.Time) string {
	if t == 0 {
		return ""
	}
	return seconds(max(0, now.Sub(t.Time()).Seconds()))
}

// clock writes a time of the API in local time; "" for no time.
func clock(t cloudcrowd.Time) string {
	if t == 0 {
		return ""
	}
	return t.Time().Local().Format("2006-01-02 15:04:05")
}

// oneOf refuses a value that is not among those allowed.
func oneOf(what, value string, allowed ...string) error {
	var shown []string
	for _, v := range allowed {
		if v == value {
			return nil
		}
		if v != "" {
			shown = append(shown, v)
		}
	}
	err := cloudcrowd.Errorf(cloudcrowd.Invalid, "%s: %q is not known", what, value)
	if near := nearest(value, shown); near != "" {
		return err.WithHint("did you mean %q?", near)
	}
	return err.WithHint("known: %s", join(shown))
}

// join lists words in a sentence: "a, b or c".
func join(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		s := words[0]
		for _, w := range words[1 : n-1] {
			s += ", " + w
		}
		return s + " or " + words[n-1]
	}
}
