package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/wasm"
	"github.com/spf13/cobra"
)

var benchPage = page{
	use:   "bench COMMAND",
	short: "measure this machine and build",
	text: `
Measures parts of the platform on this machine. The figures are printed with
their conditions, and durability is never switched off.
`,
}

var benchDispatchPage = page{
	use:   "dispatch [options]",
	short: "how many tasks a second pass through a server",
	text: `
Starts a server in a temporary folder, or --data, and workers that answer at
once, connected over the real WebSocket; submits a job of no-op tasks; and
prints how many durable, verified, paid tasks a second went through, and the
time from submission to result of single tasks. Every commit is synced.
`,
	examples: `
cloudcrowd bench dispatch --tasks 20000 --workers 8
cloudcrowd bench dispatch --tasks 20000 --workers 8 --json
`,
}

var benchSubmitPage = page{
	use:   "submit [options]",
	short: "what jobs of many tasks cost to accept and take up",
	text: `
Starts a server without workers; submits a job of --tasks tasks as a range,
another as a grid of two lists of values, and a third as a file with a line
for each task (at most 1,048,576), and prints how long each took until it was
durable and how much memory a waiting task takes; of the file with sending it
and finding its lines. Then starts the server again on the same data and
prints how long that took, and how long until a worker has its first lease.
`,
	examples: `
cloudcrowd bench submit --tasks 1000000
`,
}

var benchConnectionsPage = page{
	use:   "connections [options]",
	short: "what idle workers cost a server",
	text: `
Starts a server and, in a second process, many devices that connect to it
over the real WebSocket, say hello, beat, and do nothing. Prints the server's
memory for each, after some idle time and as soon as all are welcome, how
long that took, and how long it took after all of them were cut off at once.
Both processes need a file descriptor for each.
`,
	examples: `
cloudcrowd bench connections --workers 10000
`,
}

var benchAssignPage = page{
	use:   "assign [options]",
	short: "how soon workers get their next task",
	text: `
Starts a server and, in a second process, workers that connect to it over the
real WebSocket, take leases, let the time of a task pass and report it, while
--waiting tasks of a job with a fixed list wait. Prints the time from a report
until the lease that takes its place has arrived, and from submitting a small
job meanwhile until a worker has its first lease. Every commit is synced.

It also prints what a task costs the server's processor, beyond what it takes
with the same workers and nothing to do (with several jobs: all it takes).
With --workers and --task that make the same pace, or with more --jobs, it
shows how that grows.
`,
	examples: `
cloudcrowd bench assign --waiting 100000 --workers 1000
cloudcrowd bench assign --workers 1000 --task 50ms --json
cloudcrowd bench assign --workers 10000 --task 2500ms
`,
}

func (a *app) benchCommand() *cobra.Command {
	return benchPage.group(a.benchDispatchCommand(), a.benchSubmitCommand(), a.benchConnectionsCommand(), a.benchAssignCommand(), a.benchCrowdCommand())
}

func (a *app) benchAssignCommand() *cobra.Command {
	var b platform.BenchAssignConfig
	profile := ""
	var c *cobra.Command
	c = benchAssignPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := checkStoreArguments(c, b.Database); err != nil {
			return err
		}
		if b.Waiting < 1 || b.Open < 1 || b.Workers < 1 || b.Samples < 0 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--waiting, --jobs and --workers must be at least 1, --samples at least 0")
		}
		if b.Task < time.Millisecond || b.Span < time.Second {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--task must be at least 1ms, and --span at least 1s")
		}
		dir, remove, err := temporaryFolder()
		if err != nil {
			return err
		}
		defer remove()
		b.DataDir = dir
		if profile != "" {
			f, err := os.Create(profile)
			if err != nil {
				return cloudcrowd.Fieldf("--cpu-profile", "%v", err)
			}
			defer f.Close()
			b.Profile = f
		}
		crowd, err := crowdCommand(ctx)
		if err != nil {
			return err
		}
		r, err := platform.BenchAssign(ctx, b, crowd)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(r)
		}
		first := "not measured"
		if r.Jobs > 0 {
			first = fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, of %d small jobs submitted meanwhile", r.SubmitP50, r.SubmitP99, r.Jobs)
		}
		a.facts("next lease", fmt.Sprintf("p50 %.1f ms, p99 %.1f ms, at most %.1f ms, after %d reports at %.0f a second", r.LatencyP50, r.LatencyP99, r.LatencyMost, r.Reports, r.TasksPerSecond),
			"first lease", first,
			"processor", fmt.Sprintf("%.0f µs a task at the server", r.CPUPerTask),
			"conditions", fmt.Sprintf("%s, %s waiting in %s", plural(r.Workers, "worker"), plural(int(r.Waiting), "task"), plural(r.Open, "job")))
		return nil
	})
	storeFlags(c, &b.Database)
	f := c.Flags()
	f.IntVar(&b.Waiting, "waiting", 100_000, "`N` tasks wait all the time")
	f.IntVar(&b.Open, "jobs", 1, "they are in `N` jobs, open at the same time")
	f.IntVar(&b.Workers, "workers", 1000, "`N` workers of one slot")
	f.DurationVar(&b.Task, "task", 250*time.Millisecond, "a task takes this `LONG`, give or take a half")
	f.DurationVar(&b.Span, "span", 10*time.Second, "measure for this `LONG`")
	f.IntVar(&b.Samples, "samples", 100, "submit `N` small jobs meanwhile; 0: none")
	f.StringVar(&profile, "cpu-profile", "", "write a profile of the server at work to `FILE`, for go tool pprof")
	return c
}

// crowdCommand is this program as the crowd of a benchmark.
func crowdCommand(ctx context.Context) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := exec.CommandContext(ctx, self, "bench", "crowd")
	c.Stderr = os.Stderr
	return c, nil
}

