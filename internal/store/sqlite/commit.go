package sqlite

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Commit implements store.Shards.
func (s *Store) Commit(ctx context.Context, b store.Batch) error {
	if err := checkShard(b.Shard); err != nil {
		return err
	}
	row := store.Row{Seq: b.Seq, Epoch: b.Epoch, At: b.At, Count: b.Count, Events: b.Events}
	if row.Events == nil {
		row.Events = []byte{}
	}
	spends := len(store.Spenders(b)) > 0
	err := s.write(ctx, func(w *writer) error {
		n, err := w.exec("UPDATE shards SET head = ?1 WHERE shard = ?2 AND epoch = ?3 AND head = ?1 - 1", b.Seq, b.Shard, b.Epoch)
		if err != nil {
			return err
		}
		if n != 1 {
			return store.ErrFenced
		}
		changes, err := store.Apply(b, books{w})
		if err != nil {
			return err
		}
		var seen string
		if spends {
			if _, err := w.row("SELECT coalesce(group_concat(shard || ':' || head, ' ' ORDER BY shard), '') FROM shards WHERE shard <> ? AND head > 0", []any{b.Shard}, &seen); err != nil {
				return err
			}
			if row.Seen, err = store.ParseSeen(seen); err != nil {
				return err
			}
		}
		if _, err := w.exec("INSERT INTO journal (key, epoch, at, count, sum, events, seen) VALUES (?, ?, ?, ?, ?, ?, ?)",
			journalKey(b.Shard, b.Seq), row.Epoch, row.At, row.Count, row.Sum(b.Shard), row.Events, seen); err != nil {
			return err
		}
		return w.keep(b, changes)
	})
	if err == nil {
		s.witness.note(b.Shard, b.Seq)
	}
	return err
}

// keep writes what a batch did to the ledger.
func (w *writer) keep(b store.Batch, changes store.Changes) error {
	err := w.insert("INSERT INTO transfers (shard, seq, n, kind, debit, credit, amount, job, at, note) VALUES ", "", 10, len(b.Transfers), func(i int) []any {
		t := b.Transfers[i]
		return []any{t.Shard, t.Seq, changes.Numbers[i], t.Kind, t.Debit, t.Credit, t.Amount, t.Job, t.At, t.Note}
	})
	if err != nil {
		return err
	}
	err = w.insert("INSERT INTO accounts (id, balance, held) VALUES ", " ON CONFLICT (id) DO UPDATE SET balance = excluded.balance, held = excluded.held", 3, len(changes.Accounts), func(i int) []any {
		a := changes.Accounts[i]
		return []any{a.ID, a.Balance, a.Held}
	})
	if err != nil {
		return err
	}
	return w.insert("INSERT INTO holds (job, account, amount, posted, state, at) VALUES ", " ON CONFLICT (job) DO UPDATE SET posted = excluded.posted, state = excluded.state", 6, len(changes.Holds), func(i int) []any {
		h := changes.Holds[i]
		return []any{h.Job, h.Account, h.Amount, h.Posted, h.State, h.At}
	})
}

// insert writes n rows of so many columns, many in one statement: a statement costs more than a row. Few sizes of statements are used, so that all
// stay prepared.
func (w *writer) insert(head, tail string, columns, n int, row func(i int) []any) error {
	tuple := "(" + strings.Repeat("?,", columns-1) + "?)"
	for at := 0; at < n; {
		size := 1
		for size < 64 && at+size*4 <= n {
			size *= 4
		}
		args := make([]any, 0, size*columns)
		for i := range size {
			args = append(args, row(at+i)...)
		}
		text := head + strings.Repeat(tuple+",", size-1) + tuple + tail
		if _, err := w.exec(text, args...); err != nil {
			return err
		}
		at += size
	}
	return nil
}

// books reads the ledger inside the transaction.
type books struct{ w *writer }

func (b books) Account(id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	a := cloudcrowd.Account{ID: id}
	_, err := b.w.row("SELECT balance, held FROM accounts WHERE id = ?", []any{id}, &a.Balance, &a.Held)
	return a, err
}

func (b books) Hold(job cloudcrowd.JobID) (cloudcrowd.Hold, bool, error) {
	h := cloudcrowd.Hold{Job: job}
	found, err := b.w.row("SELECT account, amount, posted, state, at FROM holds WHERE job = ?", []any{job}, &h.Account, &h.Amount, &h.Posted, &h.State, &h.At)
	return h, found, err
}
