// Package sim runs the whole platform in one process on a virtual clock: the real core and loop in one or several servers, the memory store with a
// disk that fails, a bus that loses, delays and partitions, and a crowd of workers of every character. Everything is derived from one seed; invariants are
// checked after every commit; the same seed gives the same trace. docs/testing.md says which failures it injects and what it holds.
package sim

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	blobmemory "cloudcrowd.dev/cloudcrowd/internal/blob/memory"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
)

// Report is the outcome of one run.
type Report struct {
	Seed     uint64          `json:"seed"`
	Profile  string          `json:"profile"`
	Workers  int             `json:"workers"`
	Servers  int             `json:"servers"` // processes, besides those that start beside another
	Shards   int             `json:"shards"`
	Events   int64           `json:"events"` // virtual events handled
	Commits  int64           `json:"commits"`
	Faults   map[Fault]int64 `json:"faults"` // injected, by kind
	Virtual  float64         `json:"virtual_seconds"`
	Done     int             `json:"jobs_done"`
	Failed   int             `json:"jobs_failed"`
	Refused  int             `json:"jobs_refused"`
	Tasks    int64           `json:"tasks"`
	Attempts int64           `json:"attempts"`
	Copies   int64           `json:"second_copies"` // of stragglers
	Compared int64           `json:"late_compared"` // results of the other copy that came after all
	Rejected int64           `json:"results_refused"`
	Wrong    int64           `json:"wrong_accepted"` // accepted results that differ from the truth
	Trace    string          `json:"trace"`          // hash of everything that happened
}

// Fault is a kind of injected fault.
type Fault string

// The kinds.
const (
	Dropped      Fault = "messages dropped"
	Duplicated   Fault = "messages duplicated"
	Reordered    Fault = "messages reordered"
	Partitioned  Fault = "partitions"
	CutOneWay    Fault = "one-way partitions"
	Cut          Fault = "messages cut by partitions"
	Crashed      Fault = "server crashes at random moments"
	CrashedHere  Fault = "server crashes between decision and answer"
	Paused       Fault = "servers paused"
	TookOver     Fault = "servers started beside another"
	GaveAway     Fault = "shards given away"
	ClaimLost    Fault = "claims that another server was ahead of"
	Fenced       Fault = "commits of an old server refused"
	ClockSet     Fault = "clocks set"
	DiskSlow     Fault = "slow disk periods"
	DiskFull     Fault = "full disk periods"
	WriteFailed  Fault = "writes failed"
	AnswerLost   Fault = "commit answers lost"
	Flipped      Fault = "bits flipped in snapshot or journal"
	Lied         Fault = "wrong results"
	Colluded     Fault = "wrong results agreed upon"
	Absurd       Fault = "absurd claims of usage"
	Broke        Fault = "workers' sandboxes broken"
	WentAway     Fault = "workers gone"
	WorkerPaused Fault = "workers paused"
	SpoolLost    Fault = "workers' spools lost"
)

// Options of a run. The zero value just runs.
type Options struct {
	Trace io.Writer // told what happens, a line each; nil: nobody

	planted planted // a defect for the tests of the simulator
}

// Run simulates one seed. The error names the first broken invariant.
func Run(seed uint64, p Profile, o Options) (Report, error) {
	w := newWorld(seed, p, o)
	err := w.run()
	for _, s := range w.servers {
		s.stop()
	}
	fmt.Fprintf(w.commits, "%x", w.mark)
	w.report.Trace = hex.EncodeToString(w.commits.Sum(nil)[:16])
	w.report.Virtual = w.now.Sub(epoch).Seconds()
	if err != nil {
		err = fmt.Errorf("seed %d, profile %s, after %s: %w", seed, p.Name, w.now.Sub(epoch), err)
		w.tracef("%v", err)
	}
	return w.report, err
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const operator cloudcrowd.AccountID = "admin"

// world is everything of one run. One goroutine at a time touches it: its own, or a server's that it waits for.
type world struct {
	p         Profile
	o         Options
	rand      *rand.Rand
	now       time.Time
	agenda    agenda
	order     int64
	store     *memory.Store
	disk      disk
	blobs     *blobmemory.Store
	shards    int
	servers   []*server            // alive
	processes []*process           // alive, where there are several
	lost      map[string]time.Time // when processes died last
	hungry    []bool               // shards with work that no worker has room for, as their owners said last
	started   int
	starting  bool
	workers   map[cloudcrowd.WorkerID]*worker
	list      []*worker
	jobs      []*job
	report    Report
	commits   hash.Hash
	mark      uint64 // hash of everything else
	book      *audit
	broken    error // the first broken invariant
}

type event struct {
	at    time.Time
	order int64
	do    func()
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
	old[len(old)-1] = event{}
	*a = old[:len(old)-1]
	return x
}

func newWorld(seed uint64, p Profile, o Options) *world {
	w := &world{p: p, o: o, rand: rand.New(rand.NewPCG(seed, 0x636c6f756463726f)), now: epoch, blobs: blobmemory.New(blobmemory.Options{}),
		workers: map[cloudcrowd.WorkerID]*worker{}, commits: sha256.New()}
	w.report = Report{Seed: seed, Profile: p.Name, Faults: map[Fault]int64{}}
	w.store = memory.New(memory.Options{Unfenced: o.planted.unfenced, PayFirst: o.planted.payFirst,
		FailCommit: func(store.Batch) error { return w.writable() }})
	w.shards, w.report.Servers = 1, 1
	if w.several() {
		w.shards, w.report.Servers = w.within(p.Shards), w.within(p.Servers)
	}
	w.report.Shards = w.shards
	w.lost, w.hungry, w.disk.shards = map[string]time.Time{}, make([]bool, w.shards), make([]shardDisk, w.shards)
	w.book = newAudit(w)
	return w
}

// sharing is how the requesters of this seed share the workers: in every third run by quotas, weights and a short memory.
func (w *world) sharing() cloudcrowd.Sharing {
	if w.report.Seed%3 != 0 {
		return cloudcrowd.Sharing{}
	}
	return cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(30 * time.Second), Quota: 3 + int(w.report.Seed/3%20), Weights: map[cloudcrowd.AccountID]float64{"requester1": 3}}
}

func (w *world) chance(p float64) bool { return p > 0 && w.rand.Float64() < p }

// faulty reports whether a fault of the given chance strikes now; the world gets better once the profile's time of faults is over.
func (w *world) faulty(p float64) bool { return p > 0 && w.now.Sub(epoch) < w.p.Faults && w.chance(p) }

// count notes an injected fault.
func (w *world) count(f Fault) { w.report.Faults[f]++ }

// upTo draws a duration below d.
func (w *world) upTo(d time.Duration) time.Duration {
	return time.Duration(w.rand.Float64() * float64(d))
}

// about draws a duration of mean d.
func (w *world) about(d time.Duration) time.Duration {
	return time.Duration(w.rand.ExpFloat64() * float64(d))
}

// between draws a number, mostly a small one: little worlds are as good at finding defects, and many of them run in the time of a large one.
func (w *world) between(r [2]int) int {
	n := r[1] - r[0] + 1
	return r[0] + min(w.rand.IntN(n), w.rand.IntN(n))
}

// within draws a number.
func (w *world) within(r [2]int) int { return r[0] + w.rand.IntN(r[1]-r[0]+1) }

// after puts something on the agenda.
func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.agenda, event{w.now.Add(max(d, 0)), w.order, do})
}

// often does something again and again, rate times a minute, as long as faults happen.
func (w *world) often(rate float64, do func()) {
	if rate <= 0 {
		return
	}
	w.after(w.about(time.Duration(float64(time.Minute)/rate)), func() {
		if w.now.Sub(epoch) < w.p.Faults {
			do()
			w.often(rate, do)
		}
	})
}

// fail notes the first broken invariant; the run ends with it.
func (w *world) fail(err error) {
	if w.broken == nil {
		w.broken = err
	}
}

// note puts something that happened into the trace's hash.
func (w *world) note(kind byte, a, b uint64) {
	const prime = 0x9E3779B97F4A7C15
	w.mark = (w.mark ^ uint64(kind) ^ a*prime ^ uint64(w.now.UnixNano())) * prime
	w.mark = (w.mark ^ w.mark>>29 ^ b) * prime
}

// tracef tells whoever reads the trace.
func (w *world) tracef(format string, args ...any) {
	if w.o.Trace != nil {
		fmt.Fprintf(w.o.Trace, "%12.6f  %s\n", w.now.Sub(epoch).Seconds(), fmt.Sprintf(format, args...))
	}
}

func (w *world) run() error {
	w.populate()
	if w.several() {
		w.startProcesses()
	} else {
		w.startServer()
	}
	w.after(time.Second, w.tick)
	w.often(w.p.Crashes, w.crashOne)
	w.often(w.p.Pauses, w.pauseOne)
	w.often(w.p.Takeovers, w.takeOver)
	w.often(w.p.Jumps, w.setClock)
	w.often(w.p.Partitions, w.partition)
	w.often(w.p.SlowDisk, w.slowDisk)
	w.often(w.p.FullDisk, w.fillDisk)
	limit := epoch.Add(w.p.Limit)
	for len(w.agenda) > 0 {
		e := heap.Pop(&w.agenda).(event)
		if e.at.After(limit) {
			return fmt.Errorf("jobs have not ended in time: %s", w.unfinished())
		}
		w.now = e.at
		w.report.Events++
		e.do()
		if w.broken != nil {
			return w.broken
		}
		if w.ended() {
			return w.settle()
		}
	}
	return errors.New("nothing left to happen and jobs have not ended: " + w.unfinished())
}

// tick is the loops' own clock.
func (w *world) tick() {
	w.after(500*time.Millisecond, w.tick)
	for _, s := range w.servers {
		s.soon()
	}
}
