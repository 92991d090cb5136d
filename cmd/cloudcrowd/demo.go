package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/examples"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"github.com/spf13/cobra"
)

var demoPage = page{
	use:   "demo [options]",
	short: "see all of it work on this machine",
	text: `
Starts the real server in a temporary folder and four workers, each a process
of its own that joins it over the real WebSocket. One of them, mallory's,
lies about its results. Then runs an example on real data, and shows its
progress, the answer, how many tasks and attempts it took, whose results were
refused, what it cost, what each worker earned, that the ledger balances, and
the address of the console. Stays up until Ctrl-C, so that you can look
around; --once ends after the result.

Nothing is installed and nothing leaves the machine. The result files stay;
the folder of the server is removed at the end, unless --data names one.

With --once the status is 0 only if the job is done, the ledger balances and
fsck finds everything clean.
`,
	examples: `
cloudcrowd demo
cloudcrowd demo --list
cloudcrowd demo --example finance
cloudcrowd demo --once --json | tail -n 1
`,
	see: []string{"server", "worker", "run"},
}

const (
	demoExample = "kmers" // what demo runs unless told otherwise
	liar        = "mallory"
)

// demoOwners are who lends a worker, in order; the liar is the last of them.
var demoOwners = []string{"ada", "grace", "linus", liar}

// demoOptions are the options of demo.
type demoOptions struct {
	once          bool
	example       string
	listen, data  string
	out           string
	workers       int
	params, input []string
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	var show bool
	c := demoPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if show {
			return list(a, examples.List(), []string{"EXAMPLE", "WHAT"}, func(e examples.Example) []string { return []string{e.Name, e.Title} }, "none")
		}
		return a.demo(ctx, o)
	})
	f := c.Flags()
	f.BoolVar(&o.once, "once", false, "end after the result")
	f.StringVar(&o.example, "example", demoExample, "run the example with this `NAME`")
	f.BoolVar(&show, "list", false, "list the examples")
	f.StringVar(&o.listen, "listen", "127.0.0.1:0", "`ADDRESS` and port to serve on; port 0 takes any free one")
	f.StringVar(&o.data, "data", "", "keep the server's data in this `FOLDER` (default: a temporary one)")
	f.StringVarP(&o.out, "out", "o", "", "store the result files below `DIR` (default: a new folder among the temporary files)")
	f.IntVar(&o.workers, "workers", len(demoOwners), "start `N` workers; the last one lies")
	f.StringArrayVar(&o.params, "param", nil, "replace a parameter of the example, `NAME=VALUE`")
	f.StringArrayVar(&o.input, "input", nil, "replace an input of the example, `NAME=PATH`")
	return c
}

// demoMembers are the workers of a demonstration of n workers.
func demoMembers(n int) []member {
	var members []member
	for i := range n - 1 {
		owner := fmt.Sprintf("owner%d", i+1)
		if i < len(demoOwners)-1 {
			owner = demoOwners[i]
		}
		members = append(members, member{owner: owner})
	}
	return append(members, member{owner: liar, misbehave: "lie"})
}

func findExample(name string) (examples.Example, error) {
	if e, ok := examples.Find(name); ok {
		return e, nil
	}
	var names []string
	for _, e := range examples.List() {
		names = append(names, e.Name)
	}
	return examples.Example{}, oneOf("--example", name, names...)
}

func (a *app) demo(ctx context.Context, o demoOptions) error {
	started := time.Now()
	example, err := findExample(o.example)
	if err != nil {
		return err
	}
	if o.workers < 3 {
		return cloudcrowd.Fieldf("--workers", "%d must be at least 3: two honest ones have to agree against the liar", o.workers)
	}
	work, remove, err := temporaryFolder()
	if err != nil {
		return err
	}
	defer remove()
	if o.data == "" {
		o.data = filepath.Join(work, "data")
	}
	if o.out == "" {
		if o.out, err = os.MkdirTemp("", "cloudcrowd-demo-"+example.Name+"-"); err != nil {
			return err
		}
	}
	path, err := example.Extract(filepath.Join(work, "example"))
	if err != nil {
		return err
	}
	job, err := a.load(path, jobOptions{params: o.params, inputs: o.input})
	if err != nil {
		return err
	}
	a.notef("%s\n", a.errInk.dim(fmt.Sprintf("starting a server and %d workers; %s's lies about its results", o.workers, liar)))
	c, err := a.startCrowd(ctx, serverSettings{DataDir: o.data, Listen: o.listen, Prices: cloudcrowd.DefaultPrices, LogLevel: "info"}, demoMembers(o.workers))
	if err != nil {
		return err
	}
	defer c.stop()
	a.notef("%s\n\n", a.errInk.dim("console: "+c.console))
	out, err := a.demoRun(ctx, c, job, o, started)
	if err != nil {
		return a.finish(out, err)
	}
	if a.json {
		if err := a.object(out); err != nil {
			return err
		}
	}
	if o.once {
		if *out.Sum != 0 || out.Fsck != platform.Clean {
			return errReported{cloudcrowd.Unsuccessful}
		}
		return nil
	}
	a.printf("\nThe server stays up: open the console, or, in another terminal,\n  cloudcrowd jobs --server '%s'\nCtrl-C ends.\n", c.console)
	return waitFor(ctx, c.server)
}

