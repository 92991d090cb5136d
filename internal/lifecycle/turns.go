package lifecycle

import (
	"cmp"
	"container/heap"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

const (
	usageFloor  = 60.0                  // core-seconds lately by which requesters are not told apart
	shortRun    = 1.0                   // seconds; attempts that take less count as a part of one, for many of them wait on one slot
	waitingStep = cloudcrowd.Time(10e6) // a job gains a point of priority for every so long that nothing of it runs
	turnsEach   = 8                     // how often about a requester comes to turn while the free slots are given away, so that they are shared within one batch, too
)

// turn is one requester in a round of placement: what he has, what he may have, and what he wants.
type turn struct {
	account  cloudcrowd.AccountID
	weight   float64
	used     float64     // lately, core-seconds
	slots    float64     // in use now, short attempts counting as a part of one
	attempts int64       // running
	late     int64       // of those, some that do not count, see excuse
	quota    int64       // most that may run; 0: no bound
	order    int         // of his oldest job
	jobs     []*standing // in the order in which they are served, as far as it was asked for
	rest     standings   // the others
	sources  []*source   // of jobs
	at       int         // of the source that is served; those before want nothing more
	left     int         // leases he may still get before it is somebody else's turn
}

// key is by what requesters take turns: who holds the smallest part of his share comes first. The share is proportional to the weight and falls with what was used
// lately, so what is used evens out over the half-life. Who holds nothing comes before all others.
func (t *turn) key() float64 { return t.slots / t.weight * (t.used/t.weight + usageFloor) }

// class tells requesters who hold nothing apart, by what they used; within a class the oldest job goes first. In time everybody who waits comes into the first class, so
// newcomers, however many, do not keep him waiting for ever.
func (t *turn) class() float64 { return math.Floor(t.used / t.weight / usageFloor) }

func (t *turn) full() bool { return t.quota > 0 && t.attempts-t.late >= t.quota }

// mostExcused is how many late attempts do not count against a quota, in quotas.
const mostExcused = 3

// excuse takes attempts that are late by what was measured out of the count for a quota that is reached: without that one worker that never answers could hold a
// requester up for hours.
func (d *Decider) excuse(t *turn) {
	if !t.full() {
		return
	}
	for _, s := range t.rest {
		for i, st := range s.job.Stages {
			if st.Running == 0 || !s.job.known(i) {
				continue
			}
			for ti := range st.open {
				task := st.Tasks[ti]
				for _, a := range task.Attempts {
					if a.State == cloudcrowd.AttemptLeased && st.late(a, d.At) {
						t.late++
					}
				}
			}
		}
	}
	t.late = min(t.late, mostExcused*t.quota)
}

// turns is a heap of requesters, whose turn it is first.
type turns []*turn

func (t turns) Len() int      { return len(t) }
func (t turns) Swap(i, j int) { t[i], t[j] = t[j], t[i] }
func (t turns) Less(i, j int) bool {
	a, b := t[i], t[j]
	return cmp.Or(cmp.Compare(a.key(), b.key()), cmp.Compare(a.class(), b.class()), cmp.Compare(a.order, b.order)) < 0
}

// Push implements heap.Interface.
func (t *turns) Push(x any) { *t = append(*t, x.(*turn)) }

// Pop implements heap.Interface.
func (t *turns) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
}

// source is a stage that may have work: open tasks that want attempts, then whatever its cursor or merge tree gives next.
type source struct {
	job   *Job
	stage int
	rank  float64
	place *standing

	why    *cloudcrowd.Turn // made for the first lease
	listed bool
	open   []int32 // tasks that may want attempts, from the next on; listed tells whether the list was made
	later  int64   // units booked on workers that are still busy
}

// standing is where a job stands among its requester's.
type standing struct {
	job      *Job
	ranks    []float64
	priority int     // what it was given and has gained by waiting
	slack    float64 // seconds; infinite without a deadline
	running  int64   // attempts
	order    int
}

func (a *standing) compare(b *standing) int {
	return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.slack, b.slack), cmp.Compare(a.running, b.running), cmp.Compare(a.order, b.order))
}

