package main

import (
	"context"
	"fmt"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var planPage = page{
	use:   "plan [options] FILE",
	short: "what a job would be cut into, need and cost",
	text: `
Reads a job file and asks the server what it would be cut into: tasks a stage,
attempts a task, memory, work and credits, each as a range, the budget that
would be held and what the account has. Inputs are uploaded, because their
size decides; nothing is submitted, held or spent.
`,
	examples: `
cloudcrowd plan job.yaml
cloudcrowd plan --input genome=other.fasta.gz job.yaml
cloudcrowd plan --json job.yaml
`,
	see: []string{"validate", "run"},
}

func (a *app) planCommand() *cobra.Command {
	var o jobOptions
	c := planPage.command(1, 1, func(ctx context.Context, args []string) error {
		job, err := a.load(args[0], o)
		if err != nil {
			return err
		}
		api, err := a.connect()
		if err != nil {
			return err
		}
		return a.plan(ctx, api, job)
	})
	o.flags(c)
	return c
}

// plan uploads what a plan depends on and prints it.
func (a *app) plan(ctx context.Context, api *client.Client, job *jobFile) error {
	spec, err := a.resolve(ctx, api, job)
	if err != nil {
		return err
	}
	plan, err := api.Plan(ctx, spec)
	if err != nil {
		return err
	}
	if a.json {
		return a.object(plan)
	}
	a.printf("%s", planText(a.ink, plan))
	return nil
}

// planText draws a plan.
func planText(k ink, p cloudcrowd.Plan) string {
	var rows [][]string
	for _, s := range p.Stages {
		units := ""
		if s.Units > 0 {
			units = grouped(s.Units) + " " + s.UnitName
		}
		rows = append(rows, []string{s.Name, s.Kind, units, wholeRange(s.Tasks), floatRange(s.Replicas), cloudcrowd.Bytes(s.MemoryBytes),
			workRange(s.CoreSeconds), s.Verify})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", k.bold(p.Name))
	b.WriteString(table(k, []string{"STAGE", "WHAT", ">UNITS", ">TASKS", ">ATTEMPTS EACH", ">MEMORY", ">CORE TIME", "VERIFY"}, rows))
	fmt.Fprintf(&b, "\n%s\n", planCost(p))
	for _, note := range p.Notes {
		fmt.Fprintf(&b, "· %s\n", strings.Join(wrap(note, 96), "\n  "))
	}
	return b.String()
}

// planCost is a plan's work, time and money in a few lines.
func planCost(p cloudcrowd.Plan) string {
	s := "work      " + workRange(p.CoreSeconds) + " of the reference core, replicas included"
	switch {
	case p.Workers == 0:
		s += "\ntime      unknown: no worker that could run it is online"
	case p.Seconds[1] > 0:
		s += fmt.Sprintf("\ntime      %s on %s that can run it now", workRange(p.Seconds), plural(p.Workers, "worker"))
	}
	s += fmt.Sprintf("\ncost      %s credits; at least %s", creditRange(p.Cost), p.Minimum)
	return s + fmt.Sprintf("\nbudget    %s credits would be held; %s available", p.Budget, p.Available)
}

// planBrief is a plan in one line.
func planBrief(p cloudcrowd.Plan) string {
	var low, high int64
	for _, s := range p.Stages {
		low, high = low+s.Tasks[0], high+s.Tasks[1]
	}
	noun := "tasks"
	if high == 1 {
		noun = "task"
	}
	return fmt.Sprintf("%s, %s %s, %s of work, %s credits (budget %s)", plural(len(p.Stages), "stage"), wholeRange([2]int64{low, high}), noun,
		workRange(p.CoreSeconds), creditRange(p.Cost), p.Budget)
}

func wholeRange(r [2]int64) string {
	if r[0] >= r[1] {
		return grouped(r[0])
	}
	return grouped(r[0]) + "–" + grouped(r[1])
}

func floatRange(r [2]float64) string {
	low, high := fmt.Sprintf("%.3g", r[0]), fmt.Sprintf("%.3g", r[1])
	if low == high {
		return low
	}
	return low + "–" + high
}

func workRange(r [2]float64) string {
	low, high := seconds(r[0]), seconds(r[1])
	if low == high {
		return low
	}
	return low + " to " + high
}

func creditRange(r [2]cloudcrowd.Credits) string {
	if r[0] == r[1] {
		return r[0].String()
	}
	return r[0].String() + " to " + r[1].String()
}
