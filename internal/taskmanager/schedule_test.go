package taskmanager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// chained is a job whose tasks go through three stages one by one.
func (r *rig) chained(tasks int64) cloudcrowd.JobSpec {
	s := r.spec("chains", tasks, false, one)
	s.Stages[0].Target = cloudcrowd.Duration(5 * time.Second)
	for i, name := range []string{"second", "third"} {
		next := s.Stages[0]
		next.Name, next.After = name, []string{s.Stages[i].Name}
		next.Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitEach, Stage: s.Stages[i].Name}
		next.Run = &cloudcrowd.Program{Module: r.module, ModuleName: "work.wasm", Args: []string{name, "{{part}}"}}
		s.Stages = append(s.Stages, next)
	}
	s.Outputs = []string{"third"}
	return s
}

// moved runs a job of chains on four workers and counts the bytes of intermediate results that a worker has to fetch, because another made them. Where forget is
// set, the server is made to forget what workers hold. fused counts tasks of later stages that were leased in the commit that made them possible, to the same worker.
func moved(t *testing.T, chains int64, forget bool) (bytes, read int64, fused int) {
	r := newRig(t, nil)
	var workers []cloudcrowd.WorkerID
	has := map[cloudcrowd.WorkerID]map[cloudcrowd.Digest]bool{}
	ends := map[cloudcrowd.WorkerID]time.Time{} // of the first task in line
	for i := range 4 {
		w := r.join(fmt.Sprint("w", i), cloudcrowd.AccountID(fmt.Sprint("o", i)), 1, nil)
		workers, has[w] = append(workers, w), map[cloudcrowd.Digest]bool{}
	}
	r.m.post(command{decide: func(lo *loop, _ *lifecycle.Decider) error {
		for _, s := range lo.sessions {
			s.sched.Bandwidth = 100e3 // what is read takes some seconds
		}
		return nil
	}})
	id := r.submit("ada", "", r.chained(chains))
	took := func(l cloudcrowd.Lease) time.Duration {
		return time.Duration(4+int(l.Attempt.Task.Index*7+l.Attempt.Task.Stage*5)%4) * time.Second
	}
	for turn := 0; r.job(id).State == cloudcrowd.JobRunning; turn++ {
		if turn > 1000 {
			t.Fatal("the job does not end")
		}
		r.pass(time.Second)
		for _, w := range workers {
			r.received(w)
			if len(r.todo[w]) == 0 {
				continue
			}
			l := r.todo[w][0]
			if ends[w].IsZero() {
				ends[w] = r.clock().Add(took(l))
			}
			if r.clock().Before(ends[w]) {
				beat := &cloudcrowd.Beat{Session: "s", Want: 1, Holding: holding(r.todo[w])}
				beat.Holding[0].Running, beat.Holding[0].Elapsed = true, (took(l) - ends[w].Sub(r.clock())).Seconds()
				r.m.Receive(w, cloudcrowd.Up{Beat: beat})
				continue
			}
			ends[w] = time.Time{}
			r.todo[w] = r.todo[w][1:]
			for _, f := range l.Payload.Files {
				for _, s := range f.Segments {
					if read += s.Length; !has[w][s.Blob] {
						bytes += s.Length
					}
					has[w][s.Blob] = true
				}
			}
			text := strings.Repeat(fmt.Sprint(l.Payload.Args), 50_000)
			d := r.put(text)
			has[w][d] = true
			r.m.Receive(w, cloudcrowd.Up{Reports: []cloudcrowd.Report{{Attempt: l.Attempt, Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded,
				Outputs: []cloudcrowd.OutputFile{{Path: "out", Digest: d, SizeBytes: int64(len(text))}}, Usage: cloudcrowd.Usage{CPUSeconds: took(l).Seconds(), WallSeconds: took(l).Seconds()}}}}})
			if forget {
				r.m.post(command{decide: func(lo *loop, _ *lifecycle.Decider) error {
					for _, s := range lo.sessions {
						s.sched.Forget()
					}
					return nil
				}})
			}
			seq := r.m.State().Seq
			r.step()
			for _, next := range r.received(w).Leases {
				if a, b := next.Attempt.Task, l.Attempt.Task; a.Stage == b.Stage+1 && a.Index == b.Index && r.m.State().Seq == seq+1 {
					fused++
				}
			}
		}
	}
	if j := r.job(id); j.State != cloudcrowd.JobDone {
		t.Fatalf("%s: %s", j.State, j.Reason)
	}
	r.check()
	return bytes, read, fused
}

func holding(list []cloudcrowd.Lease) (all []cloudcrowd.Progress) {
	for _, l := range list {
		all = append(all, cloudcrowd.Progress{Attempt: l.Attempt})
	}
	return all
}

