package ledger

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

func charge(job cloudcrowd.JobID, requester, owner cloudcrowd.AccountID, gross, fee cloudcrowd.Credits) cloudcrowd.Charge {
	return cloudcrowd.Charge{Attempt: cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job}, N: 1}, Requester: requester, Owner: owner, Gross: gross, Fee: fee}
}

// balances are the book's accounts as values.
func balances(k *Book) map[cloudcrowd.AccountID]cloudcrowd.Account {
	m := map[cloudcrowd.AccountID]cloudcrowd.Account{}
	for id, a := range k.Accounts {
		if *a != (cloudcrowd.Account{ID: id}) {
			m[id] = *a
		}
	}
	return m
}

// funded is a book in which a requester has 1,000 credits and a job with a hold of 500.
func funded(t testing.TB) *Book {
	t.Helper()
	k := NewBook()
	var b Batch
	b.Issue("ada", 1000, "start")
	if err := k.Apply(nil, b.Transfers(0, 1, 1), nil); err != nil {
		t.Fatal(err)
	}
	if err := k.Apply([]cloudcrowd.Hold{{Job: "j1", Account: "ada", Amount: 500, State: cloudcrowd.HoldPending}}, nil, nil); err != nil {
		t.Fatal(err)
	}
	return k
}

// Netting changes the number of transfers, never a balance: a batch of random charges moves what the same charges move one by one.
func TestNettingTwin(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		accounts := []cloudcrowd.AccountID{"ada", "bob", "eve"}
		netted, single := NewBook(), NewBook()
		var start Batch
		for i, a := range accounts {
			start.Issue(a, 1_000_000, "")
			start.Hold(cloudcrowd.Hold{Job: cloudcrowd.JobID(fmt.Sprint("j", i)), Account: a, Amount: 900_000, State: cloudcrowd.HoldPending})
		}
		for _, k := range []*Book{netted, single} {
			if err := k.Apply(nil, start.Transfers(0, 1, 1), nil); err != nil {
				t.Fatal(err)
			}
			if err := k.Apply(start.Place, nil, nil); err != nil {
				t.Fatal(err)
			}
		}
		var batch Batch
		for n := range rapid.IntRange(0, 40).Draw(t, "charges") {
			i := rapid.IntRange(0, 2).Draw(t, "job")
			gross := cloudcrowd.Credits(rapid.Int64Range(0, 1000).Draw(t, "gross"))
			c := charge(cloudcrowd.JobID(fmt.Sprint("j", i)), accounts[i], rapid.SampledFrom(accounts).Draw(t, "owner"), gross, cloudcrowd.Credits(rapid.Int64Range(0, int64(gross)).Draw(t, "fee")))
			batch.Post(c)
			var one Batch
			one.Post(c)
			if err := single.Apply(nil, one.Transfers(0, int64(n)+2, 2), nil); err != nil {
				t.Fatal(err)
			}
		}
		list := batch.Transfers(0, 2, 2)
		if err := netted.Apply(nil, list, nil); err != nil {
			t.Fatal(err)
		}
		if a, b := balances(netted), balances(single); !reflect.DeepEqual(a, b) {
			t.Fatalf("netted %v\none by one %v", a, b)
		}
		seen := map[string]bool{}
		for i, tr := range list {
			key := fmt.Sprint(tr.Job, tr.Debit, tr.Credit)
			if seen[key] || tr.Amount <= 0 || tr.ID != fmt.Sprintf("0-2-%d", i) {
				t.Fatalf("transfer %+v", tr)
			}
			seen[key] = true
		}
	})
}

