package sim

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// audit follows the journals as a second reader: it replays every row by itself, forgets nothing, and holds the invariants after each, over all shards together.
type audit struct {
	w       *world
	shards  []*journal
	book    *ledger.Book                // of all shards, in the order of their commits
	settled map[settlement]int32        // canonical attempts, by task and round
	rounds  map[cloudcrowd.TaskID]int32 // how often a task was done anew
	paid    map[cloudcrowd.AttemptID]bool
	keys    map[string]bool // of credits issued
}

// journal is how far the audit has read one.
type journal struct {
	number int
	state  *lifecycle.State
	seq    int64
	epoch  int64
}

type settlement struct {
	task  cloudcrowd.TaskID
	round int32
}

// In a large shard the whole is recomputed less often than after every row; single facts and money always are.
const (
	checkTasks = 256 // jobs of so many tasks are recomputed at every row that concerns them
	checkEvery = 16  // larger ones, and all accounts together, at every so manieth
)

func newAudit(w *world) *audit {
	a := &audit{w: w, book: ledger.NewBook(), settled: map[settlement]int32{}, rounds: map[cloudcrowd.TaskID]int32{}, paid: map[cloudcrowd.AttemptID]bool{}, keys: map[string]bool{}}
	for shard := range w.shards {
		a.shards = append(a.shards, &journal{number: shard, state: lifecycle.NewState(shard)})
	}
	return a
}

// of is the state of the shard a job belongs to.
func (a *audit) of(id cloudcrowd.JobID) *lifecycle.State { return a.shards[a.w.shardOf(id)].state }

// job is a job's state by the journal; nil if it is not in it.
func (a *audit) job(id cloudcrowd.JobID) *lifecycle.Job { return a.of(id).Jobs[id] }

// check reads what was committed since the last call.
func (a *audit) check() error {
	ctx := context.Background()
	heads, err := a.w.store.ShardList(ctx)
	if err != nil {
		return err
	}
	for _, j := range a.shards {
		if head := heads[j.number]; head.Seq < j.seq {
			return fmt.Errorf("the journal of shard %d ended at row %d, now it ends at %d", j.number, j.seq, head.Seq)
		}
		if err := a.w.store.Rows(ctx, j.number, j.seq, func(row store.Row) error { return a.row(j, row) }); err != nil {
			return fmt.Errorf("shard %d: %w", j.number, err)
		}
	}
	return nil
}

// row replays one row.
func (a *audit) row(j *journal, row store.Row) error {
	var out lifecycle.Out
	events, err := j.state.Replay(row.Seq, row.At, row.Events, &out)
	if err != nil {
		return err
	}
	if row.Seq != j.seq+1 || row.Epoch < j.epoch || row.Count != len(events) {
		return fmt.Errorf("row %d of epoch %d with %d events follows row %d of epoch %d, and has %d events", row.Seq, row.Epoch, row.Count, j.seq, j.epoch, len(events))
	}
	j.seq, j.epoch = row.Seq, row.Epoch
	transfers := out.Money.Transfers(j.number, row.Seq, row.At)
	if err := a.book.Apply(out.Money.Place, transfers, out.Money.End); err != nil {
		return fmt.Errorf("row %d: ledger: %w", row.Seq, err)
	}
	if s := a.book.Sum(); s != 0 {
		return fmt.Errorf("row %d: the ledger sums to %d", row.Seq, s)
	}
	touched, err := a.events(j, events, out)
	if err != nil {
		return fmt.Errorf("row %d: %w", row.Seq, err)
	}
	if err := a.jobs(j, touched); err != nil {
		return fmt.Errorf("row %d: %w", row.Seq, err)
	}
	if err := a.shares(touched); err != nil {
		return fmt.Errorf("row %d: %w", row.Seq, err)
	}
	if err := a.money(row.Seq, transfers, out); err != nil {
		return fmt.Errorf("row %d: %w", row.Seq, err)
	}
	return nil
}

