package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sim"
)

// platformSim is sim --seeds: the whole platform, seed by seed.
type platformSim struct {
	app      *app
	seeds    string
	profile  string
	workers  int
	parallel int
	trace    string
	told     bool // the trace of a seed was written, or its end shown: the first one is enough
}

// simPlatform is sim --seeds.
func (a *app) simPlatform() simMode {
	s := &platformSim{app: a}
	f := pflag.NewFlagSet("platform", pflag.ContinueOnError)
	f.StringVar(&s.seeds, "seeds", "", "run these `SEEDS` of the platform: one number, or FROM..TO")
	f.StringVar(&s.profile, "profile", "stormy", "how rough it is: `NAME` is "+strings.Join(sim.Names(), ", ")+", or all")
	f.IntVar(&s.workers, "workers", 0, "`N` workers (default: each seed draws its own number; with --workflow 32)")
	f.IntVar(&s.parallel, "parallel", runtime.NumCPU(), "`N` runs at once")
	f.StringVar(&s.trace, "trace", "", "write to `FILE` what happened with the first failing seed, or the only one; with --workflow every decision with the parts of its score, one JSON object a line")
	return simMode{flag: "seeds", flags: f, run: func(ctx context.Context, _ []string) error { return s.run(ctx) }}
}

// maxSimWorkers bounds what one run may take of this machine's memory.
const maxSimWorkers = 10_000

// simResult is the last line of --json.
type simResult struct {
	Seeds    int                 `json:"seeds"`
	Events   int64               `json:"events"`
	Faults   int64               `json:"faults"`
	ByKind   map[sim.Fault]int64 `json:"faults_by_kind"`
	Tasks    int64               `json:"tasks"`
	Copies   int64               `json:"second_copies"`
	Compared int64               `json:"late_compared"`
	Wrong    int64               `json:"wrong_accepted"`
	Rate     float64             `json:"events_per_s"`
	Speedup  float64             `json:"speedup"`    // virtual over real time
	Trace    string              `json:"trace_hash"` // the same seeds have the same
	Failures []simFailure        `json:"failures"`
	virtual  float64
	seconds  float64
}

type simFailure struct {
	Seed      uint64 `json:"seed,omitempty"`
	Profile   string `json:"profile"`
	Error     string `json:"error"`
	Reproduce string `json:"reproduce,omitempty"`
	// Trace is how the trace of the first failing seed ends, which is where it fails.
	Trace []string `json:"trace,omitempty"`
}

// traceEnd is how many lines of a failing seed's trace are shown.
const traceEnd = 30

func (s *platformSim) run(ctx context.Context) error {
	from, to, err := seedRange(s.seeds)
	if err != nil {
		return err
	}
	if err := writable("--trace", s.trace); err != nil {
		return err
	}
	names := []string{s.profile}
	if s.profile == "all" {
		names = sim.Names()
	}
	result := simResult{ByKind: map[sim.Fault]int64{}, Failures: []simFailure{}}
	for _, name := range names {
		p, ok := sim.Profiles[name]
		if !ok {
			return cloudcrowd.Fieldf("--profile", "there is no profile %q", name).WithHint("profiles are %s, and all of them: all", strings.Join(sim.Names(), ", "))
		}
		if s.workers != 0 && s.workers < sim.FewestWorkers {
			return cloudcrowd.Fieldf("--workers", "a crowd has at least %d workers", sim.FewestWorkers)
		}
		if s.workers > maxSimWorkers {
			return cloudcrowd.Fieldf("--workers", "a crowd has at most %d workers", maxSimWorkers)
		}
		if s.campaign(ctx, p.Crowd(s.workers), from, to, &result); ctx.Err() != nil {
			break // what was run is reported all the same
		}
	}
	if err := s.report(result); err != nil {
		return err
	}
	return ctx.Err()
}

func (s *platformSim) campaign(ctx context.Context, p sim.Profile, from, to uint64, result *simResult) {
	screen, shown := &live{w: s.app.stderr, on: !s.app.json && isTerminal(s.app.stderr)}, time.Time{}
	every := 200 * time.Millisecond
	if s.app.json {
		every = 10 * time.Second
	}
	sum := sim.Campaign{Profile: p, From: from, To: to, Parallel: s.parallel, Progress: func(sum sim.Summary) {
		if time.Since(shown) > every {
			if shown = time.Now(); s.app.json {
				_ = s.app.object(sum) // progress: the result comes last
			}
			screen.draw([]string{clip(fmt.Sprintf("%s: %d of %d seeds, %.0f events/s, %.0f times real time, %d faults, %d failed", p.Name, sum.Seeds, to-from+1, sum.Rate, sum.Speedup, sum.Faults, len(sum.Failures)), terminalWidth(s.app.stderr))})
		}
	}}.Run(ctx)
	screen.clear()
	result.Seeds += sum.Seeds
	result.Events += sum.Events
	result.Faults += sum.Faults
	result.Tasks += sum.Tasks
	result.Copies += sum.Copies
	result.Compared += sum.Compared
	result.Wrong += sum.Wrong
	result.Trace = sim.MixTraces(result.Trace, sum.Trace)
	result.virtual += sum.Virtual
	result.seconds += sum.Seconds
	for kind, n := range sum.ByKind {
		result.ByKind[kind] += n
	}
	for _, f := range sum.Failures {
		failure := simFailure{Seed: f.Seed, Profile: p.Name, Error: f.Error}
		if f.Seed != 0 {
			failure.Reproduce = fmt.Sprintf("cloudcrowd sim --profile %s --seeds %d --trace trace.txt", p.Name, f.Seed)
			if s.workers != 0 {
				failure.Reproduce += fmt.Sprintf(" --workers %d", s.workers)
			}
			if !s.told {
				failure.Trace = s.tell(p, f.Seed)
			}
		}
		result.Failures = append(result.Failures, failure)
	}
	s.app.printf("%s: %s, %d events (%.0f/s), %.0f times real time, %s\n", p.Name, plural(int64(sum.Seeds), "seed"), sum.Events, sum.Rate, sum.Speedup, plural(int64(len(sum.Failures)), "failure"))
	if from == to && s.trace != "" && !s.told {
		s.tell(p, from)
	}
}

