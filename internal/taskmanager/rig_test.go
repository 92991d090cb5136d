package taskmanager

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	blobmemory "cloudcrowd.dev/cloudcrowd/internal/blob/memory"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
)

// rig is a Manager driven by hand over the memory store, with a courier that keeps what was sent and a clock that is set.
type rig struct {
	t     testing.TB
	m     *Manager
	cfg   Config
	store *memory.Store
	blobs *blobmemory.Store

	mu         sync.Mutex // of what hooks and courier touch
	now        time.Time
	sent       map[cloudcrowd.WorkerID][]cloudcrowd.Down
	todo       map[cloudcrowd.WorkerID][]cloudcrowd.Lease // received and not worked on
	failCommit error
	loseAnswer error
	module     cloudcrowd.Digest
}

// Send implements Courier.
func (r *rig) Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent[w] = append(r.sent[w], d)
	return nil
}

// Read and Upload implement Signer.
func (r *rig) Read(d cloudcrowd.Digest, _ time.Time) string { return "read " + d.Short() }

// Upload implements Signer.
func (r *rig) Upload(a cloudcrowd.AttemptID, w cloudcrowd.WorkerID, most int64, _ time.Time) string {
	return fmt.Sprintf("upload %s %s %d", a, w, most)
}

func (r *rig) hook(err *error) func(store.Batch) error {
	return func(store.Batch) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		return *err
	}
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), sent: map[cloudcrowd.WorkerID][]cloudcrowd.Down{}, todo: map[cloudcrowd.WorkerID][]cloudcrowd.Lease{}, blobs: blobmemory.New(blobmemory.Options{})}
	r.store = memory.New(memory.Options{FailCommit: r.hook(&r.failCommit), LoseAnswer: r.hook(&r.loseAnswer)})
	r.cfg = Config{Store: r.store, Blobs: r.blobs, Courier: r, Signer: r, Operator: "admin", Now: r.clock, Seed: new([32]byte), Perform: func(work func()) { work() }, Unpaused: true,
		Version: "test", Merge: concat, Prices: cloudcrowd.Prices{CoreSecond: 1000, Minimum: 1, FeePercent: 10}}
	if change != nil {
		change(&r.cfg)
	}
	r.module = r.put("module")
	r.restart()
	r.issue("ada", 1000*cloudcrowd.Credit)
	return r
}

func (r *rig) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// concat stands for the built-in merges.
func concat(ctx context.Context, _ *cloudcrowd.Merge, _ *cloudcrowd.Split, parts []MergePart, blobs blob.Store) ([]cloudcrowd.OutputFile, error) {
	text := ""
	for _, p := range parts {
		for _, f := range p.Outputs {
			b, err := blob.ReadAll(ctx, blobs, f.Digest, 1<<20)
			if err != nil {
				return nil, err
			}
			text += string(b)
		}
	}
	d, err := blob.PutBytes(ctx, blobs, []byte(text))
	return []cloudcrowd.OutputFile{{Path: "merged", Digest: d, SizeBytes: int64(len(text))}}, err
}

// restart opens a new Manager over the same store, as after the death of the process.
func (r *rig) restart() {
	r.t.Helper()
	r.m = New(r.cfg)
	if err := r.m.Open(context.Background()); err != nil {
		r.t.Fatal(err)
	}
}

// step decides and commits what is queued.
func (r *rig) step() {
	r.t.Helper()
	for {
		if err := r.m.Step(context.Background()); err != nil {
			r.t.Fatal(err)
		}
		if !r.m.Queued() {
			return
		}
	}
}

// pass lets time go by, in steps of a second, as ticks do.
func (r *rig) pass(d time.Duration) {
	r.t.Helper()
	for range max(int(d/time.Second), 1) {
		r.mu.Lock()
		r.now = r.now.Add(min(d, time.Second))
		r.mu.Unlock()
		r.step()
	}
}

// call runs a method that waits for the loop while the loop is driven.
func call[T any](r *rig, f func(ctx context.Context) (T, error)) (T, error) {
	r.t.Helper()
	var v T
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		v, err = f(r.t.Context())
	}()
	for {
		select {
		case <-done:
			return v, err
		default:
			if r.m.Queued() {
				r.step()
			}
			runtime.Gosched()
		}
	}
}

func must[T any](r *rig, f func(ctx context.Context) (T, error)) T {
	r.t.Helper()
	v, err := call(r, f)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) put(text string) cloudcrowd.Digest {
	r.t.Helper()
	d, err := blob.PutBytes(context.Background(), r.blobs, []byte(text))
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *rig) issue(to cloudcrowd.AccountID, amount cloudcrowd.Credits) {
	r.t.Helper()
	must(r, func(ctx context.Context) (cloudcrowd.Transfer, error) {
		return r.m.Issue(ctx, to, amount, "admin", "", "")
	})
}

