package platform

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// BenchCrowd is many devices in one process that speak as little of the worker protocol as keeps them connected: it says hello, beats, and answers the bus. The
// benchmark of connections runs it as a process of its own, so that its memory is not counted with the server's. It reads commands, a line each, and
// answers each with a line: "devices N" with their ids as JSON, "connect URL" and "storm" (everybody leaves and comes back at once) with seconds, "work
// DURATION" (from now on everybody takes that long for a task, and reports it) with 0, "measure DURATION" with crowdLatency as JSON, and "first JOB" with the
// time at which its first lease arrived, in microseconds since 1970; it ends with its input.
func BenchCrowd(ctx context.Context, commands io.Reader, answers io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var crowd []*device
	url := ""
	figures := &crowdFigures{first: map[cloudcrowd.JobID]cloudcrowd.Time{}}
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		verb, rest, _ := strings.Cut(lines.Text(), " ")
		switch verb {
		case "devices":
			var n int
			if _, err := fmt.Sscan(rest, &n); err != nil {
				return err
			}
			ids := make([]cloudcrowd.WorkerID, n)
			for i := range ids {
				d, err := newDevice(figures)
				if err != nil {
					return err
				}
				crowd, ids[i] = append(crowd, d), d.id
			}
			if err := json.NewEncoder(answers).Encode(ids); err != nil {
				return err
			}
			continue
		case "connect":
			url = rest
		case "storm":
			for _, d := range crowd {
				d.conn.Close()
			}
		case "work", "measure":
			took, err := time.ParseDuration(rest)
			if err != nil {
				return err
			}
			if verb == "work" {
				figures.task.Store(int64(took))
				if _, err := fmt.Fprintln(answers, 0); err != nil {
					return err
				}
				continue
			}
			l, err := figures.measure(ctx, took)
			if err != nil {
				return err
			}
			if err := json.NewEncoder(answers).Encode(l); err != nil {
				return err
			}
			continue
		case "first":
			at, err := figures.firstLease(ctx, cloudcrowd.JobID(rest))
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintln(answers, int64(at)); err != nil {
				return err
			}
			continue
		default:
			return cloudcrowd.Errorf(cloudcrowd.Internal, "the crowd knows no command %q", verb)
		}
		began := time.Now()
		if err := connectAll(ctx, crowd, url); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(answers, time.Since(began).Seconds()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// connectAll lets everybody connect, as they would after a restart of the server: all at once, and again after a pause where it fails.
func connectAll(ctx context.Context, crowd []*device, url string) error {
	var all sync.WaitGroup
	errs := make(chan error, len(crowd))
	for _, d := range crowd {
		all.Go(func() {
			for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
				err := d.connect(ctx, url)
				if err == nil {
					return
				}
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(errs)
	return <-errs // nil if there are none
}

// crowdFigures are what the devices of a crowd measure together.
type crowdFigures struct {
	task atomic.Int64 // nanoseconds a task takes; 0: nobody works

	mu      sync.Mutex
	waits   []float64 // seconds from a report until the lease that took its place
	first   map[cloudcrowd.JobID]cloudcrowd.Time
	arrived chan struct{} // closed and made anew when a job has its first lease; nil: nobody waits
}

// crowdLatency is the answer to "measure": of all reports that were sent meanwhile, the time until the next lease came.
type crowdLatency struct {
	P50, P99, Most float64 // seconds
	Reports        int
}

// measure waits and sums up.
func (f *crowdFigures) measure(ctx context.Context, span time.Duration) (l crowdLatency, err error) {
	f.mu.Lock()
	f.waits = nil
	f.mu.Unlock()
	select {
	case <-time.After(span):
	case <-ctx.Done():
		return l, ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	slices.Sort(f.waits)
	if n := len(f.waits); n > 0 {
		l = crowdLatency{P50: f.waits[n/2], P99: f.waits[n*99/100], Most: f.waits[n-1], Reports: n}
	}
	return l, nil
}

// leased notes a lease; waited is for how long a report waited for it, below 0: none did.
func (f *crowdFigures) leased(job cloudcrowd.JobID, waited float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if waited >= 0 {
		f.waits = append(f.waits, waited)
	}
	if _, known := f.first[job]; !known {
		f.first[job] = cloudcrowd.TimeOf(time.Now())
		if f.arrived != nil {
			close(f.arrived)
			f.arrived = nil
		}
	}
}

// firstLease waits until a job has had its first lease.
func (f *crowdFigures) firstLease(ctx context.Context, job cloudcrowd.JobID) (cloudcrowd.Time, error) {
	for {
		f.mu.Lock()
		at, known := f.first[job]
		if !known && f.arrived == nil {
			f.arrived = make(chan struct{})
		}
		arrived := f.arrived
		f.mu.Unlock()
		if known {
			return at, nil
		}
		select {
		case <-arrived:
		case <-time.After(30 * time.Second):
			return 0, cloudcrowd.Errorf(cloudcrowd.Internal, "job %s had no lease within 30 s", job)
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