// turns puts together who wants work done. slots is the number of all slots here.
func (d *Decider) turns(slots int) turns {
	byAccount := map[cloudcrowd.AccountID]*turn{}
	var list turns
	all := make([]standing, 0, len(d.State.running))
	for n, j := range d.State.running {
		t := byAccount[j.Account]
		if t == nil {
			t = d.turn(j.Account)
			t.order = n
			byAccount[j.Account] = t
		}
		all = append(all, standing{job: j, order: n})
		s := &all[n]
		for i, st := range j.Stages {
			if st.Running > 0 {
				s.running += st.Running
				t.slots += float64(st.Running) * occupied(j.expect(i, 0))
			}
		}
		t.attempts += s.running
		if !slices.ContainsFunc(j.Stages, func(st *Stage) bool { return st.State == cloudcrowd.StageRunning }) {
			continue
		}
		if len(t.rest) == 0 {
			list = append(list, t)
		}
		s.priority, s.slack = d.Priority(j), math.Inf(1)
		if j.Deadline > 0 {
			s.ranks = j.Ranks()
			s.slack = d.slack(j, s.ranks, slots)
		}
		t.rest = append(t.rest, s)
	}
	for _, t := range list {
		d.excuse(t)
		heap.Init(&t.rest)
	}
	return list
}

// standings is a heap of jobs, the one to be served first on top: with thousands of jobs a batch comes to few of them.
type standings []*standing

func (s standings) Len() int           { return len(s) }
func (s standings) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s standings) Less(i, j int) bool { return s[i].compare(s[j]) < 0 }

// Push implements heap.Interface.
func (s *standings) Push(x any) { *s = append(*s, x.(*standing)) }

// Pop implements heap.Interface.
func (s *standings) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}

// more puts the next job in its place; false if there is none.
func (t *turn) more() bool {
	if len(t.rest) == 0 {
		return false
	}
	s := heap.Pop(&t.rest).(*standing)
	t.jobs = append(t.jobs, s)
	if s.ranks == nil {
		s.ranks = s.job.Ranks()
	}
	from := len(t.sources)
	for i, st := range s.job.Stages {
		if st.State == cloudcrowd.StageRunning {
			t.sources = append(t.sources, &source{job: s.job, stage: i, rank: s.ranks[i], place: s})
		}
	}
	slices.SortStableFunc(t.sources[from:], func(a, b *source) int { return cmp.Compare(b.rank, a.rank) })
	return true
}

// source is the k-th stage that may have work, in the order in which they are served; nil if there are no more.
func (t *turn) source(k int) *source {
	for k >= len(t.sources) {
		if !t.more() {
			return nil
		}
	}
	return t.sources[k]
}

// all are the sources of all jobs.
func (t *turn) all() []*source {
	for t.more() {
	}
	return t.sources
}

func (d *Decider) turn(account cloudcrowd.AccountID) *turn {
	other := d.Uses[account]
	return &turn{account: account, weight: d.Sharing.Weight(account), used: d.State.UsedBy(account, d.At) + other.CoreSeconds, slots: other.Slots, attempts: other.Running,
		quota: int64(max(d.Sharing.QuotaOf(account), 0))}
}

// Use is what a requester has and had of the workers, in one shard or in several.
type Use struct {
	Running     int64   `json:"r,omitempty"` // attempts
	Slots       float64 `json:"s,omitempty"` // that they take
	CoreSeconds float64 `json:"c,omitempty"` // used lately, see Usage
}

// OwnUses is what requesters have and had of the workers in this shard, for the others.
func (d *Decider) OwnUses() map[cloudcrowd.AccountID]Use {
	uses := map[cloudcrowd.AccountID]Use{}
	for account := range d.State.Usage {
		if used := d.State.UsedBy(account, d.At); used >= faded {
			uses[account] = Use{CoreSeconds: math.Round(used)}
		}
	}
	for _, j := range d.State.running {
		for i, st := range j.Stages {
			if st.Running > 0 {
				u := uses[j.Account]
				u.Running += st.Running
				u.Slots += float64(st.Running) * occupied(j.expect(i, 0))
				uses[j.Account] = u
			}
		}
	}
	return uses
}

// occupied is the part of a slot that an attempt of the given core-seconds takes.
func occupied(coreSeconds float64) float64 {
	return math.Min(math.Max(coreSeconds, 0.001)/shortRun, 1)
}

// explain puts into figures why it is a source's turn; nil where nobody else wants anything.
func (a *assigner) explain(src *source) *cloudcrowd.Turn {
	t := a.turn
	if src.why == nil && (len(a.turns) > 1 || len(t.jobs)+len(t.rest) > 1 || t.quota > 0) {
		src.why = &cloudcrowd.Turn{UsageCoreSeconds: math.Round(t.used), Running: t.attempts, Quota: t.quota, Requesters: len(a.turns), Priority: src.place.priority}
		if t.weight != 1 {
			src.why.Weight = t.weight
		}
		if src.job.Deadline > 0 {
			src.why.Slack = src.place.slack
		}
	}
	return src.why
}

