package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/memory"
)

// A job goes from submission to payout: leases carry payload, grants and an upload token, reports are acknowledged after the commit, the merge is
// performed, charges and balances agree.
func TestLifeOfAJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a, b := r.join("a", "bob", 1, nil), r.join("b", "eve", 1, nil)
	if w := r.received(a).Welcome; w == nil || w.LeaseSeconds != 30 || w.HeartbeatSeconds != 3 || w.Ahead != DefaultAhead {
		t.Fatalf("welcome: %+v", w)
	}
	id := r.submit("ada", "", r.spec("first", 3, true, cloudcrowd.Verify{Replicas: 2, Quorum: 2}))
	if h := r.job(id); h.State != cloudcrowd.JobRunning || h.Hold.Amount != cloudcrowd.Credit || r.balance("ada").Held != cloudcrowd.Credit {
		t.Fatalf("%+v", h)
	}
	got := r.received(a)
	if len(got.Leases) == 0 {
		t.Fatal("no lease was sent")
	}
	l := got.Leases[0]
	if l.Payload.Module != r.module || fmt.Sprint(l.Payload.Args) != "[0]" || len(l.Grants) != 1 || l.Grants[0].Token != "read "+r.module.Short() || !strings.HasPrefix(l.Upload, "upload "+l.Attempt.String()+" Ua") {
		t.Fatalf("lease: %+v", l)
	}
	for _, l := range got.Leases {
		r.pass(time.Second)
		r.answer(a, l.Attempt, fmt.Sprint(l.Payload.Args, " "))
		if acks := r.received(a).Acks; !slices.Contains(acks, l.Attempt) {
			t.Fatalf("acknowledged: %v", acks)
		}
	}
	r.work(a, b)
	j := r.job(id)
	if j.State != cloudcrowd.JobDone || len(j.Outputs) != 1 || j.Outputs[0].Task != -1 || j.Progress != 1 || j.Hold.State != cloudcrowd.HoldVoided {
		t.Fatalf("%+v", j)
	}
	charges := must(r, func(ctx context.Context) ([]cloudcrowd.Charge, error) {
		list, _, err := r.m.Charges(ctx, store.ChargeFilter{Job: id}, store.Page{})
		return list, err
	})
	var gross, fee cloudcrowd.Credits
	for _, c := range charges {
		gross, fee = gross+c.Gross, fee+c.Fee
	}
	if len(charges) != 6 || gross != j.Cost || r.balance("ada").Balance != 1000*cloudcrowd.Credit-gross || r.balance("ada").Held != 0 || r.balance("fee").Balance != fee ||
		r.balance("bob").Balance+r.balance("eve").Balance != gross-fee {
		t.Fatalf("%d charges of %d, fee %d, cost %d; %+v", len(charges), gross, fee, j.Cost, r.balance("ada"))
	}
	r.check()
}

// An idempotency key makes one job and one hold, however often and however close together it is sent.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.spec("once", 1, false, one)
	first := r.submit("ada", "k", s)
	if again := r.submit("ada", "k", s); again != first {
		t.Fatalf("%s and %s", first, again)
	}
	if other := r.submit("ada", "k2", s); other == first {
		t.Fatal("another key made the same job")
	}
	if held := r.balance("ada").Held; held != 2*cloudcrowd.Credit {
		t.Fatalf("held %d", held)
	}
	r.restart()
	if again := r.submit("ada", "k", s); again != first {
		t.Fatal("the key was forgotten by a restart")
	}
	if _, err := call(r, func(ctx context.Context) (cloudcrowd.Transfer, error) {
		return r.m.Issue(ctx, "ada", 5, "ada", "", "k")
	}); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
		t.Fatalf("the key of a job made an issue: %v", err)
	}
}

// Of several submissions in one batch only those that cannot be paid are refused; the others are accepted as if they had come alone.
func TestInsufficientRefusesOffender(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.issue("joe", 3*cloudcrowd.Credit)
	budgets := []cloudcrowd.Credits{cloudcrowd.Credit, 5 * cloudcrowd.Credit, cloudcrowd.Credit, 2 * cloudcrowd.Credit}
	errs, ids := make([]error, len(budgets)), make([]cloudcrowd.JobID, len(budgets))
	answers := 0
	for i, budget := range budgets {
		s := r.spec(fmt.Sprint("job", i), 1, false, one)
		s.Budget = budget
		ids[i] = cloudcrowd.NewJobID(r.clock(), uint32(i))
		r.m.post(command{job: ids[i], decide: func(_ *loop, d *lifecycle.Decider) error {
			_, err := d.Submit(ids[i], "joe", "", s)
			return err
		}, done: func(err error) { errs[i] = err; answers++ }})
	}
	r.step()
	if answers != len(budgets) {
		t.Fatalf("%d answers", answers)
	}
	for i, want := range []cloudcrowd.Code{"", cloudcrowd.InsufficientCredits, "", cloudcrowd.InsufficientCredits} {
		if got := cloudcrowd.CodeOf(errs[i]); got != want {
			t.Errorf("job %d: %v", i, errs[i])
		}
		if _, known := r.m.State().Jobs[ids[i]]; known != (want == "") {
			t.Errorf("job %d is known: %v", i, known)
		}
	}
	if e := new(cloudcrowd.Error); !errors.As(errs[1], &e) || e.Field != "budget" || e.Hint == "" {
		t.Errorf("the refusal: %+v", errs[1])
	}
	if held := r.balance("joe").Held; held != 2*cloudcrowd.Credit {
		t.Errorf("held %d", held)
	}
	r.check()
}

