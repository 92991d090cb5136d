package store_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// shelf are books in memory: what a store holds.
type shelf struct {
	accounts map[cloudcrowd.AccountID]cloudcrowd.Account
	holds    map[cloudcrowd.JobID]cloudcrowd.Hold
}

func (s shelf) Account(id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	return s.accounts[id], nil
}
func (s shelf) Hold(job cloudcrowd.JobID) (cloudcrowd.Hold, bool, error) {
	h, ok := s.holds[job]
	return h, ok, nil
}

// naive keeps the money of accounts and jobs by adding up one movement after the other. It knows nothing of holds, netting or batches.
type naive struct {
	has, setAside map[cloudcrowd.AccountID]int64
	left          map[cloudcrowd.JobID]int64
	payer         map[cloudcrowd.JobID]cloudcrowd.AccountID
}

func (n *naive) move(from, to cloudcrowd.AccountID, amount int64) {
	n.has[from] -= amount
	n.has[to] += amount
}

// Millions of random movements, through netting, the rules and the books, leave every account with what adding them up one by one does, after every batch:
// nothing comes into being, nothing goes below zero, and what the rules refuse the twin could not have paid. CLOUDCROWD_TRANSFERS says how many;
// CLOUDCROWD_SEED repeats a run.
func TestLedgerTwin(t *testing.T) {
	t.Parallel()
	wanted, seed := 100_000, rand.Uint64()
	for name, set := range map[string]func(uint64){"CLOUDCROWD_TRANSFERS": func(v uint64) { wanted = int(v) }, "CLOUDCROWD_SEED": func(v uint64) { seed = v }} {
		if text := os.Getenv(name); text != "" {
			v, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			set(v)
		}
	}
	t.Logf("CLOUDCROWD_SEED=%d", seed)
	lots := rand.New(rand.NewPCG(seed, 0))
	books := shelf{map[cloudcrowd.AccountID]cloudcrowd.Account{}, map[cloudcrowd.JobID]cloudcrowd.Hold{}}
	twin := naive{map[cloudcrowd.AccountID]int64{}, map[cloudcrowd.AccountID]int64{}, map[cloudcrowd.JobID]int64{}, map[cloudcrowd.JobID]cloudcrowd.AccountID{}}
	var people []cloudcrowd.AccountID
	for i := range 50 {
		people = append(people, cloudcrowd.AccountID(fmt.Sprint("a", i)))
	}
	someone := func() cloudcrowd.AccountID { return people[lots.IntN(len(people))] }
	var open []cloudcrowd.JobID
	moved, rows, jobs, refused := 0, 0, 0, 0
	for seq := int64(1); moved < wanted; seq++ {
		var b ledger.Batch
		ended := map[cloudcrowd.JobID]bool{}
		for range 1 + lots.IntN(5) {
			to, amount := someone(), 1+lots.Int64N(1_000_000)
			b.Issue(to, cloudcrowd.Credits(amount), "")
			twin.move(cloudcrowd.IssuerAccount, to, amount)
			moved++
		}
		placed := len(open)
		for range lots.IntN(4) {
			who, budget := someone(), lots.Int64N(2_000_000)
			before := int64(books.accounts[who].Balance - books.accounts[who].Held) // holds are placed first in a batch
			for _, h := range b.Place {
				if h.Account == who {
					before -= int64(h.Amount)
				}
			}
			hold := cloudcrowd.Hold{Job: cloudcrowd.JobID(fmt.Sprint("j", jobs)), Account: who, Amount: cloudcrowd.Credits(budget), State: cloudcrowd.HoldPending}
			if before < budget { // more than it has: alone in a batch it is refused, and changes nothing
				_, err := store.Apply(store.Batch{Seq: seq, Place: append(slices.Clone(b.Place), hold)}, books)
				if _, ok := err.(*store.InsufficientError); !ok {
					t.Fatalf("%d of %d are held: %v", budget, before, err)
				}
				refused++
				continue
			}
			b.Hold(hold)
			twin.left[hold.Job], twin.payer[hold.Job] = budget, who
			twin.setAside[who] += budget
			open = append(open, hold.Job)
			jobs++
		}
		for range lots.IntN(600) {
			if len(open) == 0 {
				break
			}
			job := open[lots.IntN(len(open))]
			gross := min(1+lots.Int64N(1000), twin.left[job])
			if gross == 0 || ended[job] {
				continue
			}
			fee, worker, payer := lots.Int64N(gross+1), someone(), twin.payer[job]
			b.Post(cloudcrowd.Charge{Attempt: cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job}}, Requester: payer, Owner: worker, Gross: cloudcrowd.Credits(gross), Fee: cloudcrowd.Credits(fee)})
			twin.move(payer, worker, gross-fee)
			twin.move(payer, cloudcrowd.FeeAccount, fee)
			twin.left[job] -= gross
			twin.setAside[payer] -= gross
			moved += 2
		}
		for i := 0; i < placed && len(open) > 20; i++ { // the oldest jobs end
			job := open[0]
			open = open[1:]
			placed--
			state := cloudcrowd.HoldVoided
			if twin.left[job] == 0 {
				state = cloudcrowd.HoldPosted
			}
			b.Finish(job, state)
			ended[job] = true
			twin.setAside[twin.payer[job]] -= twin.left[job]
			delete(twin.left, job)
			delete(twin.payer, job)
		}
		batch := store.Batch{Seq: seq, Place: b.Place, Transfers: b.Transfers(0, seq, cloudcrowd.Time(seq))}
		for _, e := range b.End {
			batch.End = append(batch.End, store.HoldEnd{Job: e.Job, State: e.State})
		}
		changes, err := store.Apply(batch, books)
		if err != nil {
			t.Fatalf("batch %d: %v", seq, err)
		}
		rows += len(batch.Transfers)
		for _, a := range changes.Accounts {
			if twin.has[a.ID] != int64(a.Balance) || twin.setAside[a.ID] != int64(a.Held) || a.ID != cloudcrowd.IssuerAccount && a.Balance < a.Held {
				t.Fatalf("batch %d: account %+v; added up one by one it has %d, %d set aside", seq, a, twin.has[a.ID], twin.setAside[a.ID])
			}
			books.accounts[a.ID] = a
		}
		for _, h := range changes.Holds {
			if h.State != cloudcrowd.HoldPending {
				delete(books.holds, h.Job) // millions of them are not needed any more
				continue
			}
			if left := int64(h.Amount - h.Posted); left != twin.left[h.Job] {
				t.Fatalf("batch %d: of the hold of job %s %d are left, added up one by one %d", seq, h.Job, left, twin.left[h.Job])
			}
			books.holds[h.Job] = h
		}
		var sum, added int64
		for _, a := range books.accounts {
			sum += int64(a.Balance)
		}
		for _, v := range twin.has {
			added += v
		}
		if sum != 0 || added != 0 {
			t.Fatalf("batch %d: all accounts together hold %d, added up one by one %d", seq, sum, added)
		}
	}
	if len(books.accounts) < len(people) || refused == 0 {
		t.Errorf("%d accounts, %d holds were refused", len(books.accounts), refused)
	}
	t.Logf("%d movements in %d rows, %d jobs, %d holds refused", moved, rows, jobs, refused)
}
