// Command physics simulates the Lennard-Jones fluid by molecular dynamics, one temperature and density at a time, and
// plots the points together as a phase diagram.
//
//	physics simulate -temperature 1.1 -density 0.8    nothing                     → /out/point.csv
//	physics plot                                      /in/table/*/phase.csv       → /out/phase.csv, /out/phase.svg
//
// All quantities are in reduced units: lengths in σ, energies in ε, temperatures in ε/k, densities in 1/σ³, pressures
// in ε/σ³, diffusion coefficients in σ·√(ε/m).
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "physics:", err)
		os.Exit(1)
	}
}

// run performs one command. It reads only below -in and writes only below -out.
func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which command? use: physics simulate -temperature 1 -density 0.8, or physics plot")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "folder of the inputs")
	out := flags.String("out", "/out", "folder for the results")
	switch args[0] {
	case "simulate":
		var c conditions
		flags.Float64Var(&c.temperature, "temperature", 1, "0.05 to 20")
		flags.Float64Var(&c.density, "density", 0.8, "particles per volume, 0.0001 to 1.3")
		flags.IntVar(&c.cells, "cells", 3, "unit cells along each edge, 2 to 8; there are four particles in each")
		flags.IntVar(&c.steps, "steps", 1000, "steps of equilibration, and again of measurement, 10 to 10,000,000")
		flags.Uint64Var(&c.seed, "seed", 2026, "seed of the first velocities")
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		if err := c.validate(); err != nil {
			return err
		}
		p, err := measure(c)
		if err != nil {
			return err
		}
		return os.WriteFile(*out+"/point.csv", []byte(header+"\n"+p.row()+"\n"), 0o644)
	case "plot":
		if err := parse(flags, args[1:]); err != nil {
			return err
		}
		paths, err := filepath.Glob(*in + "/table/*/phase.csv")
		if err != nil {
			return err
		}
		if len(paths) != 1 {
			return fmt.Errorf("%d files %s/table/*/phase.csv: needs one", len(paths), *in)
		}
		table, err := os.ReadFile(paths[0])
		if err != nil {
			return err
		}
		points, err := readTable(table)
		if err != nil {
			return fmt.Errorf("phase.csv: %w", err)
		}
		return errors.Join(
			os.WriteFile(*out+"/phase.csv", table, 0o644),
			os.WriteFile(*out+"/phase.svg", plot(points), 0o644))
	}
	return fmt.Errorf("unknown command %q; known: simulate, plot", args[0])
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

// conditions say what one simulation is about.
type conditions struct {
	temperature, density float64
	cells, steps         int
	seed                 uint64
}

func (c conditions) validate() error {
	switch {
	case !(c.temperature >= 0.05 && c.temperature <= 20):
		return fmt.Errorf("-temperature %v: must be from 0.05 to 20", c.temperature)
	case !(c.density >= 0.0001 && c.density <= 1.3):
		return fmt.Errorf("-density %v: must be from 0.0001 to 1.3", c.density)
	case c.cells < 2 || c.cells > 8:
		return fmt.Errorf("-cells %d: must be from 2 to 8", c.cells)
	case c.steps < 10 || c.steps > 10_000_000:
		return fmt.Errorf("-steps %d: must be from 10 to 10,000,000", c.steps)
	}
	return nil
}

const header = "temperature,density,measured_temperature,energy,pressure,diffusion,order,rdf_peak,coordination,phase"

// point is what was measured under some conditions, per particle where that makes sense.
type point struct {
	temperature, density float64
	measured             float64 // mean kinetic temperature
	energy               float64 // kinetic and potential
	pressure             float64
	diffusion            float64
	order                float64 // translational order of the crystal it began as: 1 perfect, about 0.1 none
	rdfPeak              float64 // highest value of the radial distribution function
	coordination         float64 // neighbours within 1.5
	phase                string
}

func (p point) row() string {
	row := strconv.FormatFloat(p.temperature, 'g', -1, 64) + "," + strconv.FormatFloat(p.density, 'g', -1, 64)
	for _, v := range []float64{p.measured, p.energy, p.pressure, p.diffusion, p.order, p.rdfPeak, p.coordination} {
		row += "," + strconv.FormatFloat(v, 'f', 5, 64)
	}
	return row + "," + p.phase
}
