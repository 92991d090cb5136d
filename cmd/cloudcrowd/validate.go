package main

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var validatePage = page{
	use:   "validate [options] FILE",
	short: "check a job file and say what is wrong with it",
	text: `
Reads a job file, YAML or JSON, and everything it names, as run would: keys,
values, the graph of stages, names in templates, inputs, programs. A program
given as a Go folder is compiled, and a module's imports are checked against
what the sandbox offers. Needs no server and changes nothing.

The first mistake is printed with the field and, where there is one, the
nearest known name.
`,
	examples: `
cloudcrowd validate job.yaml
cloudcrowd validate --param k=31 job.yaml && cloudcrowd run --param k=31 job.yaml
`,
	see: []string{"plan", "schema", "run"},
}

func (a *app) validateCommand() *cobra.Command {
	var o jobOptions
	c := validatePage.command(1, 1, func(ctx context.Context, args []string) error {
		job, err := a.load(args[0], o)
		if err != nil {
			return err
		}
		spec, err := a.resolveHere(job)
		if err != nil {
			return err
		}
		files, size := 0, int64(0)
		for _, in := range spec.Inputs {
			files += len(in.Files)
			for _, f := range in.Files {
				size += f.SizeBytes
			}
		}
		if a.json {
			return a.object(map[string]any{"valid": true, "name": spec.Name, "stages": len(spec.Stages), "input_files": files, "input_bytes": size})
		}
		a.printf("%s is valid: %q, %s, %s of %s\n", args[0], spec.Name, plural(len(spec.Stages), "stage"), plural(files, "input file"), cloudcrowd.Bytes(size))
		return nil
	})
	o.flags(c)
	return c
}
