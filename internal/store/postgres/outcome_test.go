package postgres

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// When a connection breaks in the middle of COMMIT, the outcome is found out and told: a commit that is in the database is acknowledged, one that is
// not is made again, and it is there once.
func TestCutInCommit(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	for name, at := range map[string]func(w *wire, direct *Store, statements []byte, client, backend net.Conn){
		"before it arrived": func(w *wire, _ *Store, _ []byte, _, _ net.Conn) { w.cut() },
		"half of it arrived": func(w *wire, _ *Store, statements []byte, _, backend net.Conn) {
			_, _ = backend.Write(statements[:len(statements)-8])
			w.cut()
		},
		"the answer was lost": func(w *wire, direct *Store, statements []byte, client, backend net.Conn) {
			_ = client.Close()
			_, _ = backend.Write(statements)
			await(w.t, direct, "SELECT 1 FROM journal WHERE seq = 2")
		},
		"the server was slow": func(w *wire, direct *Store, statements []byte, client, backend net.Conn) {
			// The client asks for the outcome while the transaction still waits for its last statements, which then arrive.
			_ = client.Close()
			await(w.t, direct, "SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE '%FROM shards%FOR UPDATE%' AND query NOT LIKE '%pg_locks%')")
			_, _ = backend.Write(statements)
			await(w.t, direct, "SELECT 1 FROM journal WHERE seq = 2")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := server.Address(t)
			direct := openAt(t, address)
			w := newWire(t, server.Socket())
			s := openAt(t, w.address(address))
			h, err := s.Acquire(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Commit(t.Context(), batchOf(0, h.Epoch, 1, "anna")); err != nil {
				t.Fatal(err)
			}
			w.meddle(marker, asked, func(w *wire, statements []byte, client, backend net.Conn) { at(w, direct, statements, client, backend) })
			marked := batchOf(0, h.Epoch, 2, "anna")
			marked.Events = []byte(marker)
			if err := s.Commit(t.Context(), marked); err != nil {
				t.Fatalf("the commit: %v", err)
			}
			if !w.meddled() {
				t.Error("nothing was cut")
			}
			if err := s.Commit(t.Context(), batchOf(0, h.Epoch, 3, "anna")); err != nil {
				t.Fatalf("the next commit: %v", err)
			}
			wantRows(t, direct, 3)
		})
	}
}

// await returns when a query finds a row.
func await(t testing.TB, s *Store, text string) {
	for limit := time.Now().Add(time.Minute); ; {
		if found, err := row(t.Context(), s.reads, text, nil, new(int)); err != nil || found {
			if err != nil {
				t.Error(err)
			}
			return
		}
		if time.Now().After(limit) {
			t.Errorf("nothing found by %s", text)
			return
		}
	}
}

// wantRows holds that shard 0 has so many rows, each of which gave anna a credit.
func wantRows(t testing.TB, s *Store, n int) {
	t.Helper()
	rows := 0
	if err := s.Rows(t.Context(), 0, 0, func(store.Row) error { rows++; return nil }); err != nil {
		t.Fatal(err)
	}
	if a, err := s.Account(t.Context(), "anna"); err != nil || rows != n || int(a.Balance) != n {
		t.Errorf("%d rows, account %+v, %v, want %d of both", rows, a, err, n)
	}
	storetest.CheckSum(t, s)
}

