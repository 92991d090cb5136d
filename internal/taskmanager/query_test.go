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
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// pages reads a whole list of jobs in pages.
func (r *rig) pages(f store.JobFilter, limit int) []cloudcrowd.JobID {
	r.t.Helper()
	var ids []cloudcrowd.JobID
	cursor := ""
	for range 100 {
		var next string
		list := must(r, func(ctx context.Context) ([]cloudcrowd.JobSummary, error) {
			list, n, err := r.m.Jobs(ctx, f, store.Page{Limit: limit, Cursor: cursor})
			next = n
			return list, err
		})
		if len(list) > limit {
			r.t.Fatalf("a page of %d jobs, at most %d were asked for", len(list), limit)
		}
		for _, s := range list {
			ids = append(ids, s.ID)
		}
		if next == "" {
			return ids
		}
		cursor = next
	}
	r.t.Fatal("the list never ends")
	return nil
}

// Lists of jobs go over memory and tables without gaps or doubles, newest first, whatever the page, and see every write at once.
func TestJobsPaging(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "ada", 4, nil)
	var all, done, running, joes []cloudcrowd.JobID
	add := func(account cloudcrowd.AccountID, finish bool) {
		r.pass(time.Second)
		id := r.submit(account, "", r.spec(fmt.Sprint("Job ", len(all)), 1, false, one))
		all = append(all, id)
		if account == "joe" {
			joes = append(joes, id)
		}
		if finish {
			r.work(w)
			done = append(done, id)
		} else {
			running = append(running, id)
		}
	}
	r.issue("joe", 100*cloudcrowd.Credit)
	for i := range 9 {
		add([]cloudcrowd.AccountID{"ada", "joe"}[i%2], true)
	}
	// The ended ones leave memory: their rows are in the tables, and a snapshot is taken.
	for range 3 {
		r.pass(time.Minute + time.Second)
		r.issue("ada", 1)
	}
	if n := len(r.m.State().Jobs); n != 0 {
		t.Fatalf("%d jobs are still in memory", n)
	}
	r.hello(w, 4, nil, nil)
	add("ada", true)
	r.m.Receive(w, cloudcrowd.Up{Leaving: true})
	r.step()
	add("joe", false)
	add("ada", false)
	newest := func(ids []cloudcrowd.JobID) []cloudcrowd.JobID {
		ids = slices.Clone(ids)
		slices.Reverse(ids)
		return ids
	}
	for _, limit := range []int{1, 2, 3, 5, 12, 100} {
		for name, c := range map[string]struct {
			f    store.JobFilter
			want []cloudcrowd.JobID
		}{
			"all": {store.JobFilter{}, all}, "done": {store.JobFilter{State: cloudcrowd.JobDone}, done}, "running": {store.JobFilter{State: cloudcrowd.JobRunning}, running},
			"joe's": {store.JobFilter{Account: "joe"}, joes}, "text": {store.JobFilter{Text: "jOB 1"}, []cloudcrowd.JobID{all[1], all[10], all[11]}}, "none": {store.JobFilter{Text: "nothing"}, nil},
		} {
			if got := r.pages(c.f, limit); !slices.Equal(got, newest(c.want)) {
				t.Errorf("%s by %d: %v, want %v", name, limit, got, newest(c.want))
			}
		}
	}
	// A job that ended a moment ago is not listed as running.
	if _, err := call(r, func(ctx context.Context) (int, error) { return 0, r.m.Cancel(ctx, running[0], "joe", "enough") }); err != nil {
		t.Fatal(err)
	}
	if got := r.pages(store.JobFilter{State: cloudcrowd.JobRunning}, 10); !slices.Equal(got, running[1:]) {
		t.Errorf("running after the cancellation: %v", got)
	}
	if j := r.job(running[0]); j.State != cloudcrowd.JobCancelled || j.Reason != "cancelled by joe: enough" {
		t.Errorf("%+v", j)
	}
	// Forgotten jobs are read from the tables in full; cancelling one says what it is.
	if j := r.job(all[0]); j.State != cloudcrowd.JobDone || len(j.Workers) != 1 || j.TasksDone != 1 {
		t.Errorf("%+v", j)
	}
	for id, code := range map[cloudcrowd.JobID]cloudcrowd.Code{all[0]: cloudcrowd.Conflict, running[0]: cloudcrowd.Conflict, cloudcrowd.NewJobID(r.clock(), 9): cloudcrowd.NotFound} {
		if _, err := call(r, func(ctx context.Context) (int, error) { return 0, r.m.Cancel(ctx, id, "joe", "") }); cloudcrowd.CodeOf(err) != code {
			t.Errorf("cancelling %s: %v", id, err)
		}
	}
}

