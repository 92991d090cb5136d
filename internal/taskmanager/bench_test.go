package taskmanager

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// quick is a store that takes everything and keeps of the tables how far they go.
type quick struct {
	store.Store
	to int64
}

// Commit implements store.Shards.
func (q *quick) Commit(context.Context, store.Batch) error { return nil }

// Project implements store.Projections.
func (q *quick) Project(_ context.Context, p store.Projected) error {
	q.to = p.To
	return nil
}

// processorTime is what the process has used so far, in seconds, collections of garbage beside the benchmark included.
func processorTime(b *testing.B) float64 {
	b.Helper()
	p, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		b.Fatal(err)
	}
	t, err := p.Times()
	if err != nil {
		b.Fatal(err)
	}
	return t.User + t.System
}

// What the loop costs a task: deciding, encoding, leasing and what the tables are given, without store, bus and agents. Each step is a batch: every worker
// reports all it has, or with few above 0, so many of them do. b.N is the number of tasks.
func BenchmarkLoop(b *testing.B) {
	for _, c := range []struct{ workers, slots, replicas, few int }{{4, 64, 1, 0}, {4, 64, 2, 0}, {100, 8, 1, 0}, {1000, 8, 1, 0}, {10000, 2, 1, 0}, {100, 2, 1, 100}, {1000, 2, 1, 100}, {10000, 2, 1, 100}} {
		b.Run(fmt.Sprintf("workers=%d/slots=%d/replicas=%d/few=%d", c.workers, c.slots, c.replicas, c.few), func(b *testing.B) {
			r := newRig(b, func(cfg *Config) { cfg.Prices = cloudcrowd.DefaultPrices })
			q := &quick{Store: r.store}
			r.m.cfg.Store = q
			workers := make([]cloudcrowd.WorkerID, c.workers)
			for i := range workers {
				workers[i] = r.join(fmt.Sprintf("w%05d", i), cloudcrowd.AccountID(fmt.Sprint("owner", i)), c.slots, nil)
			}
			v := cloudcrowd.Verify{None: true}
			if c.replicas > 1 {
				v = cloudcrowd.Verify{Replicas: c.replicas, Quorum: c.replicas}
			}
			s := r.spec("bench", int64(b.N), false, v)
			s.Stages[0].Run.Args, s.Stages[0].Target, s.Budget = nil, cloudcrowd.Duration(10*time.Millisecond), 900*cloudcrowd.Credit
			b.ReportAllocs()
			b.ResetTimer()
			before := processorTime(b)
			in := inboxes{}
			r.m.cfg.Courier = in
			id := r.submit("ada", "", s)
			serve(r, in, c.few, func() bool { return r.m.State().Jobs[id].State.Ended() })
			b.ReportMetric((processorTime(b)-before)*1e9/float64(b.N), "cpu-ns/op")
		})
	}
}

// inboxes are a courier that keeps of what is sent to workers only which attempts they are to answer, as agents elsewhere would.
type inboxes map[cloudcrowd.WorkerID][]cloudcrowd.AttemptID

// Send implements Courier.
func (in inboxes) Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	for i := range d.Leases {
		in[w] = append(in[w], d.Leases[i].Attempt)
	}
	return nil
}

// serve lets workers answer all they are given, few of them in a step or all, until it is over.
func serve(r *rig, in inboxes, few int, over func() bool) {
	done := cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: 1e-6, WallSeconds: 1e-6}}
	for !over() {
		r.mu.Lock()
		r.now = r.now.Add(2 * time.Millisecond)
		r.mu.Unlock()
		n := 0
		for w, list := range in {
			if n++; few > 0 && n > few {
				break
			}
			up := cloudcrowd.Up{Reports: make([]cloudcrowd.Report, 0, len(list))}
			for _, id := range list {
				up.Reports = append(up.Reports, cloudcrowd.Report{Attempt: id, Result: done})
			}
			delete(in, w)
			r.m.Receive(w, up)
		}
		r.step()
	}
}

// The same with the tasks in many jobs of many requesters, so many of them open at once: all, or some, and when those have ended the next, which tells what a job costs
// beside its tasks from what open jobs cost. What submitting costs is not in it. Time is real: a snapshot of so many jobs is bounded to a share of it.
func BenchmarkJobs(b *testing.B) {
	for _, c := range []struct{ jobs, requesters, few, open int }{{1, 1, 0, 1}, {100, 1, 0, 100}, {10000, 1, 0, 10000}, {10000, 100, 0, 10000}, {10000, 100, 0, 200},
		{1, 1, 10, 1}, {10000, 100, 10, 10000}, {10000, 100, 10, 200}} {
		b.Run(fmt.Sprintf("jobs=%d/requesters=%d/few=%d/open=%d", c.jobs, c.requesters, c.few, c.open), func(b *testing.B) {
			r := newRig(b, func(cfg *Config) { cfg.Prices, cfg.Now = cloudcrowd.DefaultPrices, time.Now })
			for i := range c.requesters {
				r.issue(cloudcrowd.AccountID(fmt.Sprint("r", i)), 1000*cloudcrowd.Credit)
			}
			for i := range 100 {
				r.join(fmt.Sprintf("w%05d", i), cloudcrowd.AccountID(fmt.Sprint("owner", i)), 8, nil)
			}
			for _, s := range r.m.loop.sessions {
				r.m.loop.silent(s, 0)
			}
			per := max(b.N/c.jobs, 1)
			s := r.spec("bench", int64(per), false, cloudcrowd.Verify{None: true})
			s.Stages[0].Run.Args, s.Stages[0].Target, s.Budget = nil, cloudcrowd.Duration(10*time.Millisecond), max(cloudcrowd.Credit/20, cloudcrowd.Credits(per)*10)
			r.m.cfg.Store = &quick{Store: r.store}
			in := inboxes{}
			r.m.cfg.Courier = in
			used := 0.0
			b.ReportAllocs()
			b.ResetTimer()
			for from := 0; from < c.jobs; from += c.open {
				b.StopTimer()
				for _, s := range r.m.loop.sessions {
					r.m.loop.silent(s, 0)
				}
				for i := range c.open {
					r.submit(cloudcrowd.AccountID(fmt.Sprint("r", (from+i)%c.requesters)), "", s)
				}
				for _, s := range r.m.loop.sessions {
					s.online, s.goneAt, s.sched.Closed, s.lastSeen = true, 0, false, r.m.loop.now()
					r.m.loop.relist(s)
				}
				b.StartTimer()
				before := processorTime(b)
				r.step()
				serve(r, in, c.few, func() bool { return !r.m.loop.st.AnyRunning() })
				used += processorTime(b) - before
			}
			b.ReportMetric(used*1e9/float64(per*c.jobs), "cpu-ns/task")
		})
	}
}