// When the database cannot be asked for the outcome, the caller is told that it is open, and what he reads afterwards is final: the shard is told about
// when the lost transaction has ended.
func TestOpenOutcome(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	for name, arrives := range map[string]bool{"it was done": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := server.Address(t)
			direct := openAt(t, address)
			w := newWire(t, server.Socket())
			s := openAt(t, w.address(address))
			h, err := s.Acquire(t.Context(), 0)
			if err != nil {
				t.Fatal(err)
			}
			held := make(chan net.Conn, 1)
			var late []byte
			w.meddle(marker, asked, func(w *wire, statements []byte, client, backend net.Conn) {
				late = statements
				w.refuse(true)
				// The server keeps its end open, as if only the client's machine were cut off.
				w.mu.Lock()
				for _, c := range w.open {
					if c != backend {
						_ = c.Close()
					}
				}
				w.open = nil
				w.mu.Unlock()
				held <- backend
				await(w.t, direct, "SELECT 1 FROM settings WHERE key = 'go on'")
				if arrives {
					_, _ = backend.Write(late)
					await(w.t, direct, "SELECT 1 FROM journal WHERE seq = 1")
				}
			})
			marked := batchOf(0, h.Epoch, 1, "anna")
			marked.Events = []byte(marker)
			err = s.Commit(t.Context(), marked)
			<-held
			if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), "not known") {
				t.Errorf("%v, want code unavailable and that the outcome is open", err)
			}
			if _, err := s.ShardList(t.Context()); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
				t.Errorf("heads of a shard whose commit is open: %v, want code unavailable", err)
			}
			w.refuse(false)
			heads := make(chan int64)
			go func() {
				list, err := s.ShardList(t.Context())
				if err != nil {
					t.Error(err)
				}
				heads <- list[0].Seq
			}()
			await(t, direct, "SELECT 1 FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM pg_stat_activity WHERE query LIKE '%FROM shards%FOR UPDATE%' AND query NOT LIKE '%pg_locks%')")
			select {
			case n := <-heads:
				t.Errorf("the head was told as %d before the commit had ended", n)
				return
			default:
			}
			if err := direct.PutSetting(t.Context(), "go on", ""); err != nil {
				t.Fatal(err)
			}
			want := int64(0)
			if arrives {
				want = 1
			}
			if n := <-heads; n != want {
				t.Errorf("head %d, want %d", n, want)
			}
			if err := s.Commit(t.Context(), batchOf(0, h.Epoch, want+1, "anna")); err != nil {
				t.Error(err)
			}
			wantRows(t, direct, int(want)+1)
		})
	}
}

// doneOf is a stretch in which one task for each journal row was done.
func doneOf(from, to int64) store.Projected {
	p := store.Projected{From: from, To: to, Jobs: []store.JobRow{{Summary: cloudcrowd.JobSummary{ID: "j1", Name: fmt.Sprint("up to ", to)}}}}
	for seq := from + 1; seq <= to; seq++ {
		id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: "j1", Index: int32(seq)}, N: 1}
		p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: id.Task, State: cloudcrowd.TaskDone})
		p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: id, Owner: "anna", At: cloudcrowd.Time(seq)})
	}
	return p
}