// tell runs a seed once more, writes what happens to the file that was asked for, and returns the last lines: it is the same again.
func (s *platformSim) tell(p sim.Profile, seed uint64) []string {
	s.told = true
	end := &lastLines{most: traceEnd}
	var w io.Writer = end
	if s.trace != "" {
		f, err := os.Create(s.trace)
		if err != nil {
			s.app.notef("the trace could not be written: %v\n", err)
		} else {
			defer f.Close()
			defer s.app.notef("what happened with seed %d is in %s\n", seed, s.trace)
			w = io.MultiWriter(f, end)
		}
	}
	// The error of a seed that fails is known, and the trace's last line; a panic ends the trace where it is.
	func() {
		defer func() { _ = recover() }()
		_, _ = sim.Run(seed, p, sim.Options{Trace: w})
	}()
	return end.lines
}

// lastLines keeps the last lines of what is written, each by one call.
type lastLines struct {
	lines []string
	most  int
}

// Write implements io.Writer.
func (l *lastLines) Write(b []byte) (int, error) {
	if len(l.lines) == l.most {
		l.lines = l.lines[1:]
	}
	l.lines = append(l.lines, strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// writable reports whether a file can be made under a name, before work of hours goes into what is to be in it. A file that is there is left as it is.
func writable(flag, name string) error {
	if name == "" {
		return nil
	}
	_, err := os.Lstat(name)
	f, openErr := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o666)
	if openErr != nil {
		return cloudcrowd.Fieldf(flag, "%v", openErr)
	}
	if openErr = f.Close(); openErr == nil && err != nil {
		openErr = os.Remove(name)
	}
	return openErr
}

func (s *platformSim) report(r simResult) error {
	r.Rate, r.Speedup = float64(r.Events)/max(r.seconds, 1e-9), r.virtual/max(r.seconds, 1e-9)
	var err error
	if len(r.Failures) > 0 {
		err = errReported{cloudcrowd.Unsuccessful}
	}
	if s.app.json {
		if e := s.app.object(r); e != nil {
			return e
		}
		return err
	}
	for _, f := range r.Failures {
		s.app.printf("%s %s\n", s.app.ink.state("failed"), f.Error)
		if len(f.Trace) > 0 {
			s.app.printf("  its trace ends so:\n")
		}
		for _, line := range f.Trace {
			s.app.printf("    %s\n", line)
		}
		if f.Reproduce != "" {
			s.app.printf("  again: %s\n", f.Reproduce)
		}
	}
	var kinds []string
	for kind, n := range r.ByKind {
		kinds = append(kinds, fmt.Sprintf("%s: %d", kind, n))
	}
	slices.Sort(kinds)
	s.app.facts("seeds", strconv.Itoa(r.Seeds), "events", fmt.Sprintf("%d, %.0f/s", r.Events, r.Rate), "speed", fmt.Sprintf("%.0f times real time", r.Speedup), "trace", r.Trace+" (hash: the same seeds have the same)",
		"results", fmt.Sprintf("%d of %d accepted ones wrong", r.Wrong, r.Tasks), "second copies", fmt.Sprintf("%d; %d results of the other copy came after all", r.Copies, r.Compared), "faults", strings.Join(append([]string{strconv.FormatInt(r.Faults, 10)}, kinds...), "\n"))
	return err
}

// seedRange reads "7" or "1..100".
func seedRange(text string) (from, to uint64, err error) {
	first, last, ok := strings.Cut(text, "..")
	if !ok {
		last = first
	}
	if from, err = strconv.ParseUint(first, 10, 63); err == nil {
		to, err = strconv.ParseUint(last, 10, 63)
	}
	if err != nil || from == 0 || to < from {
		return 0, 0, cloudcrowd.Fieldf("--seeds", "%q is no seed and no range of seeds", text).WithHint("for example 7, or 1..100")
	}
	return from, to, nil
}
