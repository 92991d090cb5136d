package storetest

import (
	"errors"
	"reflect"
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
	var mu sync.Mutex
	var spent []rowName // the rows that held all the credits of the scarce account
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
					mu.Lock()
					spent = append(spent, rowName{shard, batch.Seq})
					mu.Unlock()
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
	ordered(t, stores[0], spent)
	t.Logf("%d shards, %d stores: %d holds placed on the scarce account, %d refused", shards, len(stores), wins, lost.Load())
}

// rowName names a journal row.
type rowName struct {
	shard int
	seq   int64
}

// ordered checks that the journals tell the order in which rows spent the same credits: of two, one has seen the other, and not both each other.
func ordered(t *testing.T, s store.Store, spent []rowName) {
	t.Helper()
	seen := map[rowName]store.Seen{}
	for shard, h := range got(s.ShardList(t.Context()))(t) {
		before := store.Seen{}
		must(t, s.Rows(t.Context(), shard, 0, func(r store.Row) error {
			seen[rowName{shard, r.Seq}] = r.Seen
			for other, seq := range r.Seen {
				if other == shard || seq < before[other] || seq < 1 {
					t.Errorf("row %d/%d has seen %v, an earlier one %v", shard, r.Seq, r.Seen, before)
				}
				before[other] = seq
			}
			return nil
		}))
		if len(before) > 0 && h.Seq == 0 {
			t.Errorf("shard %d is empty and has seen %v", shard, before)
		}
	}
	has := func(a, b rowName) bool {
		if a.shard == b.shard {
			return a.seq > b.seq
		}
		return seen[a][b.shard] >= b.seq
	}
	for i, a := range spent {
		for _, b := range spent[:i] {
			if has(a, b) == has(b, a) {
				t.Errorf("rows %v and %v spent the same credits, and their order cannot be told: they have seen %v and %v", a, b, seen[a], seen[b])
				return
			}
		}
	}
}

// A row that spends credits says how far the other shards had come, and its checksum covers it; others say nothing.
func seenRows(t *testing.T, s store.Store) {
	one, two, three := newBook(t, s, 1), newBook(t, s, 2), newBook(t, s, 3)
	b := one.batch()
	issue(&b, "anna", 100)
	one.commit(b)
	b = two.batch()
	place(&b, jobID(1), "anna", 10)
	two.commit(b)
	one.commit(one.batch())
	b = two.batch()
	post(&b, jobID(1), "anna", "bert", 4)
	two.commit(b)
	b = three.batch()
	place(&b, jobID(2), "anna", 10)
	three.commit(b)
	b = two.batch()
	place(&b, jobID(3), "anna", 1)
	two.commit(b)
	for shard, want := range map[int][]store.Seen{1: {nil, nil}, 2: {{1: 1}, nil, {1: 2, 3: 1}}, 3: {{1: 2, 2: 2}}} {
		var have []store.Seen
		must(t, s.Rows(t.Context(), shard, 0, func(r store.Row) error {
			if len(r.Seen) == 0 {
				r.Seen = nil
			}
			have = append(have, r.Seen)
			other := r
			if other.Seen = (store.Seen{9: 9}); other.Sum(shard) == r.Sum(shard) {
				t.Error("the checksum does not cover what a row has seen")
			}
			if again, err := store.ParseSeen(r.Seen.String()); err != nil || !reflect.DeepEqual(again, r.Seen) {
				t.Errorf("%v reads back as %v, %v", r.Seen, again, err)
			}
			return nil
		}))
		if !reflect.DeepEqual(have, want) {
			t.Errorf("rows of shard %d have seen %v, want %v", shard, have, want)
		}
	}
	for _, bad := range []string{"x", "1", "1:", ":1", "1:2 ", "1:2,3:4"} {
		if s, err := store.ParseSeen(bad); err == nil {
			t.Errorf("%q was read as %v", bad, s)
		}
	}
}
