package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/shirou/gopsutil/v4/process"
	"golang.org/x/sync/errgroup"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// BenchAssignConfig are the conditions of the benchmark of assignment.
type BenchAssignConfig struct {
	Waiting int           // tasks that wait all the time
	Open    int           // jobs they are in, of one requester; at least 1
	Workers int           // of one slot each, which take up to three leases
	Task    time.Duration // what a task takes, give or take a half: with Workers the load
	Span    time.Duration // for how long it is measured
	Samples int           // small jobs submitted meanwhile
	DataDir string
	Database
	Profile io.Writer // takes a CPU profile of the server while it is measured; nil: none
}

// BenchAssignResult is how soon work is assigned.
type BenchAssignResult struct {
	LatencyP50     float64 `json:"latency_p50_ms"` // from sending a report until the lease that takes its place has arrived
	LatencyP99     float64 `json:"latency_p99_ms"`
	LatencyMost    float64 `json:"latency_max_ms"`
	SubmitP50      float64 `json:"submit_p50_ms"` // from the request that submits a small job until a worker has its first lease
	SubmitP99      float64 `json:"submit_p99_ms"`
	TasksPerSecond float64 `json:"tasks_per_s"`
	Waiting        int64   `json:"waiting"` // tasks left at the end
	Open           int     `json:"open_jobs"`
	CPUPerTask     float64 `json:"server_cpu_us_per_task"` // of the server's processor time beyond what it takes when nothing is to be done
	CPUIdle        float64 `json:"server_cpu_idle"`        // of one core, with all workers connected and nothing to be done; 0 with several jobs: not measured, and part of CPUPerTask
	Workers        int     `json:"workers"`
	Reports        int     `json:"reports"`
	Jobs           int     `json:"jobs"` // submitted meanwhile
	CPUs           int     `json:"cpus"`
	Store          string  `json:"store"`
}

// BenchAssign lets workers, run by crowd, a command that performs BenchCrowd, work on a job of a fixed list of tasks, of which so many wait all the time, and
// reports how soon whoever has reported a result gets his next lease, and how soon small jobs that are submitted meanwhile get their first.
func BenchAssign(ctx context.Context, b BenchAssignConfig, crowd *exec.Cmd) (r BenchAssignResult, err error) {
	r = BenchAssignResult{Workers: b.Workers, Open: max(b.Open, 1), Jobs: b.Samples, CPUs: runtime.NumCPU(), Store: b.Database.kind()}
	s, err := StartServer(ctx, ServerConfig{DataDir: filepath.Join(b.DataDir, "server"), Database: b.Database, Listen: "127.0.0.1:0"})
	if err != nil {
		return r, err
	}
	defer func() {
		if serr := s.Stop(context.WithoutCancel(ctx)); err == nil {
			err = serr
		}
	}()
	c, err := startCrowd(ctx, s, crowd, b.Workers)
	if err != nil {
		return r, err
	}
	defer func() {
		if cerr := c.end(); err == nil {
			err = cerr
		}
	}()
	api, err := client.New(client.Options{URL: s.URL(), Token: s.AdminToken()})
	if err != nil {
		return r, err
	}
	module, err := api.PutBytes(ctx, noop)
	if err != nil {
		return r, err
	}
	if _, err := c.ask("work %s", b.Task); err != nil {
		return r, err
	}
	// The job lasts for the measurement and the small jobs after it, however busy the machine is.
	pace := float64(b.Workers) / b.Task.Seconds()
	spent := pace * (3*b.Span.Seconds() + 60)
	connect := func() error {
		_, err := c.ask("connect %s", workerURL(s))
		return err
	}
	if r.Open == 1 { // submitting many takes long, and they are to be open at the same time
		if err := connect(); err != nil {
			return r, err
		}
		if r.CPUIdle, err = idleShare(ctx, c, b.Span); err != nil {
			return r, err
		}
	}
	spec := gridJob(module, (b.Waiting+int(spent))/r.Open+1)
	spec.Budget /= cloudcrowd.Credits(r.Open)
	jobs, err := submitAll(ctx, api, spec, r.Open)
	if err != nil {
		return r, err
	}
	if r.Open > 1 {
		if err := connect(); err != nil {
			return r, err
		}
	}
	if _, err := c.ask("measure %s", 2*time.Second); err != nil { // until everybody is at work
		return r, err
	}
	if b.Profile != nil {
		if err := pprof.StartCPUProfile(b.Profile); err != nil {
			return r, err
		}
	}
	used, err := processorTime()
	if err != nil {
		return r, err
	}
	began := time.Now()
	line, err := c.ask("measure %s", b.Span)
	pprof.StopCPUProfile()
	if err != nil {
		return r, err
	}
	took := time.Since(began).Seconds()
	after, err := processorTime()
	if err != nil {
		return r, err
	}
	var l crowdLatency
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return r, err
	}
	if l.Reports == 0 {
		return r, cloudcrowd.Errorf(cloudcrowd.Internal, "nothing was reported in %s", b.Span)
	}
	r.LatencyP50, r.LatencyP99, r.LatencyMost, r.Reports = l.P50*1000, l.P99*1000, l.Most*1000, l.Reports
	r.TasksPerSecond = float64(l.Reports) / b.Span.Seconds()
	r.CPUPerTask = max(after-used-r.CPUIdle*took, 0) * 1e6 / (r.TasksPerSecond * took)
	if err := r.small(ctx, api, c, module, b); err != nil {
		return r, err
	}
	for _, id := range jobs {
		job, err := api.Job(ctx, id)
		if err != nil {
			return r, err
		}
		r.Waiting += job.Stages[0].UnitsTotal - job.Stages[0].UnitsCarved
	}
	if r.Waiting < int64(b.Waiting) {
		err = cloudcrowd.Errorf(cloudcrowd.Internal, "only %d tasks were left to wait", r.Waiting)
	}
	return r, err
}