// A watcher resumes where it stopped; one that asks for what is no longer kept is told to read again; one that does not keep up is dropped; each sees its own.
func TestFeed(t *testing.T) {
	t.Parallel()
	f := newFeed(func(e *fact) cloudcrowd.Event { return cloudcrowd.Event{ID: e.id()} })
	make := func(from, n int) []fact {
		var list []fact
		for i := from; i < from+n; i++ {
			list = append(list, fact{seq: int64(i), account: []cloudcrowd.AccountID{"ada", "joe"}[i%2], job: cloudcrowd.JobID(fmt.Sprint("j", i%4))})
		}
		return list
	}
	publish := func(list []fact) { f.publish(len(list), func(i int, e *fact) { *e = list[i] }) }
	publish(make(0, 10))
	take := func(ch <-chan cloudcrowd.Event, n int) (ids []string) {
		for range n {
			ids = append(ids, (<-ch).ID)
		}
		return ids
	}
	ctx, cancel := context.WithCancel(t.Context())
	watch := func(after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) <-chan cloudcrowd.Event {
		ch, _, _ := f.watch(ctx, after, account, job)
		return ch
	}
	if got := take(watch("0-7-0", "", ""), 2); !slices.Equal(got, []string{"0-8-0", "0-9-0"}) {
		t.Errorf("resumed: %v", got)
	}
	if got := take(watch("0-1-0", "joe", "j3"), 2); !slices.Equal(got, []string{"0-3-0", "0-7-0"}) {
		t.Errorf("joe's third job: %v", got)
	}
	if e := <-watch("0-4711-0", "", ""); e.Type != ResetEvent || e.ID != "0-4711-0" {
		t.Errorf("an unknown place: %+v", e)
	}
	now := watch("", "", "")
	publish(make(10, 1))
	if got := take(now, 1); got[0] != "0-10-0" {
		t.Errorf("from now on: %v", got)
	}
	// What is not kept any more resets.
	publish(make(11, 3*feedKeep))
	if e := <-watch("0-9-0", "", ""); e.Type != ResetEvent {
		t.Errorf("an old place: %+v", e)
	}
	// The watcher above was never read: it was dropped, and its channel ends after what fitted.
	n := 0
	for range now {
		n++
	}
	if n != feedBuffer {
		t.Errorf("a slow watcher got %d events", n)
	}
	last, at, _ := f.watch(ctx, "", "", "")
	if want := f.kept(f.next - 1).id(); at != want {
		t.Errorf("the feed stands at %q, not at %q", at, want)
	}
	cancel()
	if _, open := <-last; open {
		t.Error("a watcher that left still gets events")
	}
	f.close()
	ended, _, _ := f.watch(t.Context(), "", "", "")
	if _, open := <-ended; open {
		t.Error("a closed feed gives events")
	}
}

// Whoever watched a feed before its first event misses nothing when it comes back.
func TestFeedFromTheStart(t *testing.T) {
	t.Parallel()
	f := newFeed(func(e *fact) cloudcrowd.Event { return cloudcrowd.Event{ID: e.id()} })
	f.base = "0/17"
	_, at, _ := f.watch(t.Context(), "", "", "")
	f.publish(2, func(i int, e *fact) { *e = fact{seq: 18, n: i} })
	ch, _, _ := f.watch(t.Context(), at, "", "")
	if a, b := <-ch, <-ch; a.ID != "0-18-0" || b.ID != "0-18-1" {
		t.Errorf("after %q: %q, %q", at, a.ID, b.ID)
	}
}

