// Package ledger turns what happened to work into double-entry transfers. It is pure: the store applies what a Batch holds in the same
// transaction as the journal row that caused it, and Book recomputes balances from all transfers for checks.
package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"

	"cloudcrowd.dev/cloudcrowd"
)

// Batch collects the money side of one commit. Zero is ready to use.
type Batch struct {
	Place  []cloudcrowd.Hold
	End    []End
	issues []cloudcrowd.Transfer
	posts  map[pair]cloudcrowd.Credits
}

// End ends a job's hold.
type End struct {
	Job   cloudcrowd.JobID
	State cloudcrowd.HoldState
}

type pair struct {
	job           cloudcrowd.JobID
	debit, credit cloudcrowd.AccountID
}

// Hold places a hold for a job's budget.
func (b *Batch) Hold(h cloudcrowd.Hold) { b.Place = append(b.Place, h) }

// Finish ends a hold.
func (b *Batch) Finish(job cloudcrowd.JobID, s cloudcrowd.HoldState) {
	b.End = append(b.End, End{job, s})
}

// Issue creates credits in an account and returns the number of its transfer in the batch.
func (b *Batch) Issue(to cloudcrowd.AccountID, amount cloudcrowd.Credits, note string) int {
	b.issues = append(b.issues, cloudcrowd.Transfer{Kind: cloudcrowd.TransferIssue, Debit: cloudcrowd.IssuerAccount, Credit: to, Amount: amount, Note: note})
	return len(b.issues) - 1
}

// Post pays a charge: its net to the owner and its fee to the platform, netted with other charges of the same job and accounts.
// A requester who works for himself pays himself: such a transfer changes nothing but is kept, so that the statement explains itself.
func (b *Batch) Post(c cloudcrowd.Charge) {
	if b.posts == nil {
		b.posts = map[pair]cloudcrowd.Credits{}
	}
	job := c.Attempt.Task.Job
	b.posts[pair{job, c.Requester, c.Owner}] += c.Gross - c.Fee
	b.posts[pair{job, c.Requester, cloudcrowd.FeeAccount}] += c.Fee
}

// Transfers returns the netted transfers with their ids, ordered by job and accounts: the same input gives the same output.
func (b *Batch) Transfers(shard int, seq int64, at cloudcrowd.Time) []cloudcrowd.Transfer {
	pairs := make([]pair, 0, len(b.posts))
	for p, amount := range b.posts {
		if amount > 0 {
			pairs = append(pairs, p)
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		if c := cmp.Compare(x.job, y.job); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(x.debit, y.debit), cmp.Compare(x.credit, y.credit))
	})
	list := make([]cloudcrowd.Transfer, 0, len(b.issues)+len(pairs))
	list = append(list, b.issues...)
	for _, p := range pairs {
		list = append(list, cloudcrowd.Transfer{Kind: cloudcrowd.TransferPost, Debit: p.debit, Credit: p.credit, Amount: b.posts[p], Job: p.job})
	}
	prefix := fmt.Sprintf("%d-%d-", shard, seq)
	for i := range list {
		list[i].ID = prefix + strconv.Itoa(i)
		list[i].Shard, list[i].Seq, list[i].At = shard, seq, at
	}
	return list
}

// Empty reports whether the batch moves nothing.
func (b *Batch) Empty() bool {
	return len(b.Place) == 0 && len(b.End) == 0 && len(b.issues) == 0 && len(b.posts) == 0
}

// Book is a set of accounts and holds in memory: the naive twin of the store, used to recompute balances.
type Book struct {
	Accounts map[cloudcrowd.AccountID]*cloudcrowd.Account
	Holds    map[cloudcrowd.JobID]*cloudcrowd.Hold
}

// NewBook returns an empty book.
func NewBook() *Book {
	return &Book{Accounts: map[cloudcrowd.AccountID]*cloudcrowd.Account{}, Holds: map[cloudcrowd.JobID]*cloudcrowd.Hold{}}
}

// Account returns the account, made with zero balance if it is new.
func (k *Book) Account(id cloudcrowd.AccountID) *cloudcrowd.Account {
	a := k.Accounts[id]
	if a == nil {
		a = &cloudcrowd.Account{ID: id}
		k.Accounts[id] = a
	}
	return a
}

// Apply books one commit; the error names the first broken rule, and the book is then not to be used further.
func (k *Book) Apply(place []cloudcrowd.Hold, transfers []cloudcrowd.Transfer, end []End) error {
	for _, h := range place {
		if k.Holds[h.Job] != nil {
			return fmt.Errorf("job %s has two holds", h.Job)
		}
		a := k.Account(h.Account)
		if h.Account != cloudcrowd.IssuerAccount && a.Balance-a.Held < h.Amount {
			return fmt.Errorf("hold of %d for job %s exceeds what account %s has: %d", h.Amount, h.Job, h.Account, a.Balance-a.Held)
		}
		a.Held += h.Amount
		k.Holds[h.Job] = &h
	}
	for _, t := range transfers {
		if t.Amount <= 0 {
			return fmt.Errorf("transfer %s moves %d", t.ID, t.Amount)
		}
		d, c := k.Account(t.Debit), k.Account(t.Credit)
		if t.Kind == cloudcrowd.TransferPost {
			h := k.Holds[t.Job]
			if h == nil || h.State != cloudcrowd.HoldPending {
				return fmt.Errorf("transfer %s posts against job %s, which has no pending hold", t.ID, t.Job)
			}
			if h.Account != t.Debit {
				return fmt.Errorf("transfer %s debits %s but the hold of job %s is on %s", t.ID, t.Debit, t.Job, h.Account)
			}
			h.Posted += t.Amount
			d.Held -= t.Amount
			if h.Posted > h.Amount {
				return fmt.Errorf("job %s posted %d of a hold of %d", t.Job, h.Posted, h.Amount)
			}
		}
		d.Balance -= t.Amount
		c.Balance += t.Amount
		if d.ID != cloudcrowd.IssuerAccount && d.Balance-d.Held < 0 {
			return fmt.Errorf("transfer %s takes account %s below zero", t.ID, d.ID)
		}
	}
	for _, e := range end {
		h := k.Holds[e.Job]
		if h == nil || h.State != cloudcrowd.HoldPending {
			return fmt.Errorf("the hold of job %s ends but is not pending", e.Job)
		}
		k.Account(h.Account).Held -= h.Amount - h.Posted
		h.State = e.State
	}
	return nil
}

// Sum is the sum of all balances: zero, always.
func (k *Book) Sum() cloudcrowd.Credits {
	var s cloudcrowd.Credits
	for _, a := range k.Accounts {
		s += a.Balance
	}
	return s
}
