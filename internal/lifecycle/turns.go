package lifecycle

import (
	"cmp"
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
	share
	of      *requester
	next    walk[*standing] // through his jobs that may want something
	rest    []*standing     // through which he goes instead once no slot is free, see assigner.wake
	round   int             // of the order, for which it was made
	sources []*source       // of the jobs that were looked at
	at      int             // of the source that is served; those before want nothing more
	left    int             // leases he may still get before it is somebody else's turn
	listed  bool            // among those who wait for their turn
}

// mostExcused is how many late attempts do not count against a quota, in quotas.
const mostExcused = 3

// excuse takes attempts that are late by what was measured out of the count for a quota that is reached: without that one worker that never answers could hold a
// requester up for hours. next is when another one is late; 0: that changes nothing.
func (d *Decider) excuse(r *requester, own *share) (next cloudcrowd.Time) {
	if !own.full() {
		return 0
	}
	for _, s := range r.busy {
		for i, st := range s.job.Stages {
			if st.Running == 0 || !s.job.known(i) {
				continue
			}
			for ti := range st.open.all() {
				for _, a := range st.Tasks[ti].Attempts {
					if a.State != cloudcrowd.AttemptLeased {
						continue
					}
					if st.late(a, d.At) {
						own.late++
					} else if at := a.LeasedAt + cloudcrowd.Time(math.Ceil(st.patience(a)*1e6)); next == 0 || at < next {
						next = at
					}
				}
			}
		}
	}
	if most := mostExcused * own.quota; own.late >= most {
		own.late, next = most, 0
	}
	return next
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

// more adds the sources of a requester's next job; false if there is none.
func (a *assigner) more(t *turn) bool {
	var s *standing
	if a.awake {
		if len(t.rest) == 0 {
			return false
		}
		s, t.rest = t.rest[0], t.rest[1:]
	} else {
		var ok bool
		if s, ok = t.next.peek(); !ok {
			return false
		}
		t.next.step()
	}
	a.open(s)
	s.seen = a.order.round
	t.sources = append(t.sources, s.sources...)
	return true
}

// open makes the sources of a job, in the order in which they are served.
func (a *assigner) open(s *standing) {
	if s.round == a.order.round {
		return
	}
	if s.ranks == nil {
		s.ranks = s.job.Ranks()
	}
	s.round, s.sources = a.order.round, nil
	for i, st := range s.job.Stages {
		if st.State == cloudcrowd.StageRunning {
			s.sources = append(s.sources, &source{job: s.job, stage: i, rank: s.ranks[i], place: s})
		}
	}
	slices.SortStableFunc(s.sources, func(a, b *source) int { return cmp.Compare(b.rank, a.rank) })
}

// sourceOf is the one of a running stage.
func (a *assigner) sourceOf(s *standing, stage int) *source {
	a.open(s)
	return s.sources[slices.IndexFunc(s.sources, func(src *source) bool { return src.stage == stage })]
}

// source is the k-th stage that may have work, in the order in which they are served; nil if there are no more.
func (a *assigner) source(t *turn, k int) *source {
	for k >= len(t.sources) {
		if !a.more(t) {
			return nil
		}
	}
	return t.sources[k]
}

// turnOf is a requester's turn in this round.
func (a *assigner) turnOf(r *requester) *turn {
	if r.turn == nil || r.turn.round != a.order.round {
		r.turn = &turn{share: r.share, of: r, round: a.order.round, next: r.hungry.walk()}
	}
	return r.turn
}

// share is what a requester has and may have now.
func (d *Decider) share(r *requester) share {
	other := d.Uses[r.account]
	own := share{weight: d.Sharing.Weight(r.account), used: d.State.UsedBy(r.account, d.At) + other.CoreSeconds, slots: other.Slots + float64(r.parts)/slotParts,
		attempts: other.Running + r.running, quota: int64(max(d.Sharing.QuotaOf(r.account), 0)), oldest: r.jobs.list[0].job.ID}
	r.recount = d.excuse(r, &own)
	return own
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
	if src.why == nil && (a.order.active > 1 || t.of.active > 1 || t.quota > 0) {
		src.why = &cloudcrowd.Turn{UsageCoreSeconds: math.Round(t.used), Running: t.attempts, Quota: t.quota, Requesters: a.order.active, Priority: src.place.priority}
		if t.weight != 1 {
			src.why.Weight = t.weight
		}
		if src.job.Deadline > 0 {
			src.why.Slack = src.place.slack(a.d.At)
		}
	}
	return src.why
}

// Standing is where a running job stands; nil if it wants nothing now. slots is the number of all slots here. It looks at every job.
func (d *Decider) Standing(j *Job, slots int) *cloudcrowd.Standing {
	o := d.newOrder(slots)
	mine := o.jobs[j]
	if mine == nil || !mine.active {
		return nil
	}
	r := mine.of
	half := d.State.HalfLife
	if half <= 0 {
		half = cloudcrowd.DefaultHalfLife
	}
	v := &cloudcrowd.Standing{Requester: j.Account, UsageCoreSeconds: r.used, HalfLifeSeconds: float64(half) / 1e9, Weight: r.weight, Running: r.attempts, Late: r.late, Quota: r.quota, Place: 1,
		Requesters: o.active, Priority: j.Spec.Priority, Gained: mine.priority - j.Spec.Priority, Jobs: r.active, JobPlace: 1, RankSeconds: []cloudcrowd.Rank{},
		Speculate: j.Spec.SpeculateShare(), WorkSeconds: j.Course.Work, CopiedSeconds: j.Course.Copied}
	for _, other := range o.requesters {
		if other.active > 0 && other.share.before(&r.share) {
			v.Place++
		}
	}
	for _, s := range r.jobs.list {
		if s.active && s.before(mine) {
			v.JobPlace++
		}
	}
	if j.Deadline > 0 {
		slack := mine.slack(d.At)
		v.SlackSeconds = &slack
	}
	a := assigner{d: d, order: o}
	a.open(mine)
	for _, src := range mine.sources {
		v.RankSeconds = append(v.RankSeconds, cloudcrowd.Rank{Stage: j.Spec.Stages[src.stage].Name, Seconds: src.rank})
	}
	return v
}

// stand derives where a job stands. slots is the number of all slots here.
func (d *Decider) stand(s *standing, slots int) {
	j := s.job
	s.ranks, s.running, s.parts, s.active, s.hungry, s.restless = nil, 0, 0, false, false, false
	for i, st := range j.Stages {
		if st.Running > 0 {
			s.running += st.Running
			s.parts += st.Running * int64(math.Round(occupied(j.expect(i, 0))*slotParts))
		}
		if st.State != cloudcrowd.StageRunning {
			continue
		}
		s.active = true
		s.restless = s.restless || st.want.n > 0 || j.overtakes(i)
		s.hungry = s.hungry || s.restless || j.gives(i)
	}
	s.priority, s.due = j.priority(d.At, s.running > 0)
	s.latest = math.Inf(1)
	if j.Deadline > 0 {
		s.ranks = j.Ranks()
		s.latest = float64(j.Deadline) - j.remaining(s.ranks, slots)*1e6
	}
}

// gives reports whether a running stage may have tasks that are not cut yet.
func (j *Job) gives(i int) bool {
	if j.Spec.Stages[i].Merge != nil {
		_, ok := j.nextNode(i)
		return ok
	}
	total, _ := j.Total(i)
	return j.Stages[i].Next < total
}

// overtakes reports whether tasks of a running stage may be cut before others that are earlier, see assigner.overtake.
func (j *Job) overtakes(i int) bool {
	spec := &j.Spec.Stages[i]
	return spec.Split != nil && spec.Split.Kind == cloudcrowd.SplitEach && spec.Verify.Confidence == 0 && j.gives(i)
}

// priority is what a job was given, and a point for every ten seconds in which nothing of it ran: a job that is always overtaken rises until it is not. due is when it
// gains the next; 0: it does not wait.
func (j *Job) priority(at cloudcrowd.Time, runs bool) (priority int, due cloudcrowd.Time) {
	if runs {
		return j.Spec.Priority, 0
	}
	since := max(j.SubmittedAt, j.Course.LeasedAt)
	gained := max(at-since, 0) / waitingStep
	return j.Spec.Priority + int(gained), since + (gained+1)*waitingStep
}

// remaining is how many seconds the job takes with all slots: the longer of the longest remaining path and the work left over all slots.
func (j *Job) remaining(ranks []float64, slots int) float64 {
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
	return math.Max(path, work/float64(max(slots, 1)))
}

// round serves requesters in turns until nobody wants anything more that can be had.
func (a *assigner) round() {
	o := a.order
	kept := o.turns.walk()
	a.waiting = queue[*turn]{before: func(x, y *turn) bool { return x.share.before(&y.share) }}
	each := math.MaxInt
	if o.takers > 1 {
		each = max(a.free/(turnsEach*o.takers), 1)
	}
	for {
		// Whose turn has not come yet is looked at when nobody else comes before him: what he holds can only have become more.
		for r, ok := kept.peek(); ok && !a.awake && (a.waiting.len() == 0 || !a.waiting.list[0].share.before(&r.share)); r, ok = kept.peek() {
			kept.step()
			a.wait(a.turnOf(r))
		}
		if a.waiting.len() == 0 {
			return
		}
		t := a.waiting.pop()
		t.listed = false
		a.turn, t.left = t, each
		if t.quota > 0 {
			t.left = min(t.left, int(t.quota+t.late-t.attempts))
		}
		for src := a.source(t, t.at); src != nil && t.left > 0; src = a.source(t, t.at) {
			if a.free <= 0 && !a.awake {
				if !a.d.Copies && !a.d.anyFailures() {
					return // what does not need a free slot is looked after now and then
				}
				a.wake()
				continue
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
		if a.source(t, t.at) != nil {
			a.wait(t)
		}
	}
}

// wait lets a requester wait for his turn.
func (a *assigner) wait(t *turn) {
	if !t.listed && !t.full() {
		t.listed = true
		a.waiting.put(t)
	}
}

// wake goes on without a free slot: then only tasks that want attempts, which may have to fail, and those that may be cut ahead of their turn are looked after.
func (a *assigner) wake() {
	a.awake = true
	var list []*turn
	for _, s := range a.order.restless {
		if s.seen != a.order.round {
			t := a.turnOf(s.of)
			if len(t.rest) == 0 {
				list = append(list, t)
			}
			t.rest = append(t.rest, s)
		}
	}
	for _, t := range list {
		slices.SortFunc(t.rest, (*standing).compare)
		if t != a.turn {
			a.wait(t)
		}
	}
}
