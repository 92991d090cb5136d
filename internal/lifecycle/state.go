// Package lifecycle is the Task Manager's pure core: the state of a shard's jobs, the events that change it, and the decisions that make events.
//
// Apply is the only way state changes, both when a decision is made and when a journal is replayed; so a restart, an audit and a simulation run the same code.
// Decide (decide.go and its neighbours) reads the state, the time and a random source, and emits events. docs/state-machines.md draws the moves.
package lifecycle

import (
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// State is everything a shard knows that must survive. The zero value is an empty shard.
type State struct {
	Shard   int                                        `cbor:"1,keyasint,omitempty"`
	Seq     int64                                      `cbor:"2,keyasint,omitempty"` // last journal row applied
	Jobs    map[cloudcrowd.JobID]*Job                  `cbor:"3,keyasint,omitempty"` // open jobs, and ended ones until they are forgotten
	Records map[cloudcrowd.WorkerID]*cloudcrowd.Record `cbor:"4,keyasint,omitempty"`
	Keys    map[string]Key                             `cbor:"5,keyasint,omitempty"` // idempotency keys, "account/key"
	Rates   map[string]Rate                            `cbor:"6,keyasint,omitempty"` // by RateKey, learned from ended jobs; for plans

	Usage    map[cloudcrowd.AccountID]*Usage `cbor:"7,keyasint,omitempty"` // of requesters, for fair shares
	HalfLife cloudcrowd.Duration             `cbor:"8,keyasint,omitempty"` // of Usage; 0: the default

	running   []*Job                                     // that have not ended, by id and so by submission; derived
	deadlines queue[deadline]                            // of them, and of some that have ended; derived
	failing   int                                        // how many of them have attempts that failed; derived
	order     *order                                     // in which work is given to them; derived, nil until it is asked for
	touched   []*Job                                     // that have changed since it was looked at
	last      *Job                                       // that was asked for; what happens to one job is asked for many times in a row
	refused   map[cloudcrowd.WorkerID]*cloudcrowd.Record // of Records, those with a refused result; derived
	known     map[cloudcrowd.WorkerID]*known             // by whom a record was changed since the state was loaded; derived
	outs      int64                                      // how many Outs were begun; derived
}

// Rate is what running a program on a kind of input has cost before.
type Rate struct {
	PerUnit float64         `cbor:"1,keyasint"` // normalised core-seconds
	Tasks   int64           `cbor:"2,keyasint"`
	At      cloudcrowd.Time `cbor:"3,keyasint"`
}

// Key remembers what an idempotency key made.
type Key struct {
	Made string          `cbor:"1,keyasint"` // job or transfer id
	At   cloudcrowd.Time `cbor:"2,keyasint"`
}

// Job is one job's state.
type Job struct {
	ID          cloudcrowd.JobID              `cbor:"1,keyasint"`
	Account     cloudcrowd.AccountID          `cbor:"2,keyasint"`
	Spec        cloudcrowd.JobSpec            `cbor:"3,keyasint"`
	SubmittedAt cloudcrowd.Time               `cbor:"4,keyasint"`
	Deadline    cloudcrowd.Time               `cbor:"5,keyasint,omitempty"` // 0: none
	EndedAt     cloudcrowd.Time               `cbor:"6,keyasint,omitempty"`
	State       cloudcrowd.JobState           `cbor:"7,keyasint"`
	Reason      string                        `cbor:"8,keyasint,omitempty"`
	Budget      cloudcrowd.Credits            `cbor:"9,keyasint"`
	Posted      cloudcrowd.Credits            `cbor:"10,keyasint,omitempty"` // paid so far
	Deferred    cloudcrowd.Credits            `cbor:"11,keyasint,omitempty"` // owed for results accepted alone, paid when the job ends
	Reserved    cloudcrowd.Credits            `cbor:"12,keyasint,omitempty"` // set aside for attempts that are leased or reported
	Stages      []*Stage                      `cbor:"13,keyasint"`
	Attempts    int64                         `cbor:"14,keyasint,omitempty"`
	Refused     int64                         `cbor:"15,keyasint,omitempty"`
	Failed      int64                         `cbor:"16,keyasint,omitempty"`
	Workers     map[cloudcrowd.WorkerID]*Part `cbor:"18,keyasint,omitempty"`
	Hold        cloudcrowd.HoldState          `cbor:"19,keyasint,omitempty"` // how its hold ended; empty while it is pending
	Course      Course                        `cbor:"20,keyasint,omitzero"`

	touched bool // it is in State.touched
}

// Course is what the scheduler keeps of a job. A snapshot by a version that did not know it lacks it, so states are not compared by it.
type Course struct {
	LeasedAt cloudcrowd.Time `cbor:"1,keyasint,omitempty"` // when it was last given a lease
	Work     float64         `cbor:"2,keyasint,omitempty"` // core-seconds that were expected of its attempts, without second copies
	Copied   float64         `cbor:"3,keyasint,omitempty"` // and of those
}

// Part is what one worker did for a job.
type Part struct {
	Owner      cloudcrowd.AccountID `cbor:"1,keyasint"`
	Attempts   int64                `cbor:"2,keyasint,omitempty"`
	Accepted   int64                `cbor:"3,keyasint,omitempty"`
	Refused    int64                `cbor:"4,keyasint,omitempty"`
	Failed     int64                `cbor:"5,keyasint,omitempty"`
	Earned     cloudcrowd.Credits   `cbor:"6,keyasint,omitempty"` // net
	CPUSeconds float64              `cbor:"7,keyasint,omitempty"`
	Name       string               `cbor:"-"` // of the worker, for people: kept here by whoever looks it up

	parties [2]string // see Attempt.Party: of attempts that are not trusted, and that are; derived
	known   *known    // the worker, once it was looked up; derived
}

// Available is what may still be reserved.
func (j *Job) Available() cloudcrowd.Credits { return j.Budget - j.Posted - j.Deferred - j.Reserved }

// Stage is one stage's state.
type Stage struct {
	State     cloudcrowd.StageState   `cbor:"1,keyasint"`
	Index     *decompose.Index        `cbor:"2,keyasint,omitempty"` // of the divisible input, once read
	Next      int64                   `cbor:"3,keyasint,omitempty"` // positions below are carved into tasks
	Tasks     TaskList                `cbor:"4,keyasint,omitempty"`
	Levels    [][]int32               `cbor:"5,keyasint,omitempty"` // merge tree: task numbers by level and position
	Done      int64                   `cbor:"6,keyasint,omitempty"`
	Failed    int64                   `cbor:"7,keyasint,omitempty"`
	UnitsDone int64                   `cbor:"8,keyasint,omitempty"`
	Running   int64                   `cbor:"9,keyasint,omitempty"` // attempts leased
	Refused   int64                   `cbor:"10,keyasint,omitempty"`
	Cost      cloudcrowd.Credits      `cbor:"11,keyasint,omitempty"` // paid or owed
	SeenUnits float64                 `cbor:"12,keyasint,omitempty"` // decayed sum over results reported
	SeenCore  float64                 `cbor:"13,keyasint,omitempty"` // their normalised core-seconds, likewise
	Merged    bool                    `cbor:"14,keyasint,omitempty"` // built-in merge performed
	Outputs   []cloudcrowd.OutputFile `cbor:"15,keyasint,omitempty"` // of a built-in merge
	StartedAt cloudcrowd.Time         `cbor:"16,keyasint,omitempty"`
	EndedAt   cloudcrowd.Time         `cbor:"17,keyasint,omitempty"`
	Largest   int64                   `cbor:"18,keyasint,omitempty"` // units of the largest task reported
	Prior     float64                 `cbor:"19,keyasint,omitempty"` // core-seconds per unit in earlier jobs, for as long as this one has seen nothing; 0: none
	Retired   Retired                 `cbor:"20,keyasint,omitempty"`
	Lateness  float64                 `cbor:"21,keyasint,omitempty"` // what one attempt in twenty exceeds: the time from lease to result, in expected times; 0: nothing was reported. See Course
	open      numbers                 // tasks not ended, derived
	want      numbers                 // of those, tasks that want more attempts, derived
	alone     int                     // tasks done that were accepted alone, derived
}

// CoreSecondsPerUnit is the learned cost of one unit in normalised core-seconds; 0 while nothing was reported.
func (s *Stage) CoreSecondsPerUnit() float64 {
	if s.SeenUnits <= 0 {
		return 0
	}
	return s.SeenCore / s.SeenUnits
}

// Task is one task's state.
type Task struct {
	Unit      cloudcrowd.Unit         `cbor:"1,keyasint,omitempty"`
	Level     int32                   `cbor:"2,keyasint,omitempty"` // merge tree
	Pos       int32                   `cbor:"3,keyasint,omitempty"`
	Final     bool                    `cbor:"4,keyasint,omitempty"` // merge tree: the root
	State     cloudcrowd.TaskState    `cbor:"5,keyasint"`
	Quorum    int                     `cbor:"6,keyasint"`
	Start     int                     `cbor:"7,keyasint"`
	Alone     bool                    `cbor:"8,keyasint,omitempty"`
	Need      string                  `cbor:"9,keyasint,omitempty"`
	Round     int32                   `cbor:"10,keyasint,omitempty"` // attempts of earlier rounds do not vote
	Attempts  []*Attempt              `cbor:"11,keyasint,omitempty"` // attempt N at N-1
	Canonical int32                   `cbor:"12,keyasint,omitempty"`
	Outputs   []cloudcrowd.OutputFile `cbor:"13,keyasint,omitempty"`
	CreatedAt cloudcrowd.Time         `cbor:"14,keyasint,omitempty"`
	EndedAt   cloudcrowd.Time         `cbor:"15,keyasint,omitempty"`
	Failures  int                     `cbor:"16,keyasint,omitempty"` // by fault of the program
	Mishaps   int                     `cbor:"17,keyasint,omitempty"` // by fault of machines
	Reason    string                  `cbor:"18,keyasint,omitempty"`
	Cost      cloudcrowd.Credits      `cbor:"19,keyasint,omitempty"`
	Retired   bool                    `cbor:"20,keyasint,omitempty"` // done, and only what later stages read of it is left; see Retire
	early     *early                  // room for the first attempt; nil once it is used, or where there is none
}

// Attempt is one try.
type Attempt struct {
	N           int32                   `cbor:"1,keyasint"`
	Worker      cloudcrowd.WorkerID     `cbor:"2,keyasint"`
	Owner       cloudcrowd.AccountID    `cbor:"3,keyasint"`
	Trusted     bool                    `cbor:"4,keyasint,omitempty"` // owner is the requester or the operator
	State       cloudcrowd.AttemptState `cbor:"5,keyasint"`
	Round       int32                   `cbor:"6,keyasint,omitempty"`
	LeasedAt    cloudcrowd.Time         `cbor:"7,keyasint"`
	EndedAt     cloudcrowd.Time         `cbor:"8,keyasint,omitempty"`
	Reserve     cloudcrowd.Credits      `cbor:"9,keyasint,omitempty"`
	Expected    float64                 `cbor:"10,keyasint,omitempty"` // seconds it should take there
	Speed       float64                 `cbor:"11,keyasint,omitempty"` // of the worker's slot when leased
	Result      *cloudcrowd.Result      `cbor:"12,keyasint,omitempty"`
	Digest      cloudcrowd.Digest       `cbor:"13,keyasint,omitempty"` // what the quorum compares
	CoreSeconds float64                 `cbor:"14,keyasint,omitempty"` // normalised claim, bounded by observed time
	Charge      cloudcrowd.Credits      `cbor:"15,keyasint,omitempty"` // gross
	Fee         cloudcrowd.Credits      `cbor:"16,keyasint,omitempty"`
	Deferred    bool                    `cbor:"17,keyasint,omitempty"` // accepted alone; charged when the job ends
	Verdict     string                  `cbor:"18,keyasint,omitempty"`
	Why         cloudcrowd.Why          `cbor:"19,keyasint"`
	Copy        bool                    `cbor:"20,keyasint,omitempty"` // a second copy, started because another attempt was late
	party       string                  // derived when first asked for
	part        *Part                   // likewise, see State.part
}

// Party is who answers for an attempt's result: its owner, or the machine itself where the owner is trusted.
func (a *Attempt) Party() string {
	if a.party != "" {
		return a.party
	}
	named := &a.party
	if p := a.part; p != nil && p.Owner == a.Owner { // all its attempts for the job are called the same
		if named = &p.parties[0]; a.Trusted {
			named = &p.parties[1]
		}
	}
	if *named == "" {
		*named = "owner " + string(a.Owner)
		if a.Trusted {
			*named = "worker " + string(a.Worker)
		}
	}
	return *named
}

// Part is what the attempt's worker did for its job; nil if that was not looked up since the state was loaded.
func (a *Attempt) Part() *Part { return a.part }

// NewState returns an empty shard.
func NewState(shard int) *State {
	s := &State{Shard: shard}
	s.init()
	return s
}

func (s *State) init() {
	if s.Jobs == nil {
		s.Jobs = map[cloudcrowd.JobID]*Job{}
	}
	if s.Records == nil {
		s.Records = map[cloudcrowd.WorkerID]*cloudcrowd.Record{}
	}
	if s.Keys == nil {
		s.Keys = map[string]Key{}
	}
	if s.Rates == nil {
		s.Rates = map[string]Rate{}
	}
	if s.Usage == nil {
		s.Usage = map[cloudcrowd.AccountID]*Usage{}
	}
	s.running, s.failing, s.order, s.touched, s.last = nil, 0, nil, nil, nil
	s.deadlines = queue[deadline]{before: deadline.before}
	s.refused, s.known = map[cloudcrowd.WorkerID]*cloudcrowd.Record{}, map[cloudcrowd.WorkerID]*known{}
	for w, r := range s.Records {
		if r.Invalid > 0 {
			s.refused[w] = r
		}
	}
	for _, j := range s.Jobs {
		if !j.State.Ended() {
			s.running = append(s.running, j)
			s.expect(j)
			if j.Failed > 0 {
				s.failing++
			}
		}
		if j.Workers == nil {
			j.Workers = map[cloudcrowd.WorkerID]*Part{}
		}
		for _, st := range j.Stages {
			st.derive()
		}
	}
	slices.SortFunc(s.running, func(a, b *Job) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

// place is where a job is among the running ones, or would be.
func (s *State) place(id cloudcrowd.JobID) (int, bool) {
	return slices.BinarySearchFunc(s.running, id, func(j *Job, id cloudcrowd.JobID) int { return strings.Compare(string(j.ID), string(id)) })
}

// deadline is when a job must have ended.
type deadline struct {
	at  cloudcrowd.Time
	job cloudcrowd.JobID
}

func (a deadline) before(b deadline) bool { return a.at < b.at }

// expect takes note of a job's deadline. Those of jobs that have ended are forgotten when they are half of all.
func (s *State) expect(j *Job) {
	if j.Deadline == 0 {
		return
	}
	const few = 1000
	if s.deadlines.len() > 2*len(s.running)+few {
		s.deadlines.list = slices.DeleteFunc(s.deadlines.list, func(d deadline) bool { _, runs := s.place(d.job); return !runs })
		s.deadlines.sort()
	}
	s.deadlines.put(deadline{j.Deadline, j.ID})
}

// fail changes how many attempts of a job have failed.
func (s *State) fail(j *Job, by int64) {
	before := j.Failed > 0
	j.Failed += by
	switch after := j.Failed > 0; {
	case after && !before:
		s.failing++
	case before && !after:
		s.failing--
	}
}

// Running lists the jobs that have not ended, oldest first. The list is the caller's.
func (s *State) Running() []cloudcrowd.JobID {
	ids := make([]cloudcrowd.JobID, len(s.running))
	for i, j := range s.running {
		ids[i] = j.ID
	}
	return ids
}

// AnyRunning reports whether a job has not ended.
func (s *State) AnyRunning() bool { return len(s.running) > 0 }

func (s *Stage) derive() {
	s.open, s.want, s.alone = numbers{}, numbers{}, 0
	for i, t := range s.Tasks {
		if t.State == cloudcrowd.TaskDone && t.Alone {
			s.alone++
		}
		if t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning {
			s.open.add(int32(i))
			s.note(int32(i))
		}
	}
}

// note keeps want up to date with a task that has changed.
func (s *Stage) note(i int32) {
	if s.Tasks[i].Wanted() > 0 {
		s.want.add(i)
	} else {
		s.want.remove(i)
	}
}

// close notes that a task has ended.
func (s *Stage) close(i int32) {
	s.open.remove(i)
	s.want.remove(i)
}

// OldestWaiting is when the task that has waited longest was cut; 0 if none waits.
func (s *Stage) OldestWaiting() (at cloudcrowd.Time) {
	for i := range s.open.all() {
		if t := s.Tasks[i]; t.State == cloudcrowd.TaskWaiting && (at == 0 || t.CreatedAt < at) {
			at = t.CreatedAt
		}
	}
	return at
}

// Record returns a worker's standing; a zero one for a stranger.
func (s *State) Record(w cloudcrowd.WorkerID) cloudcrowd.Record {
	if r := s.Records[w]; r != nil {
		return *r
	}
	return cloudcrowd.Record{}
}

// Find returns the parts an attempt id names; nil parts where there are none.
func (s *State) Find(id cloudcrowd.AttemptID) (*Job, *Stage, *Task, *Attempt) {
	j, st, t := s.FindTask(id.Task)
	if t == nil || id.N < 1 || int(id.N) > len(t.Attempts) {
		return j, st, t, nil
	}
	return j, st, t, t.Attempts[id.N-1]
}

// Job returns a job; nil if there is none.
func (s *State) Job(id cloudcrowd.JobID) *Job {
	if s.last == nil || s.last.ID != id {
		s.last = s.Jobs[id]
	}
	return s.last
}

// Warm looks at what a result of an attempt will change, so that it is at hand then; see its caller. What it returns means nothing.
func (s *State) Warm(id cloudcrowd.AttemptID) int {
	_, _, t, a := s.Find(id)
	if a == nil {
		return 0
	}
	n := int(t.State[0]) + int(t.Round) + int(t.Cost) + len(t.Reason) + int(a.EndedAt) + len(a.Verdict) + int(a.Why.Rank)
	if p := a.part; p != nil {
		if n += int(p.Attempts) + len(p.Name); p.known != nil {
			n += int(p.known.noted) + int(p.known.Record.Earned)
		}
	}
	return n
}

// FindTask returns the parts a task id names.
func (s *State) FindTask(id cloudcrowd.TaskID) (*Job, *Stage, *Task) {
	j := s.Job(id.Job)
	if j == nil || id.Stage < 0 || int(id.Stage) >= len(j.Stages) {
		return j, nil, nil
	}
	st := j.Stages[id.Stage]
	if id.Index < 0 || int(id.Index) >= len(st.Tasks) {
		return j, st, nil
	}
	return j, st, st.Tasks[id.Index]
}
