// Command logs makes a security report over a web server's access log, in pieces of any number of lines.
//
//	logs scan             /in/log                     → /out/partial.json
//	logs merge [-final]   /in/parts/*/partial.json    → /out/partial.json
//	                      with -final                 → /out/report.json, /out/report.svg
//
// It reads the common and the combined log format of Apache, nginx and others. Partial results are counts alone, so
// the report is the same, byte for byte, however the log was cut.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "logs:", err)
		os.Exit(1)
	}
}

// run performs one command. It reads only below -in and writes only below -out.
func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which command? use: logs scan, or logs merge -final")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "folder of the inputs")
	out := flags.String("out", "/out", "folder for the results")
	switch args[0] {
	case "scan":
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		file, err := os.Open(*in + "/log")
		if err != nil {
			return err
		}
		defer file.Close()
		p, err := scan(file)
		if err != nil {
			return fmt.Errorf("log: %w", err)
		}
		return writeJSON(*out+"/partial.json", p, "")
	case "merge":
		o := options{}
		final := flags.Bool("final", false, "write the report in place of a merged partial result")
		flags.IntVar(&o.window, "window", 10, "minutes looked at together for bursts of errors, 1 to 1440")
		flags.IntVar(&o.burst, "burst", 8, "errors within the window that make a burst, at least 1")
		flags.IntVar(&o.top, "top", 10, "length of the rankings, 1 to 1000")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		if err := o.validate(); err != nil {
			return err
		}
		merged, err := mergeParts(*in + "/parts")
		if err != nil {
			return err
		}
		if !*final {
			return writeJSON(*out+"/partial.json", merged, "")
		}
		r, err := reportOf(merged, o)
		if err != nil {
			return err
		}
		return errors.Join(
			writeJSON(*out+"/report.json", r, "  "),
			os.WriteFile(*out+"/report.svg", plot(r), 0o644))
	}
	return fmt.Errorf("unknown command %q; known: scan, merge", args[0])
}

// mergeParts adds the partial results of every folder below parts, in order of their names.
func mergeParts(parts string) (*partial, error) {
	paths, err := filepath.Glob(parts + "/*/partial.json")
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no parts: %s/*/partial.json", parts)
	}
	merged := newPartial()
	for _, path := range paths {
		p := newPartial()
		if err := readJSON(path, p); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		merged.add(p)
	}
	return merged, nil
}

// parse reads flags and refuses arguments that are none.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard) // the error says it once
	err := flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(os.Stderr)
		flags.PrintDefaults()
		return errors.New("nothing was done")
	}
	if err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%s: unexpected argument %q", flags.Name(), flags.Arg(0))
	}
	return nil
}
