package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func init() { cobra.EnableCommandSorting = false } // the manual has its own order

// page is the manual page of one command. The options are added from the command's flags.
type page struct {
	use      string   // synopsis without the program's name: "validate [options] FILE"; its first word is the command's name
	short    string   // what it does, as the end of "NAME - …"
	text     string   // description; paragraphs apart by an empty line, lines of at most 78 characters
	examples string   // commands with a word of explanation
	see      []string // names of related commands and help topics
	hidden   bool
}

// run is what a command does with its arguments.
type run func(ctx context.Context, args []string) error

// command makes the cobra command of a page. least and most bound the number of arguments; most < 0 means any number.
func (p page) command(least, most int, do run) *cobra.Command {
	return &cobra.Command{
		Use:                   p.use,
		Short:                 p.short,
		Long:                  strings.Trim(p.text, "\n"),
		Example:               strings.Trim(p.examples, "\n"),
		Annotations:           map[string]string{"see": strings.Join(p.see, ", ")},
		Hidden:                p.hidden,
		DisableFlagsInUseLine: true,
		Args:                  argumentCount(least, most),
		RunE:                  func(c *cobra.Command, args []string) error { return do(c.Context(), args) },
	}
}

// group makes a command that only holds others; alone it prints its page.
func (p page) group(commands ...*cobra.Command) *cobra.Command {
	c := p.command(0, -1, nil)
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return c.Help()
		}
		return unknownCommand(c, args[0])
	}
	c.AddCommand(commands...)
	return c
}

// topic makes a help topic: a page without a command behind it.
func (p page) topic() *cobra.Command {
	c := p.command(0, 0, nil)
	c.Run, c.RunE, c.Args = nil, nil, nil
	return c
}

// writePage prints the manual page of c.
func writePage(w io.Writer, c *cobra.Command) {
	fmt.Fprintf(w, "%s - %s\n", c.CommandPath(), c.Short)
	if c.Runnable() {
		section(w, "Synopsis", synopsis(c))
	}
	section(w, "Description", c.Long)
	commands, topics := commandLists(c)
	section(w, "Commands", commands)
	section(w, "Topics", topics)
	if c.Runnable() {
		section(w, "Options", flagList(c.LocalNonPersistentFlags()))
		section(w, "Options of every command", flagList(everywhere(c)))
	}
	section(w, "Examples", c.Example)
	section(w, "See also", c.Annotations["see"])
}

// everywhere are the flags that c shares with every other command.
func everywhere(c *cobra.Command) *pflag.FlagSet {
	if c.HasParent() {
		return c.InheritedFlags()
	}
	return c.PersistentFlags()
}

func synopsis(c *cobra.Command) string {
	if c.HasParent() {
		return c.Parent().CommandPath() + " " + c.Use
	}
	return c.Use
}

func section(w io.Writer, title, text string) {
	if text = strings.Trim(text, "\n"); text == "" {
		return
	}
	fmt.Fprintf(w, "\n%s\n", strings.ToUpper(title))
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); line != "" {
			line = "  " + line
		}
		fmt.Fprintln(w, line)
	}
}

// commandLists lists the visible commands below c, and the help topics.
func commandLists(c *cobra.Command) (commands, topics string) {
	width := 0
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			width = max(width, len(sub.Name()))
		}
	}
	for _, sub := range c.Commands() {
		line := fmt.Sprintf("%-*s  %s\n", width, sub.Name(), sub.Short)
		switch {
		case sub.Hidden:
		case sub.IsAdditionalHelpTopicCommand():
			topics += line
		default:
			commands += line
		}
	}
	return commands, topics
}

// flagList lists the visible flags of a set as the option section of a page.
func flagList(flags *pflag.FlagSet) string {
	type row struct{ option, usage string }
	var rows []row
	width := 0
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		option := "    --" + f.Name
		if f.Shorthand != "" {
			option = "-" + f.Shorthand + ", --" + f.Name
		}
		if value != "" {
			option += " " + value
		}
		if d := f.DefValue; d != "" && d != "0" && d != "false" && d != "[]" && d != "0s" {
			usage += " (default " + d + ")"
		}
		rows, width = append(rows, row{option, usage}), max(width, len(option))
	})
	var b strings.Builder
	for _, r := range rows {
		text := wrap(r.usage, 78-width-2)
		fmt.Fprintf(&b, "%-*s  %s\n", width, r.option, strings.Join(text, "\n"+strings.Repeat(" ", width+2)))
	}
	return b.String()
}

// wrap breaks a text into lines of at most width characters (at least 24), at spaces.
func wrap(text string, width int) []string {
	width = max(width, 24)
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > width:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
