package platform

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"runtime"
	"time"

	"cloudcrowd.dev/cloudcrowd/client"
)

// BenchSubmitResult is what accepting large jobs costs, and taking them up again.
type BenchSubmitResult struct {
	Tasks           int     `json:"tasks"`
	RangeMillis     float64 `json:"range_ms"`              // to submit that many tasks as a range, to the durable answer
	RangedBytes     float64 `json:"bytes_per_ranged_task"` // of the server's memory, for a task of it that waits
	GridPerSecond   float64 `json:"grid_tasks_per_s"`      // tasks submitted as a grid of listed values, from the request to the durable answer
	GridBytes       float64 `json:"bytes_per_grid_task"`   // likewise
	RestartSeconds  float64 `json:"restart_seconds"`       // from starting the server on that folder until it serves
	FirstLeaseAfter float64 `json:"first_lease_seconds"`   // and until a worker that waited has its first lease
	CPUs            int     `json:"cpus"`
}

// BenchSubmit submits two jobs of so many tasks to a server without workers, starts it again on the same folder, and lets a worker come.
func BenchSubmit(ctx context.Context, dir string, tasks int) (r BenchSubmitResult, err error) {
	r = BenchSubmitResult{Tasks: tasks, CPUs: runtime.NumCPU()}
	config := ServerConfig{DataDir: filepath.Join(dir, "server"), Listen: "127.0.0.1:0"}
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
	r.GridBytes = max(float64(memoryInUse()-after)/float64(side*side), 0)
	return nil
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
