package main

import (
	"context"
	"math"
	"os"
	"path/filepath"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wfimport"
	"github.com/spf13/cobra"
)

var importPage = page{
	use:   "import COMMAND",
	short: "make jobs of descriptions in other formats",
	text: `
Makes a job folder, ready for plan and run, of what other programs describe.
`,
}

var importWfFormatPage = page{
	use:   "wfformat FILE --out FOLDER [options]",
	short: "make a job of a recorded scientific workflow",
	text: `
Reads a recorded workflow in WfFormat (https://wfcommons.org), packed by gzip
or not, and writes a folder with job.yaml, a table of tasks and the source of
a small program. The job has the workflow's tasks, dependencies, runtimes and
file sizes, each multiplied by --scale: a task reads what its parents wrote,
computes as long as recorded on a core of speed 1, and writes as much.

Tasks of one program and level form a stage; a stage whose tasks follow those
of another one by one starts each when its parent is done, others when all of
the stages before are. Files that no task wrote are left out. With --sleep
tasks do not compute; the sandbox's clock is its own, so sleeping takes no
time, and what is left is the graph and its data.

Running the job needs a Go toolchain here, which compiles the program.
`,
	examples: `
cloudcrowd import wfformat montage.json.gz --out montage --scale 0.01
cloudcrowd run montage/job.yaml --out results
`,
	see: []string{"sim", "run", "plan"},
}

func (a *app) importCommand() *cobra.Command { return importPage.group(a.importWfFormatCommand()) }

func (a *app) importWfFormatCommand() *cobra.Command {
	var out string
	var compute bool
	o := wfimport.Options{Scale: 1}
	c := importWfFormatPage.command(1, 1, func(_ context.Context, args []string) error {
		switch {
		case out == "":
			return cloudcrowd.Fieldf("--out", "say which folder the job is written to")
		case !(o.Scale >= 0) || math.IsInf(o.Scale, 1):
			return cloudcrowd.Fieldf("--scale", "it must be a number from 0, found %v", o.Scale)
		case compute && o.Sleep:
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--compute and --sleep exclude each other")
		}
		if _, err := os.Stat(filepath.Join(out, "job.yaml")); err == nil {
			return cloudcrowd.Errorf(cloudcrowd.Conflict, "%s holds a job already", out).WithHint("give another folder, or remove its job.yaml")
		}
		w, _, err := a.workflow(args[0])
		if err != nil {
			return err
		}
		stages, err := wfimport.Write(w, out, o)
		if err != nil {
			return within(args[0], err)
		}
		seconds, size := 0.0, int64(0)
		for _, t := range w.Tasks {
			seconds += t.Seconds * o.Scale
		}
		for _, f := range w.Files {
			if f.Producer >= 0 {
				size += int64(float64(f.SizeBytes) * o.Scale)
			}
		}
		job := filepath.Join(out, "job.yaml")
		if a.json {
			return a.object(map[string]any{"job_file": job, "workflow": w.Name, "tasks": len(w.Tasks), "stages": len(stages), "core_seconds": seconds, "bytes_written": size})
		}
		a.printf("%s: %s in %s, %.1f core-seconds, %s written\n", job, plural(len(w.Tasks), "task"), plural(len(stages), "stage"), seconds, cloudcrowd.Bytes(size))
		return nil
	})
	f := c.Flags()
	f.StringVar(&out, "out", "", "write the job to this `FOLDER`")
	f.Float64Var(&o.Scale, "scale", 1, "multiply runtimes and sizes by `FACTOR`")
	f.BoolVar(&compute, "compute", false, "tasks compute for their runtime (default)")
	f.BoolVar(&o.Sleep, "sleep", false, "tasks do not compute")
	return c
}
