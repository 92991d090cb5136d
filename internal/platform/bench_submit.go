package platform

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// BenchSubmitResult is what accepting large jobs costs, and taking them up again.
type BenchSubmitResult struct {
	Tasks           int     `json:"tasks"`
	RangeMillis     float64 `json:"range_ms"`              // to submit that many tasks as a range, to the durable answer
	RangedBytes     float64 `json:"bytes_per_ranged_task"` // of the server's memory, for a task of it that waits
	GridPerSecond   float64 `json:"grid_tasks_per_s"`      // tasks submitted as a grid of listed values, from the request to the durable answer
	GridBytes       float64 `json:"bytes_per_grid_task"`   // likewise
	ListPerSecond   float64 `json:"list_tasks_per_s"`      // tasks, at most decompose.MaxPlaces, submitted as a file of as many lines, from sending it until all are known, durably
	ListBytes       float64 `json:"bytes_per_listed_task"` // likewise
	RestartSeconds  float64 `json:"restart_seconds"`       // from starting the server on that folder until it serves
	FirstLeaseAfter float64 `json:"first_lease_seconds"`   // and until a worker that waited has its first lease
	CPUs            int     `json:"cpus"`
	Store           string  `json:"store"`
}

// BenchSubmit submits three jobs of so many tasks to a server without workers, starts it again on the same folder, and lets a worker come.
func BenchSubmit(ctx context.Context, dir string, db Database, tasks int) (r BenchSubmitResult, err error) {
	r = BenchSubmitResult{Tasks: tasks, CPUs: runtime.NumCPU(), Store: db.kind()}
	config := ServerConfig{DataDir: filepath.Join(dir, "server"), Database: db, Listen: "127.0.0.1:0"}
	s, err := StartServer(ctx, config)
	if err != nil {
		return r, err
	}
	stop := func() error { return s.Stop(context.WithoutCancel(ctx)) }
	if err := r.submit(ctx, s); err != nil {
		_ = stop() // the first error is the one that matters
		return r, err
	}
	if err := stop(); err != nil {
		return r, err
	}
	began := time.Now()
	if s, err = StartServer(ctx, config); err != nil {
		return r, err
	}
	defer func() {
		if serr := stop(); err == nil {
			err = serr
		}
	}()
	r.RestartSeconds = time.Since(began).Seconds()
	r.FirstLeaseAfter, err = r.firstLease(ctx, s, dir, began)
	return r, err
}

func (r *BenchSubmitResult) submit(ctx context.Context, s *Server) error {
	api, err := client.New(client.Options{URL: s.URL(), Token: s.AdminToken()})
	if err != nil {
		return err
	}
	module, err := api.PutBytes(ctx, noop)
	if err != nil {
		return err
	}
	side := max(int(math.Sqrt(float64(r.Tasks))), 1)
	listed := gridJob(module, side*side)
	ranged := benchJob(module, r.Tasks, 1)
	if _, err := api.Submit(ctx, benchJob(module, 1, 1), ""); err != nil { // warms up
		return err
	}
	base := memoryInUse()
	began := time.Now()
	if _, err := api.Submit(ctx, ranged, ""); err != nil {
		return err
	}
	r.RangeMillis = float64(time.Since(began).Microseconds()) / 1000
	after := memoryInUse()
	r.RangedBytes = max(float64(after-base)/float64(r.Tasks), 0)
	began = time.Now()
	if _, err := api.Submit(ctx, listed, ""); err != nil {
		return err
	}
	r.GridPerSecond = float64(side*side) / time.Since(began).Seconds()
	grid := memoryInUse()
	r.GridBytes = max(float64(grid-after)/float64(side*side), 0)
	n := min(r.Tasks, decompose.MaxPlaces)
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, "task %07d of the list\n", i)
	}
	began = time.Now()
	if err := list(ctx, api, module, n, text.Bytes()); err != nil {
		return err
	}
	r.ListPerSecond = float64(n) / time.Since(began).Seconds()
	text = bytes.Buffer{}
	r.ListBytes = max(float64(memoryInUse()-grid)/float64(n), 0)
	return nil
}

// list uploads a file with a line for each task, submits a job over it, and waits until the server has found them all.
func list(ctx context.Context, api *client.Client, module cloudcrowd.Digest, tasks int, text []byte) error {
	list, err := api.PutBytes(ctx, text)
	if err != nil {
		return err
	}
	spec := benchJob(module, tasks, 1)
	spec.Inputs = map[string]cloudcrowd.Input{"list": {Files: []cloudcrowd.InputFile{{Name: "list", Digest: list, SizeBytes: int64(len(text))}}}}
	spec.Stages[0].Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "list", Size: 1}
	job, err := api.Submit(ctx, spec, "")
	for ; err == nil && job.State == cloudcrowd.JobRunning; job, err = api.Job(ctx, job.ID) {
		if job.Stages[0].UnitsTotal == int64(tasks) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("the job of a list ended: %s", job.Reason)
}

// firstLease joins a worker and waits until a first task was leased to it.
func (r *BenchSubmitResult) firstLease(ctx context.Context, s *Server, dir string, began time.Time) (float64, error) {
	stop, err := benchWorkers(ctx, s, BenchConfig{Workers: 1, Slots: 1, DataDir: dir})
	if err != nil {
		return 0, err
	}
	defer stop()
	api, err := client.New(client.Options{URL: s.URL(), Token: s.AdminToken()})
	if err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		jobs, err := api.Jobs(ctx, client.JobQuery{})
		if err != nil {
			return 0, err
		}
		for _, j := range jobs.Items {
			if j.Attempts > 0 {
				return time.Since(began).Seconds(), nil
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
	return 0, fmt.Errorf("no task was leased within a minute")
}
