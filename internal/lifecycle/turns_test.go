package lifecycle

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// pool runs tasks for the time they take on a world's clock, so that what requesters get can be counted.
type pool struct {
	*world
	ends  map[cloudcrowd.AttemptID]cloudcrowd.Time
	runs  func(cloudcrowd.AttemptID) time.Duration // how long an attempt takes
	got   map[cloudcrowd.AccountID]float64         // core-seconds of ended attempts
	first map[cloudcrowd.JobID]cloudcrowd.Time     // first lease
}

func newPool(t failer, slots int, runs func(cloudcrowd.AttemptID) time.Duration) *pool {
	p := &pool{world: newWorld(t), ends: map[cloudcrowd.AttemptID]cloudcrowd.Time{}, runs: runs, got: map[cloudcrowd.AccountID]float64{}, first: map[cloudcrowd.JobID]cloudcrowd.Time{}}
	p.light = true
	p.worker("w", "owner", 1, slots)
	return p
}

// add submits a job of so many tasks. Its account is given what the job may cost.
func (p *pool) add(account cloudcrowd.AccountID, tasks int, change func(*cloudcrowd.JobSpec)) cloudcrowd.JobID {
	p.t.Helper()
	const budget = 1e9
	p.fund(account, budget)
	name := fmt.Sprint("j", len(p.jobs))
	spec := specOf(name, budget, 0, fmt.Sprintf("work range=%d size=1 verify=none", tasks))
	if change != nil {
		change(&spec)
	}
	if _, err := p.submit(name, account, "", spec); err != nil {
		p.t.Fatalf("%v", err)
	}
	return p.last
}

// until lets the pool work.
func (p *pool) until(end cloudcrowd.Time) {
	p.t.Helper()
	for {
		for _, id := range p.leasedNow() {
			p.ends[id] = p.now + cloudcrowd.Time(p.runs(id).Microseconds())
			if j := id.Task.Job; p.first[j] == 0 {
				p.first[j] = p.now
			}
		}
		next := end
		for _, at := range p.ends {
			next = min(next, at)
		}
		p.now = next
		if next >= end {
			return
		}
		var done []cloudcrowd.AttemptID
		for id, at := range p.ends {
			if at <= p.now {
				done = append(done, id)
			}
		}
		slices.SortFunc(done, func(a, b cloudcrowd.AttemptID) int { return int(a.Task.Index - b.Task.Index) })
		for _, id := range done {
			delete(p.ends, id)
			seconds := p.runs(id).Seconds()
			if j := p.state.Jobs[id.Task.Job]; j != nil {
				p.got[j.Account] += seconds
			}
			p.report(id, "", cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: seconds, WallSeconds: seconds}})
		}
	}
}

func (p *pool) leasedNow() []cloudcrowd.AttemptID {
	var list []cloudcrowd.AttemptID
	for _, ev := range p.decide(func(d *Decider) { d.Copies = p.copies; d.Assign(p.crowd(), p.now+30e6) }) {
		if ev.AttemptLeased != nil {
			list = append(list, ev.AttemptLeased.ID)
		}
	}
	return list
}

// running counts a requester's attempts.
func (p *pool) running(account cloudcrowd.AccountID) (n int) {
	for id := range p.ends {
		if p.state.Jobs[id.Task.Job].Account == account {
			n++
		}
	}
	return n
}

func tenSeconds(cloudcrowd.AttemptID) time.Duration { return 10 * time.Second }

// Free slots are shared within one batch already: nobody takes all of them because he came first.
func TestSharedAtOnce(t *testing.T) {
	t.Parallel()
	p := newPool(t, 16, tenSeconds)
	p.add("ada", 1000, nil)
	p.add("joe", 1000, nil)
	p.until(p.now + 1)
	if a, b := p.running("ada"), p.running("joe"); a != 8 || b != 8 {
		t.Fatalf("ada has %d slots, joe %d", a, b)
	}
}

