package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// newestTransfer orders transfers as lists do.
func newestTransfer(a, b cloudcrowd.Transfer) int {
	number := func(t cloudcrowd.Transfer) int {
		n, _ := strconv.Atoi(t.ID[strings.LastIndexByte(t.ID, '-')+1:])
		return n
	}
	return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.Shard, a.Shard), cmp.Compare(b.Seq, a.Seq), cmp.Compare(number(b), number(a)))
}

// Every filter gives exactly the transfers it describes, newest first, complete and without doubles in every page size, also while new ones are committed.
func transferLists(t *testing.T, s store.Store) {
	var all []cloudcrowd.Transfer
	books := []*book{newBook(t, s, 0), newBook(t, s, 1)}
	accounts := []cloudcrowd.AccountID{"anna", "bert", "carl", cloudcrowd.FeeAccount}
	for i := range 40 {
		b := books[i%2]
		next := b.batch() // both shards commit at the same times
		for k := range 1 + i%5 {
			issue(&next, accounts[(i+k)%len(accounts)], cloudcrowd.Credits(1+i))
		}
		job := jobID(2000 + i)
		place(&next, job, cloudcrowd.IssuerAccount, 12)
		for k := range 12 { // enough for numbers of two digits, which must sort as numbers
			payee := accounts[k%3]
			if k == 7 {
				payee = cloudcrowd.IssuerAccount // whose own machine did the work pays himself: one transfer, listed once
			}
			post(&next, job, cloudcrowd.IssuerAccount, payee, 1)
		}
		b.commit(next)
		all = append(all, next.Transfers...)
	}
	slices.SortFunc(all, newestTransfer)
	filters := map[string]struct {
		f     store.TransferFilter
		match func(cloudcrowd.Transfer) bool
	}{
		"all":     {store.TransferFilter{}, func(cloudcrowd.Transfer) bool { return true }},
		"account": {store.TransferFilter{Account: "anna"}, func(x cloudcrowd.Transfer) bool { return x.Credit == "anna" }},
		"issuer":  {store.TransferFilter{Account: "issuer"}, func(x cloudcrowd.Transfer) bool { return x.Debit == "issuer" }},
		"job":     {store.TransferFilter{Job: jobID(2004)}, func(x cloudcrowd.Transfer) bool { return x.Job == jobID(2004) }},
		"since":   {store.TransferFilter{Since: 5000}, func(x cloudcrowd.Transfer) bool { return x.At >= 5000 }},
		"until":   {store.TransferFilter{Until: 5000}, func(x cloudcrowd.Transfer) bool { return x.At < 5000 }},
		"all four": {store.TransferFilter{Account: "bert", Job: jobID(2007), Since: 1000, Until: 9000}, func(x cloudcrowd.Transfer) bool {
			return x.Credit == "bert" && x.Job == jobID(2007) && x.At >= 1000 && x.At < 9000
		}},
		"nothing": {store.TransferFilter{Account: "nobody"}, func(cloudcrowd.Transfer) bool { return false }},
	}
	for name, tt := range filters {
		var want []cloudcrowd.Transfer
		for _, x := range all {
			if tt.match(x) {
				want = append(want, x)
			}
		}
		for _, size := range []int{1, 7, len(all), 0} {
			if size == 1 && len(want) > 100 {
				continue
			}
			list := allPages(t, size, func(p store.Page) ([]cloudcrowd.Transfer, string, error) { return s.Transfers(t.Context(), tt.f, p) })
			if !slices.Equal(list, want) {
				t.Errorf("%s in pages of %d: %d transfers, want %d", name, size, len(list), len(want))
			}
		}
	}
	// New transfers that arrive between two pages neither repeat nor hide older ones.
	list, next, err := s.Transfers(t.Context(), store.TransferFilter{}, store.Page{Limit: 10})
	must(t, err)
	more := books[0].batch()
	issue(&more, "anna", 1)
	books[0].commit(more)
	rest, _, err := s.Transfers(t.Context(), store.TransferFilter{}, store.Page{Limit: 10, Cursor: next})
	must(t, err)
	if !slices.Equal(append(list, rest...), all[:20]) {
		t.Error("a commit between two pages disturbed them")
	}
	if n := len(got2(s.Transfers(t.Context(), store.TransferFilter{}, store.Page{Limit: 1 << 30}))(t)); n > store.MaximumLimit {
		t.Errorf("a page of %d items, at most %d are allowed", n, store.MaximumLimit)
	}
}

// got2 is got for lists.
func got2[T any](v []T, _ string, err error) func(testing.TB) []T { return got(v, err) }

// A cursor of another list, or a made-up one, is refused as the caller's mistake.
func cursors(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	for range 3 {
		next := b.batch()
		issue(&next, "anna", 1)
		b.commit(next)
	}
	_, cursor, err := s.Transfers(t.Context(), store.TransferFilter{}, store.Page{Limit: 1})
	must(t, err)
	if cursor == "" {
		t.Fatal("no cursor for the second page")
	}
	for _, c := range []string{cursor, "x", "!!", "bnVsbA", "W10", fmt.Sprintf("%s0", cursor)} {
		p := store.Page{Cursor: c}
		_, _, err := s.Jobs(t.Context(), store.JobFilter{}, p)
		wantCode(t, err, cloudcrowd.Invalid)
		_, _, err = s.Tasks(t.Context(), jobID(1), -1, p)
		wantCode(t, err, cloudcrowd.Invalid)
		_, _, err = s.Charges(t.Context(), store.ChargeFilter{}, p)
		wantCode(t, err, cloudcrowd.Invalid)
		_, _, err = s.JobAttempts(t.Context(), jobID(1), p)
		wantCode(t, err, cloudcrowd.Invalid)
		_, _, err = s.WorkerAttempts(t.Context(), "UW", p)
		wantCode(t, err, cloudcrowd.Invalid)
	}
	_, _, err = s.Transfers(t.Context(), store.TransferFilter{}, store.Page{Cursor: "x"})
	wantCode(t, err, cloudcrowd.Invalid)
}