// Whoever watched a shard at one server goes on at the next one: after an orderly end from where the feed ended, for whomever the last events were; after a crash with
// what happened since the last snapshot. Only who is too far behind is told to read everything again.
func TestFeedGoesOn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	r.issue("joe", cloudcrowd.Credit)
	w := r.join("w", "bob", 1, nil)
	type watched struct {
		events  <-chan cloudcrowd.Event
		reached func() string
		last    string
	}
	watch := func(after string, account cloudcrowd.AccountID) *watched {
		events, _, reached := r.m.Watch(t.Context(), after, account, "")
		return &watched{events: events, reached: reached}
	}
	take := func(w *watched) (kinds []string) {
		for len(w.events) > 0 {
			e := <-w.events
			kinds, w.last = append(kinds, e.Type), e.ID
		}
		return kinds
	}
	story := []string{"job.submitted", "task.carved", "attempt.leased", "attempt.reported", "task.done", "job.done"}
	all, ada, joe := watch("", ""), watch("", "ada"), watch("", "joe")
	old := ada.reached()
	r.submit("ada", "first", r.spec("first", 1, false, one))
	r.work(w)
	if at := ada.reached(); at != "" {
		t.Errorf("a watcher who has not taken anything is at %q", at)
	}
	for name, w := range map[string]*watched{"all": all, "ada": ada} {
		if got := take(w); !slices.Equal(got, story) {
			t.Errorf("%s hears %q", name, got)
		}
	}
	if got := take(joe); len(got) > 0 {
		t.Errorf("joe hears %q", got)
	}
	if err := r.m.Close(); err != nil {
		t.Fatal(err)
	}
	for name, w := range map[string]*watched{"all": all, "ada": ada, "joe": joe} {
		if _, open := <-w.events; open || w.reached() != all.last {
			t.Errorf("%s: at %q when the feed ends at %q", name, w.reached(), all.last)
		}
	}
	end := all.last

	r.restart() // in order: there is a snapshot of all
	if _, at, _ := r.m.Watch(t.Context(), "", "", ""); at != end {
		t.Errorf("the next feed begins at %q, the one before ended at %q", at, end)
	}
	if got := take(watch(old, "")); !slices.Equal(got, []string{ResetEvent}) {
		t.Errorf("who is far behind hears %q", got)
	}
	r.hello(w, 1, nil, nil)
	all, joe = watch(end, ""), watch(end, "joe")
	r.submit("joe", "second", r.spec("second", 1, false, one))
	r.work(w)
	if got := take(joe); !slices.Equal(got, story) {
		t.Errorf("joe hears %q", got)
	}
	if got := take(all); !slices.Equal(got, story) {
		t.Errorf("all hear %q", got)
	}

	r.restart() // killed: there is none since
	if _, at, _ := r.m.Watch(t.Context(), "", "", ""); at != all.last {
		t.Errorf("the next feed begins at %q, the one before ended at %q", at, all.last)
	}
	for _, account := range []cloudcrowd.AccountID{"", "joe"} {
		if got := take(watch(end, account)); len(got) < len(story) || !slices.Equal(got[:len(story)], story) {
			t.Errorf("%q hears %q again", account, got)
		}
	}
	if got := take(watch(all.last, "")); len(got) > 0 {
		t.Errorf("who was up to date hears %q", got)
	}
}

// The feed tells a job's story in sentences, with ids in order, to its owner.
func TestEventsOfAJob(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	mine, err := r.m.Events(t.Context(), "", "ada", "")
	if err != nil {
		t.Fatal(err)
	}
	others, _ := r.m.Events(t.Context(), "", "joe", "")
	w := r.join("w", "bob", 1, nil)
	r.submit("ada", "", r.spec("story", 1, true, one))
	r.work(w)
	var kinds []string
	for e := range mine {
		kinds = append(kinds, e.Type)
		if e.Text == "" || e.Account != "ada" || e.At == 0 {
			t.Errorf("%+v", e)
		}
		if e.Type == "job.done" {
			break
		}
	}
	if want := []string{"job.submitted", "task.carved", "attempt.leased", "attempt.reported", "task.done", "stage.merged", "job.done"}; !slices.Equal(kinds, want) {
		t.Errorf("%v", kinds)
	}
	select {
	case e := <-others:
		t.Errorf("joe sees %+v", e)
	default:
	}
}

func (r *rig) explain(id cloudcrowd.JobID) string {
	r.t.Helper()
	e := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) { return r.m.Explain(ctx, id) })
	return e.Subject + "\n" + strings.Join(e.Lines, "\n")
}