// The same charges give the same transfers in the same order, however they were posted, and issues keep the numbers they were given.
func TestTransfersDeterministic(t *testing.T) {
	t.Parallel()
	charges := []cloudcrowd.Charge{charge("j2", "ada", "bob", 100, 5), charge("j1", "ada", "eve", 50, 2), charge("j1", "ada", "bob", 10, 0), charge("j1", "eve", "ada", 7, 7)}
	var want []cloudcrowd.Transfer
	for round := range 20 {
		var b Batch
		if n := b.Issue("ada", 5, "x"); n != 0 {
			t.Fatalf("first issue has number %d", n)
		}
		for _, i := range rand.New(rand.NewPCG(uint64(round), 1)).Perm(len(charges)) {
			b.Post(charges[i])
		}
		if n := b.Issue("bob", 6, "y"); n != 1 {
			t.Fatalf("second issue has number %d", n)
		}
		got := b.Transfers(3, 9, 77)
		if want == nil {
			want = got
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v\n%v", got, want)
		}
		if got[0].Kind != cloudcrowd.TransferIssue || got[1].Credit != "bob" || got[1].ID != "3-9-1" {
			t.Fatalf("issues moved: %v", got[:2])
		}
	}
}

// Every rule of the book, violated once, is named; the batch that keeps all of them passes.
func TestBookRules(t *testing.T) {
	t.Parallel()
	post := func(job cloudcrowd.JobID, debit, credit cloudcrowd.AccountID, amount cloudcrowd.Credits) []cloudcrowd.Transfer {
		return []cloudcrowd.Transfer{{ID: "0-9-0", Kind: cloudcrowd.TransferPost, Debit: debit, Credit: credit, Amount: amount, Job: job}}
	}
	hold := func(job cloudcrowd.JobID, a cloudcrowd.AccountID, n cloudcrowd.Credits) []cloudcrowd.Hold {
		return []cloudcrowd.Hold{{Job: job, Account: a, Amount: n, State: cloudcrowd.HoldPending}}
	}
	for _, c := range []struct {
		name      string
		place     []cloudcrowd.Hold
		transfers []cloudcrowd.Transfer
		end       []End
		want      string
	}{
		{name: "all kept", place: hold("j2", "ada", 500), transfers: post("j1", "ada", "bob", 500), end: []End{{"j1", cloudcrowd.HoldPosted}}},
		{name: "two holds of a job", place: hold("j1", "ada", 1), want: "two holds"},
		{name: "hold beyond what is there", place: hold("j2", "ada", 501), want: "exceeds"},
		{name: "hold of a stranger", place: hold("j2", "nobody", 1), want: "exceeds"},
		{name: "nothing moved", transfers: post("j1", "ada", "bob", 0), want: "moves 0"},
		{name: "moved backwards", transfers: post("j1", "ada", "bob", -5), want: "moves -5"},
		{name: "no hold", transfers: post("j7", "ada", "bob", 5), want: "no pending hold"},
		{name: "somebody else's hold", transfers: post("j1", "bob", "eve", 5), want: "the hold of job j1 is on ada"},
		{name: "beyond the hold", transfers: post("j1", "ada", "bob", 501), want: "posted 501 of a hold of 500"},
		{name: "below zero", transfers: []cloudcrowd.Transfer{{ID: "x", Kind: cloudcrowd.TransferIssue, Debit: "bob", Credit: "eve", Amount: 1}}, want: "below zero"},
		{name: "into held credits", transfers: []cloudcrowd.Transfer{{ID: "x", Kind: cloudcrowd.TransferIssue, Debit: "ada", Credit: "eve", Amount: 501}}, want: "below zero"},
		{name: "ends twice", end: []End{{"j1", cloudcrowd.HoldVoided}, {"j1", cloudcrowd.HoldVoided}}, want: "not pending"},
		{name: "ends what was never placed", end: []End{{"j7", cloudcrowd.HoldVoided}}, want: "not pending"},
	} {
		err := funded(t).Apply(c.place, c.transfers, c.end)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// A hold's life: what was posted is gone, the rest is available again, and posting after the end is refused.
func TestHoldLife(t *testing.T) {
	t.Parallel()
	k := funded(t)
	if a := k.Account("ada"); a.Balance != 1000 || a.Held != 500 {
		t.Fatalf("after the hold: %+v", *a)
	}
	var b Batch
	b.Post(charge("j1", "ada", "bob", 100, 5))
	b.Finish("j1", cloudcrowd.HoldVoided)
	if b.Empty() || !new(Batch).Empty() {
		t.Fatal("Empty is wrong")
	}
	if err := k.Apply(nil, b.Transfers(0, 2, 2), b.End); err != nil {
		t.Fatal(err)
	}
	if a := k.Account("ada"); a.Balance != 900 || a.Held != 0 {
		t.Fatalf("after the end: %+v", *a)
	}
	if k.Account("bob").Balance != 95 || k.Account(cloudcrowd.FeeAccount).Balance != 5 || k.Sum() != 0 {
		t.Fatalf("%v, sum %d", balances(k), k.Sum())
	}
	if err := k.Apply(nil, b.Transfers(0, 3, 3), nil); err == nil {
		t.Fatal("posted against an ended hold")
	}
}

// Who works for himself pays himself: nothing changes but the hold, and the statement has its line.
func TestPaysHimself(t *testing.T) {
	t.Parallel()
	k := funded(t)
	var b Batch
	b.Post(charge("j1", "ada", "ada", 100, 5))
	list := b.Transfers(0, 2, 2)
	if len(list) != 2 {
		t.Fatalf("transfers: %v", list)
	}
	if err := k.Apply(nil, list, nil); err != nil {
		t.Fatal(err)
	}
	if a := k.Account("ada"); a.Balance != 995 || a.Held != 400 || k.Holds["j1"].Posted != 100 {
		t.Fatalf("%+v, hold %+v", *a, *k.Holds["j1"])
	}
}

// The sum over all accounts is zero after each of 100,000 random operations, nobody but the issuer goes below zero, and what is held is what the
// pending holds have left.
func TestSumIsZero(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	k := NewBook()
	people := []cloudcrowd.AccountID{"ada", "bob", "eve", "joe", "kim"}
	type open struct {
		job     cloudcrowd.JobID
		account cloudcrowd.AccountID
		left    cloudcrowd.Credits
	}
	var jobs []open
	var total cloudcrowd.Credits
	for n := range 100_000 {
		var b Batch
		who := people[r.IntN(len(people))]
		switch op := r.IntN(4); {
		case op == 0:
			total++
			b.Issue(who, cloudcrowd.Credits(1+r.Int64N(1000)), "")
		case op == 1 && len(jobs) < 50:
			a := k.Account(who)
			if free := a.Balance - a.Held; free > 0 {
				h := cloudcrowd.Hold{Job: cloudcrowd.JobID(fmt.Sprint("j", n)), Account: who, Amount: 1 + cloudcrowd.Credits(r.Int64N(int64(free))), State: cloudcrowd.HoldPending}
				b.Hold(h)
				jobs = append(jobs, open{h.Job, who, h.Amount})
			}
		case op == 2 && len(jobs) > 0:
			j := &jobs[r.IntN(len(jobs))]
			for range 1 + r.IntN(3) {
				gross := cloudcrowd.Credits(r.Int64N(int64(j.left)/3 + 1))
				b.Post(charge(j.job, j.account, people[r.IntN(len(people))], gross, gross/20))
				j.left -= gross
			}
		case op == 3 && len(jobs) > 0:
			i := r.IntN(len(jobs))
			b.Finish(jobs[i].job, cloudcrowd.HoldVoided)
			jobs = slices.Delete(jobs, i, i+1)
		}
		if err := k.Apply(b.Place, b.Transfers(0, int64(n), 1), b.End); err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		if s := k.Sum(); s != 0 {
			t.Fatalf("operation %d: the sum is %d", n, s)
		}
	}
	held := map[cloudcrowd.AccountID]cloudcrowd.Credits{}
	for _, j := range jobs {
		held[j.account] += j.left
	}
	for id, a := range k.Accounts {
		if id != cloudcrowd.IssuerAccount && (a.Balance < 0 || a.Held != held[id] || a.Balance < a.Held) {
			t.Errorf("%+v, pending holds have %d left", *a, held[id])
		}
	}
	if total == 0 {
		t.Fatal("nothing was issued")
	}
}