// spec is a job of one stage over a range in tasks of one number, and, if merged, a built-in merge of it.
func (r *rig) spec(name string, tasks int64, merged bool, verify cloudcrowd.Verify) cloudcrowd.JobSpec {
	s := cloudcrowd.JobSpec{Name: name, Budget: cloudcrowd.Credit, Outputs: []string{"work"}, Stages: []cloudcrowd.Stage{{Name: "work", Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: tasks, Size: 1},
		Run:       &cloudcrowd.Program{Module: r.module, ModuleName: "work.wasm", Args: []string{"{{start}}"}},
		Resources: cloudcrowd.Resources{MemoryBytes: 1 << 20, OutputBytes: 1 << 20, Cores: 1}, Timeout: cloudcrowd.Duration(time.Minute), Retries: 3, Target: cloudcrowd.Duration(time.Second), Verify: verify}}}
	if merged {
		s.Stages = append(s.Stages, cloudcrowd.Stage{Name: "all", After: []string{"work"}, Merge: &cloudcrowd.Merge{Kind: cloudcrowd.MergeConcat}})
		s.Outputs = []string{"all"}
	}
	return s
}

var one = cloudcrowd.Verify{Replicas: 1, Quorum: 1}

func (r *rig) submit(account cloudcrowd.AccountID, key string, s cloudcrowd.JobSpec) cloudcrowd.JobID {
	r.t.Helper()
	return must(r, func(ctx context.Context) (cloudcrowd.JobID, error) { return r.m.Submit(ctx, account, s, key) })
}

// join registers a worker and lets it say hello.
func (r *rig) join(name string, owner cloudcrowd.AccountID, slots int, info func(*cloudcrowd.WorkerInfo)) cloudcrowd.WorkerID {
	r.t.Helper()
	id := cloudcrowd.WorkerID("U" + name)
	hash := blob.DigestOf([]byte(name))
	if err := r.store.PutInvite(r.t.Context(), string(hash), cloudcrowd.Invite{ID: name, Owner: owner}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.store.Join(r.t.Context(), string(hash), cloudcrowd.Worker{ID: id, Name: name}, cloudcrowd.TimeOf(r.clock())); err != nil {
		r.t.Fatal(err)
	}
	r.hello(id, slots, nil, info)
	return id
}

func (r *rig) hello(id cloudcrowd.WorkerID, slots int, holding []cloudcrowd.AttemptID, info func(*cloudcrowd.WorkerInfo)) {
	r.t.Helper()
	h := cloudcrowd.Hello{Session: "s", Info: cloudcrowd.WorkerInfo{Name: string(id[1:]), Cores: slots, Slots: slots, Speed: 1, MemoryBytes: 1 << 30}, Holding: holding}
	if info != nil {
		info(&h.Info)
	}
	r.m.Receive(id, cloudcrowd.Up{Hello: &h})
	r.step()
}

// received takes what was sent to a worker since the last call, as one message.
func (r *rig) received(w cloudcrowd.WorkerID) (all cloudcrowd.Down) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.sent[w] {
		if d.Welcome != nil {
			all.Welcome = d.Welcome
		}
		all.Refresh = all.Refresh || d.Refresh
		all.Leases = append(all.Leases, d.Leases...)
		all.Acks = append(all.Acks, d.Acks...)
		all.Cancels = append(all.Cancels, d.Cancels...)
		all.Refused += d.Refused
	}
	delete(r.sent, w)
	r.todo[w] = append(r.todo[w], all.Leases...)
	return all
}

// answer reports success with the given text as the output, which is uploaded first.
func (r *rig) answer(w cloudcrowd.WorkerID, id cloudcrowd.AttemptID, text string) {
	r.t.Helper()
	d := r.put(text)
	r.m.Receive(w, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded,
		Outputs: []cloudcrowd.OutputFile{{Path: "out", Digest: d, SizeBytes: int64(len(text))}}, Usage: cloudcrowd.Usage{CPUSeconds: 0.5, WallSeconds: 0.5}}}}})
	r.step()
}

// work lets workers answer what they are given until nothing is left; the answer is the task's argument.
func (r *rig) work(workers ...cloudcrowd.WorkerID) {
	r.t.Helper()
	for range 1000 {
		n := 0
		for _, w := range workers {
			r.received(w)
			list := r.todo[w]
			delete(r.todo, w)
			for _, l := range list {
				n++
				r.pass(time.Second)
				r.answer(w, l.Attempt, fmt.Sprint(l.Payload.Args, " "))
			}
		}
		if n == 0 {
			return
		}
	}
	r.t.Fatal("the workers never run out of work")
}

func (r *rig) job(id cloudcrowd.JobID) cloudcrowd.Job {
	r.t.Helper()
	return must(r, func(ctx context.Context) (cloudcrowd.Job, error) { return r.m.Job(ctx, id) })
}

func (r *rig) balance(a cloudcrowd.AccountID) cloudcrowd.Account {
	r.t.Helper()
	return must(r, func(ctx context.Context) (cloudcrowd.Account, error) { return r.m.Account(ctx, a) })
}

// check holds what must hold at any time.
func (r *rig) check() {
	r.t.Helper()
	if bad := r.m.State().Check(); len(bad) > 0 {
		r.t.Fatalf("%q", bad)
	}
	var sum cloudcrowd.Credits
	for _, a := range must(r, r.m.Accounts) {
		sum += a.Balance
	}
	if sum != 0 {
		r.t.Fatalf("the ledger sums to %d", sum)
	}
}

func attempts(list []cloudcrowd.Lease) []string {
	var s []string
	for _, l := range list {
		s = append(s, fmt.Sprintf("%d/%d", l.Attempt.Task.Index, l.Attempt.N))
	}
	slices.Sort(s)
	return s
}
