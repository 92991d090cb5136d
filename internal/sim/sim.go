// Package sim runs the real core and loop over the memory store with a crowd of simulated workers on a virtual clock, everything derived from one
// seed, and checks the platform's invariants after every commit. The same seed gives the same trace.
package sim

import (
	"container/heap"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"math/rand/v2"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	blobmemory "cloudcrowd.dev/cloudcrowd/internal/blob/memory"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// Profile says how rough a run is. Rates are chances per event, in [0, 1].
type Profile struct {
	Name        string
	Workers     int
	Lying       float64 // share of workers that return wrong results, each in LieRate of its results
	LieRate     float64
	Slow        float64 // share of workers ten times slower than they claim
	Vanishing   float64 // share of workers that go away now and then, sometimes for ever
	Jobs        int
	Drop        float64       // messages lost
	Duplicate   float64       // reports delivered twice
	Delay       time.Duration // longest delivery time of a message
	Crashes     float64       // expected server crashes per virtual minute
	FailCommits float64       // commits that fail before they are written
	LoseAnswers float64       // commits that are written but answer an error
	Limit       time.Duration // virtual time by which every job must have ended
}

// Profiles by name.
var Profiles = map[string]Profile{
	"calm":  {Name: "calm", Workers: 6, Jobs: 4, Delay: 5 * time.Millisecond, Limit: 2 * time.Hour},
	"crowd": {Name: "crowd", Workers: 14, Lying: 0.2, LieRate: 0.3, Slow: 0.2, Vanishing: 0.2, Jobs: 5, Drop: 0.01, Duplicate: 0.02, Delay: 50 * time.Millisecond, Limit: 6 * time.Hour},
	"storm": {Name: "storm", Workers: 12, Lying: 0.2, LieRate: 0.5, Slow: 0.2, Vanishing: 0.3, Jobs: 4, Drop: 0.05, Duplicate: 0.05, Delay: 2 * time.Second,
		Crashes: 1, FailCommits: 0.01, LoseAnswers: 0.01, Limit: 12 * time.Hour},
}

// Report is the outcome of one run.
type Report struct {
	Seed     uint64  `json:"seed"`
	Profile  string  `json:"profile"`
	Events   int64   `json:"events"` // virtual events handled
	Commits  int64   `json:"commits"`
	Faults   int64   `json:"faults"` // injected: crashes, drops, duplicates, failed commits, lies, vanishings
	Virtual  float64 `json:"virtual_seconds"`
	Done     int     `json:"jobs_done"`
	Failed   int     `json:"jobs_failed"`
	Tasks    int64   `json:"tasks"`
	Attempts int64   `json:"attempts"`
	Refused  int64   `json:"refused"`
	Wrong    int64   `json:"wrong_accepted"` // accepted results that differ from the truth
	Trace    string  `json:"trace"`          // hash of everything committed
}

// Run simulates one seed. The error names the first broken invariant.
func Run(seed uint64, p Profile) (Report, error) {
	w := newWorld(seed, p)
	err := w.run()
	w.report.Trace = hex.EncodeToString(w.trace.Sum(nil)[:16])
	w.report.Virtual = w.now.Sub(epoch).Seconds()
	if err != nil {
		err = fmt.Errorf("seed %d, profile %s, after %s: %w", seed, p.Name, w.now.Sub(epoch), err)
	}
	return w.report, err
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const operator cloudcrowd.AccountID = "admin"

// world is everything of one run. It is single-threaded.
type world struct {
	p       Profile
	rand    *rand.Rand
	now     time.Time
	agenda  agenda
	order   int64
	store   *memory.Store
	blobs   *blobmemory.Store
	manager *taskmanager.Manager
	workers map[cloudcrowd.WorkerID]*worker
	list    []*worker
	jobs    []*job
	report  Report
	trace   hash.Hash
	book    *audit
	stepDue bool
	failing bool // faults are injected only while work goes on
}

type event struct {
	at    time.Time
	order int64
	do    func() error
}

type agenda []event

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].order < a[j].order
	}
	return a[i].at.Before(a[j].at)
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *agenda) Push(x any) { *a = append(*a, x.(event)) }

// Pop implements heap.Interface.
func (a *agenda) Pop() any {
	old := *a
	x := old[len(old)-1]
	*a = old[:len(old)-1]
	return x
}