var full = cloudcrowd.Errorf(cloudcrowd.Unavailable, "the disk is full")

func (r *rig) fail(commit, answer error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failCommit, r.loseAnswer = commit, answer
}

// While the store fails, new work is refused with the reason and nothing is half done; when it works again, so does everything, though nobody restarts anything
// and nothing else is to be committed.
func TestStoreFailsAndRecovers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.spec("s", 2, false, one)
	r.fail(full, nil)
	try := func() error {
		_, err := call(r, func(ctx context.Context) (cloudcrowd.JobID, error) { return r.m.Submit(ctx, "ada", s, "key") })
		return err
	}
	for range 2 {
		if err := try(); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), "the disk is full") {
			t.Fatalf("%v", err)
		}
	}
	status := must(r, r.m.Status)
	if !strings.Contains(status.ReadOnly, "disk is full") || len(status.Attention) == 0 || status.LedgerSum != 0 {
		t.Fatalf("%+v", status)
	}
	if len(r.m.State().Jobs) != 0 || r.balance("ada").Held != 0 {
		t.Fatal("a refused job left something behind")
	}
	r.fail(nil, nil)
	r.pass(3 * time.Second)
	if err := try(); err != nil {
		t.Fatalf("the store works again: %v", err)
	}
	if status := must(r, r.m.Status); status.ReadOnly != "" {
		t.Fatalf("%+v", status)
	}
	// A report that could not be committed is not acknowledged; repeated, it counts.
	w := r.join("w", "bob", 2, nil)
	leases := r.received(w).Leases
	r.fail(full, nil)
	r.pass(time.Second)
	r.answer(w, leases[0].Attempt, "x")
	if acks := r.received(w).Acks; len(acks) != 0 {
		t.Fatalf("acknowledged without a commit: %v", acks)
	}
	r.fail(nil, nil)
	r.answer(w, leases[0].Attempt, "x")
	if acks := r.received(w).Acks; len(acks) != 1 {
		t.Fatalf("acknowledged: %v", acks)
	}
	r.check()
}

// A waiting job goes on by itself after the store has failed, though no command comes.
func TestWaitingJobRecovers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	id := r.submit("ada", "", r.spec("s", 1, false, one))
	r.fail(full, nil)
	w := r.join("w", "bob", 1, nil)
	r.pass(5 * time.Second)
	if n := len(r.received(w).Leases); n != 0 {
		t.Fatalf("%d leases were sent without a commit", n)
	}
	r.fail(nil, nil)
	for range 5 {
		r.pass(time.Second)
		r.m.Receive(w, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Want: 1}})
	}
	r.step()
	r.work(w)
	if j := r.job(id); j.State != cloudcrowd.JobDone {
		t.Fatalf("%+v", j.Stages)
	}
}

// A commit that was written although its answer was lost counts: the retry finds it by its key, and tables and watchers hear of it.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	events, err := r.m.Events(t.Context(), "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	s := r.spec("s", 1, false, one)
	r.fail(nil, full)
	if _, err := call(r, func(ctx context.Context) (cloudcrowd.JobID, error) { return r.m.Submit(ctx, "ada", s, "key") }); err == nil {
		t.Fatal("the answer was not lost")
	}
	r.fail(nil, nil)
	if len(r.m.State().Jobs) != 1 {
		t.Fatal("what was committed is not known")
	}
	r.pass(3 * time.Second)
	id := r.submit("ada", "key", s)
	if held := r.balance("ada").Held; held != cloudcrowd.Credit {
		t.Fatalf("held %d", held)
	}
	w := r.join("w", "bob", 1, nil)
	r.work(w)
	if j := r.job(id); j.State != cloudcrowd.JobDone {
		t.Fatalf("%+v", j)
	}
	if to, _ := r.store.ProjectedTo(t.Context(), 0); to != r.m.State().Seq {
		t.Fatalf("the tables reach row %d of %d", to, r.m.State().Seq)
	}
	if e := <-events; e.Type != "job.submitted" || e.Job != id {
		t.Fatalf("first event: %+v", e)
	}
	r.check()
}

