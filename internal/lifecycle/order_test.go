package lifecycle

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// sameOrder holds that the order which is kept is the one that is made from nothing: the same requesters with the same shares in the same order, and of each the same jobs in
// the same order. fresh says that nothing kept may be older than the state.
func sameOrder(t failer, kept, made *order, fresh bool) {
	t.Helper()
	if kept.active != made.active || kept.takers != made.takers || len(kept.jobs) != len(made.jobs) || len(kept.requesters) != len(made.requesters) || len(kept.accounts) != len(made.accounts) {
		t.Fatalf("kept: %d active, %d takers, %d jobs of %d requesters; made: %d, %d, %d, %d", kept.active, kept.takers, len(kept.jobs), len(kept.requesters), made.active, made.takers, len(made.jobs), len(made.requesters))
	}
	for _, m := range made.requesters {
		k := kept.accounts[m.account]
		if k == nil || k.active != m.active || k.running != m.running || k.parts != m.parts || k.attempts != m.attempts || k.oldest != m.oldest || k.late != m.late || (k.place > 0) != (m.place > 0) {
			t.Fatalf("%s: kept %+v, made %+v", m.account, k, m)
		}
		if fresh && (k.share != m.share) {
			t.Fatalf("the share of %s: kept %+v, made %+v", m.account, k.share, m.share)
		}
		if a, b := walked(&k.hungry), walked(&m.hungry); !slices.EqualFunc(a, b, func(x, y *standing) bool {
			return x.job == y.job && x.priority == y.priority && x.due == y.due && x.latest == y.latest && x.running == y.running && x.restless == y.restless
		}) {
			t.Fatalf("%s: kept %s, made %s", m.account, shown(a), shown(b))
		}
		sorted := slices.Clone(m.hungry.list)
		slices.SortFunc(sorted, (*standing).compare)
		if a := walked(&m.hungry); !slices.Equal(a, sorted) {
			t.Fatalf("%s: a walk through the queue goes %s, sorted it is %s", m.account, shown(a), shown(sorted))
		}
		if len(k.busy) != len(m.busy) {
			t.Fatalf("%s: of %d jobs something runs, %d are kept", m.account, len(m.busy), len(k.busy))
		}
	}
	if len(kept.restless) != len(made.restless) || kept.due.len() != made.due.len() {
		t.Fatalf("kept %d restless, %d due; made %d, %d", len(kept.restless), kept.due.len(), len(made.restless), made.due.len())
	}
	if fresh {
		if a, b := walked(&kept.turns), walked(&made.turns); !slices.EqualFunc(a, b, func(x, y *requester) bool { return x.account == y.account }) {
			t.Fatalf("requesters come in another order than if it were made now: %d, %d", len(a), len(b))
		}
	}
}

func walked[T any](q *queue[T]) (list []T) {
	w := q.walk()
	for x, ok := w.peek(); ok; x, ok = w.peek() {
		list = append(list, x)
		w.step()
	}
	return list
}

func shown(list []*standing) (s string) {
	for _, x := range list {
		s += fmt.Sprintf("[%s %d due %d latest %.0f running %d restless %v] ", x.job.ID, x.priority, x.due, x.latest, x.running, x.restless)
	}
	return s
}

