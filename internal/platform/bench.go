package platform

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/worker"
)

// BenchConfig are the conditions of the dispatch benchmark.
type BenchConfig struct {
	Tasks   int // no-op tasks of the big job
	Workers int // agents, each over its own WebSocket
	Slots   int // per agent; 0 means 8
	Samples int // single-task jobs whose latency is measured; 0 means 100
	// Replicas is how many results of each task are compared; below 2 nothing is.
	Replicas int
	// Sandbox makes the sandbox of the agent whose data are in dir; nil means one that runs nothing and answers at once.
	Sandbox func(dir string, slots int) (sandbox.Sandbox, error)
	DataDir string
	Database
	Profile io.Writer // takes a CPU profile of the big job; nil: none
}

// BenchResult is what was measured.
type BenchResult struct {
	TasksPerSecond float64 `json:"tasks_per_s"`
	LatencyP50     float64 `json:"latency_p50_ms"` // of single-task jobs on an idle server: from submit to the verified, paid result, over HTTP and SSE
	LatencyP99     float64 `json:"latency_p99_ms"`
	Seconds        float64 `json:"seconds"` // of the big job, from submit to its end
	Tasks          int64   `json:"tasks"`
	Attempts       int64   `json:"attempts"`
	Workers        int     `json:"workers"`
	Slots          int     `json:"slots_per_worker"`
	Replicas       int     `json:"replicas"`
	LatencySamples int     `json:"latency_samples"`
	CPUPerTask     float64 `json:"cpu_us_per_task"` // processor time of server and agents together, without programs in a sandbox of their own
	LedgerSum      int64   `json:"ledger_sum"`
	Durability     string  `json:"durability"`
	Sandbox        string  `json:"sandbox"`
	CPUs           int     `json:"cpus"`
}

// noop is the smallest module the platform accepts: an empty _start and one page of memory.
var noop = []byte("\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00" + "\x03\x02\x01\x00" + "\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00" + "\x0a\x04\x01\x02\x00\x0b")

// fixedAnswer is a sandbox that runs nothing: every attempt succeeds with no output.
type fixedAnswer struct{}

func (fixedAnswer) Name() string { return "wasm" }
func (fixedAnswer) Run(context.Context, sandbox.Spec) (sandbox.Outcome, error) {
	return sandbox.Outcome{Status: sandbox.Succeeded, Empty: true, Usage: sandbox.Usage{CPUSeconds: 1e-6, WallSeconds: 1e-6}}, nil
}
func (fixedAnswer) Close() error { return nil }

// Bench runs no-op tasks through the real server, store and WebSocket, every commit synced; only the sandbox is replaced by a fixed answer.
func Bench(ctx context.Context, c BenchConfig) (r BenchResult, err error) {
	if c.Slots <= 0 {
		c.Slots = 8
	}
	if c.Samples <= 0 {
		c.Samples = 100
	}
	s, err := StartServer(ctx, ServerConfig{DataDir: filepath.Join(c.DataDir, "server"), Database: c.Database, Listen: "127.0.0.1:0"})
	if err != nil {
		return r, err
	}
	defer func() {
		if serr := s.Stop(context.WithoutCancel(ctx)); err == nil {
			err = serr
		}
	}()
	stop, err := benchWorkers(ctx, s, c)
	if err != nil {
		return r, err
	}
	defer stop()
	api, err := client.New(client.Options{URL: s.URL(), Token: s.AdminToken()})
	if err != nil {
		return r, err
	}
	module, err := api.PutBytes(ctx, noop)
	if err != nil {
		return r, err
	}
	r = BenchResult{Workers: c.Workers, Slots: c.Slots, Replicas: max(c.Replicas, 1), LatencySamples: c.Samples, CPUs: runtime.NumCPU(),
		Durability: "SQLite, WAL, synchronous=FULL: every commit synced before it is answered", Sandbox: "fixed answer"}
	if c.Sandbox != nil {
		r.Sandbox = "an empty WASM module in child processes"
	}
	if c.Address != "" {
		r.Durability = "PostgreSQL, synchronous_commit on: every commit synced before it is answered"
	}
	if err := r.latency(ctx, api, module, c); err != nil {
		return r, err
	}
	if err := r.throughput(ctx, api, module, c); err != nil {
		return r, err
	}
	status, err := api.Status(ctx)
	r.LedgerSum = int64(status.LedgerSum)
	return r, err
}

