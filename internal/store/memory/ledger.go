package memory

import (
	"cmp"
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

func (s *Store) account(id cloudcrowd.AccountID) cloudcrowd.Account {
	a := s.accounts[id]
	a.ID = id
	return a
}

// Account implements store.Ledger.
func (s *Store) Account(ctx context.Context, id cloudcrowd.AccountID) (a cloudcrowd.Account, err error) {
	err = s.view(ctx, func() error {
		a = s.account(id)
		return nil
	})
	return a, err
}

// Accounts implements store.Ledger.
func (s *Store) Accounts(ctx context.Context) (list []cloudcrowd.Account, err error) {
	err = s.view(ctx, func() error {
		for _, id := range ids(s.accounts) {
			list = append(list, s.accounts[id])
		}
		return nil
	})
	return list, err
}

// Hold implements store.Ledger.
func (s *Store) Hold(ctx context.Context, job cloudcrowd.JobID) (h cloudcrowd.Hold, err error) {
	err = s.view(ctx, func() error {
		var ok bool
		if h, ok = s.holds[job]; !ok {
			return notFound("hold of job", job)
		}
		return nil
	})
	return h, err
}

// Holds implements store.Ledger.
func (s *Store) Holds(ctx context.Context, state cloudcrowd.HoldState) (list []cloudcrowd.Hold, err error) {
	err = s.view(ctx, func() error {
		for _, id := range ids(s.holds) {
			if h := s.holds[id]; state == "" || h.State == state {
				list = append(list, h)
			}
		}
		return nil
	})
	return list, err
}

type transferKey struct {
	At    cloudcrowd.Time `json:"t"`
	Shard int             `json:"h"`
	Seq   int64           `json:"s"`
	N     int64           `json:"n"`
}

func newerTransfer(a, b transferKey) int {
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Shard, a.Shard), cmp.Compare(b.Seq, a.Seq), cmp.Compare(b.N, a.N))
}

// Transfers implements store.Ledger.
func (s *Store) Transfers(ctx context.Context, f store.TransferFilter, p store.Page) (out []cloudcrowd.Transfer, next string, err error) {
	var found []numbered
	err = s.view(ctx, func() error {
		for _, t := range s.transfers {
			if (f.Account == "" || t.Debit == f.Account || t.Credit == f.Account) && (f.Job == "" || t.Job == f.Job) && within(t.At, f.Since, f.Until) {
				found = append(found, t)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	found, next, err = page(found, p, "transfers", func(t numbered) transferKey { return transferKey{t.At, t.Shard, t.Seq, t.n} }, newerTransfer)
	for _, t := range found {
		out = append(out, t.Transfer)
	}
	return out, next, err
}

// within reports whether t lies in [since, until); a zero bound is none.
func within(t, since, until cloudcrowd.Time) bool {
	return (since == 0 || t >= since) && (until == 0 || t < until)
}
