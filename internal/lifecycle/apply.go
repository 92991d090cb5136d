package lifecycle

import (
	"fmt"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
)

// Out collects what applying a batch of events asks for outside the state.
type Out struct {
	Money    ledger.Batch
	Charges  []cloudcrowd.Charge    // without shard and seq
	Tasks    []cloudcrowd.TaskID    // became final, or were reopened
	Attempts []cloudcrowd.AttemptID // became final
	Jobs     []cloudcrowd.JobID     // submitted or ended
	Records  []Changed              // standings that changed, each once

	lastIssue string // id of the transfer that the last CreditsIssued made
	number    int64  // no other Out of the state has the same; 0: none yet
}

// Sizes are how long the lists of an Out are.
type Sizes struct{ charges, tasks, attempts, records int }

// Sizes says how much was collected, for Grow of the next.
func (o *Out) Sizes() Sizes {
	return Sizes{len(o.Charges), len(o.Tasks), len(o.Attempts), len(o.Records)}
}

// Grow makes room for as much, at once instead of bit by bit.
func (o *Out) Grow(s Sizes) {
	o.Charges, o.Tasks = slices.Grow(o.Charges, s.charges), slices.Grow(o.Tasks, s.tasks)
	o.Attempts, o.Records = slices.Grow(o.Attempts, s.attempts), slices.Grow(o.Records, s.records)
}

// Changed is a worker whose standing has changed. The record is the state's own.
type Changed struct {
	Worker cloudcrowd.WorkerID
	Record *cloudcrowd.Record
}

// Apply changes the state by one event. It panics on an event that cannot follow from the state: a journal that holds one is corrupt, and
// going on would spread it. Replay turns the panic into an error.
func (s *State) Apply(ev Event, at cloudcrowd.Time, out *Out) {
	switch {
	case ev.JobSubmitted != nil:
		s.applySubmitted(ev.JobSubmitted, at, out)
	case ev.StageIndexed != nil:
		s.stage(ev.StageIndexed.Job, ev.StageIndexed.Stage).Index = ev.StageIndexed.Index
		s.Job(ev.StageIndexed.Job).refresh(at)
	case ev.TaskCarved != nil:
		s.applyCarved(ev.TaskCarved, at)
	case ev.AttemptLeased != nil:
		s.applyLeased(ev.AttemptLeased, at)
	case ev.AttemptReported != nil:
		s.applyReported(ev.AttemptReported, at)
	case ev.AttemptEnded != nil:
		s.applyEnded(ev.AttemptEnded, at, out)
	case ev.TaskDone != nil:
		s.applyDone(ev.TaskDone, at, out)
	case ev.TaskFailed != nil:
		s.applyFailed(ev.TaskFailed, at, out)
	case ev.TaskReopened != nil:
		s.applyReopened(ev.TaskReopened, at, out)
	case ev.StageMerged != nil:
		s.applyMerged(ev.StageMerged, at)
	case ev.JobEnded != nil:
		s.applyJobEnded(ev.JobEnded, at, out)
	case ev.QuorumSet != nil:
		e := ev.QuorumSet
		_, st, t := s.task(e.Task)
		must(e.Quorum >= 1 && t.EndedAt == 0, "task %s: quorum %d", e.Task, e.Quorum)
		t.Start = min(t.Start, e.Quorum)
		if e.Quorum > t.Quorum {
			t.Start = e.Quorum
		}
		t.Quorum, t.Alone, t.Need = e.Quorum, e.Alone, e.Reason
		t.refresh()
		st.note(e.Task.Index)
	case ev.AttemptCompared != nil:
		s.applyCompared(ev.AttemptCompared, at, out)
	case ev.HalfLifeSet != nil:
		s.setHalfLife(ev.HalfLifeSet.HalfLife, at)
	case ev.CreditsIssued != nil:
		e := ev.CreditsIssued
		n := out.Money.Issue(e.To, e.Amount, e.Note)
		out.lastIssue = fmt.Sprintf("%d-%d-%d", s.Shard, s.Seq+1, n)
		s.noteKey(e.By, e.Key, out.lastIssue, at)
	default:
		panic("lifecycle: event of an unknown kind")
	}
}

