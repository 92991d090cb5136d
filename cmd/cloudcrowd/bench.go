package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

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

func (a *app) benchCommand() *cobra.Command { return benchPage.group(a.benchDispatchCommand()) }

func (a *app) benchDispatchCommand() *cobra.Command {
	var b platform.BenchConfig
	var profile string
	var real bool
	c := benchDispatchPage.command(0, 0, func(ctx context.Context, _ []string) error {
		if b.Tasks < 1 || b.Workers < 1 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--tasks and --workers must be at least 1")
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
			"workers", fmt.Sprintf("%d with %d slots each", result.Workers, result.Slots), "durability", result.Durability, "sandbox", result.Sandbox)
		return nil
	})
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