// What a restart finds is what was committed: leases go on if the worker still has them, and end without blame if it does not.
func TestRestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a, b := r.join("a", "bob", 1, nil), r.join("b", "eve", 1, nil)
	id := r.submit("ada", "", r.spec("s", 4, true, one))
	la, lb := r.received(a).Leases, r.received(b).Leases
	if len(la) == 0 || len(lb) == 0 {
		t.Fatal("no leases")
	}
	r.restart()
	// Nobody has said hello yet: the leases stand.
	r.pass(5 * time.Second)
	var holding []cloudcrowd.AttemptID
	for _, l := range la {
		holding = append(holding, l.Attempt)
	}
	stray := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: id, Index: 77}, N: 1}
	r.hello(a, 1, append(holding, stray), nil)
	got := r.received(a)
	if got.Welcome == nil || len(got.Cancels) != 1 || got.Cancels[0] != stray {
		t.Fatalf("%+v", got)
	}
	r.hello(b, 1, nil, nil) // started anew
	for _, l := range lb {
		if _, _, _, at := r.m.State().Find(l.Attempt); at.State != cloudcrowd.AttemptReturned {
			t.Fatalf("attempt %s is %s", l.Attempt, at.State)
		}
	}
	for _, l := range la {
		r.answer(a, l.Attempt, fmt.Sprint(l.Payload.Args, " "))
	}
	r.work(a, b)
	if j := r.job(id); j.State != cloudcrowd.JobDone || j.Failed != 0 {
		t.Fatalf("%+v", j.JobSummary)
	}
	r.check()
}

// A second server that takes over the shard fences the first, whatever that was about to be told: it stops, nothing it decided afterwards counts, and who asked it for
// something is to ask the second.
func TestFenced(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	for name, told := range map[string]error{
		"fenced":       nil,
		"insufficient": &store.InsufficientError{Account: "ada", Job: "j"},
		"defect":       cloudcrowd.Errorf(cloudcrowd.Internal, "a defect"),
	} {
		old := r.m
		r.restart()
		r.fail(told, nil)
		refused := make(chan error, 2)
		for range 2 {
			old.post(command{job: "j", decide: func(_ *loop, d *lifecycle.Decider) error {
				_, err := d.Issue("ada", 1, "admin", "", "")
				return err
			}, done: func(err error) { refused <- err }})
		}
		if err := old.Step(t.Context()); !errors.Is(err, store.ErrFenced) {
			t.Fatalf("%s: the first server goes on: %v", name, err)
		}
		for range 2 {
			if err := <-refused; !Moved(err) || cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
				t.Errorf("%s: %v", name, err)
			}
		}
		r.fail(nil, nil)
	}
	r.issue("ada", 1)
	if b := r.balance("ada").Balance; b != 1000*cloudcrowd.Credit+1 {
		t.Fatalf("balance %d", b)
	}
}

// overtaken is a store in which something happens between reading how far a journal goes and reading it.
type overtaken struct {
	*memory.Store
	then func() // once; nil: nothing
}

func (o *overtaken) Rows(ctx context.Context, shard int, after int64, each func(store.Row) error) error {
	if then := o.then; then != nil {
		o.then = nil
		then()
	}
	return o.Store.Rows(ctx, shard, after, each)
}

// A server that reads its shard while another takes it over finds more in the journal than there was: that it has lost the shard, and not that the journal is damaged.
func TestOvertakenWhileReading(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	db := &overtaken{Store: r.store}
	takeOver := func() {
		r.fail(nil, nil)
		r.restart()
		r.issue("ada", 1)
	}
	c := r.cfg
	c.Store = db
	slow := New(c)
	if err := slow.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	var refused error
	slow.post(command{job: "j", decide: func(_ *loop, d *lifecycle.Decider) error {
		_, err := d.Issue("ada", 1, "admin", "", "")
		return err
	}, done: func(err error) { refused = err }})
	r.fail(&store.InsufficientError{Account: "ada", Job: "j"}, nil)
	db.then = takeOver
	if err := slow.Step(t.Context()); !errors.Is(err, store.ErrFenced) || !Moved(refused) {
		t.Errorf("reading back: %v; who asked was told: %v", err, refused)
	}
	db.then = takeOver
	if err := New(c).Open(t.Context()); !errors.Is(err, store.ErrFenced) {
		t.Errorf("reading at the start: %v", err)
	}
	if b := r.balance("ada").Balance; b != 1000*cloudcrowd.Credit+2 {
		t.Errorf("balance %d", b)
	}
}

// An input that cannot be cut as asked fails the job with the bound at fault and one that works, and gives the hold back.
func TestCannotBeCut(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.spec("cut", 1, false, one)
	text := strings.Repeat("a\n", 20_000)
	s.Inputs = map[string]cloudcrowd.Input{"x": {Files: []cloudcrowd.InputFile{{Name: "x", Digest: r.put(text), SizeBytes: int64(len(text))}}}}
	s.Stages[0].Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "x", Max: 1}
	s.Stages[0].Run.Args = nil
	id := r.submit("ada", "", s)
	r.work(r.join("a", "bob", 1, nil))
	j := r.job(id)
	if j.State != cloudcrowd.JobFailed || !strings.Contains(j.Reason, "split.max: 1 lines a task") || !strings.HasSuffix(j.Reason, "; choose max: 4 or more") ||
		r.balance("ada").Held != 0 {
		t.Fatalf("%+v", j)
	}
	r.check()
}