// A chain stays on the worker that began it: the next task is leased to it in the commit that took the result of the one before, and what one made is hardly ever
// fetched by another. Without knowing what workers hold, most of it is.
func TestChainsStay(t *testing.T) {
	t.Parallel()
	with, read, _ := moved(t, 24, false)
	without, _, _ := moved(t, 24, true)
	t.Logf("of %d bytes read %d were fetched, %d without locality", read, with, without)
	if without < read/2 || with > without/4 {
		t.Errorf("%d of %d bytes were fetched, %d without knowing who has what", with, read, without)
	}
	if _, _, fused := moved(t, 4, false); fused != 8 {
		t.Errorf("%d of 8 tasks followed on the same worker in the same commit", fused)
	}
}

// A task whose worker falls behind is copied to one that is free; the first result counts, the other worker is told to stop, and the task explains itself.
func TestSecondCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a, b := r.join("a", "bob", 1, nil), r.join("b", "eve", 1, nil)
	id := r.submit("ada", "", r.spec("late", 2, false, one))
	la, lb := r.received(a).Leases, r.received(b).Leases
	if len(la) != 1 || len(lb) != 1 {
		t.Fatalf("leases %v and %v", attempts(la), attempts(lb))
	}
	r.pass(time.Second)
	r.answer(a, la[0].Attempt, "first")
	beat := func() {
		r.m.Receive(b, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Want: 2, Holding: []cloudcrowd.Progress{{Attempt: lb[0].Attempt, Running: true, Elapsed: 2}}}})
		r.m.Receive(a, cloudcrowd.Up{Beat: &cloudcrowd.Beat{Session: "s", Want: 3, Holding: holding(r.todo[a][1:])}})
		r.step()
	}
	for range 20 {
		beat()
		r.pass(time.Second)
		r.received(a)
	}
	copies := r.todo[a][1:]
	if fmt.Sprint(attempts(copies)) != "[1/2]" {
		t.Fatalf("copies %v", attempts(copies))
	}
	r.answer(a, copies[0].Attempt, "second")
	if got := r.received(b).Cancels; !slices.Contains(got, lb[0].Attempt) {
		t.Fatalf("cancelled: %v; %+v", got, r.m.State().Jobs[id].Stages[0].Tasks[1].Attempts[0])
	}
	if j := r.job(id); j.State != cloudcrowd.JobDone || j.Attempts != 3 {
		t.Fatalf("%s after %d attempts", j.State, j.Attempts)
	}
	e := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) {
		return r.m.ExplainTask(ctx, cloudcrowd.TaskID{Job: id, Index: 1})
	})
	if text := strings.Join(e.Lines, "\n"); !strings.Contains(text, "second copy") || !strings.Contains(text, "the other copy of the task ended first") {
		t.Errorf("it explains: %s", text)
	}
	r.check()
}

// A job says where it stands: what its requester used, how many attempts run of how many that may, priority, slack and ranks; in words and in figures.
func TestStandingIsExplained(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *Config) {
		c.Sharing = cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(time.Minute), Quotas: map[cloudcrowd.AccountID]int{"ada": 1}, Weights: map[cloudcrowd.AccountID]float64{"ada": 2}}
	})
	r.issue("joe", cloudcrowd.Credit)
	a := r.join("a", "bob", 4, nil)
	s := r.spec("mine", 8, false, one)
	s.Priority, s.Deadline = 7, cloudcrowd.Duration(time.Hour)
	id := r.submit("ada", "", s)
	r.submit("joe", "", r.spec("his", 8, false, one))
	first := r.received(a).Leases
	r.pass(time.Second)
	r.answer(a, first[0].Attempt, "x")
	e := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) { return r.m.Explain(ctx, id) })
	v := e.Standing
	if v == nil || v.Requester != "ada" || v.Quota != 1 || v.Running != 1 || v.Weight != 2 || v.HalfLifeSeconds != 60 || v.UsageCoreSeconds != 0.5 || v.Priority != 7 || v.Requesters != 2 || v.JobPlace != 1 ||
		v.SlackSeconds == nil || *v.SlackSeconds < 3500 || len(v.RankSeconds) != 1 || v.RankSeconds[0].Stage != "work" {
		t.Errorf("it stands %+v", v)
	}
	text := strings.Join(e.Lines, "\n")
	for _, want := range []string{"ada used 0.5 core-seconds lately, counting half after 1m", "quota of 1 allows", "weight 2", "of 2 requesters", "priority 7", "slack 35", "work 0.5 s"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in: %s", want, text)
		}
	}
	task := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) {
		return r.m.ExplainTask(ctx, cloudcrowd.TaskID{Job: id, Index: 1})
	})
	if len(task.Attempts) != 1 || task.Attempts[0].Why.Turn == nil || task.Attempts[0].Why.Turn.Priority != 7 || !strings.Contains(strings.Join(task.Lines, "\n"), "attempts running of at most 1") {
		t.Errorf("the task explains %+v", task)
	}
	r.check()
}