// wantProjected holds that the tables have what all stretches up to a row did, each once.
func wantProjected(t testing.TB, s *Store, to int64) {
	t.Helper()
	at, err := s.ProjectedTo(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	tasks, _, err := s.Tasks(t.Context(), "j1", -1, store.Page{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	charges, _, err := s.Charges(t.Context(), store.ChargeFilter{Owner: "anna"}, store.Page{Limit: 1000})
	if err != nil || at != to || int64(len(tasks)) != to || int64(len(charges)) != to {
		t.Errorf("projected to %d, %d tasks, %d charges, %v, want %d of each", at, len(tasks), len(charges), err, to)
	}
	err = tables.Listings(t.Context(), s, func(l history.Listing) { t.Errorf("missing: %s", l) }, func(l history.Listing) { t.Errorf("foreign: %s", l) })
	if err != nil {
		t.Error(err)
	}
}

// A projection whose connection breaks in COMMIT goes on: with the same stretch, or with a longer one if the database was away meanwhile, and nothing is
// in the tables twice.
func TestCutInProject(t *testing.T) {
	t.Parallel()
	server := postgrestest.Shared(t)
	for _, arrives := range []bool{true, false} {
		for _, away := range []bool{true, false} {
			t.Run(fmt.Sprintf("done %v, away %v", arrives, away), func(t *testing.T) {
				t.Parallel()
				address := server.Address(t)
				direct := openAt(t, address)
				w := newWire(t, server.Socket())
				s := openAt(t, w.address(address))
				h, err := s.Acquire(t.Context(), 0)
				if err != nil {
					t.Fatal(err)
				}
				for seq := range int64(9) {
					if err := s.Commit(t.Context(), batchOf(0, h.Epoch, seq+1)); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Project(t.Context(), doneOf(0, 2)); err != nil {
					t.Fatal(err)
				}
				w.meddle(commitText, commitText, func(w *wire, statements []byte, client, backend net.Conn) {
					w.refuse(away)
					_ = client.Close()
					if arrives {
						_, _ = backend.Write(statements)
						await(w.t, direct, "SELECT 1 FROM projected WHERE seq >= 4")
					}
					_ = backend.Close()
				})
				err = s.Project(t.Context(), doneOf(2, 4))
				to := int64(4)
				if away {
					if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
						t.Errorf("%v, want code unavailable", err)
					}
					w.refuse(false)
					to = 7
					err = s.Project(t.Context(), doneOf(2, to))
				}
				if err != nil {
					t.Fatal(err)
				}
				wantProjected(t, direct, to)
				if err := s.Project(t.Context(), doneOf(to, 9)); err != nil {
					t.Fatal(err)
				}
				wantProjected(t, direct, 9)
				if err := s.Project(t.Context(), doneOf(to, 9)); !errors.Is(err, store.ErrFenced) {
					t.Errorf("the same stretch again: %v, want ErrFenced", err)
				}
			})
		}
	}
}

// A server that is killed without warning and started again has every commit that was acknowledged; of the others each is there or not, as the
// journal then says.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	s := openAt(t, server.Address(t))
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	rng := rand.New(rand.NewPCG(3, 4))
	acknowledged := map[int64]bool{}
	attempts, failures, projected := int64(0), 0, int64(0)
	for range rounds {
		after := attempts + int64(rng.IntN(60))
		later := time.Duration(rng.IntN(3000)) * time.Microsecond
		var killing sync.WaitGroup
		for seq := h.Seq + 1; ; seq++ {
			if attempts++; attempts == after+1 {
				killing.Go(func() {
					time.Sleep(later)
					server.Kill()
				})
			}
			err := s.Commit(t.Context(), batchOf(0, h.Epoch, seq, "anna"))
			if err == nil {
				if acknowledged[seq] = true; seq%5 > 0 {
					continue
				}
				if err = s.Project(t.Context(), doneOf(projected, seq)); err == nil {
					projected = seq
					continue
				}
				if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
					t.Fatalf("projection of %d to %d: %v", projected, seq, err)
				}
				break
			}
			if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
				t.Fatalf("commit %d: %v", seq, err)
			}
			failures++
			break
		}
		killing.Wait()
		if err := server.Run(); err != nil {
			t.Fatal(err)
		}
		heads, err := s.ShardList(t.Context())
		for cloudcrowd.CodeOf(err) == cloudcrowd.Unavailable {
			heads, err = s.ShardList(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		h.Seq = heads[0].Seq
		wantRows(t, s, int(h.Seq))
		if err := s.Project(t.Context(), doneOf(projected, h.Seq)); err != nil {
			t.Fatalf("projection of %d to %d: %v", projected, h.Seq, err)
		}
		projected = h.Seq
		wantProjected(t, s, projected)
		for seq := range acknowledged {
			if seq > h.Seq {
				t.Fatalf("row %d was acknowledged, the head is %d", seq, h.Seq)
			}
		}
		if extra := int(h.Seq) - len(acknowledged); extra < 0 || extra > failures {
			t.Fatalf("%d rows, %d were acknowledged and %d refused", h.Seq, len(acknowledged), failures)
		}
	}
	t.Logf("%d rows, %d acknowledged, %d refused", h.Seq, len(acknowledged), failures)
}

// killedAddress tells a child process of TestKill where the store is: the server must be its parent's, and outlive it.
const killedAddress = "CLOUDCROWD_TEST_KILLED_ADDRESS"

// Processes that commit are killed without warning: see storetest.
func TestKill(t *testing.T) {
	if os.Getenv(killedAddress) == "" {
		t.Setenv(killedAddress, postgrestest.Shared(t).Address(t))
	}
	storetest.Kill(t, func(t *testing.T, _ string) store.Store {
		s := openAt(t, os.Getenv(killedAddress))
		// What the killed process had sent may still be carried out for a moment, so that two reads may differ. A server waits for it by acquiring.
		if err := s.waitFor(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestDurable(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, func(t *testing.T, dir string) store.Store { return opened(t, dir) })
}
