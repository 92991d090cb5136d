package taskmanager

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// beat sends a heartbeat that mentions the given attempts as running.
func (r *rig) beat(w cloudcrowd.WorkerID, session string, want int, holding ...cloudcrowd.AttemptID) {
	r.t.Helper()
	b := &cloudcrowd.Beat{Session: session, Want: want}
	for _, id := range holding {
		b.Holding = append(b.Holding, cloudcrowd.Progress{Attempt: id, Running: true, Fraction: 0.5, Elapsed: 1})
	}
	r.m.Receive(w, cloudcrowd.Up{Beat: b})
	r.step()
}

func (r *rig) state(id cloudcrowd.AttemptID) cloudcrowd.AttemptState {
	r.t.Helper()
	_, _, _, a := r.m.State().Find(id)
	if a == nil {
		r.t.Fatalf("no attempt %s", id)
	}
	return a.State
}

// leaseOf submits a job of one task and returns the lease it becomes.
func (r *rig) leaseOf(w cloudcrowd.WorkerID) cloudcrowd.AttemptID {
	r.t.Helper()
	r.submit("ada", "", r.spec("one", 1, false, one))
	leases := r.received(w).Leases
	if len(leases) != 1 {
		r.t.Fatalf("%d leases", len(leases))
	}
	return leases[0].Attempt
}

// Heartbeats keep a lease as long as they come; when they stop, the worker counts as gone and its lease is lost; its late result is used all the same.
func TestHeartbeats(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	for range 40 {
		r.pass(3 * time.Second)
		r.beat(w, "s", 0, id)
	}
	if s := r.state(id); s != cloudcrowd.AttemptLeased {
		t.Fatalf("after two minutes of heartbeats: %s", s)
	}
	if v := must(r, func(ctx context.Context) (cloudcrowd.WorkerView, error) { return r.m.Worker(ctx, w) }); !v.Online || !slices.Equal(v.Running, []cloudcrowd.AttemptID{id}) {
		t.Errorf("%+v", v)
	}
	r.pass(14 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLeased {
		t.Fatalf("after a short silence: %s", s)
	}
	r.pass(15 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLost {
		t.Fatalf("after a long silence: %s", s)
	}
	r.answer(w, id, "late")
	if s := r.state(id); s != cloudcrowd.AttemptAccepted {
		t.Fatalf("the late result is %s", s)
	}
	if acks := r.received(w).Acks; !slices.Contains(acks, id) {
		t.Errorf("acknowledged: %v", acks)
	}
	r.check()
}

// A closed connection is forgiven for a while: a worker that comes back with its leases keeps them.
func TestGoneAndBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	r.m.Gone(w)
	r.pass(8 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLeased {
		t.Fatalf("after 8 s: %s", s)
	}
	r.hello(w, 1, []cloudcrowd.AttemptID{id}, nil)
	r.pass(5 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLeased {
		t.Fatalf("it came back and lost its lease: %s", s)
	}
	r.m.Gone(w)
	r.pass(12 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLost {
		t.Fatalf("after 12 s: %s", s)
	}
}

// A worker that says for ever that it is at work does not hold a job for ever: beyond twice the timeout, and time for inputs and results, its lease ends.
func TestHoarding(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	j, _, _, a := r.m.State().Find(id)
	limit := lifecycle.LeaseLimit(&j.Spec.Stages[id.Task.Stage], a.LeasedAt)
	for cloudcrowd.TimeOf(r.clock()) < limit-10e6 {
		r.pass(9 * time.Second)
		r.beat(w, "s", 0, id)
	}
	if s := r.state(id); s != cloudcrowd.AttemptLeased {
		t.Fatalf("%s before its time", s)
	}
	r.pass(9 * time.Second)
	r.beat(w, "s", 0, id)
	r.pass(9 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLost {
		t.Fatalf("%s for longer than twice its timeout", s)
	}
}

// A server that was replaced without noticing says nothing to workers and answers nobody, even where it has nothing to commit: what it knows is old, and a
// result that it acknowledged would be lost.
func TestReplacedServerIsSilent(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(*rig, cloudcrowd.WorkerID, cloudcrowd.AttemptID, *error){
		"a result it has never heard of": func(r *rig, w cloudcrowd.WorkerID, id cloudcrowd.AttemptID, _ *error) {
			id.N++
			r.m.Receive(w, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Stopped}}}})
		},
		"a beat with a lease it has never heard of": func(r *rig, w cloudcrowd.WorkerID, id cloudcrowd.AttemptID, _ *error) {
			r.m.Receive(w, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Holding: []cloudcrowd.Progress{{Attempt: id}, {Attempt: cloudcrowd.AttemptID{Task: id.Task, N: id.N + 1}}}}})
		},
		"a job it has never heard of": func(r *rig, _ cloudcrowd.WorkerID, _ cloudcrowd.AttemptID, answer *error) {
			r.m.Inject(func(d *lifecycle.Decider) error { return d.Cancel(cloudcrowd.NewJobID(r.clock(), 1), "") }, func(err error) { *answer = err })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			w := r.join("w", "bob", 1, nil)
			id := r.leaseOf(w)
			if err := New(r.cfg).Open(t.Context()); err != nil {
				t.Fatal(err)
			}
			clear(r.sent)
			var answer error
			ask(r, w, id, &answer)
			if err := r.m.Step(t.Context()); !errors.Is(err, store.ErrFenced) {
				t.Errorf("its step answers %v, want that it was fenced", err)
			}
			if len(r.sent) > 0 {
				t.Errorf("it sent %+v", r.sent)
			}
			if answer != nil && cloudcrowd.CodeOf(answer) != cloudcrowd.Unavailable {
				t.Errorf("it answered %v", answer)
			}
		})
	}
}