// demoRun runs the job and prints everything there is to say about it.
func (a *app) demoRun(ctx context.Context, c *crowd, job *jobFile, o demoOptions, started time.Time) (outcome, error) {
	spec, err := a.resolve(ctx, c.client, job)
	if err != nil {
		return outcome{}, err
	}
	plan, err := c.client.Plan(ctx, spec)
	if err != nil {
		return outcome{}, err
	}
	a.notef("%s: %s\n\n", a.errInk.bold(spec.Name), planBrief(plan))
	submitted, err := c.client.Submit(ctx, spec, "")
	if err != nil {
		return outcome{}, err
	}
	ended, err := a.follow(ctx, c.client, submitted.ID)
	if err != nil {
		return outcome{}, err
	}
	out := outcomeOf(ended)
	out.Seconds, out.Console = time.Since(started).Seconds(), c.console
	if ended.State != cloudcrowd.JobDone {
		return out, a.unsuccessful(ctx, c.client, ended)
	}
	if out.Files, err = a.fetch(ctx, c.client, ended, o.out); err != nil {
		return out, err
	}
	out.Out = o.out
	if err := a.audit(ctx, c.operator, o.data, &out); err != nil {
		return out, err
	}
	a.printf("\n%s\n", a.answer(out.Files))
	a.report(out, ended)
	a.printf("\n")
	a.facts("ledger", fmt.Sprintf("sum of all accounts %s", *out.Sum), "fsck", a.ink.state(out.Fsck))
	return out, nil
}

// audit adds up the ledger and recomputes the data folder.
func (a *app) audit(ctx context.Context, operator *client.Client, dir string, out *outcome) error {
	accounts, err := operator.Accounts(ctx)
	if err != nil {
		return err
	}
	total := sum(accounts.Items)
	out.Sum = &total
	report, err := platform.Fsck(ctx, dir, platform.FsckOptions{})
	if err != nil {
		return err
	}
	out.Fsck = report.Verdict
	for _, p := range report.Problems {
		a.notef("fsck: %s: %s\n", p.Subject, p.Text)
	}
	return nil
}

// answerLimit is how much of a text result is shown.
const answerLimit = 24

// answer draws what a terminal can show of result files: a spectrum as a chart, otherwise the beginning of the first
// readable one, otherwise a picture.
func (a *app) answer(files []string) string {
	for _, path := range files {
		if filepath.Base(path) != "spectrum.tsv" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			break
		}
		spectrum, err := readSpectrum(f)
		f.Close()
		if err == nil {
			return barChart(a.ink, "how many distinct k-mers occur so many times (logarithmic)", bins(spectrum), min(terminalWidth(a.stdout), 90))
		}
	}
	for _, suffix := range []string{".json", ".csv", ".tsv", ".txt"} {
		for _, path := range files {
			if text := beginning(path, suffix); text != "" {
				return a.ink.bold(filepath.Base(path)) + "\n\n" + text
			}
		}
	}
	for _, path := range files {
		if picture, err := readPicture(path); err == nil {
			return a.ink.bold(filepath.Base(path)) + "\n\n" + pictureText(a.ink, picture, min(terminalWidth(a.stdout)-2, 80))
		}
	}
	return ""
}

// beginning is the first lines of a text file with the given suffix, "" for any other file.
func beginning(path, suffix string) string {
	if filepath.Ext(path) != suffix {
		return ""
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimRight(printable(string(data)), "\n"), "\n")
	if len(lines) > answerLimit {
		lines = append(lines[:answerLimit], "…")
	}
	for i := range lines {
		lines[i] = "  " + clip(lines[i], 110)
	}
	return strings.Join(lines, "\n") + "\n"
}