func must(ok bool, format string, args ...any) {
	if !ok {
		broken(format, args...)
	}
}

// broken is must for what happens with every task: there the words are not even prepared where all is well.
func broken(format string, args ...any) { panic("lifecycle: " + fmt.Sprintf(format, args...)) }

// What an event is about it looks up by stage, task or attempt, which note that the job changes.

func (s *State) stage(job cloudcrowd.JobID, stage int32) *Stage {
	j := s.Job(job)
	if !(j != nil && int(stage) < len(j.Stages)) {
		broken("event about unknown stage %s-%d", job, stage)
	}
	s.touch(j)
	return j.Stages[stage]
}

func (s *State) task(id cloudcrowd.TaskID) (*Job, *Stage, *Task) {
	j, st, t := s.FindTask(id)
	if t == nil {
		broken("event about unknown task %s", id)
	}
	s.touch(j)
	return j, st, t
}

func (s *State) attempt(id cloudcrowd.AttemptID) (*Job, *Stage, *Task, *Attempt) {
	j, st, t, a := s.Find(id)
	if a == nil {
		broken("event about unknown attempt %s", id)
	}
	s.touch(j)
	return j, st, t, a
}

func (s *State) applySubmitted(e *JobSubmitted, at cloudcrowd.Time, out *Out) {
	must(s.Jobs[e.Job] == nil, "job %s submitted twice", e.Job)
	j := &Job{ID: e.Job, Account: e.Account, Spec: e.Spec, SubmittedAt: at, Deadline: e.Deadline, State: cloudcrowd.JobRunning,
		Budget: e.Spec.Budget, Workers: map[cloudcrowd.WorkerID]*Part{}}
	for i := range e.Spec.Stages {
		j.Stages = append(j.Stages, &Stage{State: cloudcrowd.StageWaiting, Prior: s.Rates[RateKey(&e.Spec, i)].PerUnit})
	}
	s.Jobs[e.Job] = j
	s.touch(j)
	place, _ := s.place(e.Job)
	s.running = slices.Insert(s.running, place, j)
	s.expect(j)
	s.noteKey(e.Account, e.Key, string(e.Job), at)
	out.Money.Hold(cloudcrowd.Hold{Job: e.Job, Account: e.Account, Amount: e.Spec.Budget, State: cloudcrowd.HoldPending, At: at})
	out.Jobs = append(out.Jobs, e.Job)
	j.refresh(at)
}

func (s *State) applyCarved(e *TaskCarved, at cloudcrowd.Time) {
	j := s.Job(e.Task.Job)
	st := s.stage(e.Task.Job, e.Task.Stage)
	if int(e.Task.Index) != len(st.Tasks) {
		broken("task %s carved out of order", e.Task)
	}
	whole := &struct {
		Task
		early
	}{Task: Task{Unit: e.Unit, Level: e.Level, Pos: e.Pos, Final: e.Final, State: cloudcrowd.TaskWaiting,
		Quorum: e.Quorum, Start: e.Start, Alone: e.Alone, Need: e.Need, CreatedAt: at}}
	whole.Task.early = &whole.early
	st.Tasks = append(st.Tasks, &whole.Task)
	st.open.add(e.Task.Index)
	st.note(e.Task.Index)
	if j.Spec.Stages[e.Task.Stage].Merge != nil {
		for len(st.Levels) <= int(e.Level) {
			st.Levels = append(st.Levels, nil)
		}
		if len(st.Levels[e.Level]) != int(e.Pos) {
			broken("merge node %s at level %d out of order", e.Task, e.Level)
		}
		st.Levels[e.Level] = append(st.Levels[e.Level], e.Task.Index)
	} else {
		if e.Unit.Lo != st.Next {
			broken("task %s starts at %d, the cursor is at %d", e.Task, e.Unit.Lo, st.Next)
		}
		st.Next = e.Unit.Hi
	}
	if st.StartedAt == 0 {
		st.StartedAt = at
	}
	j.refresh(at)
}

