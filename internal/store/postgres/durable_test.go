package postgres

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

// opened opens the store whose address is kept in a folder, and makes an empty one the first time.
func opened(t *testing.T, dir string) store.Store {
	t.Helper()
	path := filepath.Join(dir, "address")
	b, err := os.ReadFile(path)
	if err != nil {
		b = []byte(postgrestest.Shared(t).Address(t))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return openAt(t, string(b))
}

// batchOf is a row that gives one credit to each of some accounts.
func batchOf(shard int, epoch, seq int64, to ...cloudcrowd.AccountID) store.Batch {
	b := store.Batch{Shard: shard, Epoch: epoch, Seq: seq, At: cloudcrowd.Time(seq), Count: 1, Events: fmt.Appendf(nil, "events of %d/%d", shard, seq)}
	for i, id := range to {
		b.Transfers = append(b.Transfers, cloudcrowd.Transfer{ID: fmt.Sprintf("%d-%d-%d", shard, seq, i), Kind: cloudcrowd.TransferIssue, Debit: cloudcrowd.IssuerAccount,
			Credit: id, Amount: 1, Shard: shard, Seq: seq, At: b.At})
	}
	return b
}

// commits writes n rows and a snapshot at row 2 of shard 0.
func commits(t *testing.T, s *Store, n int) {
	t.Helper()
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for seq := range int64(n) {
		if err := s.Commit(t.Context(), store.Batch{Epoch: h.Epoch, Seq: seq + 1, At: 5, Count: 3, Events: []byte("the events")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SaveSnapshot(t.Context(), 0, h.Epoch, 2, []byte("the state")); err != nil {
		t.Fatal(err)
	}
}

// Whatever is changed in a journal row, or if it is gone, in the middle or at the end, reading stops before it with an error that names it.
func TestCorruptRow(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	s := openAt(t, address)
	commits(t, s, 5)
	for _, tt := range []struct{ damage, repair string }{
		{`UPDATE journal SET events = '\x74686520657665ff7473' WHERE seq = 3`, "UPDATE journal SET events = 'the events' WHERE seq = 3"},
		{"UPDATE journal SET events = '' WHERE seq = 3", "UPDATE journal SET events = 'the events' WHERE seq = 3"},
		{"UPDATE journal SET at = at + 1 WHERE seq = 3", "UPDATE journal SET at = at - 1 WHERE seq = 3"},
		{"UPDATE journal SET count = 4 WHERE seq = 3", "UPDATE journal SET count = 3 WHERE seq = 3"},
		{"UPDATE journal SET epoch = 9 WHERE seq = 3", "UPDATE journal SET epoch = 1 WHERE seq = 3"},
		{"UPDATE journal SET sum = sum + 1 WHERE seq = 3", "UPDATE journal SET sum = sum - 1 WHERE seq = 3"},
		{"UPDATE journal SET shard = 7 WHERE seq = 3", "UPDATE journal SET shard = 0 WHERE seq = 3"},
		{"DELETE FROM journal WHERE seq = 5", ""},
		{"DELETE FROM journal WHERE seq = 3", ""},
	} {
		if n := postgrestest.Exec(t, address, tt.damage); n != 1 {
			t.Fatalf("%s changed %d rows", tt.damage, n)
		}
		want := int64(3)
		if strings.HasSuffix(tt.damage, "5") {
			want = 5
		}
		seen := int64(0)
		err := s.Rows(t.Context(), 0, 0, func(r store.Row) error { seen = r.Seq; return nil })
		if e, ok := errors.AsType[*store.CorruptError](err); !ok || e.What != fmt.Sprintf("journal row 0/%d", want) || seen != want-1 {
			t.Errorf("%s: %v after row %d, want row 0/%d named", tt.damage, err, seen, want)
		}
		if tt.repair != "" {
			postgrestest.Exec(t, address, tt.repair)
		}
	}
}

// A damaged snapshot, or one of which a part is gone, is not given out, and the shard keeps its epoch.
func TestCorruptSnapshot(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	s := openAt(t, address)
	commits(t, s, 5)
	if err := s.SaveSnapshot(t.Context(), 0, 1, 5, make([]byte, 2*partBytes+5)); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"DELETE FROM snapshots WHERE part = 2", `UPDATE snapshots SET state = '\x00' WHERE part = 1`} {
		postgrestest.Exec(t, address, damage)
		_, err := s.Acquire(t.Context(), 0)
		if e, ok := errors.AsType[*store.CorruptError](err); !ok || e.What != "snapshot 0/5" {
			t.Errorf("%s: %v, want snapshot 0/5 named", damage, err)
		}
	}
	if list, err := s.ShardList(t.Context()); err != nil || list[0].Epoch != 1 {
		t.Errorf("%v, %v, want epoch 1", list, err)
	}
}

// A database that the ledger's own rules would not allow cannot be made by SQL either.
func TestSchemaKeepsRules(t *testing.T) {
	t.Parallel()
	s := openAt(t, postgrestest.Shared(t).Address(t))
	for _, text := range []string{
		"INSERT INTO transfers (shard, seq, n, kind, debit, credit, amount, job, at, note) VALUES (0, 1, 0, 'issue', 'anna', 'bert', 0, '', 0, '')",
		"INSERT INTO transfers (shard, seq, n, kind, debit, credit, amount, job, at, note) VALUES (0, 1, 0, 'issue', 'anna', 'anna', 1, '', 0, '')",
		"INSERT INTO holds (job, account, amount, posted, state, at) VALUES ('j', 'anna', 5, 6, 'pending', 0)",
	} {
		if err := s.change(t.Context(), durable, "", "", text); cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
			t.Errorf("%s: %v, want an internal error", text, err)
		}
	}
}

// Two stores on one database: whoever acquired a shard last commits, the other is refused and writes nothing, whatever they do at the same time.
func TestTwoStores(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	stores := []*Store{openAt(t, address), openAt(t, address)}
	var wait sync.WaitGroup
	acknowledged := make([][]store.Row, len(stores))
	for i, s := range stores {
		wait.Go(func() {
			for range 15 {
				h, err := s.Acquire(t.Context(), 0)
				if err != nil {
					t.Error(err)
					return
				}
				for seq := h.Seq + 1; ; seq++ {
					err := s.Commit(t.Context(), batchOf(0, h.Epoch, seq, "anna"))
					if errors.Is(err, store.ErrFenced) {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					if acknowledged[i] = append(acknowledged[i], store.Row{Seq: seq, Epoch: h.Epoch}); seq == h.Seq+20 {
						break
					}
				}
			}
		})
	}
	wait.Wait()
	journal := map[int64]int64{}
	last := store.Row{}
	err := stores[0].Rows(t.Context(), 0, 0, func(r store.Row) error {
		if journal[r.Seq] = r.Epoch; r.Epoch < last.Epoch {
			t.Errorf("row %d is of epoch %d, the one before of %d", r.Seq, r.Epoch, last.Epoch)
		}
		last = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, list := range acknowledged {
		for _, r := range list {
			if total++; journal[r.Seq] != r.Epoch {
				t.Errorf("row %d was acknowledged under epoch %d, the journal has epoch %d", r.Seq, r.Epoch, journal[r.Seq])
			}
		}
	}
	if total != len(journal) {
		t.Errorf("%d rows, %d were acknowledged", len(journal), total)
	}
	a, err := stores[1].Account(t.Context(), "anna")
	if err != nil || int(a.Balance) != total {
		t.Errorf("%+v, %v, want a balance of %d", a, err, total)
	}
}

// Eight shards of two stores commit at once, on the same accounts, some of them new, and on holds of their own: nothing is lost, nothing waits for
// ever, and all balances sum to zero.
func TestConcurrentShards(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	stores := []*Store{openAt(t, address), openAt(t, address)}
	const rounds = 40
	var wait sync.WaitGroup
	var mu sync.Mutex
	balance := map[cloudcrowd.AccountID]cloudcrowd.Credits{}
	for shard := range 8 {
		s := stores[shard%2]
		rng := rand.New(rand.NewPCG(1, uint64(shard)))
		wait.Go(func() {
			h, err := s.Acquire(t.Context(), shard)
			if err != nil {
				t.Error(err)
				return
			}
			for seq := int64(1); seq <= rounds; seq++ {
				var to []cloudcrowd.AccountID
				for range 6 {
					to = append(to, cloudcrowd.AccountID(fmt.Sprintf("owner%d", rng.IntN(5+int(seq)))))
				}
				b := batchOf(shard, h.Epoch, seq, to...)
				job := cloudcrowd.JobID(fmt.Sprintf("j%02d%014d", shard, seq))
				b.Place = []cloudcrowd.Hold{{Job: job, Account: cloudcrowd.IssuerAccount, Amount: 9, State: cloudcrowd.HoldPending}}
				for i := range b.Transfers {
					if i%2 == 0 {
						b.Transfers[i].Kind, b.Transfers[i].Job = cloudcrowd.TransferPost, job
					}
				}
				if seq%3 > 0 {
					b.End = []store.HoldEnd{{Job: job, State: cloudcrowd.HoldVoided}}
				}
				if err := s.Commit(t.Context(), b); err != nil {
					t.Errorf("shard %d: %v", shard, err)
					return
				}
				mu.Lock()
				for _, id := range to {
					balance[id]++
					balance[cloudcrowd.IssuerAccount]--
				}
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	list, err := stores[0].Accounts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if a.Balance != balance[a.ID] {
			t.Errorf("account %+v, want a balance of %d", a, balance[a.ID])
		}
		delete(balance, a.ID)
	}
	if len(balance) > 0 {
		t.Errorf("accounts lost: %v", balance)
	}
	storetest.CheckSum(t, stores[1])
	issuer, err := stores[0].Account(t.Context(), cloudcrowd.IssuerAccount)
	if want := cloudcrowd.Credits(8 * (rounds / 3) * 6); err != nil || issuer.Held != want {
		t.Errorf("%+v, %v, want %d held", issuer, err, want)
	}
}

// Eight shards that spend the same account's credits at once get out of it what was in it, and not one credit more.
func TestSpendAtOnce(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	stores := []*Store{openAt(t, address), openAt(t, address)}
	h, err := stores[0].Acquire(t.Context(), 99)
	if err != nil {
		t.Fatal(err)
	}
	rich := batchOf(99, h.Epoch, 1, "anna", "bert")
	for i := range rich.Transfers {
		rich.Transfers[i].Amount = 100
	}
	if err := stores[0].Commit(t.Context(), rich); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	var placed, refused atomic.Int64
	for shard := range 8 {
		s := stores[shard%2]
		wait.Go(func() {
			h, err := s.Acquire(t.Context(), shard)
			if err != nil {
				t.Error(err)
				return
			}
			seq := int64(1)
			for i := range 12 {
				b := store.Batch{Shard: shard, Epoch: h.Epoch, Seq: seq}
				who := []cloudcrowd.AccountID{"anna", "bert"}
				for n := range who { // in both orders
					id := who[(n+shard)%2]
					b.Place = append(b.Place, cloudcrowd.Hold{Job: cloudcrowd.JobID(fmt.Sprintf("j%d-%d-%s", shard, i, id)), Account: id, Amount: 7, State: cloudcrowd.HoldPending})
				}
				err := s.Commit(t.Context(), b)
				if _, ok := errors.AsType[*store.InsufficientError](err); ok {
					refused.Add(1)
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				placed.Add(1)
				seq++
			}
		})
	}
	wait.Wait()
	storetest.CheckSum(t, stores[0])
	if placed.Load() != 14 || refused.Load() != 8*12-14 {
		t.Errorf("%d pairs of holds of 7 were placed on 100 and %d refused, want 14 and %d", placed.Load(), refused.Load(), 8*12-14)
	}
}
