package store

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// Books gives Apply the rows a batch touches as they stand.
type Books interface {
	// Account returns a zero-balance account if it has never been used.
	Account(id cloudcrowd.AccountID) (cloudcrowd.Account, error)
	// Hold reports false if the job has none.
	Hold(job cloudcrowd.JobID) (cloudcrowd.Hold, bool, error)
}

// Changes are the rows a batch leaves changed, in id order.
type Changes struct {
	Accounts []cloudcrowd.Account
	Holds    []cloudcrowd.Hold
	Numbers  []int64 // of the batch's transfers: the n of their ids "shard-seq-n"
}

// Apply works out what a batch does to accounts and holds; it writes nothing. It is the one place where the arithmetic of the ledger is
// decided, shared by the implementations of Store. Errors: *InsufficientError, an Error with code Internal for a batch that breaks a rule of
// the ledger (a defect of the caller), or what books answered.
func Apply(b Batch, books Books) (Changes, error) {
	a := applier{books: books, accounts: map[cloudcrowd.AccountID]*cloudcrowd.Account{}, holds: map[cloudcrowd.JobID]*cloudcrowd.Hold{}}
	numbers, err := transferNumbers(b)
	if err != nil {
		return Changes{}, err
	}
	for _, h := range b.Place {
		if err := a.place(h); err != nil {
			return Changes{}, err
		}
	}
	for _, t := range b.Transfers {
		if err := a.transfer(t); err != nil {
			return Changes{}, err
		}
	}
	for _, e := range b.End {
		if err := a.end(e); err != nil {
			return Changes{}, err
		}
	}
	out := Changes{Numbers: numbers}
	for _, v := range a.accounts {
		out.Accounts = append(out.Accounts, *v)
	}
	for _, v := range a.holds {
		out.Holds = append(out.Holds, *v)
	}
	slices.SortFunc(out.Accounts, func(x, y cloudcrowd.Account) int { return cmp.Compare(x.ID, y.ID) })
	slices.SortFunc(out.Holds, func(x, y cloudcrowd.Hold) int { return cmp.Compare(x.Job, y.Job) })
	return out, nil
}

// Spenders are the accounts whose available credits Apply compares with what a batch wants of them, in id order. Their rows must be given to Apply as
// they stand, and nobody else may spend from them before the batch is written. Of all other accounts only the difference between what Apply is
// given and what it returns counts: a store that adds differences may give it empty ones.
func Spenders(b Batch) []cloudcrowd.AccountID {
	var list []cloudcrowd.AccountID
	for _, h := range b.Place {
		list = append(list, h.Account)
	}
	for _, t := range b.Transfers {
		if t.Kind == cloudcrowd.TransferIssue {
			list = append(list, t.Debit)
		}
	}
	list = slices.DeleteFunc(list, func(id cloudcrowd.AccountID) bool { return id == cloudcrowd.IssuerAccount })
	slices.Sort(list)
	return slices.Compact(list)
}

// defect is the answer to a batch no correct caller makes.
func defect(format string, args ...any) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the ledger refused a batch", Err: fmt.Errorf(format, args...)}
}

// transferNumbers checks that each transfer cites the batch and carries an id "shard-seq-n" of its own.
func transferNumbers(b Batch) ([]int64, error) {
	prefix := strconv.Itoa(b.Shard) + "-" + strconv.FormatInt(b.Seq, 10) + "-"
	numbers := make([]int64, len(b.Transfers))
	seen := make(map[int64]bool, len(b.Transfers))
	for i, t := range b.Transfers {
		if t.Shard != b.Shard || t.Seq != b.Seq {
			return nil, defect("transfer %s cites journal row %d/%d, the batch is %d/%d", t.ID, t.Shard, t.Seq, b.Shard, b.Seq)
		}
		rest, ok := strings.CutPrefix(t.ID, prefix)
		n, err := strconv.ParseUint(rest, 10, 31)
		if !ok || err != nil || strconv.FormatUint(n, 10) != rest {
			return nil, defect("transfer id %q is not %sN", t.ID, prefix)
		}
		if seen[int64(n)] {
			return nil, defect("transfer id %q occurs twice", t.ID)
		}
		seen[int64(n)], numbers[i] = true, int64(n)
	}
	return numbers, nil
}

type applier struct {
	books    Books
	accounts map[cloudcrowd.AccountID]*cloudcrowd.Account
	holds    map[cloudcrowd.JobID]*cloudcrowd.Hold
}

