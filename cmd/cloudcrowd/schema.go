package main

import (
	"context"

	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
	"github.com/spf13/cobra"
)

var schemaPage = page{
	use:   "schema",
	short: "print the JSON Schema of job files, for editors",
	text: `
With it an editor completes and checks job files as they are written. For the
YAML language server, store it and begin a job file with

  # yaml-language-server: $schema=job.schema.json
`,
	examples: `cloudcrowd schema > job.schema.json`,
	see:      []string{"validate"},
}

func (a *app) schemaCommand() *cobra.Command {
	return schemaPage.command(0, 0, func(context.Context, []string) error {
		_, err := a.stdout.Write(jobfile.Schema())
		return err
	})
}
