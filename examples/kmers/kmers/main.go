// Command kmers counts the k-mers of DNA sequences in pieces and merges the counts to a spectrum.
//
//	kmers count -k 21 [-overlap 20]     /in/genome                → /out/counts.bin
//	kmers merge [-final]                /in/parts/*/counts.bin    → /out/counts.bin
//	                                    with -final               → /out/spectrum.tsv, spectrum.svg, summary.json
//
// A k-mer and its reverse complement count as one (the smaller of the two, the canonical k-mer).
// Letters other than A, C, G, T and U end a run of bases: no k-mer spans them.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kmers:", err)
		os.Exit(1)
	}
}

// run performs one command. It reads only below -in and writes only below -out.
func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("which command? use: kmers count -k 21, or kmers merge -final")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "folder of the inputs")
	out := flags.String("out", "/out", "folder for the results")
	switch args[0] {
	case "count":
		k := flags.Int("k", 21, "length of a k-mer, 1 to 31")
		overlap := flags.Int("overlap", -1, "bases that each piece repeats of the next one; must be k-1; -1: not known")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		if *k < 1 || *k > maxK {
			return fmt.Errorf("-k %d: must be from 1 to %d", *k, maxK)
		}
		if *overlap >= 0 && *overlap != *k-1 {
			return fmt.Errorf("-overlap %d does not fit -k %d: k-mers across a cut would be lost or counted twice; use overlap %d", *overlap, *k, *k-1)
		}
		return countFile(*in+"/genome", *out+"/counts.bin", *k)
	case "merge":
		final := flags.Bool("final", false, "write the spectrum in place of merged counts")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		return mergeParts(*in+"/parts", *out, *final)
	}
	return fmt.Errorf("unknown command %q; known: count, merge", args[0])
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
