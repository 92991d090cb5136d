package lifecycle

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
)

// failer is the part of testing.TB and rapid.T that the world needs.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world drives the core by single decisions and holds after each what must always hold: Check finds nothing, the encoded events replayed on a twin give the
// same bytes, transfers balance, and no attempt is leased whose inputs are not there.
type world struct {
	t         failer
	state     *State
	twin      *State // replays what was committed
	old       *State // replays too, but starts from a snapshot now and then
	book      *ledger.Book
	now       cloudcrowd.Time
	lottery   fixed
	workers   map[string]*scheduler.Worker
	names     map[cloudcrowd.WorkerID]string
	elsewhere map[cloudcrowd.WorkerID]cloudcrowd.Record
	truth     map[cloudcrowd.AttemptID]string // honest output, by what the attempt was given when it was leased
	moves     map[move]bool
	last      cloudcrowd.JobID
	jobs      map[string]cloudcrowd.JobID
	retire    bool // the deciding state drops what it can now and then
	sharing   cloudcrowd.Sharing
	fuse      bool // place work in the batch of a report
	copies    bool // look for stragglers
	light     bool // skip what costs time on large jobs
}

// move is one observed change of state.
type move struct{ machine, from, to string }

// fixed is a random source whose lotteries always come out alike.
type fixed float64

// Uint64 implements rand.Source.
func (f *fixed) Uint64() uint64 {
	return uint64(float64(*f) * (1 << 53)) // Float64 reads the lower 53 bits
}

func newWorld(t failer) *world {
	return &world{t: t, state: NewState(0), twin: NewState(0), old: NewState(0), book: ledger.NewBook(), now: cloudcrowd.TimeOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), lottery: 0.9,
		workers: map[string]*scheduler.Worker{}, names: map[cloudcrowd.WorkerID]string{}, elsewhere: map[cloudcrowd.WorkerID]cloudcrowd.Record{}, truth: map[cloudcrowd.AttemptID]string{}, moves: map[move]bool{}, jobs: map[string]cloudcrowd.JobID{}}
}

var testPrices = cloudcrowd.Prices{CoreSecond: 1000, Minimum: 1, FeePercent: 10}

// decide runs one decision as a batch of its own and returns its events.
func (w *world) decide(f func(*Decider)) []Event {
	w.t.Helper()
	d := &Decider{State: w.state, At: w.now, Rand: rand.New(&w.lottery), Prices: testPrices, Operator: "admin", Sharing: w.sharing, Elsewhere: w.elsewhere}
	f(d)
	w.commit(d)
	return d.Events
}

func (w *world) commit(d *Decider) {
	w.t.Helper()
	if len(d.Events) == 0 {
		return
	}
	b, err := EncodeEvents(d.Events)
	if err != nil {
		w.t.Fatalf("encoding: %v", err)
	}
	w.state.Seq++
	w.book.Account(cloudcrowd.IssuerAccount)
	if err := w.book.Apply(d.Out.Money.Place, d.Out.Money.Transfers(0, w.state.Seq, d.At), d.Out.Money.End); err != nil {
		w.t.Fatalf("ledger: %v", err)
	}
	w.replay(b, d.Events)
	w.release(d.Events)
	if w.light && w.state.Seq%50 != 0 {
		return
	}
	if bad := w.state.Check(); len(bad) > 0 {
		w.t.Fatalf("after %s:\n%s", w.print(d.Events), strings.Join(bad, "\n"))
	}
	w.checkMoney()
	w.compare()
}

// replay applies the stored bytes to the twins, watching every change of state.
func (w *world) replay(b []byte, events []Event) {
	w.t.Helper()
	decoded, err := DecodeEvents(b)
	if err != nil {
		w.t.Fatalf("decoding: %v", err)
	}
	if len(decoded) != len(events) {
		w.t.Fatalf("%d events came back as %d", len(events), len(decoded))
	}
	var out Out
	for _, ev := range decoded {
		before := w.standing(ev)
		w.twin.Apply(ev, w.now, &out)
		w.watch(before, w.standing(ev))
	}
	w.twin.Seq++
	if w.light {
		return
	}
	if w.state.Seq%7 == 0 { // the old one restarts from a snapshot
		snapshot, err := w.old.Encode()
		if err != nil {
			w.t.Fatalf("snapshot: %v", err)
		}
		if w.old, err = DecodeState(snapshot); err != nil {
			w.t.Fatalf("snapshot: %v", err)
		}
	}
	out = Out{}
	if _, err := w.old.Replay(w.state.Seq, w.now, b, &out); err != nil {
		w.t.Fatalf("replay: %v", err)
	}
	for _, id := range out.Tasks { // the old one keeps no finished task for long; the deciding one now and then; the twin each
		w.old.Retire(id)
	}
	if w.retire && w.state.Seq%3 == 0 {
		for _, j := range w.state.Jobs {
			j.RetireAll()
		}
	}
}