// part is what an attempt's worker did for the job. It is looked up once for an attempt: among thousands of workers every look is a walk through memory that
// no cache holds.
func (s *State) part(j *Job, a *Attempt) *Part {
	if a.part == nil {
		p := j.Workers[a.Worker]
		if p == nil {
			p = &Part{Owner: a.Owner}
			j.Workers[a.Worker] = p
		}
		a.part = p
	}
	return a.part
}

// record is the standing of an attempt's worker, about to be changed.
func (s *State) record(j *Job, a *Attempt, out *Out) *cloudcrowd.Record {
	p := s.part(j, a)
	if p.known == nil {
		p.known = s.know(a.Worker)
	}
	if out.number == 0 {
		s.outs++
		out.number = s.outs
	}
	if p.known.noted != out.number {
		p.known.noted = out.number
		out.Records = append(out.Records, Changed{Worker: a.Worker, Record: p.known.Record})
	}
	return p.known.Record
}

// known is a worker's record in memory.
type known struct {
	*cloudcrowd.Record       // in State.Records
	noted              int64 // Out.number of the last batch that has noted it
}

// know finds a worker's record, or begins it.
func (s *State) know(w cloudcrowd.WorkerID) *known {
	k := s.known[w]
	if k == nil {
		k = &known{Record: s.Records[w]}
		if k.Record == nil {
			k.Record = &cloudcrowd.Record{}
			s.Records[w] = k.Record
		}
		s.known[w] = k
	}
	return k
}

// refuse notes a result that was refused.
func (s *State) refuse(j *Job, a *Attempt, at cloudcrowd.Time, out *Out) {
	r := s.record(j, a, out)
	r.Invalid++
	r.Streak, r.LastInvalid = 0, at
	s.refused[a.Worker] = r
	s.part(j, a).Refused++
}

// early is room for a task's first attempt: nearly every task has one, mostly one alone, and what lies together is fetched, made and dropped together.
type early struct {
	attempt Attempt
	list    [1]*Attempt
}

// attempt adds an attempt to the task's.
func (t *Task) attempt() *Attempt {
	if s := t.early; s != nil {
		s.list[0], t.Attempts, t.early = &s.attempt, s.list[:], nil
		return &s.attempt
	}
	a := &Attempt{}
	t.Attempts = append(t.Attempts, a)
	return a
}

func (s *State) applyLeased(e *AttemptLeased, at cloudcrowd.Time) {
	j, st, t := s.task(e.ID.Task)
	if int(e.ID.N) != len(t.Attempts)+1 {
		broken("attempt %s leased out of order", e.ID)
	}
	if j.State != cloudcrowd.JobRunning {
		broken("attempt %s leased of a job that is %s", e.ID, j.State)
	}
	if e.Reserve > j.Available() {
		broken("attempt %s reserves %d of %d", e.ID, e.Reserve, j.Available())
	}
	a := t.attempt()
	*a = Attempt{N: e.ID.N, Worker: e.Worker, Owner: e.Owner, Trusted: e.Trusted, State: cloudcrowd.AttemptLeased,
		Round: t.Round, LeasedAt: at, Reserve: e.Reserve, Expected: e.Expected, Speed: e.Speed, Why: e.Why, Copy: e.Copy}
	j.Course.note(e, at)
	j.Reserved += e.Reserve
	j.Attempts++
	st.Running++
	s.part(j, a).Attempts++
	t.refresh()
	st.note(e.ID.Task.Index)
}