func (a *applier) account(id cloudcrowd.AccountID) (*cloudcrowd.Account, error) {
	if v := a.accounts[id]; v != nil {
		return v, nil
	}
	if id == "" {
		return nil, defect("an account without a name")
	}
	v, err := a.books.Account(id)
	if err != nil {
		return nil, err
	}
	v.ID = id
	a.accounts[id] = &v
	return &v, nil
}

// pending returns the job's hold, which must exist and be pending.
func (a *applier) pending(job cloudcrowd.JobID) (*cloudcrowd.Hold, error) {
	h := a.holds[job]
	if h == nil {
		v, ok, err := a.books.Hold(job)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, defect("job %q has no hold", job)
		}
		h = &v
		a.holds[job] = h
	}
	if h.State != cloudcrowd.HoldPending {
		return nil, defect("the hold of job %s is %s already", job, h.State)
	}
	return h, nil
}

// spend reports whether the account can give amount out of what is available. The issuer always can, within the range of the numbers.
func spend(v *cloudcrowd.Account, amount cloudcrowd.Credits) bool {
	if v.ID == cloudcrowd.IssuerAccount {
		return v.Balance-v.Held >= math.MinInt64+amount
	}
	return v.Balance-v.Held >= amount
}

func (a *applier) place(h cloudcrowd.Hold) error {
	if h.Job == "" || h.Amount < 0 || h.Posted != 0 || h.State != cloudcrowd.HoldPending {
		return defect("hold of job %q: amount %d, posted %d, state %q", h.Job, h.Amount, h.Posted, h.State)
	}
	if a.holds[h.Job] != nil {
		return defect("job %s has a hold already", h.Job)
	}
	if _, ok, err := a.books.Hold(h.Job); err != nil {
		return err
	} else if ok {
		return defect("job %s has a hold already", h.Job)
	}
	v, err := a.account(h.Account)
	if err != nil {
		return err
	}
	if !spend(v, h.Amount) {
		return &InsufficientError{Job: h.Job, Account: h.Account, Available: v.Balance - v.Held, Wanted: h.Amount}
	}
	v.Held += h.Amount
	a.holds[h.Job] = &h
	return nil
}

func (a *applier) transfer(t cloudcrowd.Transfer) error {
	// A requester whose own machine did the work pays himself: nothing changes hands, but the hold is used up and the statement explains itself.
	if t.Amount <= 0 || t.Debit == t.Credit && t.Kind != cloudcrowd.TransferPost {
		return defect("transfer %s of %d from %q to %q", t.ID, t.Amount, t.Debit, t.Credit)
	}
	from, err := a.account(t.Debit)
	if err != nil {
		return err
	}
	to, err := a.account(t.Credit)
	if err != nil {
		return err
	}
	switch t.Kind {
	case cloudcrowd.TransferPost:
		h, err := a.pending(t.Job)
		if err != nil {
			return err
		}
		if h.Account != t.Debit || h.Amount-h.Posted < t.Amount {
			return defect("transfer %s posts %d of %s against the hold of job %s: %d of %d posted, held from %s", t.ID, t.Amount, t.Debit, t.Job, h.Posted, h.Amount, h.Account)
		}
		h.Posted += t.Amount
		from.Held -= t.Amount
	case cloudcrowd.TransferIssue:
		if !spend(from, t.Amount) {
			return &InsufficientError{Job: t.Job, Account: t.Debit, Available: from.Balance - from.Held, Wanted: t.Amount}
		}
	default:
		return defect("transfer %s is of the unknown kind %q", t.ID, t.Kind)
	}
	if to.Balance > math.MaxInt64-t.Amount {
		return defect("transfer %s takes account %s out of range", t.ID, t.Credit)
	}
	from.Balance -= t.Amount
	to.Balance += t.Amount
	return nil
}

func (a *applier) end(e HoldEnd) error {
	h, err := a.pending(e.Job)
	if err != nil {
		return err
	}
	switch e.State {
	case cloudcrowd.HoldVoided, cloudcrowd.HoldExpired:
	case cloudcrowd.HoldPosted:
		if h.Posted != h.Amount {
			return defect("the hold of job %s ends as posted, but only %d of %d were", e.Job, h.Posted, h.Amount)
		}
	default:
		return defect("the hold of job %s cannot end as %q", e.Job, e.State)
	}
	v, err := a.account(h.Account)
	if err != nil {
		return err
	}
	v.Held -= h.Amount - h.Posted
	h.State = e.State
	return nil
}