func (w *world) compare() {
	w.t.Helper()
	a := w.retired(w.state)
	for name, other := range map[string]*State{"journal": w.twin, "snapshot and tail": w.old} {
		if name != "journal" && w.light {
			continue
		}
		if !bytes.Equal(a, w.retired(other)) {
			w.t.Fatalf("replaying the %s gives another state", name)
		}
	}
}

// retired is a state without what may be dropped from it: states that decide alike are equal then.
func (w *world) retired(s *State) []byte {
	w.t.Helper()
	b, err := s.Encode()
	if err == nil {
		s, err = DecodeState(b)
	}
	if err != nil {
		w.t.Fatalf("encode: %v", err)
	}
	for _, j := range s.Jobs {
		j.RetireAll()
	}
	if b, err = s.Encode(); err != nil {
		w.t.Fatalf("encode: %v", err)
	}
	return b
}

// checkMoney compares jobs with the ledger.
func (w *world) checkMoney() {
	w.t.Helper()
	if s := w.book.Sum(); s != 0 {
		w.t.Fatalf("the ledger sums to %d", s)
	}
	for id, j := range w.state.Jobs {
		h := w.book.Holds[id]
		if h == nil || h.Posted != j.Posted || j.State.Ended() != (h.State != cloudcrowd.HoldPending) {
			w.t.Fatalf("job %s is %s and posted %d; its hold is %+v", id, j.State, j.Posted, h)
		}
		if j.Hold != "" && j.Hold != h.State {
			w.t.Fatalf("job %s says its hold is %s, the ledger %s", id, j.Hold, h.State)
		}
	}
}

// standing is where everything an event's job holds stands.
func (w *world) standing(ev Event) map[string]string {
	var id cloudcrowd.JobID
	switch {
	case ev.JobSubmitted != nil:
		id = ev.JobSubmitted.Job
	case ev.StageIndexed != nil:
		id = ev.StageIndexed.Job
	case ev.TaskCarved != nil:
		id = ev.TaskCarved.Task.Job
	case ev.AttemptLeased != nil:
		id = ev.AttemptLeased.ID.Task.Job
	case ev.AttemptReported != nil:
		id = ev.AttemptReported.ID.Task.Job
	case ev.AttemptEnded != nil:
		id = ev.AttemptEnded.ID.Task.Job
	case ev.TaskDone != nil:
		id = ev.TaskDone.Task.Job
	case ev.TaskFailed != nil:
		id = ev.TaskFailed.Task.Job
	case ev.TaskReopened != nil:
		id = ev.TaskReopened.Task.Job
	case ev.AttemptCompared != nil:
		id = ev.AttemptCompared.ID.Task.Job
	case ev.QuorumSet != nil:
		id = ev.QuorumSet.Task.Job
	case ev.StageMerged != nil:
		id = ev.StageMerged.Job
	case ev.JobEnded != nil:
		id = ev.JobEnded.Job
	}
	m := map[string]string{}
	j := w.twin.Jobs[id]
	if j == nil || w.light {
		return m
	}
	m["job"] = string(j.State)
	m["hold"] = orPending(j.Hold)
	for si, st := range j.Stages {
		m[fmt.Sprintf("stage/%d", si)] = string(st.State)
		for ti, t := range st.Tasks {
			m[fmt.Sprintf("task/%d/%d", si, ti)] = string(t.State)
			for _, a := range t.Attempts {
				m[fmt.Sprintf("attempt/%d/%d/%d", si, ti, a.N)] = string(a.State)
			}
		}
	}
	return m
}

func orPending(s cloudcrowd.HoldState) string {
	if s == "" {
		return string(cloudcrowd.HoldPending)
	}
	return string(s)
}

func (w *world) watch(before, after map[string]string) {
	for what, to := range after {
		from, known := before[what]
		if !known {
			from = "[*]"
		}
		if from != to {
			machine, _, _ := strings.Cut(what, "/")
			w.moves[move{machine, from, to}] = true
		}
	}
}

// release takes ended attempts from their workers, as the loop does.
func (w *world) release(events []Event) {
	for _, ev := range events {
		var id cloudcrowd.AttemptID
		switch {
		case ev.AttemptReported != nil:
			id = ev.AttemptReported.ID
		case ev.AttemptEnded != nil:
			id = ev.AttemptEnded.ID
		default:
			continue
		}
		for _, k := range w.workers {
			k.Held.Delete(id)
		}
	}
}

func (w *world) worker(name, owner string, speed float64, slots int) *scheduler.Worker {
	id := cloudcrowd.WorkerID("U" + name)
	k := &scheduler.Worker{ID: id, Name: name, Owner: cloudcrowd.AccountID(owner), Speed: speed, Slots: slots, Capacity: slots,
		Cached: map[cloudcrowd.Digest]struct{}{}}
	w.workers[name], w.names[id] = k, name
	return k
}