// A server's clock that is set back keeps neither leases nor anything else that waits: the loop's time goes on, at half the pace until both agree. It does not
// go back over a restart either.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	before := r.m.loop.clock
	r.now = r.now.Add(-3 * time.Hour)
	r.pass(10 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLeased {
		t.Fatalf("after 10 s: %s", s)
	}
	r.pass(80 * time.Second)
	if s := r.state(id); s != cloudcrowd.AttemptLost {
		t.Fatalf("after 90 s without a heartbeat, by a clock that was set back: %s", s)
	}
	if passed := r.m.loop.clock - before; passed < 44e6 || passed > 46e6 {
		t.Errorf("the loop's clock has gone on by %d µs in 90 s", passed)
	}
	before = r.m.loop.clock
	r.restart()
	r.step()
	if after := r.m.loop.clock; after < before-60e6 || after > before {
		t.Errorf("the clock is at %d after a restart, %d before", after, before)
	}
}

// A lease that never reached its worker, by what its beats say, is handed out again without blame.
func TestLeaseNeverArrived(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	for range 3 {
		r.pass(3 * time.Second)
		r.beat(w, "s", 1)
	}
	if s := r.state(id); s != cloudcrowd.AttemptReturned {
		t.Fatalf("%s", s)
	}
	if again := r.received(w).Leases; len(again) != 1 || again[0].Attempt.N != 2 {
		t.Fatalf("%v", attempts(again))
	}
	if rec := r.m.State().Record(w); rec.Lost != 0 || rec.Failed != 0 {
		t.Errorf("blamed: %+v", rec)
	}
}

// A worker that leaves hands its leases back, without blame, and gets no more.
func TestLeaving(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 2, nil)
	id := r.leaseOf(w)
	r.m.Receive(w, cloudcrowd.Up{Returned: []cloudcrowd.AttemptID{id}, Leaving: true})
	r.step()
	if s := r.state(id); s != cloudcrowd.AttemptReturned {
		t.Fatalf("%s", s)
	}
	r.beat(w, "s", 2)
	if got := r.received(w); len(got.Leases) != 0 {
		t.Fatalf("it got %v", attempts(got.Leases))
	}
}

// The server asks a worker it does not know to say hello, turns away strangers and the revoked, and cancels what it did not lease.
func TestStrangers(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	r.beat("Ustranger", "s", 1)
	if got := r.received("Ustranger"); !got.Refresh {
		t.Errorf("a worker without a session: %+v", got)
	}
	r.hello("Ustranger", 1, nil, nil)
	if got := r.received("Ustranger"); got.Refused == "" || got.Welcome != nil {
		t.Errorf("a worker nobody invited: %+v", got)
	}
	r.beat(w, "another session", 1)
	if got := r.received(w); !got.Refresh {
		t.Errorf("another session: %+v", got)
	}
	stray := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: id.Task.Job, Index: 9}, N: 1}
	r.beat(w, "s", 0, id, stray)
	if got := r.received(w); !slices.Equal(got.Cancels, []cloudcrowd.AttemptID{stray}) {
		t.Errorf("cancelled: %v", got.Cancels)
	}
	// Another worker cannot report what it does not hold.
	other := r.join("other", "eve", 1, nil)
	r.pass(time.Second)
	r.answer(other, id, "forged")
	if got := r.received(other); len(got.Acks) != 0 || r.state(id) != cloudcrowd.AttemptLeased {
		t.Errorf("a forged report: acks %v, attempt %s", got.Acks, r.state(id))
	}
	if _, err := call(r, func(ctx context.Context) (int, error) { return 0, r.m.RevokeWorker(ctx, w, true) }); err != nil {
		t.Fatal(err)
	}
	if got := r.received(w); got.Refused == "" || !slices.Contains(got.Cancels, id) || r.state(id) != cloudcrowd.AttemptReturned {
		t.Errorf("revoked: %+v", got)
	}
	r.hello(w, 1, nil, nil)
	if got := r.received(w); got.Refused == "" || got.Welcome != nil {
		t.Errorf("a revoked worker says hello: %+v", got)
	}
}

