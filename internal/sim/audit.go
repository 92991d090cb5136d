package sim

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// audit follows the journal as a second reader: it replays every row by itself and holds the invariants after each.
type audit struct {
	w       *world
	state   *lifecycle.State
	book    *ledger.Book
	seq     int64
	settled map[cloudcrowd.TaskID]int32 // canonical attempts, by task
	paid    map[cloudcrowd.AttemptID]bool
}

// checkEvery rows the whole state is recomputed; money and single facts are checked after every one.
const checkEvery = 8

func newAudit(w *world) *audit {
	return &audit{w: w, state: lifecycle.NewState(0), book: ledger.NewBook(), settled: map[cloudcrowd.TaskID]int32{}, paid: map[cloudcrowd.AttemptID]bool{}}
}

// check reads what was committed since the last call.
func (a *audit) check() error {
	ctx := context.Background()
	before := a.seq
	err := a.w.store.Rows(ctx, 0, a.seq, func(row store.Row) error {
		var out lifecycle.Out
		events, err := a.state.Replay(row.Seq, row.At, row.Events, &out)
		if err != nil {
			return err
		}
		a.seq = row.Seq
		var end []ledger.End
		end = append(end, out.Money.End...)
		if err := a.book.Apply(out.Money.Place, out.Money.Transfers(0, row.Seq, row.At), end); err != nil {
			return fmt.Errorf("row %d: ledger: %w", row.Seq, err)
		}
		if s := a.book.Sum(); s != 0 {
			return fmt.Errorf("row %d: the ledger sums to %d", row.Seq, s)
		}
		if row.Seq%checkEvery == 0 || len(out.Jobs) > 0 {
			if bad := a.state.Check(); len(bad) > 0 {
				return fmt.Errorf("row %d: %s (of %d)", row.Seq, bad[0], len(bad))
			}
		}
		return a.events(events, out)
	})
	if err != nil || a.seq == before {
		return err
	}
	accounts, err := a.w.store.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, acc := range accounts {
		if mine := a.book.Account(acc.ID); *mine != acc {
			return fmt.Errorf("account %s is %+v, its transfers say %+v", acc.ID, acc, *mine)
		}
		if acc.ID != cloudcrowd.IssuerAccount && acc.Balance-acc.Held < 0 {
			return fmt.Errorf("account %s is below zero", acc.ID)
		}
	}
	return nil
}

// events holds what concerns single facts: tasks settle once, only accepted results are paid, and once.
func (a *audit) events(events []lifecycle.Event, out lifecycle.Out) error {
	for _, ev := range events {
		switch {
		case ev.TaskDone != nil:
			if n, ok := a.settled[ev.TaskDone.Task]; ok {
				return fmt.Errorf("task %s was settled twice (attempts %d and %d)", ev.TaskDone.Task, n, ev.TaskDone.Canonical)
			}
			a.settled[ev.TaskDone.Task] = ev.TaskDone.Canonical
		case ev.TaskReopened != nil:
			delete(a.settled, ev.TaskReopened.Task)
		case ev.JobEnded != nil:
			for _, j := range a.w.jobs {
				if j.id == ev.JobEnded.Job {
					j.ended = true
				}
			}
		}
	}
	for _, c := range out.Charges {
		if a.paid[c.Attempt] {
			return fmt.Errorf("attempt %s was paid twice", c.Attempt)
		}
		a.paid[c.Attempt] = true
		_, _, _, at := a.state.Find(c.Attempt)
		if at == nil || at.State != cloudcrowd.AttemptAccepted && at.State != cloudcrowd.AttemptFailed {
			return fmt.Errorf("attempt %s was paid without an accepted result", c.Attempt)
		}
	}
	return nil
}
