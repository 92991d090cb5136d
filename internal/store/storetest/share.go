package storetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Share commits rounds batches or more on each of so many shards at once, through stores on one database in turn, all on the same accounts: they pay
// one fee account and one owner, place holds on two payers in both orders, and want to spend the credits of a third, which suffice for one hold. No
// commit fails but for lack of credits; nobody spends what another has held; and in the end every credit is where the batches put it.
func Share(t *testing.T, stores []store.Store, shards, rounds int) {
	const poor, owner = "poor", "owner"
	rich := []cloudcrowd.AccountID{"rich", "richer"}
	b := newBook(t, stores[0], shards)
	first := b.batch()
	issue(&first, poor, 10)
	for _, id := range rich {
		issue(&first, id, cloudcrowd.Credits(10*shards*rounds))
	}
	b.commit(first)

	var writing, reading sync.WaitGroup
	var won, lost atomic.Int64
	done := make(chan struct{})
	for shard := range shards {
		b := newBook(t, stores[shard%len(stores)], shard)
		next := 1 + shard*1_000_000
		job := func() cloudcrowd.JobID { next++; return jobID(next) }
		writing.Go(func() {
			for range rounds {
				batch := b.batch()
				scarce := job()
				place(&batch, scarce, poor, 10)
				err := b.s.Commit(t.Context(), batch)
				if _, ok := errors.AsType[*store.InsufficientError](err); !ok && err != nil {
					t.Errorf("shard %d, row %d: %v", shard, batch.Seq, err)
					return
				}
				if err == nil {
					b.head.Seq = batch.Seq
					won.Add(1)
				} else {
					lost.Add(1)
				}
				if a, errRead := b.s.Account(t.Context(), poor); err == nil && (errRead != nil || a.Balance != 10 || a.Held != 10) {
					t.Errorf("account %+v, %v, while shard %d holds all of its 10", a, errRead, shard)
				}
				batch = b.batch()
				for i := range rich { // in both orders
					j, from := job(), rich[(i+shard)%2]
					place(&batch, j, from, 7)
					post(&batch, j, from, cloudcrowd.FeeAccount, 1)
					post(&batch, j, from, owner, 2)
					end(&batch, j, cloudcrowd.HoldVoided)
				}
				if err == nil {
					post(&batch, scarce, poor, owner, 9)
					post(&batch, scarce, poor, cloudcrowd.FeeAccount, 1)
					end(&batch, scarce, cloudcrowd.HoldPosted)
					issue(&batch, poor, 10)
				}
				if err := b.s.Commit(t.Context(), batch); err != nil {
					t.Errorf("shard %d, row %d: %v", shard, batch.Seq, err)
					return
				}
				b.head.Seq = batch.Seq
			}
		})
	}
	reading.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				CheckSum(t, stores[len(stores)-1])
			}
		}
	})
	writing.Wait()
	close(done)
	reading.Wait()
	if t.Failed() {
		return
	}
	n, wins := cloudcrowd.Credits(shards*rounds), cloudcrowd.Credits(won.Load())
	if wins == 0 || won.Load()+lost.Load() != int64(n) {
		t.Errorf("%d holds were placed and %d refused, want %d in all", wins, lost.Load(), n)
	}
	b.wantAccount(poor, 10, 0)
	b.wantAccount("rich", 7*n, 0)
	b.wantAccount("richer", 7*n, 0)
	b.wantAccount(owner, 4*n+9*wins, 0)
	b.wantAccount(cloudcrowd.FeeAccount, 2*n+wins, 0)
	b.wantAccount(cloudcrowd.IssuerAccount, -(20*n + 10 + 10*wins), 0)
	rows := int64(0)
	for _, h := range got(stores[0].ShardList(t.Context()))(t) {
		rows += h.Seq
	}
	if want := 1 + int64(n+wins); rows != want {
		t.Errorf("%d rows, want %d", rows, want)
	}
	if list := got(stores[0].Holds(t.Context(), cloudcrowd.HoldPending))(t); len(list) > 0 {
		t.Errorf("still pending: %+v", list)
	}
	CheckSum(t, stores[0])
	t.Logf("%d shards, %d stores: %d holds placed on the scarce account, %d refused", shards, len(stores), wins, lost.Load())
}