// A report is believed about its files only where they are there, as said; otherwise it is the worker's failure, and the task goes elsewhere.
func TestVettedReports(t *testing.T) {
	t.Parallel()
	d := cloudcrowd.OutputFile{Path: "out", SizeBytes: 5}
	for name, c := range map[string]struct {
		files func(*rig) []cloudcrowd.OutputFile
		want  string
	}{
		"not uploaded": {func(*rig) []cloudcrowd.OutputFile {
			f := d
			f.Digest = cloudcrowd.Digest(strings.Repeat("2", 64))
			return []cloudcrowd.OutputFile{f}
		}, `the file "out" was not uploaded`},
		"other size": {func(r *rig) []cloudcrowd.OutputFile {
			f := d
			f.Digest = r.put("longer than that")
			return []cloudcrowd.OutputFile{f}
		}, `the file "out" has 16 bytes, not the 5 it says`},
		"twice": {func(r *rig) []cloudcrowd.OutputFile {
			f := d
			f.Digest = r.put("12345")
			return []cloudcrowd.OutputFile{f, f}
		}, `it names the file "out" twice`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil)
			w := r.join("w", "bob", 1, nil)
			id := r.leaseOf(w)
			r.pass(time.Second)
			r.m.Receive(w, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: id, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Outputs: c.files(r)}}}})
			r.step()
			_, _, task, a := r.m.State().Find(id)
			if a.State != cloudcrowd.AttemptFailed || !strings.Contains(a.Verdict, c.want) || task.Failures != 0 || task.Mishaps != 1 {
				t.Fatalf("%s: %s; failures %d, mishaps %d", a.State, a.Verdict, task.Failures, task.Mishaps)
			}
		})
	}
}

// The order in which a worker names its files does not matter to the quorum.
func TestOutputsSorted(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a, b := r.join("a", "bob", 1, nil), r.join("b", "eve", 1, nil)
	id := r.submit("ada", "", r.spec("s", 1, false, cloudcrowd.Verify{Replicas: 2, Quorum: 2}))
	x, y := cloudcrowd.OutputFile{Path: "a/x", Digest: r.put("xx"), SizeBytes: 2}, cloudcrowd.OutputFile{Path: "b", Digest: r.put("y"), SizeBytes: 1}
	r.pass(time.Second)
	for w, files := range map[cloudcrowd.WorkerID][]cloudcrowd.OutputFile{a: {x, y}, b: {y, x}} {
		r.m.Receive(w, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: r.received(w).Leases[0].Attempt, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Outputs: files}}}})
	}
	r.step()
	if j := r.job(id); j.State != cloudcrowd.JobDone || len(j.Outputs) != 2 {
		t.Fatalf("%+v", j.JobSummary)
	}
}

// Stopping is safe before starting and twice, answers what waits, and what was acknowledged is there afterwards.
func TestStartStop(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) { c.Perform = nil; c.Unpaused = false })
	m := New(r.cfg)
	if err := m.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Start(t.Context()); err == nil {
		t.Error("started twice")
	}
	id, err := m.Submit(t.Context(), "ada", r.spec("s", 1, false, one), "k")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	<-m.Done()
	if m.Err() != nil {
		t.Error(m.Err())
	}
	if _, err := m.Job(t.Context(), id); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("a stopped manager answers %v", err)
	}
	if to, _ := r.store.ProjectedTo(t.Context(), 0); to == 0 {
		t.Error("the tables were not written")
	}
	r.restart()
	if j := r.job(id); j.State != cloudcrowd.JobRunning {
		t.Errorf("%+v", j)
	}
}

// A worker that says hello is told all servers of the crowd, as they are at that moment; without a list, none.
func TestServersAreTold(t *testing.T) {
	t.Parallel()
	servers := []string{"https://a.example.org:8443", "https://b.example.org:8443"}
	r := newRig(t, func(c *Config) { c.Servers = func() []string { return servers } })
	w := r.join("w", "bob", 1, nil)
	if got := r.received(w).Welcome; got == nil || !slices.Equal(got.Servers, servers) {
		t.Fatalf("welcome %+v", got)
	}
	servers = servers[1:]
	r.m.Receive(w, cloudcrowd.Up{Hello: &cloudcrowd.Hello{Session: "s2"}})
	r.step()
	if got := r.received(w).Welcome; got == nil || !slices.Equal(got.Servers, servers) {
		t.Fatalf("after a server left: %+v", got)
	}
	r = newRig(t, nil)
	if got := r.received(r.join("w", "bob", 1, nil)).Welcome; got == nil || got.Servers != nil {
		t.Fatalf("without a list: %+v", got)
	}
}

