package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// exitInterrupted is the status after Ctrl-C, as shells count it: 128 + SIGINT.
const exitInterrupted = 130

// errReported ends a command whose output has already said what is wrong; only the exit status is left to give.
type errReported struct{ code cloudcrowd.Code }

func (e errReported) Error() string { return string(e.code) }

// exitStatus is the status a command that ended with err gives to its caller.
func exitStatus(err error) int {
	if reported, ok := errors.AsType[errReported](err); ok {
		return reported.code.ExitStatus()
	}
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	return cloudcrowd.CodeOf(classify(err)).ExitStatus()
}

// classify gives a code and a hint to errors of the system that a person can do something about.
func classify(err error) error {
	if _, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		return err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: err.Error(), Hint: "check the path; relative paths start at the current folder"}
	case errors.Is(err, fs.ErrPermission):
		return &cloudcrowd.Error{Code: cloudcrowd.Forbidden, Msg: err.Error()}
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "no server answers: " + op.Error(),
			Hint: "start one with `cloudcrowd server`, name another with --server, or run the job on this machine with `cloudcrowd run --local`"}
	}
	return err
}

// complain prints an error for people, with its hint apart from it, and for programs as the last line of stdout.
func complain(stdout, stderr io.Writer, asJSON bool, ink ink, err error) {
	if _, ok := errors.AsType[errReported](err); ok || err == nil {
		return
	}
	if errors.Is(err, context.Canceled) {
		fmt.Fprintln(stderr, "interrupted")
		return
	}
	faults := separateFaults(classify(err))
	bodies := make([]errorBody, len(faults))
	for i, fault := range faults {
		fmt.Fprintf(stderr, "%s %s\n", ink.red("error:"), fault)
		e, ok := errors.AsType[*cloudcrowd.Error](fault)
		if !ok {
			e = &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: fault.Error()}
		}
		bodies[i] = errorBody{Code: e.Code, Field: e.Field, Msg: e.Msg, Hint: e.Hint}
	}
	said := map[string]bool{"": true}
	for _, b := range bodies {
		if !said[b.Hint] {
			fmt.Fprintf(stderr, "\n%s %s\n", ink.yellow("hint:"), b.Hint)
		}
		said[b.Hint] = true
	}
	if asJSON {
		last := bodies[0]
		if len(bodies) > 1 {
			last.Problems = bodies
		}
		line, _ := json.Marshal(map[string]errorBody{"error": last})
		fmt.Fprintf(stdout, "%s\n", line)
	}
}

// separateFaults takes apart an error that is several at once, as a job file with many mistakes; it returns at least one.
func separateFaults(err error) []error {
	many, ok := err.(interface{ Unwrap() []error })
	if e, isOurs := err.(*cloudcrowd.Error); !ok && isOurs && e.Err != nil {
		many, ok = e.Err.(interface{ Unwrap() []error })
	}
	if !ok || len(many.Unwrap()) == 0 {
		return []error{err}
	}
	return many.Unwrap()
}

// errorBody is an error in JSON output.
type errorBody struct {
	Code  cloudcrowd.Code `json:"code"`
	Field string          `json:"field,omitempty"`
	Msg   string          `json:"message"`
	Hint  string          `json:"hint,omitempty"`

	Problems []errorBody `json:"problems,omitempty"` // each mistake, if there are several
}

// argumentCount checks the number of arguments and says which one is missing or too many.
func argumentCount(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s needs %s, but got %d", c.CommandPath(), plural(least, "argument"), len(args)).
				WithHint("usage: %s", synopsis(c))
		case most >= 0 && len(args) > most:
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "unexpected argument %q", args[most]).WithHint("usage: %s", synopsis(c))
		}
		return nil
	}
}

// unknownCommand is the error for a word that is no command of c.
func unknownCommand(c *cobra.Command, word string) error {
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	err := cloudcrowd.Errorf(cloudcrowd.Invalid, "%s has no command %q", c.CommandPath(), word)
	if near := nearest(word, names); near != "" {
		return err.WithHint("did you mean `%s %s`?", c.CommandPath(), near)
	}
	return err.WithHint("`%s --help` lists the commands", c.CommandPath())
}

// flagError explains a flag that could not be read.
func flagError(c *cobra.Command, err error) error {
	e := &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: err.Error(), Hint: fmt.Sprintf("`%s --help` lists the options", c.CommandPath())}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		e.Field, e.Msg = "--"+wrong.GetFlag().Name, fmt.Sprintf("%q cannot be used: %s", wrong.GetValue(), bare(err))
		return e
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return e
	}
	var names []string
	c.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	e.Msg = fmt.Sprintf("%s has no option --%s", c.CommandPath(), unknown.GetSpecifiedName())
	if near := nearest(unknown.GetSpecifiedName(), names); near != "" {
		e.Hint = "did you mean --" + near + "?"
	}
	return e
}

// nearest returns the name closest to word by edit distance, "" if none is close.
func nearest(word string, names []string) string {
	best, bestDistance := "", max(2, len(word)/3)+1
	for _, name := range slices.Sorted(slices.Values(names)) {
		d := editDistance(strings.ToLower(word), name)
		if strings.HasPrefix(name, strings.ToLower(word)) {
			d = 1
		}
		if d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// editDistance is the number of letters to insert, remove or replace to make b of a (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// isFolder refuses a path that is no folder.
func isFolder(option, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.NotFound, Field: option, Msg: "there is no folder " + path}
	}
	if !info.IsDir() {
		return cloudcrowd.Fieldf(option, "%s is not a folder", path)
	}
	return nil
}