// crowd lists the open workers in order of name.
func (w *world) crowd() []*scheduler.Worker {
	var list []*scheduler.Worker
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range w.workers {
			if !yield(n) {
				return
			}
		}
	}) {
		if k := w.workers[name]; !k.Closed {
			list = append(list, k)
		}
	}
	return list
}

// assign hands out leases and notes what an honest worker would answer.
func (w *world) assign() []Event {
	w.t.Helper()
	var leased []Leased
	events := w.decide(func(d *Decider) {
		d.Copies = w.copies
		leased = d.Assign(w.crowd(), w.now+30e6)
	})
	for _, given := range leased {
		w.truth[given.ID] = w.honest(given.ID)
	}
	return events
}

// honest is what a task's program answers, by its inputs as they stand. Inputs that are not there fail the test.
func (w *world) honest(id cloudcrowd.AttemptID) string {
	w.t.Helper()
	j, st, t, _ := w.state.Find(id)
	if j.State.Ended() {
		return "" // it ended in the same batch
	}
	f := j.Facts(id.Task)
	spec := &j.Spec.Stages[id.Task.Stage]
	switch {
	case spec.Merge != nil && int64(len(f.Parts)) != t.Unit.Hi-t.Unit.Lo, spec.Split != nil && spec.Split.Kind == cloudcrowd.SplitEach && len(f.Parts) < 1:
		w.t.Fatalf("attempt %s was leased with %d parts of %d–%d", id, len(f.Parts), t.Unit.Lo, t.Unit.Hi)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %d %d\n", spec.Name, t.Unit.Lo, t.Unit.Hi, t.Level)
	for _, p := range f.Parts {
		if len(p.Outputs) == 0 {
			w.t.Fatalf("attempt %s was leased while part %s/%d is not there", id, p.Stage, p.Index)
		}
		digestOutputs(h, p.Outputs)
	}
	_ = st
	return "honest " + hex.EncodeToString(h.Sum(nil)[:4])
}

// outputs is a result's files for a word.
func outputs(text string) []cloudcrowd.OutputFile {
	sum := sha256.Sum256([]byte(text))
	return []cloudcrowd.OutputFile{{Path: "out", Digest: cloudcrowd.Digest(hex.EncodeToString(sum[:])), SizeBytes: int64(len(text))}}
}

func succeeded(text string, cpu float64) cloudcrowd.Result {
	return cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Outputs: outputs(text), Usage: cloudcrowd.Usage{CPUSeconds: cpu, WallSeconds: cpu}}
}

// report lets a worker report; by is the worker's name, "" its holder.
func (w *world) report(id cloudcrowd.AttemptID, by string, r cloudcrowd.Result) (events []Event, taken bool) {
	w.t.Helper()
	_, _, _, a := w.state.Find(id)
	who := cloudcrowd.WorkerID("U" + by)
	if by == "" && a != nil {
		who = a.Worker
	}
	events = w.decide(func(d *Decider) {
		taken = d.Report(who, id, r)
		if !w.fuse || len(d.Events) == 0 {
			return
		}
		for _, k := range w.workers {
			for _, f := range r.Outputs {
				if k.ID == who {
					k.Cached[f.Digest] = struct{}{}
				}
			}
		}
		w.release(d.Events) // as the loop does: what follows is leased in the same batch
		for _, given := range d.Assign(w.crowd(), w.now+30e6) {
			id := given.ID
			w.truth[id] = w.honest(id)
		}
	})
	return events, taken
}

// leased lists the attempts of a job that are under way.
func (w *world) leased(job cloudcrowd.JobID) []cloudcrowd.AttemptID {
	var list []cloudcrowd.AttemptID
	j := w.state.Jobs[job]
	for si, st := range j.Stages {
		for ti, t := range st.Tasks {
			for _, a := range t.Attempts {
				if a.State == cloudcrowd.AttemptLeased {
					list = append(list, cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job, Stage: int32(si), Index: int32(ti)}, N: a.N})
				}
			}
		}
	}
	return list
}

// settle performs built-in merges and reports every lease honestly until nothing more happens.
func (w *world) settle(job cloudcrowd.JobID) {
	w.t.Helper()
	for range 10_000 {
		w.now += 1e6
		n := len(w.assign())
		for _, id := range w.leased(job) {
			n++
			w.now += 1000
			w.report(id, "", succeeded(w.truth[id], 0.5))
			if w.state.Jobs[job].State.Ended() {
				return
			}
		}
		n += len(w.merge(job))
		if n == 0 || w.state.Jobs[job].State.Ended() {
			return
		}
	}
	w.t.Fatalf("job %s never settles", job)
}

// merge performs the built-in merges that are due.
func (w *world) merge(job cloudcrowd.JobID) []Event {
	w.t.Helper()
	var events []Event
	for i, st := range w.state.Jobs[job].Stages {
		if st.State == cloudcrowd.StageMerging {
			basis := w.state.MergeBasis(job, int32(i))
			events = append(events, w.decide(func(d *Decider) { d.Merged(job, int32(i), basis, outputs("merged "+string(basis))) })...)
		}
	}
	return events
}
