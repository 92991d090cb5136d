package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/replay"
	"cloudcrowd.dev/cloudcrowd/internal/wfformat"
	"github.com/spf13/pflag"
)

// workflowOptions are the options of sim --workflow.
type workflowOptions struct {
	files         []string
	crowd         replay.Crowd
	bandwidth     byteSize
	crowds        int
	runtimes      string
	churn         string
	mode          replay.Mode
	trace, replay string
}

// simWorkflow is sim --workflow.
func (a *app) simWorkflow() simMode {
	o := &workflowOptions{crowd: replay.DefaultCrowd, bandwidth: byteSize(replay.DefaultCrowd.Bandwidth), mode: replay.Mode{Order: replay.Planned}}
	f := pflag.NewFlagSet("workflow", pflag.ContinueOnError)
	f.StringArrayVar(&o.files, "workflow", nil, "replay the workflow in `FILE`, may be given several times; arguments are further files")
	f.IntVar(&o.crowd.Workers, "workers", o.crowd.Workers, "`N` workers")
	f.IntVar(&o.crowd.Slots, "slots", o.crowd.Slots, "`N` slots per worker")
	f.Float64Var(&o.crowd.Sigma, "sigma", o.crowd.Sigma, "`DEVIATION` of the logarithm of the workers' speed")
	f.Var(&o.bandwidth, "bandwidth", "of each worker's link, `SIZE` a second")
	f.Uint64Var(&o.crowd.Seed, "seed", o.crowd.Seed, "`NUMBER` that everything random derives from")
	f.IntVar(&o.crowds, "crowds", 20, "`N` crowds; with --trace only the first")
	f.IntVar(&o.mode.Plans, "plans", 64, "try `N` plans before the start; 1 is plain HEFT")
	f.BoolVar(&o.mode.FetchInput, "fetch-inputs", false, "files that no task writes have to be fetched, too")
	f.StringVar(&o.runtimes, "runtimes", "exact", "`WHAT` is known of runtimes: exact, or learned from finished tasks")
	f.Float64Var(&o.mode.Error, "error", 0.2, "with --runtimes learned: lognormal `DEVIATION` of what is known of each task beforehand")
	f.StringVar(&o.churn, "churn", "", "workers stay and are away for `UP/DOWN` on average, for example 10m/2m")
	f.Float64Var(&o.mode.Straggle, "stragglers", 0, "`SHARE` of attempts that take five times as long")
	f.Float64Var(&o.mode.Speculate, "speculate", 0, "`SHARE` of all work that may go into second copies of stragglers")
	f.StringVar(&o.trace, "trace", "", "write every decision with the parts of its score to `FILE`, one JSON object a line")
	f.StringVar(&o.replay, "replay", "", "recompute the decisions recorded in `FILE` and compare")
	return simMode{flag: "workflow", takes: true, flags: f, run: func(ctx context.Context, args []string) error {
		o.files = append(o.files, args...)
		if f.Changed("error") && o.runtimes == "exact" {
			return cloudcrowd.Fieldf("--error", "exact runtimes have none; it goes with --runtimes learned")
		}
		if err := o.check(); err != nil {
			return err
		}
		switch {
		case o.replay != "":
			return a.replayTrace(ctx, o)
		case o.trace != "":
			return a.recordTrace(ctx, o)
		}
		return a.studyWorkflows(ctx, o)
	}}
}