// "Why does it wait?" has an answer for every reason there is.
func TestExplain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.spec("big", 2, true, cloudcrowd.Verify{Replicas: 2, Quorum: 2})
	s.Stages[0].Resources.MemoryBytes = 1 << 30
	id := r.submit("ada", "", s)
	says := func(when string, wants ...string) {
		t.Helper()
		got := r.explain(id)
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s: lacks %q in\n%s", when, want, got)
			}
		}
	}
	says("nobody is here", "No worker is connected that takes work. Start one", "Stage all waits for work.", "Stage work: no task yet", "2 of 2 units not cut yet: no worker is connected that takes work")
	a := r.join("a", "bob", 1, nil)
	says("its replica lacks a second owner", "Task work 0 waits: nobody here may have it: 1 worker already has a replica of it")
	b := r.join("b", "bob", 1, nil)
	says("same owner", "belongs to the owner of another replica")
	small := r.join("small", "eve", 1, func(i *cloudcrowd.WorkerInfo) { i.MemoryBytes = 1 << 20 })
	says("too little memory", "1 worker has too little memory")
	r.m.Receive(small, cloudcrowd.Up{Leaving: true})
	r.step()
	_, _ = a, b
	c := r.join("c", "kim", 1, nil)
	if len(r.received(c).Leases) == 0 {
		t.Fatal("the third owner got nothing")
	}
	task := cloudcrowd.TaskID{Job: id}
	e := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) { return r.m.ExplainTask(ctx, task) })
	text := strings.Join(e.Lines, "\n")
	for _, want := range []string{"2 of 2 replicas must agree.", "Attempt 1 (first) went to a because it would finish there earliest", "Attempt 2 (replica) went to c", "It is leased."} {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			t.Errorf("the task: lacks %q in\n%s", want, text)
		}
	}
	if _, err := call(r, func(ctx context.Context) (int, error) { return 0, r.m.Cancel(ctx, id, "ada", "") }); err != nil {
		t.Fatal(err)
	}
	says("ended", "It is cancelled after", "Cancelled by ada.")
	if _, err := call(r, func(ctx context.Context) (cloudcrowd.Explanation, error) {
		return r.m.Explain(ctx, cloudcrowd.NewJobID(r.clock(), 77))
	}); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("a job that is not there: %v", err)
	}
}

// A job whose budget is all reserved says so.
func TestExplainBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.spec("poor", 4, false, one)
	s.Budget = 6000 // one attempt of an unmeasured stage reserves 5000
	id := r.submit("ada", "", s)
	r.join("a", "bob", 4, nil)
	if got := r.explain(id); !strings.Contains(got, "has 3 of 4 units not cut yet: the budget left (0.001 credits) does not cover another attempt until running ones end") {
		t.Error(got)
	}
}

// Plans say what the crowd cannot serve and what is not checked, and a budget below the cheapest plan is refused before anything is stored.
func TestPlan(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	plan := func(account cloudcrowd.AccountID, s cloudcrowd.JobSpec) cloudcrowd.Plan {
		t.Helper()
		return must(r, func(ctx context.Context) (cloudcrowd.Plan, error) { return r.m.Plan(ctx, account, s) })
	}
	has := func(p cloudcrowd.Plan, want string) {
		t.Helper()
		if !strings.Contains(strings.Join(p.Notes, "\n"), want) {
			t.Errorf("the plan lacks %q: %q", want, p.Notes)
		}
	}
	s := r.spec("planned", 10, true, cloudcrowd.Verify{None: true})
	s.Budget = 0
	p := plan("ada", s)
	has(p, "No worker is connected now")
	has(p, "not verified")
	has(p, "No budget is given")
	if p.Stages[0].Tasks != [2]int64{10, 10} || p.Stages[0].Units != 10 || p.Minimum <= 0 || p.Cost[0] < p.Minimum || p.Cost[1] < p.Cost[0] || p.Budget < p.Cost[1] || p.Stages[1].Verify != "performed by the server, free" {
		t.Errorf("%+v", p)
	}
	has(plan("poor", s), "Account poor has 0 credits available")
	r.join("a", "bob", 1, nil)
	s.Stages[0].Verify = cloudcrowd.Verify{Replicas: 3, Quorum: 2}
	s.Stages[0].Resources.MemoryBytes = 4 << 30
	p = plan("ada", s)
	has(p, "needs results of 2 independent parties; 1")
	has(p, "no connected worker offers more than 1.0 GiB")
	if p.Workers != 1 || p.Seconds[1] <= 0 {
		t.Errorf("%+v", p)
	}
	s.Budget = p.Minimum - 1
	before := r.m.State().Seq
	_, err := call(r, func(ctx context.Context) (cloudcrowd.JobID, error) { return r.m.Submit(ctx, "ada", s, "") })
	e, _ := err.(*cloudcrowd.Error)
	if e == nil || e.Code != cloudcrowd.Invalid || e.Field != "budget" || e.Hint == "" {
		t.Errorf("a budget below the minimum: %v", err)
	}
	if r.m.State().Seq != before || r.balance("ada").Held != 0 {
		t.Error("a refused job left something behind")
	}
	s.Budget = p.Minimum
	r.submit("ada", "", s)
}

