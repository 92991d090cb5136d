package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// rows is what Apply reads.
type rows struct {
	accounts map[cloudcrowd.AccountID]cloudcrowd.Account
	holds    map[cloudcrowd.JobID]cloudcrowd.Hold
	only     []cloudcrowd.AccountID // accounts that are told as they stand; nil means all
}

func (l rows) Account(id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	if l.only != nil && !slices.Contains(l.only, id) {
		return cloudcrowd.Account{ID: id}, nil
	}
	return l.accounts[id], nil
}

func (l rows) Hold(job cloudcrowd.JobID) (cloudcrowd.Hold, bool, error) {
	h, ok := l.holds[job]
	return h, ok, nil
}

// Apply given the true rows of the spenders alone, and empty ones of all others, comes to the same verdict and the same differences as Apply given
// all: a store may keep the others as sums of differences.
func TestSpenders(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		people := []cloudcrowd.AccountID{cloudcrowd.IssuerAccount, cloudcrowd.FeeAccount, "anna", "bert", "carl"}
		l := rows{map[cloudcrowd.AccountID]cloudcrowd.Account{}, map[cloudcrowd.JobID]cloudcrowd.Hold{}, nil}
		person, amount := rapid.SampledFrom(people), rapid.Int64Range(0, 20)
		job := rapid.Custom(func(t *rapid.T) cloudcrowd.JobID {
			return cloudcrowd.JobID(fmt.Sprint("j", rapid.IntRange(0, 5).Draw(t, "job")))
		})
		for _, id := range people {
			l.accounts[id] = cloudcrowd.Account{ID: id, Balance: cloudcrowd.Credits(amount.Draw(t, "balance"))}
		}
		for range rapid.IntRange(0, 4).Draw(t, "holds") {
			h := cloudcrowd.Hold{Job: job.Draw(t, "held"), Account: person.Draw(t, "holder"), Amount: cloudcrowd.Credits(amount.Draw(t, "amount")), State: cloudcrowd.HoldPending}
			a := l.accounts[h.Account]
			if _, ok := l.holds[h.Job]; !ok && a.Balance-a.Held >= h.Amount {
				a.Held += h.Amount
				l.accounts[h.Account], l.holds[h.Job] = a, h
			}
		}
		b := store.Batch{Shard: 2, Seq: 7}
		for range rapid.IntRange(0, 3).Draw(t, "places") {
			b.Place = append(b.Place, cloudcrowd.Hold{Job: job.Draw(t, "placed"), Account: person.Draw(t, "account"), Amount: cloudcrowd.Credits(amount.Draw(t, "wanted")), State: cloudcrowd.HoldPending})
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "transfers") {
			x := cloudcrowd.Transfer{ID: fmt.Sprintf("2-7-%d", i), Kind: rapid.SampledFrom([]cloudcrowd.TransferKind{cloudcrowd.TransferIssue, cloudcrowd.TransferPost}).Draw(t, "kind"),
				Debit: person.Draw(t, "debit"), Credit: person.Draw(t, "credit"), Amount: cloudcrowd.Credits(amount.Draw(t, "moved")), Job: job.Draw(t, "of"), Shard: 2, Seq: 7}
			if h, ok := l.holds[x.Job]; ok && x.Kind == cloudcrowd.TransferPost {
				x.Debit = h.Account
			}
			b.Transfers = append(b.Transfers, x)
		}
		for range rapid.IntRange(0, 2).Draw(t, "ends") {
			b.End = append(b.End, store.HoldEnd{Job: job.Draw(t, "ended"), State: cloudcrowd.HoldVoided})
		}
		want, wantErr := store.Apply(b, l)
		part := l
		part.only = append([]cloudcrowd.AccountID{}, store.Spenders(b)...)
		have, haveErr := store.Apply(b, part)
		if fmt.Sprint(haveErr) != fmt.Sprint(wantErr) {
			t.Fatalf("%v, with all accounts %v", haveErr, wantErr)
		}
		if lack, ok := errors.AsType[*store.InsufficientError](haveErr); ok && !slices.Contains(part.only, lack.Account) {
			t.Fatalf("%v, but that is no spender", haveErr)
		}
		if !slices.Equal(have.Holds, want.Holds) || len(have.Accounts) != len(want.Accounts) {
			t.Fatalf("%+v, with all accounts %+v", have, want)
		}
		for i, a := range have.Accounts {
			from, _ := part.Account(a.ID)
			full := want.Accounts[i]
			if a.ID != full.ID || a.Balance-from.Balance != full.Balance-l.accounts[a.ID].Balance || a.Held-from.Held != full.Held-l.accounts[a.ID].Held {
				t.Fatalf("account %+v from %+v, with all accounts %+v from %+v", a, from, full, l.accounts[a.ID])
			}
		}
	})
}