func (a *app) benchSubmitCommand() *cobra.Command {
	tasks := 0
	var db platform.Database
	var c *cobra.Command
	c = benchSubmitPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := checkStoreArguments(c, db); err != nil {
			return err
		}
		if tasks < 1 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--tasks must be at least 1")
		}
		dir, remove, err := temporaryFolder()
		if err != nil {
			return err
		}
		defer remove()
		r, err := platform.BenchSubmit(ctx, dir, db, tasks)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(r)
		}
		a.facts("range", fmt.Sprintf("%.1f ms, %.0f bytes a task", r.RangeMillis, r.RangedBytes), "grid", fmt.Sprintf("%.0f tasks/s, %.0f bytes a task", r.GridPerSecond, r.GridBytes),
			"list", fmt.Sprintf("%.0f tasks/s, %.0f bytes a task", r.ListPerSecond, r.ListBytes),
			"restart", fmt.Sprintf("%.2f s, the first lease after %.2f s", r.RestartSeconds, r.FirstLeaseAfter))
		return nil
	})
	storeFlags(c, &db)
	c.Flags().IntVar(&tasks, "tasks", 1_000_000, "`N` tasks in each job")
	return c
}

func (a *app) benchConnectionsCommand() *cobra.Command {
	workers := 0
	var db platform.Database
	var c *cobra.Command
	c = benchConnectionsPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := checkStoreArguments(c, db); err != nil {
			return err
		}
		if workers < 1 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--workers must be at least 1")
		}
		dir, remove, err := temporaryFolder()
		if err != nil {
			return err
		}
		defer remove()
		crowd, err := crowdCommand(ctx)
		if err != nil {
			return err
		}
		r, err := platform.BenchConnections(ctx, dir, db, workers, crowd)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(r)
		}
		a.facts("memory", fmt.Sprintf("%.1f KiB a connection (%d of them), %.1f KiB when they have just come", r.KiBPerConnection, r.Workers, r.KiBAtOnce), "connect", fmt.Sprintf("%.1f s until all are welcome", r.ConnectSeconds),
			"storm", fmt.Sprintf("%.1f s until all are back", r.StormSeconds))
		return nil
	})
	storeFlags(c, &db)
	c.Flags().IntVar(&workers, "workers", 1000, "`N` workers")
	return c
}

// benchCrowdCommand is the other process of bench connections and assign.
func (a *app) benchCrowdCommand() *cobra.Command {
	c := &cobra.Command{Use: "crowd", Hidden: true, Args: cobra.NoArgs, RunE: func(c *cobra.Command, _ []string) error {
		return platform.BenchCrowd(c.Context(), os.Stdin, os.Stdout)
	}}
	return c
}

func (a *app) benchDispatchCommand() *cobra.Command {
	var b platform.BenchConfig
	var profile string
	var real bool
	var c *cobra.Command
	c = benchDispatchPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if err := checkStoreArguments(c, b.Database); err != nil {
			return err
		}
		if b.Tasks < 1 || b.Workers < 1 || b.Slots < 1 || b.Samples < 1 || b.Replicas < 1 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--tasks, --workers, --slots, --samples and --replicas must be at least 1")
		}
		if b.Replicas > b.Workers {
			return cloudcrowd.Fieldf("--replicas", "%d replicas of a task need as many workers, found %d", b.Replicas, b.Workers)
		}
		if b.DataDir == "" {
			dir, remove, err := temporaryFolder()
			if err != nil {
				return err
			}
			defer remove()
			b.DataDir = dir
		}
		if real {
			b.Sandbox = func(dir string, slots int) (sandbox.Sandbox, error) {
				return wasm.New(wasm.Config{Root: filepath.Join(dir, "sandbox"), CacheDir: filepath.Join(dir, "compiled"), Slots: slots})
			}
		}
		if profile != "" {
			f, err := os.Create(profile)
			if err != nil {
				return cloudcrowd.Fieldf("--cpu-profile", "%v", err)
			}
			defer f.Close()
			b.Profile = f
		}
		result, err := platform.Bench(ctx, b)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(result)
		}
		a.facts("throughput", fmt.Sprintf("%.0f tasks/s (%d tasks in %.2f s)", result.TasksPerSecond, result.Tasks, result.Seconds),
			"latency", fmt.Sprintf("p50 %.2f ms, p99 %.2f ms, from submit to paid result (%d single tasks)", result.LatencyP50, result.LatencyP99, result.LatencySamples),
			"processor", fmt.Sprintf("%.1f µs a task, server and agents together", result.CPUPerTask),
			"workers", fmt.Sprintf("%d with %d slots each", result.Workers, result.Slots), "durability", result.Durability, "sandbox", result.Sandbox)
		return nil
	})
	storeFlags(c, &b.Database)
	f := c.Flags()
	f.IntVar(&b.Tasks, "tasks", 10000, "run `N` tasks")
	f.IntVar(&b.Workers, "workers", 4, "`N` workers")
	f.IntVar(&b.Slots, "slots", 8, "`N` slots per worker")
	f.IntVar(&b.Samples, "samples", 100, "measure the latency of `N` single tasks")
	f.IntVar(&b.Replicas, "replicas", 1, "run each task `N` times, on different workers, and compare the results")
	f.BoolVar(&real, "wasm", false, "run an empty WASM module in the real sandbox instead of answering at once; choose as many slots as cores")
	f.StringVar(&profile, "cpu-profile", "", "write a profile of the big job to `FILE`, for go tool pprof")
	f.StringVar(&b.DataDir, "data", "", "keep the server's data in this `FOLDER`, on the disk to measure (default: a temporary one)")
	return c
}
