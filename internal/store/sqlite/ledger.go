package sqlite

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Account implements store.Ledger.
func (s *Store) Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	a := cloudcrowd.Account{ID: id}
	_, err := s.one(ctx, "SELECT balance, held FROM accounts WHERE id = ?", []any{id}, &a.Balance, &a.Held)
	return a, err
}

// Accounts implements store.Ledger.
func (s *Store) Accounts(ctx context.Context) (list []cloudcrowd.Account, err error) {
	err = s.each(ctx, "SELECT id, balance, held FROM accounts ORDER BY id", nil, func(scan scanner) error {
		var a cloudcrowd.Account
		if err := scan(&a.ID, &a.Balance, &a.Held); err != nil {
			return err
		}
		list = append(list, a)
		return nil
	})
	return list, err
}

const holdColumns = "SELECT job, account, amount, posted, state, at FROM holds"

func scanHold(scan scanner) (h cloudcrowd.Hold, err error) {
	return h, scan(&h.Job, &h.Account, &h.Amount, &h.Posted, &h.State, &h.At)
}

// Hold implements store.Ledger.
func (s *Store) Hold(ctx context.Context, job cloudcrowd.JobID) (h cloudcrowd.Hold, err error) {
	found, err := s.one(ctx, holdColumns+" WHERE job = ?", []any{job}, &h.Job, &h.Account, &h.Amount, &h.Posted, &h.State, &h.At)
	if err == nil && !found {
		err = notFound("hold of job", string(job))
	}
	return h, err
}

// Holds implements store.Ledger.
func (s *Store) Holds(ctx context.Context, state cloudcrowd.HoldState) (list []cloudcrowd.Hold, err error) {
	text, args := holdColumns, []any{}
	switch state {
	case "":
	case cloudcrowd.HoldPending:
		text += " WHERE state = 'pending'" // a constant, so that the partial index serves
	default:
		text, args = text+" WHERE state = ?", []any{state}
	}
	err = s.each(ctx, text+" ORDER BY job", args, func(scan scanner) error {
		h, err := scanHold(scan)
		list = append(list, h)
		return err
	})
	return list, err
}

// transferKey orders transfers: newest first.
type transferKey struct {
	At    cloudcrowd.Time `json:"t"`
	Shard int             `json:"h"`
	Seq   int64           `json:"s"`
	N     int64           `json:"n"`
}

type keyedTransfer struct {
	cloudcrowd.Transfer
	n int64
}

// Transfers implements store.Ledger.
func (s *Store) Transfers(ctx context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error) {
	var after transferKey
	more, err := store.DecodeCursor("transfers", p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var q query
	if f.Job != "" {
		q.and("job = ? AND job <> ''", f.Job) // the second half lets the partial index serve
	}
	if f.Since != 0 {
		q.and("at >= ?", f.Since)
	}
	if f.Until != 0 {
		q.and("at < ?", f.Until)
	}
	if more {
		q.and("(at, shard, seq, n) < (?, ?, ?, ?)", after.At, after.Shard, after.Seq, after.N)
	}
	const columns = "SELECT shard, seq, n, kind, debit, credit, amount, job, at, note FROM transfers"
	const order = "at DESC, shard DESC, seq DESC, n DESC"
	limit := p.Size() + 1
	text, args := q.text(columns, order, limit), q.args
	if f.Account != "" { // two walks along two indexes, each of the page's length, merged
		debit, credit := q.clone(), q.clone()
		debit.and("debit = ?", f.Account)
		credit.and("credit = ? AND debit <> ?", f.Account, f.Account) // a transfer to oneself is in the first walk
		text = fmt.Sprintf("SELECT * FROM (%s) UNION ALL SELECT * FROM (%s) ORDER BY %s LIMIT %d", debit.text(columns, order, limit), credit.text(columns, order, limit), order, limit)
		args = append(append([]any{}, debit.args...), credit.args...)
	}
	var list []keyedTransfer
	err = s.each(ctx, text, args, func(scan scanner) error {
		var t keyedTransfer
		if err := scan(&t.Shard, &t.Seq, &t.n, &t.Kind, &t.Debit, &t.Credit, &t.Amount, &t.Job, &t.At, &t.Note); err != nil {
			return err
		}
		t.ID = fmt.Sprintf("%d-%d-%d", t.Shard, t.Seq, t.n)
		list = append(list, t)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, "transfers", func(t keyedTransfer) any { return transferKey{t.At, t.Shard, t.Seq, t.n} })
	out := make([]cloudcrowd.Transfer, len(list))
	for i, t := range list {
		out[i] = t.Transfer
	}
	return out, next, nil
}
