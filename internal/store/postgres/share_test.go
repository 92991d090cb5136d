package postgres

import (
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

// Six shards of three servers make hundreds of commits each on the same accounts: none fails, and the database never has to break a circle of
// transactions that wait for each other. Where somebody else's transactions make it break a commit, that one is made again and succeeds.
func TestSharedAccounts(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "deadlock_timeout=20ms")
	address := server.Address(t)
	var stores []store.Store
	for range 3 {
		stores = append(stores, openAt(t, address))
	}
	rounds := 200
	if testing.Short() {
		rounds = 30
	}
	storetest.Share(t, stores, 6, rounds)
	broken := func() int { return strings.Count(server.Log(), "deadlock detected") }
	if n := broken(); n != 0 {
		t.Errorf("%d commits were broken off, want none:\n%s", n, server.Log())
	}

	s, direct := openAt(t, address), openAt(t, address)
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	run := func(texts ...string) (end func()) {
		tx, err := direct.writes.Begin(t.Context())
		for _, text := range texts {
			if err == nil {
				_, err = tx.Exec(t.Context(), text)
			}
		}
		if err != nil {
			t.Error(err)
		}
		return func() {
			if err := tx.Rollback(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	release := run("SELECT 1 FROM spenders WHERE id = 'poor' FOR UPDATE") // the first lock of another server's that the commit waits for
	b := store.Batch{Shard: 0, Epoch: h.Epoch, Seq: h.Seq + 1}
	for _, id := range []cloudcrowd.AccountID{"poor", "rich"} {
		b.Place = append(b.Place, cloudcrowd.Hold{Job: "j-" + cloudcrowd.JobID(id), Account: id, Amount: 1, State: cloudcrowd.HoldPending})
	}
	committed, circled := make(chan error, 1), make(chan func(), 1)
	go func() { committed <- s.Commit(t.Context(), b) }()
	const waiting = "SELECT 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.query LIKE "
	await(t, direct, waiting+"'%FROM spenders%'")
	go func() { // holds the second lock, is not the one to notice the circle, and waits for the commit's shard
		circled <- run("SET LOCAL deadlock_timeout = '1h'", "SELECT 1 FROM spenders WHERE id = 'rich' FOR UPDATE", "UPDATE shards SET head = head WHERE shard = 0")
	}()
	await(t, direct, waiting+"'UPDATE shards SET head = head %'")
	release() // the commit goes on to the second lock, which closes the circle
	(<-circled)()
	if err := <-committed; err != nil {
		t.Errorf("%v, want the commit made again", err)
	}
	if n := broken(); n == 0 {
		t.Error("the commit was not broken off")
	}
	if a, err := s.Account(t.Context(), "poor"); err != nil || a.Held != 1 {
		t.Errorf("%+v, %v, want 1 held", a, err)
	}
}