// submitAll submits a job so many times, several at once: what comes in while a commit is under way shares the next one.
func submitAll(ctx context.Context, api *client.Client, spec cloudcrowd.JobSpec, n int) ([]cloudcrowd.JobID, error) {
	ids := make([]cloudcrowd.JobID, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for i := range ids {
		group.Go(func() error {
			job, err := api.Submit(ctx, spec, "")
			ids[i] = job.ID
			return err
		})
	}
	return ids, group.Wait()
}

// idleShare is what this process takes of one core while it has nothing to do, over a span.
func idleShare(ctx context.Context, c *crowdProcess, span time.Duration) (float64, error) {
	if _, err := c.ask("measure %s", 2*time.Second); err != nil { // until all have settled
		return 0, err
	}
	before, err := processorTime()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if _, err := c.ask("measure %s", span); err != nil {
		return 0, err
	}
	after, err := processorTime()
	return (after - before) / time.Since(began).Seconds(), err
}

// processorTime is what this process has used so far, in seconds.
func processorTime() (float64, error) {
	p, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return 0, err
	}
	t, err := p.Times()
	if err != nil {
		return 0, err
	}
	return t.User + t.System, nil
}

// small submits jobs of one task, at even intervals.
func (r *BenchAssignResult) small(ctx context.Context, api *client.Client, c *crowdProcess, module cloudcrowd.Digest, b BenchAssignConfig) error {
	var took []float64
	spec := benchJob(module, 1, 1)
	spec.Budget = cloudcrowd.Credit // many may be open at once
	for range b.Samples {
		began := cloudcrowd.TimeOf(time.Now())
		job, err := api.Submit(ctx, spec, "")
		if err != nil {
			return err
		}
		first, err := c.seconds("first %s", job.ID)
		if err != nil {
			return err
		}
		took = append(took, (first-float64(began))/1000)
		select {
		case <-time.After(b.Span / time.Duration(b.Samples)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if slices.Sort(took); len(took) > 0 {
		r.SubmitP50, r.SubmitP99 = took[len(took)/2], took[len(took)*99/100]
	}
	return nil
}

// gridJob is a job of at least so many no-op tasks, one for each pair of two lists of values.
func gridJob(module cloudcrowd.Digest, tasks int) cloudcrowd.JobSpec {
	side := int(math.Ceil(math.Sqrt(float64(tasks))))
	values := make([]string, side)
	for i := range values {
		values[i] = fmt.Sprintf("value-%06d", i)
	}
	spec := benchJob(module, side*side, 1)
	spec.Stages[0].Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitGrid, Grid: []cloudcrowd.GridAxis{{Name: "a", Values: values}, {Name: "b", Values: values}}}
	return spec
}
