// Command finance estimates the risk of a stock index and the price of options on it by simulation, in blocks of paths
// that may be cut anywhere.
//
//	finance simulate -from 0 -to 50000 …   /in/prices                  → /out/partial.json
//	finance merge [-final]                 /in/parts/*/partial.json    → /out/partial.json
//	                                       with -final                 → /out/risk.json, /out/risk.svg
//
// A path depends on the seed and its number alone, and partial results are sums of whole numbers, so the result is the
// same, bit for bit, however the paths were cut and in whatever tree the parts were merged.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "finance:", err)
		os.Exit(1)
	}
}

// run performs one command. It reads only below -in and writes only below -out.
func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which command? use: finance simulate -from 0 -to 1000, or finance merge -final")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "folder of the inputs")
	out := flags.String("out", "/out", "folder for the results")
	switch args[0] {
	case "simulate":
		var m model
		from := flags.Uint64("from", 0, "number of the first path")
		to := flags.Uint64("to", 1000, "one past the number of the last path")
		since := flags.Int("since", 1950, "first year of the estimate")
		flags.Uint64Var(&m.Seed, "seed", 1, "seed of all paths")
		flags.IntVar(&m.Horizon, "horizon", 12, "months, 1 to 1200")
		flags.Float64Var(&m.Strike, "strike", 100, "strike of the options, per cent of the last index level")
		flags.Float64Var(&m.Rate, "rate", 0.04, "riskless rate a year, continuously compounded, -0.5 to 1")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		if *to < *from || *to-*from > 1<<32 {
			return fmt.Errorf("-from %d -to %d: must be a range of up to %d paths", *from, *to, uint64(1)<<32)
		}
		if err := m.validate(); err != nil {
			return err
		}
		prices, err := readPrices(*in + "/prices")
		if err != nil {
			return fmt.Errorf("prices: %w", err)
		}
		if m.Estimate, err = estimateFrom(prices, *since); err != nil {
			return fmt.Errorf("prices: %w", err)
		}
		return writePartial(*out, simulate(m, *from, *to))
	case "merge":
		final := flags.Bool("final", false, "write the report in place of a merged partial result")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		merged, err := mergeParts(*in + "/parts")
		if err != nil {
			return err
		}
		if !*final {
			return writePartial(*out, merged)
		}
		r, err := reportOf(merged)
		if err != nil {
			return err
		}
		figures, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		return errors.Join(
			os.WriteFile(*out+"/risk.json", append(figures, '\n'), 0o644),
			os.WriteFile(*out+"/risk.svg", plot(r, merged), 0o644))
	}
	return fmt.Errorf("unknown command %q; known: simulate, merge", args[0])
}

// mergeParts adds the partial results of every folder below parts.
func mergeParts(parts string) (partial, error) {
	paths, err := filepath.Glob(parts + "/*/partial.json")
	if err != nil {
		return partial{}, err
	}
	if len(paths) == 0 {
		return partial{}, fmt.Errorf("no parts: %s/*/partial.json", parts)
	}
	var merged partial
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return partial{}, err
		}
		var p partial
		if err := json.Unmarshal(data, &p); err != nil {
			return partial{}, fmt.Errorf("%s: %w", path, err)
		}
		if i == 0 {
			merged = p
			continue
		}
		if p.Model != merged.Model {
			return partial{}, fmt.Errorf("%s: simulated with another model than the parts before", path)
		}
		merged = add(merged, p)
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

// writePartial writes partial.json in the folder out.
func writePartial(out string, p partial) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return os.WriteFile(out+"/partial.json", append(data, '\n'), 0o644)
}