// Standing is where a running job stands; nil if it wants nothing now. slots is the number of all slots here.
func (d *Decider) Standing(j *Job, slots int) *cloudcrowd.Standing {
	list := d.turns(slots)
	mine := slices.IndexFunc(list, func(t *turn) bool { return t.account == j.Account })
	if mine < 0 {
		return nil
	}
	t := list[mine]
	t.all()
	half := d.State.HalfLife
	if half <= 0 {
		half = cloudcrowd.DefaultHalfLife
	}
	v := &cloudcrowd.Standing{Requester: j.Account, UsageCoreSeconds: t.used, HalfLifeSeconds: float64(half) / 1e9, Weight: t.weight, Running: t.attempts, Late: t.late, Quota: t.quota, Place: 1,
		Requesters: len(list), Priority: j.Spec.Priority, Gained: d.Priority(j) - j.Spec.Priority, Jobs: len(t.jobs), RankSeconds: []cloudcrowd.Rank{},
		Speculate: j.Spec.SpeculateShare(), WorkSeconds: j.Course.Work, CopiedSeconds: j.Course.Copied}
	for i := range list {
		if list.Less(i, mine) {
			v.Place++
		}
	}
	v.JobPlace = slices.IndexFunc(t.jobs, func(s *standing) bool { return s.job == j }) + 1
	if v.JobPlace == 0 {
		return nil
	}
	if s, ok := d.Slack(j, slots); ok {
		v.SlackSeconds = &s
	}
	for _, src := range t.sources {
		if src.job == j {
			v.RankSeconds = append(v.RankSeconds, cloudcrowd.Rank{Stage: j.Spec.Stages[src.stage].Name, Seconds: src.rank})
		}
	}
	return v
}

// Priority is what a job was given, and a point for every ten seconds in which nothing of it ran: a job that is always overtaken rises until it is not.
func (d *Decider) Priority(j *Job) int {
	for _, st := range j.Stages {
		if st.Running > 0 {
			return j.Spec.Priority
		}
	}
	return j.Spec.Priority + int(max(d.At-max(j.SubmittedAt, j.Course.LeasedAt), 0)/waitingStep)
}

// Slack is how many seconds may pass until a job must be at work, with all slots, to meet its deadline; ok is false where it has none. It is below zero for a job that
// will be late by what is known.
func (d *Decider) Slack(j *Job, slots int) (seconds float64, ok bool) {
	s := d.slack(j, j.Ranks(), slots)
	return s, !math.IsInf(s, 1)
}

func (d *Decider) slack(j *Job, ranks []float64, slots int) float64 {
	if j.Deadline == 0 {
		return math.Inf(1)
	}
	path, work := 0.0, 0.0
	for i, st := range j.Stages {
		if st.State == cloudcrowd.StageDone {
			continue
		}
		path = math.Max(path, ranks[i])
		if total, known := j.Total(i); known && j.Spec.Stages[i].Merge == nil && total > st.UnitsDone {
			left := total - st.UnitsDone
			if each := j.expect(i, 1); j.known(i) || decompose.Divisible(j.Spec.Stages[i].Split) {
				work += j.expect(i, left)
			} else { // of each the target is believed
				work += each * float64(left)
			}
		}
	}
	return float64(j.Deadline-d.At)/1e6 - math.Max(path, work/float64(max(slots, 1)))
}

// round serves requesters in turns until nobody wants anything more that can be had.
func (a *assigner) round() {
	list := slices.DeleteFunc(slices.Clone(a.turns), (*turn).full)
	heap.Init(&list)
	each := math.MaxInt
	if len(list) > 1 {
		each = max(a.free/(turnsEach*len(list)), 1)
	}
	for len(list) > 0 {
		t := list[0]
		a.turn, t.left = t, each
		if t.quota > 0 {
			t.left = min(t.left, int(t.quota+t.late-t.attempts))
		}
		for src := t.source(t.at); src != nil && t.left > 0; src = t.source(t.at) {
			if a.free <= 0 && !a.d.Copies && !a.d.anyFailures() {
				return // what does not need a free slot is looked after now and then
			}
			if !src.listed {
				a.overtake(src)
			}
			a.openTasks(src)
			if t.left > 0 {
				a.carve(src)
			}
			if t.left > 0 {
				t.at++
			}
		}
		if t.source(t.at) == nil || t.full() {
			heap.Pop(&list)
		} else {
			heap.Fix(&list, 0)
		}
	}
}