func (s *State) applyReported(e *AttemptReported, at cloudcrowd.Time) {
	j, st, t, a := s.attempt(e.ID)
	if !(a.State == cloudcrowd.AttemptLeased || a.State == cloudcrowd.AttemptLost || a.State == cloudcrowd.AttemptCancelled && a.Digest == "") {
		broken("attempt %s reported while %s", e.ID, a.State)
	}
	if a.State == cloudcrowd.AttemptLeased {
		st.Running--
		st.Lateness = lateness(st.Lateness, float64(at-a.LeasedAt)/1e6, a.Why.FinishSeconds)
	} else { // late, but still of use: its reserve was released
		a.Reserve = min(a.Reserve, j.Available())
		j.Reserved += a.Reserve
		if a.State == cloudcrowd.AttemptLost {
			s.fail(j, -1)
			s.part(j, a).Failed--
		}
	}
	s.use(j.Account, e.CoreSeconds, at)
	keep := min(a.Reserve, e.Reserve)
	j.Reserved -= a.Reserve - keep
	a.Reserve = keep
	a.State, a.EndedAt = cloudcrowd.AttemptReported, at
	a.Result, a.Digest, a.CoreSeconds = &e.Result, e.Digest, e.CoreSeconds
	s.part(j, a).CPUSeconds += e.Result.Usage.CPUSeconds
	st.Largest = max(st.Largest, t.Unit.Hi-t.Unit.Lo)
	if units := float64(t.Unit.Hi - t.Unit.Lo); units > 0 {
		// Later results weigh more: half of what was known fades with every 16 results or so.
		const keep = 0.95
		st.SeenUnits = st.SeenUnits*keep + units
		st.SeenCore = st.SeenCore*keep + e.CoreSeconds
	}
	t.refresh()
	st.note(e.ID.Task.Index)
}

func (s *State) applyEnded(e *AttemptEnded, at cloudcrowd.Time, out *Out) {
	j, st, t, a := s.attempt(e.ID)
	if a.State.Ended() {
		broken("attempt %s ends twice", e.ID)
	}
	if a.State == cloudcrowd.AttemptLeased {
		st.Running--
	}
	j.Reserved -= a.Reserve
	a.State, a.EndedAt, a.Verdict = e.State, at, e.Verdict
	if e.Result != nil {
		a.Result = e.Result
	}
	p := s.part(j, a)
	if a.Deferred { // it was being checked again, and what was owed for it was never confirmed
		s.forgive(j, st, t, a, p, out)
	}
	switch e.State {
	case cloudcrowd.AttemptFailed:
		a.CoreSeconds = e.CoreSeconds
		s.use(j.Account, e.CoreSeconds, at)
		s.fail(j, 1)
		p.Failed++
		if e.Result != nil && e.Result.Outcome.ProgramFault() {
			t.Failures++
			s.record(j, a, out).Failed++
		} else {
			t.Mishaps++
		}
	case cloudcrowd.AttemptLost:
		s.fail(j, 1)
		p.Failed++
		t.Mishaps++
		s.record(j, a, out).Lost++
	}
	t.refresh()
	st.note(e.ID.Task.Index)
	out.Attempts = append(out.Attempts, e.ID)
}

// pay books charges for attempts of a task.
func (s *State) pay(j *Job, st *Stage, id cloudcrowd.TaskID, t *Task, paid []Paid, at cloudcrowd.Time, out *Out) {
	for _, p := range paid {
		a := t.Attempts[p.N-1]
		if a.Charge != 0 {
			broken("attempt %s-%d is paid twice", id, p.N)
		}
		a.Charge, a.Fee, a.CoreSeconds = p.Gross, p.Fee, p.CoreSeconds
		t.Cost += p.Gross
		st.Cost += p.Gross
		if p.Deferred {
			a.Deferred = true
			j.Deferred += p.Gross
			continue
		}
		j.Posted += p.Gross
		s.post(j, cloudcrowd.AttemptID{Task: id, N: p.N}, a, at, out)
	}
}

// post pays one attempt's charge out.
func (s *State) post(j *Job, id cloudcrowd.AttemptID, a *Attempt, at cloudcrowd.Time, out *Out) {
	c := cloudcrowd.Charge{Attempt: id, Worker: a.Worker, Requester: j.Account, Owner: a.Owner, Gross: a.Charge, Fee: a.Fee, CoreSeconds: a.CoreSeconds, At: at}
	out.Money.Post(c)
	out.Charges = append(out.Charges, c)
	s.part(j, a).Earned += a.Charge - a.Fee
	s.record(j, a, out).Earned += a.Charge - a.Fee
}