// events holds what concerns single facts: tasks settle once a round, only accepted results are paid, and once.
func (a *audit) events(journal *journal, events []lifecycle.Event, out lifecycle.Out) (touched map[cloudcrowd.JobID]bool, err error) {
	touched = map[cloudcrowd.JobID]bool{}
	for _, ev := range events {
		switch {
		case ev.JobSubmitted != nil:
			touched[ev.JobSubmitted.Job] = true
			if home := a.w.shardOf(ev.JobSubmitted.Job); home != journal.number {
				return nil, fmt.Errorf("job %s is of shard %d", ev.JobSubmitted.Job, home)
			}
		case ev.TaskCarved != nil:
			touched[ev.TaskCarved.Task.Job] = true
		case ev.AttemptLeased != nil:
			touched[ev.AttemptLeased.ID.Task.Job] = true
			if ev.AttemptLeased.Copy {
				a.w.report.Copies++
			}
		case ev.AttemptCompared != nil:
			touched[ev.AttemptCompared.ID.Task.Job] = true
			a.w.report.Compared++
		case ev.AttemptReported != nil:
			touched[ev.AttemptReported.ID.Task.Job] = true
		case ev.AttemptEnded != nil:
			touched[ev.AttemptEnded.ID.Task.Job] = true
		case ev.TaskDone != nil:
			id := ev.TaskDone.Task
			key := settlement{id, a.rounds[id]}
			if n, ok := a.settled[key]; ok {
				return nil, fmt.Errorf("task %s was settled twice (attempts %d and %d)", id, n, ev.TaskDone.Canonical)
			}
			a.settled[key] = ev.TaskDone.Canonical
		case ev.TaskReopened != nil && ev.TaskReopened.Redo: // counted here, for the state is that after the whole row
			a.rounds[ev.TaskReopened.Task]++
		case ev.TaskReopened != nil: // the same round is judged again
			delete(a.settled, settlement{ev.TaskReopened.Task, a.rounds[ev.TaskReopened.Task]})
		case ev.CreditsIssued != nil:
			key := ev.CreditsIssued.Key
			if a.keys[key] {
				return nil, fmt.Errorf("credits were issued twice under the key %s", key)
			}
			a.keys[key] = true
		case ev.JobEnded != nil:
			touched[ev.JobEnded.Job] = true
			for _, j := range a.w.jobs {
				if j.id == ev.JobEnded.Job {
					j.ended = true
				}
			}
		}
	}
	for _, c := range out.Charges {
		if a.paid[c.Attempt] {
			return nil, fmt.Errorf("attempt %s was paid twice", c.Attempt)
		}
		a.paid[c.Attempt] = true
		_, _, _, at := journal.state.Find(c.Attempt)
		if at == nil || at.State != cloudcrowd.AttemptAccepted && at.State != cloudcrowd.AttemptFailed {
			return nil, fmt.Errorf("attempt %s was paid without an accepted result", c.Attempt)
		}
	}
	return touched, nil
}

// jobs recomputes the jobs that a row concerned.
func (a *audit) jobs(j *journal, touched map[cloudcrowd.JobID]bool) error {
	if j.seq%checkEvery == 0 {
		if bad := j.state.Check(); len(bad) > 0 {
			return fmt.Errorf("%s (of %d)", bad[0], len(bad))
		}
		return nil
	}
	for id := range touched {
		tasks := 0
		for _, st := range j.state.Jobs[id].Stages {
			tasks += len(st.Tasks)
		}
		if tasks > checkTasks {
			continue
		}
		if bad := j.state.Jobs[id].Check(); len(bad) > 0 {
			return fmt.Errorf("%s (of %d)", bad[0], len(bad))
		}
	}
	return nil
}