// check completes the options and names the first that cannot be.
func (o *workflowOptions) check() error {
	o.crowd.Bandwidth = float64(o.bandwidth)
	if err := o.crowd.Validate(); err != nil {
		e := err.(*cloudcrowd.Error)
		return cloudcrowd.Fieldf("--"+e.Field, "%s", e.Msg)
	}
	share := func(name string, v float64) error {
		if !(v >= 0 && v <= 1) {
			return cloudcrowd.Fieldf(name, "it must be from 0 to 1, found %v", v)
		}
		return nil
	}
	if err := share("--stragglers", o.mode.Straggle); err != nil {
		return err
	}
	if err := share("--speculate", o.mode.Speculate); err != nil {
		return err
	}
	switch {
	case o.crowds < 1 || o.crowds > 10_000:
		return cloudcrowd.Fieldf("--crowds", "it must be from 1 to 10,000")
	case o.mode.Plans < 1:
		return cloudcrowd.Fieldf("--plans", "it must be at least 1")
	case !(o.mode.Error >= 0 && o.mode.Error <= 3):
		return cloudcrowd.Fieldf("--error", "it must be from 0 to 3")
	case (o.trace != "" || o.replay != "") && len(o.files) > 1:
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "--trace and --replay take one workflow, found %d", len(o.files))
	case o.trace != "" && o.replay != "":
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "--trace records and --replay compares; give one")
	}
	switch o.runtimes {
	case "exact":
		o.mode.Error = 0
	case "learned":
		o.mode.Learned = true
	default:
		return cloudcrowd.Fieldf("--runtimes", "it must be exact or learned, found %q", o.runtimes)
	}
	if o.churn != "" {
		up, down, ok := strings.Cut(o.churn, "/")
		u, err1 := time.ParseDuration(up)
		d, err2 := time.ParseDuration(down)
		if !ok || err1 != nil || err2 != nil || u <= 0 || d <= 0 {
			return cloudcrowd.Fieldf("--churn", "it must be two durations, for example 10m/2m, found %q", o.churn)
		}
		o.mode.Up, o.mode.Down = u.Seconds(), d.Seconds()
	}
	return nil
}

// workflow reads a file; the digest is of its bytes as they are.
func (a *app) workflow(name string) (*wfformat.Workflow, string, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, "", cannotRead(name, err)
	}
	w, err := wfformat.Read(bytes.NewReader(raw))
	if err != nil {
		return nil, "", within(name, err)
	}
	sum := sha256.Sum256(raw)
	return w, hex.EncodeToString(sum[:]), nil
}

// within names the file that an error is about.
func within(name string, err error) error {
	e, ok := err.(*cloudcrowd.Error)
	if !ok {
		return fmt.Errorf("%s: %w", name, err)
	}
	c := *e
	if c.Field != "" {
		c.Msg = c.Field + ": " + c.Msg
	}
	c.Field = name
	return &c
}

func cannotRead(name string, err error) error {
	if os.IsNotExist(err) {
		return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no file %s", name)
	}
	return cloudcrowd.Fieldf(name, "%v", err)
}

func (a *app) studyWorkflows(ctx context.Context, o *workflowOptions) error {
	var results []replay.Result
	for _, name := range o.files {
		w, _, err := a.workflow(name)
		if err != nil {
			return err
		}
		r, err := replay.Study(ctx, w, o.crowd, o.mode, o.crowds)
		if err != nil {
			return within(name, err)
		}
		r.File = strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".gz"), ".json")
		results = append(results, r)
		if a.json {
			if err := a.object(r); err != nil {
				return err
			}
		}
	}
	if len(results) == 1 {
		if !a.json {
			a.oneWorkflow(o, results[0])
		}
		return nil
	}
	sum := replay.Summary(results)
	if a.json {
		return a.object(sum)
	}
	sum.File = "geometric mean"
	rows := make([][]string, 0, len(results)+1)
	for _, r := range append(results, sum) {
		row := []string{r.File, fmt.Sprint(r.Tasks), fmt.Sprintf("%.1f", r.Makespan), fmt.Sprintf("%.1f", r.Bound)}
		if r.Files > 0 {
			row[2], row[3] = "", ""
		}
		for _, ratio := range []float64{r.Ratio, r.TightRatio, r.ExactRatio, r.ListRatio, r.FIFORatio, r.FirstFreeRatio} {
			row = append(row, fmt.Sprintf("%.3f", ratio))
		}
		rows = append(rows, append(row, cloudcrowd.Bytes(r.Moved)))
	}
	_, err := io.WriteString(a.stdout, table(a.ink, []string{"workflow", ">tasks", ">makespan s", ">bound s", ">ratio", ">tight", ">exact", ">list", ">FIFO", ">first free", ">moved"}, rows))
	return err
}

