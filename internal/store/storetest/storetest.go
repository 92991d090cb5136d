// Package storetest is the suite every implementation of store.Store passes. Run holds for all, RunDurable for those whose state outlives
// the process, Kill for those whose process may be killed.
package storetest

import (
	"fmt"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Run runs the suite. open returns an empty store; the suite closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		fn   func(t *testing.T, s store.Store)
	}{
		{"Fencing", fencing},
		{"Rows", rows},
		{"Snapshots", snapshots},
		{"Shards", shards},
		{"Claim", claim},
		{"ClaimRace", claimRace},
		{"Servers", servers},
		{"Holds", holds},
		{"RefusedBatches", refusedBatches},
		{"FailedCommitLeavesNothing", failedCommit},
		{"AccountsSumToZeroWhileCommitting", accountsWhileCommitting},
		{"SharedAccounts", func(t *testing.T, s store.Store) { Share(t, []store.Store{s}, 4, 40) }},
		{"Seen", seenRows},
		{"TransferLists", transferLists},
		{"Project", project},
		{"ProjectRefuses", projectRefuses},
		{"RecordsByShard", recordsByShard},
		{"ClearProjection", clearProjection},
		{"JobLists", jobLists},
		{"TaskLists", taskLists},
		{"ChargeLists", chargeLists},
		{"Rewritten", rewritten},
		{"OverlappingStretches", overlapping},
		{"LongStretch", longStretch},
		{"ShortStretches", shortStretches},
		{"Cursors", cursors},
		{"OddNumbers", oddNumbers},
		{"Tokens", tokens},
		{"Invites", invites},
		{"JoinRules", joinRules},
		{"JoinSingleUseOnce", joinOnce},
		{"Workers", workers},
		{"Settings", settings},
		{"KeepSetting", keepSetting},
		{"Cancelled", cancelled},
		{"Closed", closed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			tt.fn(t, s)
		})
	}
	t.Run("Twin", func(t *testing.T) {
		t.Parallel()
		twin(t, open)
	})
}

// jobID makes a valid job id of a number.
func jobID(n int) cloudcrowd.JobID {
	const digits = "0123456789abcdefghjkmnpqrstvwxyz"
	id := []byte("j0000000000000000")
	for i := len(id) - 1; n > 0; i, n = i-1, n/32 {
		id[i] = digits[n%32]
	}
	return cloudcrowd.JobID(id)
}

// must stops the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got stops the test on an error and returns the value.
func got[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// wantCode stops the test unless err has the code.
func wantCode(t testing.TB, err error, code cloudcrowd.Code) {
	t.Helper()
	if cloudcrowd.CodeOf(err) != code {
		t.Fatalf("error %v has code %q, want %q", err, cloudcrowd.CodeOf(err), code)
	}
}

// book commits to one shard, seq by seq.
type book struct {
	t     testing.TB
	s     store.Store
	shard int
	head  store.Head
}

func newBook(t testing.TB, s store.Store, shard int) *book {
	t.Helper()
	return &book{t, s, shard, got(s.Acquire(t.Context(), shard))(t)}
}

// batch makes the next batch; amounts of transfers are filled in by issue and post.
func (b *book) batch() store.Batch {
	seq := b.head.Seq + 1
	return store.Batch{Shard: b.shard, Epoch: b.head.Epoch, Seq: seq, At: cloudcrowd.Time(1000 * seq), Count: 1, Events: fmt.Appendf(nil, "events of %d/%d", b.shard, seq)}
}

func (b *book) commit(batch store.Batch) {
	b.t.Helper()
	must(b.t, b.s.Commit(b.t.Context(), batch))
	b.head.Seq = batch.Seq
}

func add(b *store.Batch, t cloudcrowd.Transfer) {
	t.ID = fmt.Sprintf("%d-%d-%d", b.Shard, b.Seq, len(b.Transfers))
	t.Shard, t.Seq, t.At = b.Shard, b.Seq, b.At
	b.Transfers = append(b.Transfers, t)
}

func issue(b *store.Batch, to cloudcrowd.AccountID, amount cloudcrowd.Credits) {
	add(b, cloudcrowd.Transfer{Kind: cloudcrowd.TransferIssue, Debit: cloudcrowd.IssuerAccount, Credit: to, Amount: amount, Note: "a gift"})
}

func post(b *store.Batch, job cloudcrowd.JobID, from, to cloudcrowd.AccountID, amount cloudcrowd.Credits) {
	add(b, cloudcrowd.Transfer{Kind: cloudcrowd.TransferPost, Debit: from, Credit: to, Amount: amount, Job: job})
}

func place(b *store.Batch, job cloudcrowd.JobID, account cloudcrowd.AccountID, amount cloudcrowd.Credits) {
	b.Place = append(b.Place, cloudcrowd.Hold{Job: job, Account: account, Amount: amount, State: cloudcrowd.HoldPending, At: b.At})
}

func end(b *store.Batch, job cloudcrowd.JobID, state cloudcrowd.HoldState) {
	b.End = append(b.End, store.HoldEnd{Job: job, State: state})
}

// wantAccount compares an account.
func (b *book) wantAccount(id cloudcrowd.AccountID, balance, held cloudcrowd.Credits) {
	b.t.Helper()
	want := cloudcrowd.Account{ID: id, Balance: balance, Held: held}
	if a := got(b.s.Account(b.t.Context(), id))(b.t); a != want {
		b.t.Errorf("account %+v, want %+v", a, want)
	}
}

// CheckSum fails the test unless all balances sum to zero and only the issuer's may be spent below zero.
func CheckSum(t testing.TB, s store.Store) {
	t.Helper()
	list, err := s.Accounts(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	var sum cloudcrowd.Credits
	for _, a := range list {
		sum += a.Balance
		if a.Held < 0 || a.ID != cloudcrowd.IssuerAccount && a.Balance-a.Held < 0 {
			t.Errorf("account %+v is below zero", a)
		}
	}
	if sum != 0 {
		t.Errorf("all balances sum to %d, want 0", sum)
	}
}

// allPages reads a list to its end in pages of the given size and stops the test if a page is too long or empty.
func allPages[T any](t testing.TB, size int, read func(store.Page) ([]T, string, error)) []T {
	t.Helper()
	var all []T
	p := store.Page{Limit: size}
	for {
		list, next, err := read(p)
		must(t, err)
		if len(list) > p.Size() {
			t.Fatalf("a page of %d items, limit %d", len(list), p.Size())
		}
		all = append(all, list...)
		if next == "" {
			return all
		}
		if len(list) == 0 {
			t.Fatal("an empty page with a next one")
		}
		p.Cursor = next
	}
}