func newWorld(seed uint64, p Profile) *world {
	w := &world{p: p, rand: rand.New(rand.NewPCG(seed, 0x636c6f756463726f)), now: epoch, blobs: blobmemory.New(blobmemory.Options{}), workers: map[cloudcrowd.WorkerID]*worker{}, trace: sha256.New(), failing: true}
	w.report = Report{Seed: seed, Profile: p.Name}
	injected := errors.New("injected")
	w.store = memory.New(memory.Options{
		FailCommit: func(store.Batch) error {
			if w.failing && w.chance(p.FailCommits) {
				w.report.Faults++
				return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the disk is full: %w", injected)
			}
			return nil
		},
		LoseAnswer: func(b store.Batch) error {
			w.report.Commits++
			fmt.Fprintf(w.trace, "%d %d %d\n", b.Seq, b.At, b.Count)
			w.trace.Write(b.Events)
			if w.failing && w.chance(p.LoseAnswers) {
				w.report.Faults++
				return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the answer was lost: %w", injected)
			}
			return nil
		},
	})
	w.book = newAudit(w)
	return w
}

func (w *world) chance(p float64) bool { return p > 0 && w.rand.Float64() < p }

// after puts something on the agenda.
func (w *world) after(d time.Duration, do func() error) {
	w.order++
	heap.Push(&w.agenda, event{w.now.Add(d), w.order, do})
}

// delay is the delivery time of one message.
func (w *world) delay() time.Duration {
	return time.Duration(w.rand.Float64() * w.rand.Float64() * float64(w.p.Delay))
}

func (w *world) run() error {
	if err := w.startServer(); err != nil {
		return err
	}
	w.populate()
	w.after(time.Second, w.tick)
	if w.p.Crashes > 0 {
		w.scheduleCrash()
	}
	limit := epoch.Add(w.p.Limit)
	for len(w.agenda) > 0 {
		e := heap.Pop(&w.agenda).(event)
		if e.at.After(limit) {
			return fmt.Errorf("jobs have not ended in time: %s", w.unfinished())
		}
		w.now = e.at
		w.report.Events++
		if err := e.do(); err != nil {
			return err
		}
		if w.ended() {
			return w.settle()
		}
	}
	return errors.New("nothing left to happen and jobs have not ended: " + w.unfinished())
}

// tick is the loop's own clock.
func (w *world) tick() error {
	w.after(500*time.Millisecond, w.tick)
	return w.step()
}

// soon lets the loop take what was queued at this instant as one batch.
func (w *world) soon() {
	if !w.stepDue {
		w.stepDue = true
		w.after(time.Millisecond, func() error { w.stepDue = false; return w.step() })
	}
}

func (w *world) step() error {
	for w.manager != nil {
		if err := w.manager.Step(context.Background()); err != nil {
			return fmt.Errorf("the loop stopped: %w", err)
		}
		if err := w.book.check(); err != nil {
			return err
		}
		if !w.manager.Queued() {
			return nil
		}
	}
	return nil // no server at present
}

// startServer opens a Task Manager over the store, as after a crash.
func (w *world) startServer() error {
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(w.rand.Uint32())
	}
	w.manager = taskmanager.New(taskmanager.Config{Store: w.store, Blobs: w.blobs, Courier: w, Signer: signer{}, Operator: operator, Now: func() time.Time { return w.now },
		Seed: &seed, Perform: func(work func()) { work() }, Unpaused: true, Merge: merged})
	return w.manager.Open(context.Background())
}

func (w *world) scheduleCrash() {
	mean := float64(time.Minute) / w.p.Crashes
	w.after(time.Duration(w.rand.ExpFloat64()*mean), func() error {
		w.report.Faults++
		w.manager = nil // killed: its memory, and what was queued, is gone
		down := time.Duration(w.rand.Float64() * float64(20*time.Second))
		for _, k := range w.list {
			k.disconnected()
		}
		w.after(down, func() error {
			if err := w.startServer(); err != nil {
				return fmt.Errorf("restart: %w", err)
			}
			w.scheduleCrash()
			return w.step()
		})
		return nil
	})
}

type signer struct{}

func (signer) Read(d cloudcrowd.Digest, _ time.Time) string { return string(d) }
func (signer) Upload(a cloudcrowd.AttemptID, _ cloudcrowd.WorkerID, _ int64, _ time.Time) string {
	return a.String()
}
