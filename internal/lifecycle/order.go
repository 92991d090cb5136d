package lifecycle

import (
	"cmp"
	"encoding/binary"
	"math"
	"reflect"

	"cloudcrowd.dev/cloudcrowd"
)

// order is who comes when: requesters by their shares, the jobs of each by priority and slack. It follows from the state and the time and is kept from one round of
// placement to the next, so that a round looks only at jobs that something has happened to, at those whose time has come, and at those whose turn it is: what a task
// costs does not grow with the jobs that are open. It is never stored, and a replay does not need it.
//
// Between a change and the next look nothing is out of date, but for two things that change everything at once and little: how far usage has faded, and what the
// number of slots means for slack. They are up to keyedEvery old.
type order struct {
	jobs       map[*Job]*standing // that have not ended
	accounts   map[cloudcrowd.AccountID]*requester
	requesters []*requester
	turns      queue[*requester] // those who may have a turn
	due        queue[*standing]  // those that gain a point of priority soon
	held       queue[*requester] // those of a full quota, by when that is to be looked at again
	restless   []*standing       // those with tasks that want attempts
	active     int               // requesters with jobs at work
	takers     int               // of those, who may have more
	dirty      []*requester
	round      int // how often it was looked at

	at      cloudcrowd.Time // when it was last looked at
	keyed   cloudcrowd.Time // when what changes everything was last taken account of
	slots   int             // then
	uses    map[cloudcrowd.AccountID]Use
	sharing cloudcrowd.Sharing
}

const (
	keyedEvery = cloudcrowd.Time(1e6)
	slotParts  = 1e6 // whole numbers: what was added and taken away again leaves nothing behind
)

// share is what a requester has, and may have, of the workers.
type share struct {
	weight   float64
	used     float64 // lately, core-seconds
	slots    float64 // in use now, short attempts counting as a part of one
	attempts int64   // running
	late     int64   // of those, some that do not count, see excuse
	quota    int64   // most that may run; 0: no bound
	oldest   cloudcrowd.JobID
}

// key is by what requesters take turns: who holds the smallest part of his share comes first. The share is proportional to the weight and falls with what was used
// lately, so what is used evens out over the half-life. Who holds nothing comes before all others.
func (s *share) key() float64 { return s.slots / s.weight * (s.used/s.weight + usageFloor) }

// class tells requesters who hold nothing apart, by what they used; within a class the oldest job goes first. In time everybody who waits comes into the first class, so
// newcomers, however many, do not keep him waiting for ever.
func (s *share) class() float64 { return math.Floor(s.used / s.weight / usageFloor) }

func (s *share) before(o *share) bool {
	if a, b := s.key(), o.key(); a != b {
		return a < b
	}
	if a, b := s.class(), o.class(); a != b {
		return a < b
	}
	return s.oldest < o.oldest
}

func (s *share) full() bool { return s.quota > 0 && s.attempts-s.late >= s.quota }

// requester is one of whom jobs have not ended.
type requester struct {
	share
	account cloudcrowd.AccountID
	jobs    queue[*standing] // the oldest first
	hungry  queue[*standing] // those that may want something, in the order in which they are served
	busy    []*standing      // those of which something runs
	active  int              // jobs at work
	running int64            // attempts of theirs
	parts   int64            // of slots that those take, see slotParts
	dirty   bool
	atWork  bool // as it is counted in order.active and order.takers
	taker   bool
	recount cloudcrowd.Time // when another of his attempts is late, which counts; 0: never
	all     int             // place among all, from 1
	place   int             // in turns
	held    int             // in order.held
	turn    *turn           // in a round
}

// standing is where a job stands among its requester's.
type standing struct {
	job      *Job
	birth    [2]uint64 // its id as numbers, which are compared sooner
	of       *requester
	ranks    []float64       // nil: to be made when asked for
	priority int             // what it was given and has gained by waiting
	due      cloudcrowd.Time // when it gains the next point; 0: it does not wait
	latest   float64         // when it must be at work, with all slots, to meet its deadline, microseconds; infinite without one. So its slack does not change the order
	running  int64           // attempts
	parts    int64
	active   bool // a stage is running
	hungry   bool // a stage may want something
	restless bool // a stage has tasks that want attempts, or may be cut ahead of its turn

	aged, eager, ripe, atWork, wakeful int // places in the queues and lists, from 1

	round   int // for which sources were made
	seen    int // in which they were given to a turn
	sources []*source
}