// shares holds that nobody has more running in a shard than his quota, but for some late ones, and that second copies stay within their share of a job's work, but
// for the first.
func (a *audit) shares(touched map[cloudcrowd.JobID]bool) error {
	quota := int64(a.w.sharing().Quota)
	for id := range touched {
		st := a.of(id)
		j, n := st.Jobs[id], int64(0)
		for _, other := range st.Jobs {
			if other.Account == j.Account && !other.State.Ended() {
				for _, st := range other.Stages {
					n += st.Running
				}
			}
		}
		if quota > 0 && n > 4*quota {
			return fmt.Errorf("%d attempts of %s run, its quota is %d", n, j.Account, quota)
		}
		copies, longest := 0, 0.0
		for _, st := range j.Stages {
			for _, t := range st.Tasks {
				for _, at := range t.Attempts {
					if at.Copy {
						copies++
						longest = max(longest, at.Why.RunSeconds*at.Speed)
					}
				}
			}
		}
		if c := j.Course; copies > 1 && c.Copied > j.Spec.SpeculateShare()*c.Work+longest {
			return fmt.Errorf("second copies of job %s were expected to take %.1f core-seconds, its other attempts %.1f", id, c.Copied, c.Work)
		}
	}
	return nil
}

// money compares accounts and holds in the store with those that follow from the journal: all now and then, those that a row touched always.
func (a *audit) money(seq int64, transfers []cloudcrowd.Transfer, out lifecycle.Out) error {
	ctx := context.Background()
	same := func(acc cloudcrowd.Account) error {
		if mine := a.book.Account(acc.ID); *mine != acc {
			return fmt.Errorf("account %s is %+v, its transfers say %+v", acc.ID, acc, *mine)
		}
		if acc.ID != cloudcrowd.IssuerAccount && acc.Balance-acc.Held < 0 {
			return fmt.Errorf("account %s is below zero", acc.ID)
		}
		return nil
	}
	holds := map[cloudcrowd.JobID]bool{}
	touched := map[cloudcrowd.AccountID]bool{}
	for _, h := range out.Money.Place {
		holds[h.Job], touched[h.Account] = true, true
	}
	for _, t := range transfers {
		touched[t.Debit], touched[t.Credit] = true, true
		if t.Job != "" {
			holds[t.Job] = true
		}
	}
	for _, e := range out.Money.End {
		holds[e.Job] = true
	}
	for id := range holds {
		h, err := a.w.store.Hold(ctx, id)
		if err != nil {
			return err
		}
		if mine := a.book.Holds[id]; *mine != h {
			return fmt.Errorf("the hold of job %s is %+v, the journal says %+v", id, h, *mine)
		}
		touched[h.Account] = true
	}
	if seq%checkEvery == 0 {
		accounts, err := a.w.store.Accounts(ctx)
		if err != nil {
			return err
		}
		for _, acc := range accounts {
			if err := same(acc); err != nil {
				return err
			}
		}
		return nil
	}
	for id := range touched {
		acc, err := a.w.store.Account(ctx, id)
		if err != nil {
			return err
		}
		if err := same(acc); err != nil {
			return err
		}
	}
	return nil
}

// The promises: what a server has said must be in the journal at that moment.

func (a *audit) submitted(id cloudcrowd.JobID) error {
	if a.job(id) == nil {
		return fmt.Errorf("job %s was acknowledged and is not in the journal", id)
	}
	return nil
}

func (a *audit) cancelled(id cloudcrowd.JobID) error {
	if j := a.job(id); j == nil || !j.State.Ended() {
		return fmt.Errorf("the end of job %s was acknowledged and is not in the journal", id)
	}
	return nil
}

func (a *audit) issued(key string) error {
	if !a.keys[key] {
		return fmt.Errorf("credits issued under the key %s were acknowledged and are not in the journal", key)
	}
	return nil
}

// acknowledged holds that the journal knows how each attempt ended whose result a worker is told to forget.
func (a *audit) acknowledged(acks []cloudcrowd.AttemptID) error {
	for _, id := range acks {
		if _, _, _, at := a.of(id.Task.Job).Find(id); at == nil || at.State == cloudcrowd.AttemptLeased {
			return fmt.Errorf("the result of attempt %s was acknowledged and is not in the journal", id)
		}
	}
	return nil
}
