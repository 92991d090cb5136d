package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

//go:generate go test . -run ManualIsUpToDate|ReferenceIsUpToDate -update

// writeManual writes all manual pages as one Markdown document, docs/cli.md.
func writeManual(w io.Writer, root *cobra.Command) {
	fmt.Fprint(w, "# The command line\n\nEvery page below is what `cloudcrowd help COMMAND` prints. `make generate` writes this file.\n\n")
	walk(root, func(c *cobra.Command) {
		fmt.Fprintf(w, "%s [%s](#%s): %s\n", strings.Repeat("  ", depth(c))+"-", c.CommandPath(), anchor(c), c.Short)
	})
	walk(root, func(c *cobra.Command) {
		fmt.Fprintf(w, "\n## %s\n\n```text\n", c.CommandPath())
		writePage(w, c)
		fmt.Fprint(w, "```\n")
	})
}

// walk calls visit for c and every visible command below it.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			walk(sub, visit)
		}
	}
}

func depth(c *cobra.Command) int { return strings.Count(c.CommandPath(), " ") }

// anchor is the name that Markdown renderers give a heading.
func anchor(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }
