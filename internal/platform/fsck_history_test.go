package platform

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/file"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// chronicle is a small server driven by hand, with machines that answer at once.
type chronicle struct {
	t       testing.TB
	dir     string
	db      *sqlite.Store
	blobs   *file.Store
	shards  []*taskmanager.Manager
	now     time.Time
	keep    cloudcrowd.JobID // whose leases are never answered
	leased  []held
	holding map[cloudcrowd.WorkerID][]cloudcrowd.Progress
}

type held struct {
	worker cloudcrowd.WorkerID
	lease  cloudcrowd.Lease
}

var machines = []cloudcrowd.WorkerID{"UA", "UB", "UC", "UD"} // UD lies

func newHistory(t testing.TB, dir string, shards int) *chronicle {
	t.Helper()
	h := &chronicle{t: t, dir: dir, shards: make([]*taskmanager.Manager, shards), now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), holding: map[cloudcrowd.WorkerID][]cloudcrowd.Progress{}}
	var err error
	if h.db, err = sqlite.Open(t.Context(), filepath.Join(dir, databaseFile), sqlite.Options{}); err != nil {
		t.Fatal(err)
	}
	if h.blobs, err = file.Open(filepath.Join(dir, blobFolder)); err != nil {
		t.Fatal(err)
	}
	for i, id := range machines {
		hash := fmt.Sprintf("%064d", i)
		owner := cloudcrowd.AccountID(fmt.Sprintf("owner%d", i))
		if err := h.db.PutInvite(t.Context(), hash, cloudcrowd.Invite{ID: fmt.Sprint("i", i), Owner: owner}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.db.Join(t.Context(), hash, cloudcrowd.Worker{ID: id, Name: fmt.Sprint("machine ", i)}, 1); err != nil {
			t.Fatal(err)
		}
	}
	h.start()
	return h
}

// start opens the Task Managers, as after a crash.
func (h *chronicle) start() {
	h.t.Helper()
	for i := range h.shards {
		m := taskmanager.New(taskmanager.Config{Store: h.db, Blobs: h.blobs, Courier: h, Signer: noSigner{}, Operator: OperatorAccount, Now: func() time.Time { return h.now },
			Shard: i, Shards: len(h.shards), Seed: &[32]byte{7}, Perform: func(work func()) { work() }, Unpaused: true, Merge: Merge})
		if err := m.Open(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
		h.shards[i] = m
		for _, id := range machines {
			m.Receive(id, cloudcrowd.Up{Hello: &cloudcrowd.Hello{Session: "s", Info: cloudcrowd.WorkerInfo{Name: string(id), Slots: 2, Speed: 1, MemoryBytes: 8 << 30, Sandboxes: []string{"wasm"}}}})
		}
	}
}

// of is the Task Manager that has a job.
func (h *chronicle) of(id cloudcrowd.JobID) *taskmanager.Manager {
	return h.shards[store.ShardOf(id, len(h.shards))]
}

type noSigner struct{}

func (noSigner) Read(cloudcrowd.Digest, time.Time) string { return "" }
func (noSigner) Upload(cloudcrowd.AttemptID, cloudcrowd.WorkerID, int64, time.Time) string {
	return ""
}

// Send implements taskmanager.Courier.
func (h *chronicle) Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	for _, l := range d.Leases {
		h.leased = append(h.leased, held{w, l})
	}
	return nil
}

func (h *chronicle) step() {
	h.t.Helper()
	h.now = h.now.Add(time.Second)
	for _, id := range machines {
		for _, m := range h.shards {
			var holding []cloudcrowd.Progress
			if m == h.of(h.keep) {
				holding = h.holding[id]
			}
			m.Receive(id, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Want: 4, Holding: holding}})
		}
	}
	leased := h.leased
	h.leased = nil
	for _, l := range leased {
		if l.lease.Attempt.Task.Job == h.keep {
			h.holding[l.worker] = append(h.holding[l.worker], cloudcrowd.Progress{Attempt: l.lease.Attempt, Running: true})
			continue
		}
		h.of(l.lease.Attempt.Task.Job).Receive(l.worker, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: l.lease.Attempt, Result: h.run(l)}}})
	}
	for _, m := range h.shards {
		if err := m.Step(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

// run does a lease: it prints its arguments, or fails if told so, or lies.
func (h *chronicle) run(l held) cloudcrowd.Result {
	h.t.Helper()
	r := cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: 0.4, WallSeconds: 0.5, PeakMemoryBytes: 1 << 20}}
	if slices.Contains(l.lease.Payload.Args, "fail") {
		r.Outcome, r.ExitCode, r.Reason, r.StderrTail = cloudcrowd.Exited, 3, "exit status 3", "no"
		return r
	}
	text := fmt.Sprintln(l.lease.Payload.Args)
	if l.worker == "UD" {
		text = "a lie\n"
	}
	put := func(text string) cloudcrowd.Digest {
		d, err := blob.PutBytes(h.t.Context(), h.blobs, []byte(text))
		if err != nil {
			h.t.Fatal(err)
		}
		return d
	}
	r.Outputs = []cloudcrowd.OutputFile{{Path: "out.txt", Digest: put(text), SizeBytes: int64(len(text))}}
	r.Log = put("log of " + text)
	return r
}

// decide runs a decision of a shard and waits for its commit.
func (h *chronicle) decide(m *taskmanager.Manager, what func(*lifecycle.Decider) error) {
	h.t.Helper()
	m.Inject(what, func(err error) {
		if err != nil {
			h.t.Fatal(err)
		}
	})
	h.step()
}

// submit submits a job to a shard, counted around.
func (h *chronicle) submit(shard int, name string, args ...string) cloudcrowd.JobID {
	h.t.Helper()
	module, err := blob.PutBytes(h.t.Context(), h.blobs, []byte("module"))
	if err != nil {
		h.t.Fatal(err)
	}
	stage := cloudcrowd.Stage{Name: "work", Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: 60, Size: 10}, Timeout: cloudcrowd.Duration(time.Minute), Retries: 1,
		Run:       &cloudcrowd.Program{Module: module, ModuleName: "work.wasm", Args: append([]string{"{{start}}", "{{end}}"}, args...)},
		Resources: cloudcrowd.Resources{MemoryBytes: 64 << 20, DiskBytes: 1 << 20, OutputBytes: 1 << 20, Cores: 1}, Target: cloudcrowd.Duration(time.Second),
		Verify: cloudcrowd.Verify{Replicas: 2, Quorum: 2}}
	spec := cloudcrowd.JobSpec{Name: name, Budget: cloudcrowd.Credit, Outputs: []string{"all"}, Stages: []cloudcrowd.Stage{stage,
		{Name: "all", After: []string{"work"}, Merge: &cloudcrowd.Merge{Kind: cloudcrowd.MergeConcat, As: "all.txt"}}}}
	var id cloudcrowd.JobID
	for n := uint32(len(name)); id == "" || h.of(id) != h.shards[shard%len(h.shards)]; n += 100 {
		id = cloudcrowd.NewJobID(h.now, n)
	}
	h.decide(h.of(id), func(d *lifecycle.Decider) error { _, err := d.Submit(id, "anna", name, spec); return err })
	return id
}

// live makes jobs of every fate: done, failed, cancelled, and one that runs with leases out when the server dies. each is called after every step.
func (h *chronicle) live(each func()) {
	h.t.Helper()
	steps := func(n int) {
		for range n {
			h.step()
			each()
		}
	}
	h.decide(h.shards[len(h.shards)-1], func(d *lifecycle.Decider) error {
		_, err := d.Issue("anna", 10*cloudcrowd.Credit, OperatorAccount, "a gift", "gift")
		return err
	})
	h.submit(1, "done")
	steps(12)
	h.submit(2, "failing", "fail")
	steps(8)
	h.keep = h.submit(1, "cancelled")
	steps(2)
	h.decide(h.of(h.keep), func(d *lifecycle.Decider) error { return d.Cancel(h.keep, "changed her mind") })
	h.now = h.now.Add(2 * time.Minute) // a snapshot is due, and ended jobs are forgotten
	clear(h.holding)
	h.start() // a new server finds it all
	steps(3)
	h.keep = h.submit(0, "runs")
	steps(3)
	h.now = h.now.Add(2 * time.Minute)
	h.submit(2, "runs on")
	steps(3)
}

// finished histories, by the number of their shards.
var finished [4]struct {
	sync.Once
	dir string
}

// aHistory returns a copy of a finished history's data directory, and its database.
func aHistory(t *testing.T) (dir string, db *sql.DB) { return aHistoryOf(t, 1) }

func aHistoryOf(t *testing.T, shards int) (dir string, db *sql.DB) {
	t.Helper()
	finished := &finished[shards]
	finished.Do(func() {
		dir, err := os.MkdirTemp("/dev/shm", "cloudcrowd-test-")
		if err != nil {
			if dir, err = os.MkdirTemp("", "cloudcrowd-test-"); err != nil {
				t.Fatal(err)
			}
		}
		h := newHistory(t, dir, shards)
		h.live(func() {})
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}
		finished.dir = dir
	})
	dir = quickDir(t)
	if err := os.CopyFS(dir, os.DirFS(finished.dir)); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, databaseFile)+"?_pragma=ignore_check_constraints(ON)&vfs="+pagesum.VFS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return dir, db
}

// quickDir is a folder for tests that ask nothing of the disk: in memory where the system offers that.
func quickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cloudcrowd-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	for i := range finished {
		if dir := finished[i].dir; dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

func check(t testing.TB, dir string, o FsckOptions) FsckReport {
	t.Helper()
	r, err := Fsck(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustBeClean(t testing.TB, r FsckReport) {
	t.Helper()
	if r.Verdict != Clean || r.Problems != nil {
		b, _ := json.MarshalIndent(r.Problems, "", " ")
		t.Fatalf("%s:\n%s", r.Verdict, b)
	}
}