func (s *State) applyDone(e *TaskDone, at cloudcrowd.Time, out *Out) {
	j, st, t := s.task(e.Task)
	if !(t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning) {
		broken("task %s done while %s", e.Task, t.State)
	}
	if !(e.Canonical >= 1 && int(e.Canonical) <= len(t.Attempts)) {
		broken("task %s has no attempt %d", e.Task, e.Canonical)
	}
	canon := t.Attempts[e.Canonical-1]
	var parties []string // who agree
	for _, a := range t.Attempts {
		if a.Round == t.Round && a.State == cloudcrowd.AttemptReported && !slices.Contains(e.Refused, a.N) && !slices.Contains(parties, a.Party()) {
			parties = append(parties, a.Party())
		}
	}
	for _, a := range t.Attempts {
		if a.Round != t.Round || a.State != cloudcrowd.AttemptReported {
			continue
		}
		j.Reserved -= a.Reserve
		a.Reserve = 0
		p, r := s.part(j, a), s.record(j, a, out)
		if slices.Contains(e.Refused, a.N) {
			a.State = cloudcrowd.AttemptRefused
			a.Verdict = fmt.Sprintf("refused: its result %s differs from %s, which %d independent parties returned", a.Digest.Short(), canon.Digest.Short(), len(parties))
			if a.Deferred { // accepted alone before, never paid out
				s.forgive(j, st, t, a, p, out)
			}
			s.refuse(j, a, at, out)
			st.Refused++
			j.Refused++
		} else {
			again := a.Deferred // its acceptance was already counted
			a.State = cloudcrowd.AttemptAccepted
			if len(parties) > 1 {
				a.Verdict = fmt.Sprintf("accepted: %d independent parties returned %s", len(parties), a.Digest.Short())
				r.Valid++
				r.Streak++
				if again {
					r.Unchecked--
				}
			} else {
				a.Verdict = "accepted alone: " + t.Need
				r.Unchecked++
			}
			if !again {
				p.Accepted++
			}
		}
		out.Attempts = append(out.Attempts, cloudcrowd.AttemptID{Task: e.Task, N: a.N})
	}
	t.State, t.EndedAt, t.Canonical, t.Outputs = cloudcrowd.TaskDone, at, e.Canonical, canon.Result.Outputs
	s.pay(j, st, e.Task, t, e.Paid, at, out)
	st.Done++
	st.UnitsDone += t.Unit.Hi - t.Unit.Lo
	if t.Alone {
		st.alone++
	}
	st.close(e.Task.Index)
	out.Tasks = append(out.Tasks, e.Task)
	j.refresh(at)
}

// forgive takes back what was owed for a result that was accepted alone.
func (s *State) forgive(j *Job, st *Stage, t *Task, a *Attempt, p *Part, out *Out) {
	j.Deferred -= a.Charge
	t.Cost -= a.Charge
	st.Cost -= a.Charge
	a.Charge, a.Fee, a.Deferred = 0, 0, false
	s.record(j, a, out).Unchecked--
	p.Accepted--
}

func (s *State) applyFailed(e *TaskFailed, at cloudcrowd.Time, out *Out) {
	j, st, t := s.task(e.Task)
	t.State, t.EndedAt, t.Reason = cloudcrowd.TaskFailed, at, e.Reason
	s.pay(j, st, e.Task, t, e.Paid, at, out)
	st.Failed++
	st.close(e.Task.Index)
	out.Tasks = append(out.Tasks, e.Task)
}

func (s *State) applyReopened(e *TaskReopened, at cloudcrowd.Time, out *Out) {
	j, st, t := s.task(e.Task)
	must(!t.Retired, "task %s is reopened after nothing could change it any more", e.Task)
	if t.State == cloudcrowd.TaskDone {
		st.Done--
		st.UnitsDone -= t.Unit.Hi - t.Unit.Lo
		if t.Alone {
			st.alone--
		}
	}
	if e.Redo {
		t.Round++
		t.Canonical, t.Outputs = 0, nil
	} else {
		must(t.State == cloudcrowd.TaskDone, "task %s is checked again while %s", e.Task, t.State)
		t.Attempts[t.Canonical-1].State = cloudcrowd.AttemptReported
	}
	t.State, t.EndedAt, t.Quorum, t.Start, t.Alone = cloudcrowd.TaskWaiting, 0, e.Quorum, e.Quorum, false
	t.Need = e.Reason
	st.open.add(e.Task.Index)
	t.refresh()
	st.note(e.Task.Index)
	out.Tasks = append(out.Tasks, e.Task)
	j.refresh(at)
}