// compare is negative where a goes first.
func (a *standing) compare(b *standing) int {
	switch {
	case a.priority != b.priority:
		return b.priority - a.priority
	case a.latest != b.latest:
		return cmp.Compare(a.latest, b.latest)
	case a.running != b.running:
		return cmp.Compare(a.running, b.running)
	}
	return a.older(b)
}

// older is negative where a was submitted first.
func (a *standing) older(b *standing) int {
	switch {
	case a.birth[0] != b.birth[0]:
		return cmp.Compare(a.birth[0], b.birth[0])
	case a.birth[1] != b.birth[1]:
		return cmp.Compare(a.birth[1], b.birth[1])
	}
	return cmp.Compare(a.job.ID, b.job.ID)
}

// birthOf orders jobs as their ids do, as far as those differ in what follows the first letter.
func birthOf(id cloudcrowd.JobID) [2]uint64 {
	var b [16]byte
	copy(b[:], id[min(1, len(id)):])
	return [2]uint64{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a *standing) before(b *standing) bool { return a.compare(b) < 0 }

// slack is how many seconds may pass until the job must be at work.
func (a *standing) slack(now cloudcrowd.Time) float64 { return (a.latest - float64(now)) / 1e6 }

// enter takes a standing into a list that is in no order, or out of it.
func enter(list []*standing, place func(*standing) *int, s *standing, in bool) []*standing {
	at := place(s)
	switch {
	case in && *at == 0:
		list = append(list, s)
		*at = len(list)
	case !in && *at > 0:
		last := len(list) - 1
		list[*at-1] = list[last]
		*place(list[last]) = *at
		list[last] = nil
		list, *at = list[:last], 0
	}
	return list
}

func (s *standing) atWorkPlace() *int  { return &s.atWork }
func (s *standing) wakefulPlace() *int { return &s.wakeful }

// touch notes that a job has changed, or is about to.
func (s *State) touch(j *Job) {
	if s.order == nil || j.touched {
		return
	}
	if len(s.touched) > len(s.running)+mostTouched { // nobody asks for the order; it is made anew when somebody does
		s.untouch()
		s.order = nil
		return
	}
	j.touched = true
	s.touched = append(s.touched, j)
}

func (s *State) untouch() {
	for _, j := range s.touched {
		j.touched = false
	}
	clear(s.touched)
	s.touched = s.touched[:0]
}

// mostTouched is how many jobs that have ended are remembered for an order that nobody asks for.
const mostTouched = 10_000

// order is the state's, up to date. slots is the number of all slots here.
func (d *Decider) order(slots int) *order {
	s := d.State
	if s.order == nil || d.At < s.order.at {
		s.order = d.newOrder(slots)
	} else {
		for _, j := range s.touched {
			s.order.look(d, j)
		}
		s.order.follow(d, slots)
	}
	s.untouch()
	return s.order
}

// newOrder makes an order from nothing.
func (d *Decider) newOrder(slots int) *order {
	o := &order{jobs: map[*Job]*standing{}, accounts: map[cloudcrowd.AccountID]*requester{}, slots: slots, keyed: d.At, at: d.At, round: 1, uses: d.Uses, sharing: d.Sharing,
		turns: queue[*requester]{before: func(a, b *requester) bool { return a.share.before(&b.share) }, place: func(r *requester) *int { return &r.place }},
		held:  queue[*requester]{before: func(a, b *requester) bool { return a.recount < b.recount }, place: func(r *requester) *int { return &r.held }},
		due:   queue[*standing]{before: func(a, b *standing) bool { return a.due < b.due }, place: func(s *standing) *int { return &s.ripe }}}
	for _, j := range d.State.running {
		o.look(d, j)
	}
	o.clean(d)
	return o
}

// follow brings up to date what time has changed.
func (o *order) follow(d *Decider, slots int) {
	o.at = d.At
	o.round++
	for o.due.len() > 0 && o.due.list[0].due <= d.At {
		o.look(d, o.due.list[0].job)
	}
	for o.held.len() > 0 && o.held.list[0].recount <= d.At {
		o.soil(o.held.pop())
	}
	age := d.At - o.keyed
	if age >= keyedEvery && slots != o.slots {
		o.slots = slots
		for _, r := range o.requesters {
			for _, s := range r.hungry.list {
				if s.job.Deadline > 0 {
					d.stand(s, slots)
				}
			}
			r.hungry.sort()
		}
	}
	if age >= keyedEvery || !same(o.uses, d.Uses) || !same(o.sharing.Weights, d.Sharing.Weights) || !same(o.sharing.Quotas, d.Sharing.Quotas) || o.sharing.Quota != d.Sharing.Quota {
		o.keyed, o.uses, o.sharing = d.At, d.Uses, d.Sharing
		for _, r := range o.requesters {
			o.soil(r)
		}
	}
	o.clean(d)
}

// same reports whether two maps are one.
func same[M ~map[K]V, K comparable, V any](a, b M) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}