// Who has used much lately gets less until that has evened out, but never nothing; with a weight of two one gets twice as much in the long run.
func TestFairShares(t *testing.T) {
	t.Parallel()
	p := newPool(t, 16, func(cloudcrowd.AttemptID) time.Duration { return 40 * time.Second })
	p.sharing = cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(10 * time.Minute)}
	p.add("ada", 1_000_000, nil)
	p.until(p.now + 1800e6)
	p.add("joe", 1_000_000, nil)
	before := p.got["ada"]
	p.until(p.now + 300e6)
	if a, b := p.got["ada"]-before, p.got["joe"]; b < 3*a || a < 100 {
		t.Fatalf("in five minutes after half an hour of use ada got %.0f core-seconds, joe %.0f", a, b)
	}
	p.until(p.now + 2400e6)
	a, b := p.got["ada"], p.got["joe"]
	p.until(p.now + 2400e6)
	if a, b = p.got["ada"]-a, p.got["joe"]-b; math.Abs(a/b-1) > 0.1 {
		t.Fatalf("much later, in forty minutes, ada got %.0f core-seconds, joe %.0f", a, b)
	}

	p = newPool(t, 18, func(cloudcrowd.AttemptID) time.Duration { return 40 * time.Second })
	p.sharing = cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(10 * time.Minute), Weights: map[cloudcrowd.AccountID]float64{"joe": 2}}
	p.add("ada", 1_000_000, nil)
	p.add("joe", 1_000_000, nil)
	p.until(p.now + 5400e6)
	if r := p.got["joe"] / p.got["ada"]; r < 1.8 || r > 2.2 {
		t.Fatalf("with twice the weight joe got %.2f times as much", r)
	}
}

// Usage halves with the half-life, whatever it was before, and a replay comes to the same (held by world).
func TestUsageFades(t *testing.T) {
	t.Parallel()
	p := newPool(t, 1, tenSeconds)
	p.light = false
	p.add("ada", 3, nil)
	p.until(p.now + 30e6)
	p.until(p.now + 1)
	used := p.state.UsedBy("ada", p.now)
	if math.Abs(used-30) > 0.5 {
		t.Fatalf("three tasks of ten seconds used %.2f core-seconds", used)
	}
	if got := p.state.UsedBy("ada", p.now+3600e6); math.Abs(got/used-0.5) > 1e-9 {
		t.Fatalf("after an hour %.3f of it count", got/used)
	}
	if got := p.state.UsedBy("joe", p.now); got != 0 {
		t.Fatalf("joe, who did nothing, used %.1f", got)
	}
	p.now += 3600e6
	half := cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(time.Minute)}
	if n := len(p.decide(func(d *Decider) { d.Share(half) })); n != 1 {
		t.Fatalf("%d events for another half-life", n)
	}
	if n := len(p.decide(func(d *Decider) { d.Share(half) })); n != 0 {
		t.Fatalf("%d events for the same half-life", n)
	}
	if got := p.state.UsedBy("ada", p.now+60e6); math.Abs(got/used-0.25) > 1e-9 {
		t.Fatalf("after an hour and, by the new half-life, a minute %.3f of it count", got/used)
	}
}

// A quota is never exceeded, by replicas and second copies neither, and what it leaves is given to others.
func TestQuota(t *testing.T) {
	t.Parallel()
	p := newPool(t, 0, func(id cloudcrowd.AttemptID) time.Duration {
		if id.N == 1 && id.Task.Index%10 == 7 {
			return 10 * time.Minute // a straggler
		}
		return 10 * time.Second
	})
	for i := range 12 {
		p.worker(fmt.Sprint("w", i), fmt.Sprint("o", i), 1, 2)
	}
	p.copies = true
	p.sharing = cloudcrowd.Sharing{Quota: 7, Quotas: map[cloudcrowd.AccountID]int{"joe": 0}}
	p.add("ada", 40, func(s *cloudcrowd.JobSpec) { s.Stages[0].Verify = cloudcrowd.Verify{Replicas: 2, Quorum: 2} })
	p.add("ada", 40, nil)
	p.add("joe", 2000, nil)
	full := false
	for range 400 {
		p.until(p.now + 5e6)
		n := p.running("ada")
		for id := range p.ends {
			if _, st, _, a := p.state.Find(id); id.N == 1 && id.Task.Index%10 == 7 && a != nil && st.late(a, p.now) && p.state.Jobs[id.Task.Job].Account == "ada" {
				n-- // a straggler that is late does not count
			}
		}
		full = full || n == 7
		if n > 7 {
			t.Fatalf("%d attempts of ada run", n)
		}
	}
	if j := p.state.Jobs[p.jobs["j0"]]; !full || j.State != cloudcrowd.JobDone || p.got["joe"] < 10*2000 {
		t.Fatalf("ada's job is %s, her quota was reached: %v, joe got %.0f", j.State, full, p.got["joe"])
	}
}