func (s *State) applyMerged(e *StageMerged, at cloudcrowd.Time) {
	st := s.stage(e.Job, e.Stage)
	if st.StartedAt == 0 {
		st.StartedAt = at
	}
	st.Merged, st.Outputs = !e.Redo, e.Outputs
	s.Job(e.Job).refresh(at)
}

func (s *State) applyJobEnded(e *JobEnded, at cloudcrowd.Time, out *Out) {
	j := s.Job(e.Job)
	must(j != nil && j.State == cloudcrowd.JobRunning, "job %s ends twice", e.Job)
	s.touch(j)
	for si, st := range j.Stages {
		for ti, t := range st.Tasks {
			for _, a := range t.Attempts {
				must(a.State != cloudcrowd.AttemptLeased, "job %s ends with attempt %d-%d-%d leased", e.Job, si, ti, a.N)
				id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: j.ID, Stage: int32(si), Index: int32(ti)}, N: a.N}
				if a.Deferred && a.State == cloudcrowd.AttemptAccepted {
					a.Deferred = false
					j.Deferred -= a.Charge
					j.Posted += a.Charge
					s.post(j, id, a, at, out)
				}
			}
		}
	}
	j.State, j.Reason, j.EndedAt, j.Hold = e.State, e.Reason, at, e.Hold
	if place, found := s.place(e.Job); found {
		s.running = slices.Delete(s.running, place, place+1)
		if j.Failed > 0 {
			s.failing--
		}
	}
	s.learn(j, at)
	out.Money.Finish(e.Job, e.Hold)
	out.Jobs = append(out.Jobs, e.Job)
}

// Forget drops an ended job from memory, after its rows are in the readable tables.
func (s *State) Forget(id cloudcrowd.JobID) {
	if j := s.Jobs[id]; j != nil && j.State.Ended() {
		delete(s.Jobs, id)
		s.last = nil
	}
}

// noteKey keeps a key's meaning; keys older than a day are dropped.
func (s *State) noteKey(account cloudcrowd.AccountID, key, made string, at cloudcrowd.Time) {
	if key == "" {
		return
	}
	const day = 24 * 3600 * 1e6
	if len(s.Keys) > 10_000 {
		for k, v := range s.Keys {
			if at-v.At > day {
				delete(s.Keys, k)
			}
		}
	}
	s.Keys[string(account)+"/"+key] = Key{Made: made, At: at}
}

// learn keeps what the job's stages cost per unit, for the plans of later jobs.
func (s *State) learn(j *Job, at cloudcrowd.Time) {
	const most = 10_000
	for i, st := range j.Stages {
		if per := st.CoreSecondsPerUnit(); per > 0 && st.Done > 0 && len(s.Rates) < most {
			s.Rates[RateKey(&j.Spec, i)] = Rate{PerUnit: per, Tasks: st.Done, At: at}
		}
	}
}

// RateKey names what makes the cost of a unit comparable: the program, its arguments as written, the job's params (but the seed) and the kind of unit.
func RateKey(job *cloudcrowd.JobSpec, stage int) string {
	spec := &job.Stages[stage]
	p, kind := spec.Run, "whole"
	if spec.Merge != nil {
		p, kind = spec.Merge.Program, "merge"
	} else if spec.Split != nil {
		kind = string(spec.Split.Kind)
	}
	if p == nil {
		return "none"
	}
	key := fmt.Sprintf("%s %s %q", p.Module, kind, p.Args)
	for _, v := range job.Params {
		if v.Name != "seed" {
			key += fmt.Sprintf(" %s=%q", v.Name, v.Value)
		}
	}
	return key
}