// look puts a job that has changed in its place.
func (o *order) look(d *Decider, j *Job) {
	s := o.jobs[j]
	if s == nil {
		if j.State.Ended() {
			return
		}
		s = &standing{job: j, birth: birthOf(j.ID), of: o.requester(j.Account)}
		o.jobs[j] = s
		s.of.jobs.put(s)
	}
	r := s.of
	o.soil(r)
	was := *s
	if j.State.Ended() {
		s.running, s.parts, s.active, s.hungry, s.restless, s.due = 0, 0, false, false, false, 0
		delete(o.jobs, j)
		r.jobs.drop(s)
	} else {
		d.stand(s, o.slots)
	}
	r.running += s.running - was.running
	r.parts += s.parts - was.parts
	r.active += number(s.active) - number(was.active)
	if s.hungry {
		r.hungry.put(s)
	} else {
		r.hungry.drop(s)
	}
	if s.hungry && s.due > 0 {
		o.due.put(s)
	} else {
		o.due.drop(s)
	}
	r.busy = enter(r.busy, (*standing).atWorkPlace, s, s.running > 0 && s.active)
	o.restless = enter(o.restless, (*standing).wakefulPlace, s, s.restless)
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (o *order) requester(account cloudcrowd.AccountID) *requester {
	r := o.accounts[account]
	if r == nil {
		r = &requester{account: account,
			jobs:   queue[*standing]{before: func(a, b *standing) bool { return a.older(b) < 0 }, place: func(s *standing) *int { return &s.aged }},
			hungry: queue[*standing]{before: (*standing).before, place: func(s *standing) *int { return &s.eager }}}
		o.accounts[account] = r
		o.requesters = append(o.requesters, r)
		r.all = len(o.requesters)
	}
	return r
}

// soil notes that a requester's share has changed.
func (o *order) soil(r *requester) {
	if !r.dirty {
		r.dirty = true
		o.dirty = append(o.dirty, r)
	}
}

// clean puts requesters whose shares have changed in their places.
func (o *order) clean(d *Decider) {
	for i, r := range o.dirty {
		o.dirty[i], r.dirty = nil, false
		o.active -= number(r.atWork)
		o.takers -= number(r.taker)
		r.atWork, r.taker = false, false
		if r.jobs.len() == 0 {
			o.turns.drop(r)
			o.held.drop(r)
			delete(o.accounts, r.account)
			last := len(o.requesters) - 1
			o.requesters[r.all-1] = o.requesters[last]
			o.requesters[r.all-1].all = r.all
			o.requesters[last] = nil
			o.requesters = o.requesters[:last]
			continue
		}
		r.share = d.share(r)
		r.atWork = r.active > 0
		r.taker = r.atWork && !r.full()
		o.active += number(r.atWork)
		o.takers += number(r.taker)
		if r.hungry.len() > 0 && !r.full() {
			o.turns.put(r)
		} else {
			o.turns.drop(r)
		}
		if r.recount > 0 {
			o.held.put(r)
		} else {
			o.held.drop(r)
		}
	}
	o.dirty = o.dirty[:0]
}