// Of one requester's jobs the higher priority goes first; between requesters it does not count.
func TestPriority(t *testing.T) {
	t.Parallel()
	p := newPool(t, 8, tenSeconds)
	low := p.add("ada", 1000, func(s *cloudcrowd.JobSpec) { s.Priority = -5 })
	high := p.add("ada", 1000, func(s *cloudcrowd.JobSpec) { s.Priority = 5 })
	p.add("joe", 1000, func(s *cloudcrowd.JobSpec) { s.Priority = -100 })
	p.until(p.now + 1)
	if a, b, c := p.state.Jobs[low].Attempts, p.state.Jobs[high].Attempts, p.running("joe"); a != 0 || b != 4 || c != 4 {
		t.Fatalf("low has %d slots, high %d, joe %d", a, b, c)
	}
}

// Of one requester's jobs of one priority that with the least slack goes first: time left less the work left. Jobs without a deadline follow.
func TestLeastSlack(t *testing.T) {
	t.Parallel()
	p := newPool(t, 4, tenSeconds)
	none := p.add("ada", 100, nil)
	later := p.add("ada", 4, func(s *cloudcrowd.JobSpec) { s.Deadline = cloudcrowd.Duration(10 * time.Minute) })
	sooner := p.add("ada", 4, func(s *cloudcrowd.JobSpec) { s.Deadline = cloudcrowd.Duration(5 * time.Minute) })
	large := p.add("ada", 200, func(s *cloudcrowd.JobSpec) { s.Deadline = cloudcrowd.Duration(11 * time.Minute) })
	p.until(p.now + 1)
	d := &Decider{State: p.state, At: p.now}
	slack := func(id cloudcrowd.JobID) float64 {
		return math.Round(*d.Standing(p.state.Jobs[id], 4).SlackSeconds)
	}
	if a, b, c := slack(large), slack(sooner), slack(later); a != 160 || b != 290 || c != 590 {
		t.Fatalf("slack of the large job %.0f s, of the sooner %.0f, of the later %.0f", a, b, c)
	}
	if d.Standing(p.state.Jobs[none], 4).SlackSeconds != nil {
		t.Fatal("a job without a deadline has slack")
	}
	if n := p.state.Jobs[large].Attempts; n != 4 {
		t.Fatalf("the job with the least slack has %d of 4 slots", n)
	}
}

// Nobody starves: whatever priorities, deadlines, weights and quotas there are, and however much others go on submitting, every job is at work some time.
func TestNobodyStarves(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(lo, hi int, label string) int { return rapid.IntRange(lo, hi).Draw(t, label) }
		seconds := draw(3, 60, "seconds")
		p := newPool(t, 1, func(cloudcrowd.AttemptID) time.Duration { return time.Duration(seconds) * time.Second })
		p.sharing = cloudcrowd.Sharing{HalfLife: cloudcrowd.Duration(draw(1, 20, "half-life")) * cloudcrowd.Duration(time.Minute), Quota: draw(0, 2, "quota"),
			Weights: map[cloudcrowd.AccountID]float64{"ada": []float64{0.5, 1, 4}[draw(0, 2, "weight")]}}
		any := func(s *cloudcrowd.JobSpec) {
			s.Priority = draw(-100, 100, "priority")
			s.Deadline = cloudcrowd.Duration(draw(0, 1, "has a deadline")*draw(1, 48, "deadline")) * cloudcrowd.Duration(time.Hour)
		}
		var watched []cloudcrowd.JobID
		for i := range draw(1, 6, "jobs") {
			watched = append(watched, p.add([]cloudcrowd.AccountID{"ada", "joe"}[i%2], draw(1, 3, "tasks"), any))
		}
		// Others go on and on: with the highest priority beside each, with deadlines, and newcomers who never used anything.
		rival := draw(0, 2, "rival")
		waits := func() bool {
			return slices.ContainsFunc(watched, func(id cloudcrowd.JobID) bool { return p.first[id] == 0 })
		}
		for step := 0; waits(); step++ {
			if step > 400 {
				t.Fatalf("after %d steps a job has not begun", step)
			}
			switch rival {
			case 0:
				p.add("ada", 6, func(s *cloudcrowd.JobSpec) { s.Priority = cloudcrowd.HighestPriority })
				p.add("joe", 6, func(s *cloudcrowd.JobSpec) { s.Priority = cloudcrowd.HighestPriority })
			case 1:
				p.add("ada", 11, func(s *cloudcrowd.JobSpec) { s.Deadline = cloudcrowd.Duration(12 * time.Hour) })
			default:
				for k := range 11 {
					p.add(cloudcrowd.AccountID(fmt.Sprint("new", step, "-", k)), 1, func(s *cloudcrowd.JobSpec) { s.Priority = cloudcrowd.HighestPriority })
				}
			}
			p.until(p.now + cloudcrowd.Time(10*seconds)*1e6)
		}
	})
}