// Whatever happens, in whatever batches and however much later, the order that is kept is the one that would be made from nothing; shares and slots are up to a second
// old, everything else is not. A look at it by a question changes nothing.
func TestOrderIsKept(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		w.light = true
		draw := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		accounts := []cloudcrowd.AccountID{"ada", "joe", "eve"}
		for _, a := range accounts {
			w.fund(a, 1e9)
		}
		w.sharing = cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(time.Duration(1+draw(10, "half-life")) * time.Minute), Quota: draw(3, "quota") * 2, Weights: map[cloudcrowd.AccountID]float64{"joe": 2}}
		for i := range 4 {
			w.worker(fmt.Sprint("w", i), fmt.Sprint("o", i), []float64{1, 2}[i%2], 1+i)
		}
		slots := func() (n int) {
			for _, k := range w.crowd() {
				n += k.Slots
			}
			return n
		}
		var uses map[cloudcrowd.AccountID]Use
		var known []cloudcrowd.AttemptID
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			w.now += cloudcrowd.Time(rapid.SampledFrom([]int64{0, 1000, 400_000, 2e6, 9e6, 40e6, 3600e6}).Draw(t, "time"))
			switch action := draw(16, "action"); {
			case action < 3 && len(w.jobs) < 40:
				shape := []string{fmt.Sprintf("work range=%d size=1", 1+draw(20_000, "range"))} // of much work, so that its slack depends on the slots
				if k := draw(2*len(shapes), "shape"); k < len(shapes) {
					shape = shapes[k]
				}
				spec := specOf(fmt.Sprint("j", len(w.jobs)), 20_000_000, time.Duration([]int{0, 60, 3600, 3600 + draw(3600, "seconds")}[draw(4, "deadline")])*time.Second, shape...)
				spec.Priority = draw(3, "priority")
				_, _ = w.submit(spec.Name, accounts[draw(len(accounts), "account")], "", spec)
			case action == 3:
				w.decide(func(d *Decider) { d.Tick() })
			case action == 4 && len(w.jobs) > 0 && draw(3, "cancel") == 0:
				w.decide(func(d *Decider) { _ = d.Cancel(w.anyJob(t), "cancelled") })
			case action == 5:
				k := w.crowd()
				k[draw(len(k), "worker")].Slots = 1 + draw(50, "slots")
			case action == 6:
				w.index()
			case action == 7 && len(w.jobs) > 0:
				if j := w.anyJob(t); !w.state.Jobs[j].State.Ended() {
					w.merge(j)
				}
			case action == 8:
				uses = map[cloudcrowd.AccountID]Use{"ada": {Running: int64(draw(3, "elsewhere")), Slots: 1, CoreSeconds: 100}}
			case action < 12 || len(known) == 0:
				w.fuse, w.copies = draw(2, "fuse") == 0, draw(2, "copies") == 0
				for _, ev := range w.assign() {
					if ev.AttemptLeased != nil {
						known = append(known, ev.AttemptLeased.ID)
					}
				}
			default:
				for range 1 + draw(4, "reports") {
					id := known[draw(len(known), "attempt")]
					switch draw(6, "verdict") {
					case 0:
						w.report(id, "", cloudcrowd.Result{Outcome: cloudcrowd.Exited, ExitCode: 1, Reason: "failed", Usage: cloudcrowd.Usage{CPUSeconds: 1}})
					case 1:
						w.decide(func(d *Decider) { d.Lost(id, "expired") })
					default:
						if w.truth[id] != "" {
							w.report(id, "", succeeded(w.truth[id], float64(draw(100, "cpu"))))
						}
					}
				}
			}
			if draw(3, "look") > 0 {
				continue
			}
			d := &Decider{State: w.state, At: w.now, Rand: rand.New(&w.lottery), Prices: testPrices, Operator: "admin", Sharing: w.sharing, Uses: uses}
			before := w.state.order
			made := d.newOrder(slots())
			for j := range made.jobs {
				d.Standing(j, slots())
			}
			if w.state.order != before {
				t.Fatalf("a question has changed the order")
			}
			kept := d.order(slots())
			if kept.slots != slots() { // not looked at again yet
				if w.now-kept.keyed >= keyedEvery {
					t.Fatalf("slack goes by %d slots of %v ago, there are %d", kept.slots, time.Duration(w.now-kept.keyed)*time.Microsecond, slots())
				}
				made = d.newOrder(kept.slots)
			}
			if age := w.now - kept.keyed; age >= keyedEvery {
				t.Fatalf("shares are %d microseconds old", age)
			}
			sameOrder(t, kept, made, kept.keyed == w.now)
		}
	})
}

// Deadlines of jobs that have ended are forgotten, those of jobs that run are kept, and end them.
func TestDeadlinesAreForgotten(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.light = true
	w.fund("ada", 1e9)
	var kept cloudcrowd.JobID
	for i := range 1500 {
		if _, err := w.submit(fmt.Sprint("j", i), "ada", "", specOf("j", 1000, time.Hour, "work range=1 size=1")); err != nil {
			t.Fatal(err)
		}
		if i == 7 {
			kept = w.last
			continue
		}
		w.decide(func(d *Decider) { _ = d.Cancel(w.last, "") })
	}
	if n := w.state.deadlines.len(); n > 1100 {
		t.Fatalf("%d deadlines are kept for one job", n)
	}
	w.now += 3600e6
	w.decide(func(d *Decider) { d.Tick() })
	if j := w.state.Jobs[kept]; j.State != cloudcrowd.JobFailed || w.state.deadlines.len() > 0 {
		t.Fatalf("past its deadline the job is %s, and %d deadlines are kept", j.State, w.state.deadlines.len())
	}
}