// A worker on which attempts break one after the other, while others do the like, is left alone for a while, then tried with one attempt, and trusted with all it wants once
// one has ended otherwise. What breaks everywhere is nobody's fault.
func TestBrokenWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	good, bad := r.join("good", "bob", 1, nil), r.join("bad", "eve", 1, nil)
	r.submit("ada", "", r.spec("s", 1000, false, cloudcrowd.Verify{None: true}))
	broke := func(most int) (n int) { // how many attempts break
		t.Helper()
		for range most {
			list := r.received(bad).Leases
			for _, l := range list {
				n++
				r.m.Receive(bad, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: l.Attempt, Result: cloudcrowd.Result{Outcome: cloudcrowd.Broken, Reason: "its folder is gone"}}}})
			}
			r.pass(time.Second)
			r.m.Receive(bad, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Want: 1}})
			r.step()
		}
		return n
	}
	unable := func() string {
		t.Helper()
		return must(r, func(ctx context.Context) (cloudcrowd.WorkerView, error) { return r.m.Worker(ctx, bad) }).Unable
	}
	if n := broke(10); n < 8 || unable() != "" {
		t.Errorf("%d attempts broke before any came to an end anywhere; it is unable: %q", n, unable())
	}
	r.answer(good, r.received(good).Leases[0].Attempt, "x")
	if n := broke(8); n < brokenRests || n > brokenRests+1 || !strings.Contains(unable(), "broke there") {
		t.Errorf("%d attempts broke before it was left alone; it is unable: %q", n, unable())
	}
	if n := broke(60); n < 1 || n > 4 { // after 10, 20 and 40 s
		t.Errorf("it was tried with %d attempts in a minute", n)
	}
	for range 100 {
		if list := r.received(bad).Leases; len(list) > 0 {
			r.answer(bad, list[0].Attempt, "x")
			break
		}
		r.pass(time.Second)
		r.m.Receive(bad, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Want: 1}})
		r.step()
	}
	if unable() != "" {
		t.Errorf("it is unable: %q", unable())
	}
	r.m.Receive(bad, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Unable: "its disk is full"}})
	r.step()
	if unable() != "its disk is full" {
		t.Errorf("it is unable: %q", unable())
	}
	r.check()
}

// A worker that says it is at work and never answers is left alone for a while, once others have brought results of the like, and then tried with one attempt: it cannot
// hold up a job with all it would take, for as long as leases last, again and again.
func TestSilentWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	good, mute := r.join("good", "bob", 1, nil), r.join("mute", "eve", 4, nil)
	spec := r.spec("s", 1000, false, cloudcrowd.Verify{None: true})
	spec.Stages[0].Timeout = cloudcrowd.Duration(time.Second)
	r.submit("ada", "", spec)
	var held []cloudcrowd.Progress
	most := 0
	hold := func(d time.Duration) {
		t.Helper()
		for end := r.clock().Add(d); r.clock().Before(end); {
			down := r.received(mute)
			for _, l := range down.Leases {
				held = append(held, cloudcrowd.Progress{Attempt: l.Attempt})
			}
			held = slices.DeleteFunc(held, func(p cloudcrowd.Progress) bool { return slices.Contains(down.Cancels, p.Attempt) })
			most = max(most, len(held))
			r.m.Receive(good, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s"}})
			r.m.Receive(mute, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Holding: held, Want: max(4-len(held), 0)}})
			r.pass(time.Second)
		}
	}
	r.answer(good, r.received(good).Leases[0].Attempt, "x")
	hold(time.Minute)
	if most < 4 {
		t.Fatalf("it holds %d", most)
	}
	limit := time.Duration(lifecycle.LeaseLimit(&spec.Stages[0], 0)) * time.Microsecond
	hold(limit)
	if v := must(r, func(ctx context.Context) (cloudcrowd.WorkerView, error) { return r.m.Worker(ctx, mute) }); len(held) > 1 || len(held) == 0 && !strings.Contains(v.Unable, "brought no result") {
		t.Errorf("after %s it holds %d; it is unable: %q", limit, len(held), v.Unable)
	}
	most = 0
	hold(2 * limit)
	if most > 1 {
		t.Errorf("it was tried with %d", most)
	}
	r.check()
}
