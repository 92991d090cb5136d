package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// plain is the naive ledger: maps, copied before every batch and put back when one is refused.
type plain struct {
	balance, held map[cloudcrowd.AccountID]cloudcrowd.Credits
	holds         map[cloudcrowd.JobID]cloudcrowd.Hold
	transfers     []cloudcrowd.Transfer
}

func (p *plain) available(id cloudcrowd.AccountID) cloudcrowd.Credits {
	return p.balance[id] - p.held[id]
}

// commit applies a batch and reports "", "insufficient" or "defect".
func (p *plain) commit(b store.Batch) string {
	for _, h := range b.Place {
		if _, ok := p.holds[h.Job]; ok {
			return "defect"
		}
		if h.Account != cloudcrowd.IssuerAccount && p.available(h.Account) < h.Amount {
			return "insufficient"
		}
		p.held[h.Account] += h.Amount
		p.holds[h.Job] = h
	}
	for _, t := range b.Transfers {
		if t.Debit == t.Credit && t.Kind != cloudcrowd.TransferPost {
			return "defect"
		}
		if t.Kind == cloudcrowd.TransferPost {
			h, ok := p.holds[t.Job]
			if !ok || h.State != cloudcrowd.HoldPending || h.Account != t.Debit || h.Posted+t.Amount > h.Amount {
				return "defect"
			}
			h.Posted += t.Amount
			p.holds[t.Job] = h
			p.held[t.Debit] -= t.Amount
		} else if t.Debit != cloudcrowd.IssuerAccount && p.available(t.Debit) < t.Amount {
			return "insufficient"
		}
		p.balance[t.Debit] -= t.Amount
		p.balance[t.Credit] += t.Amount
		p.transfers = append(p.transfers, t)
	}
	for _, e := range b.End {
		h, ok := p.holds[e.Job]
		if !ok || h.State != cloudcrowd.HoldPending || e.State == cloudcrowd.HoldPosted && h.Posted != h.Amount {
			return "defect"
		}
		p.held[h.Account] -= h.Amount - h.Posted
		h.State = e.State
		p.holds[e.Job] = h
	}
	return ""
}

func copied[K comparable, V any](m map[K]V) map[K]V {
	c := make(map[K]V, len(m))
	for k, v := range m {
		c[k] = v
	}
	return c
}

// twin compares the store with the naive ledger over random batches, good and bad, on two shards: same verdicts, same accounts, same holds,
// same transfers in every page size, a sum of zero after each.
func twin(t *testing.T, open func(t *testing.T) store.Store) {
	s := open(t)
	t.Cleanup(func() { _ = s.Close() })
	// One store serves all examples: each has accounts, jobs and shards of its own.
	example := 0
	rapid.Check(t, func(rt *rapid.T) {
		example++
		compareTwin(t, rt, s, example)
	})
	CheckSum(t, s)
}

func compareTwin(t *testing.T, rt *rapid.T, s store.Store, example int) {
	people := []cloudcrowd.AccountID{cloudcrowd.IssuerAccount}
	for _, name := range []string{"anna", "bert", "carl"} {
		people = append(people, cloudcrowd.AccountID(fmt.Sprintf("%s%d", name, example)))
	}
	books := [2]*book{newBook(t, s, 2*example), newBook(t, s, 2*example+1)}
	p := &plain{map[cloudcrowd.AccountID]cloudcrowd.Credits{}, map[cloudcrowd.AccountID]cloudcrowd.Credits{}, map[cloudcrowd.JobID]cloudcrowd.Hold{}, nil}
	person := rapid.SampledFrom(people)
	job := rapid.Custom(func(rt *rapid.T) cloudcrowd.JobID { return jobID(example*100 + rapid.IntRange(0, 7).Draw(rt, "job")) })
	amount := rapid.Custom(func(rt *rapid.T) cloudcrowd.Credits {
		return cloudcrowd.Credits(rapid.IntRange(1, 30).Draw(rt, "amount"))
	})
	for range rapid.IntRange(1, 12).Draw(rt, "batches") {
		b := books[rapid.IntRange(0, 1).Draw(rt, "shard")]
		next := b.batch()
		for range rapid.IntRange(0, 4).Draw(rt, "entries") {
			switch rapid.IntRange(0, 4).Draw(rt, "kind") {
			case 0:
				issue(&next, person.Draw(rt, "to"), amount.Draw(rt, "issued"))
			case 1:
				place(&next, job.Draw(rt, "placed"), person.Draw(rt, "holder"), amount.Draw(rt, "held"))
			case 2: // a post that mostly fits a hold
				j := job.Draw(rt, "posted")
				from := person.Draw(rt, "from")
				if h, ok := p.holds[j]; ok {
					from = h.Account
				}
				post(&next, j, from, person.Draw(rt, "to"), amount.Draw(rt, "amount"))
			case 3:
				end(&next, job.Draw(rt, "ended"), rapid.SampledFrom([]cloudcrowd.HoldState{cloudcrowd.HoldVoided, cloudcrowd.HoldExpired, cloudcrowd.HoldPosted}).Draw(rt, "state"))
			}
		}
		before := plain{copied(p.balance), copied(p.held), copied(p.holds), slices.Clone(p.transfers)}
		want := p.commit(next)
		if want != "" {
			*p = before
		}
		have := ""
		if err := s.Commit(t.Context(), next); err != nil {
			have = "defect"
			if _, ok := errors.AsType[*store.InsufficientError](err); ok {
				have = "insufficient"
			} else if cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
				rt.Fatalf("commit: %v", err)
			}
		} else {
			b.head.Seq = next.Seq
		}
		if have != want {
			rt.Fatalf("the store says %q, the twin %q about %+v", have, want, next)
		}
	}
	for _, id := range people[1:] {
		a, err := s.Account(t.Context(), id)
		if err != nil || a.Balance != p.balance[id] || a.Held != p.held[id] {
			rt.Fatalf("account %+v (%v), the twin has %d, %d held", a, err, p.balance[id], p.held[id])
		}
	}
	for id, want := range p.holds {
		if h, err := s.Hold(t.Context(), id); err != nil || h != want {
			rt.Fatalf("hold %+v (%v), the twin has %+v", h, err, want)
		}
	}
	for _, id := range people[1:] {
		var want []cloudcrowd.Transfer
		for _, tr := range p.transfers {
			if tr.Debit == id || tr.Credit == id {
				want = append(want, tr)
			}
		}
		slices.SortFunc(want, newestTransfer)
		size := rapid.IntRange(1, 9).Draw(rt, "page")
		list := allPages(t, size, func(pg store.Page) ([]cloudcrowd.Transfer, string, error) {
			return s.Transfers(t.Context(), store.TransferFilter{Account: id}, pg)
		})
		if !slices.Equal(list, want) {
			rt.Fatalf("transfers of %s in pages of %d:\n%v\nthe twin has\n%v", id, size, list, want)
		}
	}
}