// benchWorkers joins the agents and waits until all are connected.
func benchWorkers(ctx context.Context, s *Server, c BenchConfig) (stop func(), err error) {
	join, err := link.Parse(s.JoinLink())
	if err != nil {
		return nil, err
	}
	runCtx, cancel := context.WithCancel(ctx)
	ended := make(chan error, c.Workers)
	started := 0
	var boxes []sandbox.Sandbox
	stop = func() {
		cancel()
		for range started {
			<-ended
		}
		for _, box := range boxes {
			_ = box.Close() // the figures are in
		}
	}
	connected := make(chan struct{}, c.Workers)
	for i := range c.Workers {
		dir := filepath.Join(c.DataDir, fmt.Sprint("worker", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			stop()
			return nil, err
		}
		var box sandbox.Sandbox = fixedAnswer{}
		if c.Sandbox != nil {
			if box, err = c.Sandbox(dir, c.Slots); err != nil {
				stop()
				return nil, err
			}
			boxes = append(boxes, box)
		}
		w, err := worker.New(worker.Config{Server: join.Server, Invite: join.Secret, DataDir: dir, Name: fmt.Sprint("bench-", i), Slots: c.Slots, Speed: 1,
			MemoryBytes: 1 << 40, Sandbox: box, Grace: time.Millisecond, OnEvent: func(e worker.Event) {
				if e.Kind == worker.Connected {
					select {
					case connected <- struct{}{}:
					default:
					}
				}
			}})
		if err != nil {
			stop()
			return nil, err
		}
		started++
		go func() { ended <- w.Run(runCtx) }()
	}
	for range c.Workers {
		select {
		case <-connected:
		case err := <-ended:
			started--
			stop()
			return nil, fmt.Errorf("a worker stopped: %w", err)
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
	return stop, nil
}

func benchJob(module cloudcrowd.Digest, tasks, replicas int) cloudcrowd.JobSpec {
	verify := cloudcrowd.Verify{None: true}
	if replicas > 1 {
		verify = cloudcrowd.Verify{Replicas: replicas, Quorum: replicas}
	}
	return cloudcrowd.JobSpec{Name: "no-op", Budget: 100 * cloudcrowd.Credit, Outputs: []string{"noop"}, Stages: []cloudcrowd.Stage{{Name: "noop",
		Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: int64(tasks), Size: 1}, Run: &cloudcrowd.Program{Module: module, ModuleSize: int64(len(noop))},
		Resources: cloudcrowd.Resources{MemoryBytes: 1 << 20, DiskBytes: 1 << 20, OutputBytes: 1 << 20, Cores: 1}, Timeout: cloudcrowd.Duration(time.Minute),
		Target: cloudcrowd.Duration(10 * time.Millisecond), Verify: verify}}}
}

// latency runs single-task jobs one after the other.
func (r *BenchResult) latency(ctx context.Context, api *client.Client, module cloudcrowd.Digest, c BenchConfig) error {
	watch, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan cloudcrowd.Event, 64)
	listening := make(chan struct{})
	go func() {
		first := true
		for e, err := range api.Events(watch, "", "") {
			if err != nil {
				return
			}
			if first {
				first = false
				close(listening)
			}
			if e.Type == "job.done" || e.Type == "job.failed" {
				select {
				case ended <- e:
				case <-watch.Done():
					return
				}
			}
		}
	}()
	// Jobs are run until the feed is known to be open; they warm everything up besides.
	for open := false; !open; {
		if _, err := api.Submit(ctx, benchJob(module, 1, c.Replicas), ""); err != nil {
			return err
		}
		select {
		case <-listening:
			open = true
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var took []float64
	for range c.Samples {
		start := time.Now()
		job, err := api.Submit(ctx, benchJob(module, 1, c.Replicas), "")
		if err != nil {
			return err
		}
		for done := false; !done; {
			select {
			case e := <-ended:
				done = e.Job == job.ID
			case <-time.After(30 * time.Second):
				why, _ := api.Explain(ctx, job.ID) // best effort: the job is late either way
				return cloudcrowd.Errorf(cloudcrowd.Internal, "job %s has not ended in 30 s: %s", job.ID, strings.Join(why.Lines, " "))
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
	}
	slices.Sort(took)
	r.LatencyP50, r.LatencyP99 = took[len(took)/2], took[len(took)*99/100]
	return nil
}

// throughput runs one job of many tasks.
func (r *BenchResult) throughput(ctx context.Context, api *client.Client, module cloudcrowd.Digest, c BenchConfig) error {
	if c.Profile != nil {
		if err := pprof.StartCPUProfile(c.Profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	used, err := processorTime()
	if err != nil {
		return err
	}
	start := time.Now()
	job, err := api.Submit(ctx, benchJob(module, c.Tasks, c.Replicas), "")
	if err != nil {
		return err
	}
	for !job.State.Ended() {
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if job, err = api.Job(ctx, job.ID); err != nil {
			return err
		}
	}
	r.Seconds = time.Since(start).Seconds()
	after, err := processorTime()
	if err != nil {
		return err
	}
	if job.State != cloudcrowd.JobDone {
		return cloudcrowd.Errorf(cloudcrowd.Unsuccessful, "the job %s: %s", job.State, job.Reason)
	}
	r.Tasks, r.Attempts = job.TasksDone, job.Attempts
	r.Seconds = float64(job.EndedAt-job.SubmittedAt) / 1e6
	r.TasksPerSecond = float64(r.Tasks) / r.Seconds
	r.CPUPerTask = (after - used) * 1e6 / float64(r.Tasks)
	return nil
}