// What ran once is planned by what it cost.
func TestPlanLearns(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	s := r.spec("learn", 4, false, one)
	before := must(r, func(ctx context.Context) (cloudcrowd.Plan, error) { return r.m.Plan(ctx, "ada", s) })
	w := r.join("w", "bob", 1, nil)
	r.submit("ada", "", s)
	r.work(w)
	after := must(r, func(ctx context.Context) (cloudcrowd.Plan, error) { return r.m.Plan(ctx, "ada", s) })
	wide := func(p cloudcrowd.Plan) float64 { return p.CoreSeconds[1] / p.CoreSeconds[0] }
	if wide(after) >= wide(before) || after.CoreSeconds[0] > 2 || after.CoreSeconds[1] < 2 {
		t.Errorf("four tasks of half a core-second: before %v, after %v", before.CoreSeconds, after.CoreSeconds)
	}
	if strings.Contains(strings.Join(after.Notes, "\n"), "have not run here before") {
		t.Errorf("%q", after.Notes)
	}
}

// Jobs that name blobs which are not here, or other than said, or a module that is refused, are refused with the field.
func TestAdmission(t *testing.T) {
	t.Parallel()
	bad := "bad module"
	r := newRig(t, func(c *Config) {
		c.Check = func(b []byte) error {
			if string(b) == bad {
				return cloudcrowd.Errorf(cloudcrowd.Invalid, "the module imports env.socket, which no sandbox offers")
			}
			return nil
		}
		c.Validate = func(s *cloudcrowd.JobSpec) error {
			if s.Name == "" {
				return cloudcrowd.Fieldf("name", "a job needs a name")
			}
			return nil
		}
	})
	badModule := r.put(bad)
	gone := cloudcrowd.Digest(strings.Repeat("1", 64))
	for name, c := range map[string]struct {
		change func(*cloudcrowd.JobSpec)
		code   cloudcrowd.Code
		field  string
	}{
		"no name":        {func(s *cloudcrowd.JobSpec) { s.Name = "" }, cloudcrowd.Invalid, "name"},
		"missing module": {func(s *cloudcrowd.JobSpec) { s.Stages[0].Run.Module = gone }, cloudcrowd.NotFound, "stages.work.wasm"},
		"refused module": {func(s *cloudcrowd.JobSpec) { s.Stages[0].Run.Module = badModule }, cloudcrowd.Invalid, "stages.work.wasm"},
		"missing input": {func(s *cloudcrowd.JobSpec) {
			s.Inputs = map[string]cloudcrowd.Input{"x": {Files: []cloudcrowd.InputFile{{Name: "x", Digest: gone}}}}
		}, cloudcrowd.NotFound, "inputs.x.files[0].digest"},
		"other size": {func(s *cloudcrowd.JobSpec) {
			s.Inputs = map[string]cloudcrowd.Input{"x": {Files: []cloudcrowd.InputFile{{Name: "x", Digest: r.module, SizeBytes: 1}}}}
		}, cloudcrowd.Invalid, "inputs.x.files[0].size_bytes"},
	} {
		s := r.spec(name, 1, false, one)
		c.change(&s)
		_, err := call(r, func(ctx context.Context) (cloudcrowd.JobID, error) { return r.m.Submit(ctx, "ada", s, "") })
		if e, _ := err.(*cloudcrowd.Error); e == nil || e.Code != c.code || e.Field != c.field {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(r.m.State().Jobs); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

// An id that another job has is not given again.
func TestSameID(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	id := r.submit("ada", "", r.spec("s", 1, false, one))
	_, err := call(r, func(ctx context.Context) (cloudcrowd.JobID, error) {
		return r.m.submit(ctx, id, "ada", "", r.spec("t", 1, false, one))
	})
	if !errors.Is(err, errSameID) || r.job(id).Name != "s" {
		t.Fatalf("%v", err)
	}
	r.check()
}
