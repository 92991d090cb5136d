package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// shapes are the jobs random runs are made of.
var shapes = [][]string{
	{"work range=5 size=2"},
	{"work range=400 target=2", "all after=work"},
	{"work range=4 size=1", "tree after=work merge=2"},
	{"work range=3 size=1 verify=2/3", "second each=work", "joined after=second concat", "end after=joined,work"},
	{"work range=6 size=1 verify=1/1", "second each=work verify=1/1", "third each=second", "end after=third"},
	{"list verify=1/1", "work program=list", "tree after=work merge=3", "joined after=tree concat"},
	{"work lines=text size=1", "tree after=work merge=2"},
	{"a verify=none retries=1", "b after=a range=2 size=1 retries=0", "c after=a", "d after=b,c"},
}

// Whatever is commanded in whatever order, the invariants hold after every decision, and replaying the journal, or a snapshot and what follows it, gives the
// same bytes (both are held by world). What was accepted without anybody lying is true.
func TestRandomCommands(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) { randomRun(t) })
}

func randomRun(t *rapid.T) *world {
	w := newWorld(t)
	w.retire, w.copies, w.fuse = true, true, rapid.Bool().Draw(t, "fuse")
	w.fund("ada", 1e7)
	w.fund("joe", 1e7)
	for i, owner := range []string{"o1", "o2", "o3", "o3", "ada", "admin"} {
		w.worker(fmt.Sprint("w", i), owner, []float64{1, 0.5, 2}[i%3], 1+i%2).Bandwidth = []float64{0, 1}[i%2]
		if i == 0 || i == 3 {
			for _, s := range []*State{w.state, w.twin, w.old} {
				s.Records[cloudcrowd.WorkerID(fmt.Sprint("Uw", i))] = &cloudcrowd.Record{Valid: 200, Streak: 200}
			}
		}
	}
	draw := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	var known []cloudcrowd.AttemptID // every attempt that ever was
	for range rapid.IntRange(1, 150).Draw(t, "steps") {
		w.now += cloudcrowd.Time(rapid.SampledFrom([]int64{0, 1000, 2e6, 30e6}).Draw(t, "time"))
		w.lottery = fixed(rapid.SampledFrom([]float64{0.01, 0.9}).Draw(t, "lottery"))
		switch action := draw(20, "action"); {
		case action == 0 && len(w.jobs) < 3 || len(w.jobs) == 0:
			deadline := rapid.SampledFrom([]time.Duration{0, 0, time.Minute}).Draw(t, "deadline")
			budget := cloudcrowd.Credits(rapid.SampledFrom([]int64{20_000, 200_000, 2_000_000}).Draw(t, "budget"))
			account := cloudcrowd.AccountID(rapid.SampledFrom([]string{"ada", "joe"}).Draw(t, "account"))
			_, _ = w.submit(fmt.Sprint("j", len(w.jobs)), account, "", specOf("random", budget, deadline, shapes[draw(len(shapes), "shape")]...))
		case action == 1:
			w.decide(func(d *Decider) { d.Tick() })
		case action == 2 && draw(8, "cancel") == 0:
			w.decide(func(d *Decider) { _ = d.Cancel(w.anyJob(t), "cancelled") })
		case action == 3:
			k := w.crowd()
			if len(k) > 3 {
				k[draw(len(k), "worker")].Closed = true
			} else {
				for _, k := range w.workers {
					k.Closed = false
				}
			}
		case action == 4:
			w.index()
		case action == 5:
			if j := w.anyJob(t); !w.state.Jobs[j].State.Ended() {
				w.merge(j)
			}
		case action < 9 || len(known) == 0:
			for _, ev := range w.assign() {
				if ev.AttemptLeased != nil {
					known = append(known, ev.AttemptLeased.ID)
				}
			}
		default:
			// Mostly the latest attempts, now and then any.
			from := max(len(known)-8, 0) * min(draw(5, "recent"), 1)
			id := known[from+draw(len(known)-from, "attempt")]
			cpu := float64(draw(4, "cpu"))
			switch draw(12, "verdict") {
			case 0:
				w.report(id, "", succeeded("a lie", cpu))
			case 1:
				w.report(id, "", cloudcrowd.Result{Outcome: cloudcrowd.Exited, ExitCode: draw(2, "exit"), Reason: "failed", Usage: cloudcrowd.Usage{CPUSeconds: cpu}})
			case 2:
				w.report(id, "", cloudcrowd.Result{Outcome: cloudcrowd.Broken, Reason: "broken \xff"})
			case 3:
				w.decide(func(d *Decider) { d.Lost(id, "expired") })
			case 4:
				w.decide(func(d *Decider) { d.Returned(id, "handed back") })
			case 5:
				_, _, task, _ := w.state.Find(id)
				if events, taken := w.report(id, "somebody else", succeeded("forged", cpu)); len(events) > 0 || taken && !task.Retired {
					t.Fatalf("a stranger's report was taken")
				}
			default:
				if w.truth[id] != "" {
					w.report(id, "", succeeded(w.truth[id], cpu))
				}
			}
		}
	}
	return w
}

func (w *world) anyJob(t *rapid.T) cloudcrowd.JobID {
	return w.jobs[fmt.Sprint("j", rapid.IntRange(0, len(w.jobs)-1).Draw(t, "job"))]
}

// Nothing gets stuck: whatever has happened, once enough honest workers are there and stay, every job ends.
func TestEverythingEnds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := randomRun(t)
		w.light = true
		for i := range 4 {
			w.worker(fmt.Sprint("honest", i), fmt.Sprint("h", i), 1, 4)
		}
		for _, k := range w.workers {
			k.Closed = false
		}
		w.lottery = 0.9
		for range 300 {
			w.now += 30e6
			w.decide(func(d *Decider) { d.Tick() })
			w.index()
			w.assign()
			running := w.state.Running()
			for _, id := range running {
				w.merge(id)
				for _, a := range w.leased(id) {
					w.report(a, "", succeeded(w.truth[a], 1))
				}
			}
			if len(running) == 0 {
				return
			}
		}
		for _, id := range w.state.Running() {
			t.Fatalf("job %s never ends\n%s", id, w.show(id))
		}
	})
}

// index gives every stage that waits for it an index of three units.
func (w *world) index() {
	for _, id := range w.state.Running() {
		for i, st := range w.state.Jobs[id].Stages {
			if st.State == cloudcrowd.StagePreparing {
				w.decide(func(d *Decider) {
					d.Indexed(id, int32(i), &decompose.Index{Units: 3, List: []string{"x", "y", "z"}})
				})
			}
		}
	}
}

// An impossible event is an error of the row, not a crash of the server.
func TestReplayRefusesImpossible(t *testing.T) {
	t.Parallel()
	id := cloudcrowd.NewJobID(time.Unix(1, 0), 1)
	for name, ev := range map[string]Event{
		"none":    {},
		"unknown": {TaskDone: &TaskDone{Task: cloudcrowd.TaskID{Job: id}, Canonical: 1}},
		"stage":   {StageMerged: &StageMerged{Job: id, Stage: 3}},
		"ended":   {JobEnded: &JobEnded{Job: id}},
	} {
		b, err := EncodeEvents([]Event{ev})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := NewState(0).Replay(1, 1, b, &Out{}); err == nil {
			t.Errorf("%s: was applied", name)
		}
	}
	if _, err := NewState(0).Replay(1, 1, []byte("garbage"), &Out{}); err == nil {
		t.Error("garbage was applied")
	}
}