func (a *app) oneWorkflow(o *workflowOptions, r replay.Result) {
	times := func(ratio float64) string { return fmt.Sprintf("%.3f × the bound", ratio) }
	pairs := []string{"workflow", fmt.Sprintf("%s, %s", r.File, plural(r.Tasks, "task")),
		"crowd", fmt.Sprintf("%s, σ %.2g, %s/s, mean of %s from seed %d", plural(r.Workers, "worker"), o.crowd.Sigma, cloudcrowd.Bytes(int64(o.crowd.Bandwidth)), plural(r.Crowds, "crowd"), r.Seed),
		"makespan", fmt.Sprintf("%.2f s", r.Makespan),
		"lower bound", fmt.Sprintf("%.2f s; tight: %.2f s", r.Bound, r.TightBound),
		"ratio", fmt.Sprintf("%.3f; to the tight bound: %.3f", r.Ratio, r.TightRatio)}
	if o.mode.Learned || o.mode.Up > 0 || o.mode.Straggle > 0 {
		pairs = append(pairs, "all known", times(r.ExactRatio)+" if lengths are known and nobody leaves or straggles",
			"attempts", fmt.Sprintf("%.1f, of which %.1f lost, %.1f second copies (%.1f %% of the work)", r.Attempts, r.Lost, r.Copies, 100*r.CopyShare))
	}
	pairs = append(pairs, "list", times(r.ListRatio), "FIFO", times(r.FIFORatio), "first free", times(r.FirstFreeRatio),
		"bytes moved", fmt.Sprintf("%s (FIFO %s, first free %s)", cloudcrowd.Bytes(r.Moved), cloudcrowd.Bytes(r.FIFOMoved), cloudcrowd.Bytes(r.FirstFreeMoved)))
	a.facts(pairs...)
}

func (a *app) recordTrace(ctx context.Context, o *workflowOptions) error {
	w, digest, err := a.workflow(o.files[0])
	if err != nil {
		return err
	}
	f, err := os.Create(o.trace)
	if err != nil {
		return cloudcrowd.Fieldf("--trace", "%v", err)
	}
	h := replay.Header{Format: replay.TraceFormat, Workflow: w.Name, SHA256: digest, Crowd: o.crowd, Mode: o.mode}
	r, n, err := replay.Record(ctx, f, w, h)
	if closed := f.Close(); err == nil && closed != nil {
		err = cloudcrowd.Fieldf("--trace", "%v", closed)
	}
	if err != nil {
		return err
	}
	return a.traced(ctx, o, w, r, n, plural(n, "decision")+" written to "+o.trace)
}

func (a *app) replayTrace(ctx context.Context, o *workflowOptions) error {
	w, digest, err := a.workflow(o.files[0])
	if err != nil {
		return err
	}
	f, err := os.Open(o.replay)
	if err != nil {
		return cannotRead(o.replay, err)
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	h, err := replay.ReadHeader(in)
	if err != nil {
		return within(o.replay, err)
	}
	if h.SHA256 != digest {
		return cloudcrowd.Errorf(cloudcrowd.Conflict, "%s was recorded from another file: workflow %q, SHA-256 %s", o.replay, h.Workflow, h.SHA256)
	}
	o.crowd, o.mode = h.Crowd, h.Mode
	r, n, err := replay.Compare(ctx, in, w, h)
	if err != nil {
		return within(o.replay, err)
	}
	return a.traced(ctx, o, w, r, n, plural(n, "decision")+" recomputed, all as recorded")
}

func (a *app) traced(ctx context.Context, o *workflowOptions, w *wfformat.Workflow, r replay.Report, n int, said string) error {
	beside, err := replay.Beside(ctx, w, o.crowd, o.mode)
	if err != nil {
		return err
	}
	fifo, first := beside[replay.FIFO], beside[replay.FirstFree]
	if a.json {
		return a.object(map[string]any{"decisions": n, "makespan_s": r.Makespan, "bound_s": r.Bound, "ratio": r.Ratio(), "bytes_moved": r.Moved,
			"fifo_ratio": fifo.Ratio(), "fifo_bytes_moved": fifo.Moved, "first_free_ratio": first.Ratio(), "first_free_bytes_moved": first.Moved,
			"tasks": len(w.Tasks), "workers": o.crowd.Workers, "crowds": 1, "seed": o.crowd.Seed})
	}
	a.printf("%s; makespan %.2f s, %.3f × the bound (FIFO %.3f, first free %.3f)\n", said, r.Makespan, r.Ratio(), fifo.Ratio(), first.Ratio())
	return nil
}
