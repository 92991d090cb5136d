package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

func openSnapshot(t *testing.T, path string) *Store {
	t.Helper()
	s, err := OpenSnapshot(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// All that a snapshot answers is of one moment, though the live store commits, saves and checkpoints meanwhile; and the live store goes on as if
// nobody read.
func TestSnapshotBesideCommits(t *testing.T) {
	t.Parallel()
	live := open(t, quickDir(t))
	b := newBookkeeper(t, live)
	commit := func(n int) {
		t.Helper()
		for range n {
			if err := b.commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit(20)
	if err := live.SaveSnapshot(t.Context(), 0, b.head.Epoch, 15, []byte("state at 15")); err != nil {
		t.Fatal(err)
	}
	s := openSnapshot(t, live.path)
	look := func() {
		t.Helper()
		heads, err := s.ShardList(t.Context())
		if err != nil || heads[0].Seq != 20 || heads[0].SnapshotSeq != 15 {
			t.Fatalf("%+v, %v, want head 20 and snapshot 15", heads[0], err)
		}
		n := 0
		err = s.Rows(t.Context(), 0, 0, func(r store.Row) error {
			n++
			_, err := s.Account(t.Context(), "anna") // a callback may read
			return err
		})
		if err != nil || n != 20 {
			t.Fatalf("%d rows, %v, want 20", n, err)
		}
		if a, err := s.Account(t.Context(), "anna"); err != nil || a.Balance != 20 {
			t.Fatalf("%+v, %v, want 20", a, err)
		}
		if seq, state, err := s.Snapshot(t.Context(), 0); err != nil || seq != 15 || string(state) != "state at 15" {
			t.Fatalf("%d %q %v, want the snapshot at 15", seq, state, err)
		}
		if ends, err := s.JournalEnds(t.Context()); err != nil || len(ends) != 1 || ends[0] != 20 {
			t.Fatalf("%v, %v, want the journal of shard 0 to end at 20", ends, err)
		}
		if list, _, err := s.Transfers(t.Context(), store.TransferFilter{}, store.Page{Limit: 100}); err != nil || len(list) != 20 {
			t.Fatalf("%d transfers, %v, want 20", len(list), err)
		}
	}
	look()
	live.turn.Lock()
	live.room.bound = 10 // pages
	live.turn.Unlock()
	for range 3 {
		commit(30)
		if err := live.SaveSnapshot(t.Context(), 0, b.head.Epoch, b.head.Seq, []byte("later")); err != nil {
			t.Fatal(err)
		}
		live.checkpoint()
		look()
	}
	live.room.mu.Lock()
	if live.room.later == 0 {
		t.Error("a reader keeps the WAL from beginning anew, and every checkpoint would make commits wait for it")
	}
	live.room.mu.Unlock()
	if bad, err := s.Integrity(t.Context(), false); err != nil || bad != nil {
		t.Errorf("%q, %v, want a sound database", bad, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	commit(10)
	b.check()
}

// A snapshot writes nothing: every method that would is refused, and the database stays as it was.
func TestSnapshotWritesNothing(t *testing.T) {
	t.Parallel()
	live := open(t, quickDir(t))
	b := newBookkeeper(t, live)
	if err := b.commit(); err != nil {
		t.Fatal(err)
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(live.path)
	if err != nil {
		t.Fatal(err)
	}
	s, ctx := openSnapshot(t, live.path), t.Context()
	for name, write := range map[string]func() error{
		"Acquire":         func() error { _, err := s.Acquire(ctx, 0); return err },
		"Commit":          func() error { return s.Commit(ctx, store.Batch{Epoch: 1, Seq: 2}) },
		"SaveSnapshot":    func() error { return s.SaveSnapshot(ctx, 0, 1, 1, nil) },
		"Project":         func() error { return s.Project(ctx, store.Projected{To: 1}) },
		"ClearProjection": func() error { return s.ClearProjection(ctx, 0) },
		"PutToken":        func() error { return s.PutToken(ctx, "h", cloudcrowd.Token{ID: "t"}) },
		"DeleteToken":     func() error { return s.DeleteToken(ctx, "t") },
		"PutInvite":       func() error { return s.PutInvite(ctx, "h", cloudcrowd.Invite{ID: "i"}) },
		"RevokeInvite":    func() error { return s.RevokeInvite(ctx, "i") },
		"Join":            func() error { _, err := s.Join(ctx, "h", cloudcrowd.Worker{ID: "w"}, 1); return err },
		"SeenWorker":      func() error { return s.SeenWorker(ctx, "w", cloudcrowd.WorkerInfo{}, 1) },
		"RevokeWorker":    func() error { return s.RevokeWorker(ctx, "w", true) },
		"PutSetting":      func() error { return s.PutSetting(ctx, "a", "b") },
		"KeepSetting":     func() error { _, err := s.KeepSetting(ctx, "a", "b"); return err },
		"Claim":           func() error { _, err := s.Claim(ctx, 0, "s", 1); return err },
		"Release":         func() error { return s.Release(ctx, 0, 1) },
		"PutServer":       func() error { return s.PutServer(ctx, store.Server{ID: "s"}) },
		"DropServer":      func() error { return s.DropServer(ctx, "s") },
	} {
		if err := write(); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
			t.Errorf("%s: %v, want code forbidden", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile(live.path)
	if err != nil || string(after) != string(before) {
		t.Errorf("the database file changed (%v)", err)
	}
	newBookkeeper(t, open(t, filepath.Dir(live.path))) // and can be opened for writing again
}

// What is no database of this version is refused with words, and nothing is created.
func TestSnapshotRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("text.db", strings.Repeat("this is no database ", 100))
	write("empty.db", "")
	foreign, err := sql.Open("sqlite", filepath.Join(dir, "foreign.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := foreign.Exec("CREATE TABLE shards (a)"); err != nil {
		t.Fatal(err)
	}
	if err := foreign.Close(); err != nil {
		t.Fatal(err)
	}
	for schema, name := range map[int]string{-1: "old.db", 1: "new.db"} {
		s, err := Open(t.Context(), filepath.Join(dir, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", address(filepath.Join(dir, name), ""))
		if err != nil {
			t.Fatal(err)
		}
		known, err := newestSchema()
		if err != nil || known < 1 {
			t.Fatal(known, err)
		}
		if _, err := db.Exec(fmt.Sprintf("UPDATE goose_db_version SET version_id = %d WHERE version_id = %d", known+int64(schema), known)); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, code := range map[string]cloudcrowd.Code{"missing.db": cloudcrowd.NotFound, "empty.db": cloudcrowd.NotFound, ".": cloudcrowd.NotFound, "old.db": cloudcrowd.Conflict, "new.db": cloudcrowd.Conflict} {
		_, err := OpenSnapshot(t.Context(), filepath.Join(dir, name))
		if e, ok := errors.AsType[*cloudcrowd.Error](err); !ok || e.Code != code || e.Hint == "" || !strings.Contains(e.Msg, dir) {
			t.Errorf("%s: %v, want code %s, the path and a hint", name, err, code)
		}
	}
	for _, name := range []string{"text.db", "foreign.db"} {
		_, err := OpenSnapshot(t.Context(), filepath.Join(dir, name))
		if _, ok := errors.AsType[*store.CorruptError](err); !ok {
			t.Errorf("%s: %v, want a corrupt database", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "missing.db")); err == nil {
		t.Error("a missing database was created")
	}
}

// A damaged snapshot is named and not given out.
func TestSnapshotDamaged(t *testing.T) {
	t.Parallel()
	live := open(t, quickDir(t))
	b := newBookkeeper(t, live)
	if err := b.commit(); err != nil {
		t.Fatal(err)
	}
	if seq, state, err := live.Snapshot(t.Context(), 0); seq != 0 || state != nil || err != nil {
		t.Errorf("%d %q %v, want no snapshot", seq, state, err)
	}
	if err := live.SaveSnapshot(t.Context(), 0, b.head.Epoch, 1, []byte("state")); err != nil {
		t.Fatal(err)
	}
	if _, err := live.durable.exec("UPDATE snapshots SET state = 'stage'"); err != nil {
		t.Fatal(err)
	}
	s := openSnapshot(t, live.path)
	seq, state, err := s.Snapshot(t.Context(), 0)
	if _, ok := errors.AsType[*store.CorruptError](err); !ok || state != nil || seq != 1 {
		t.Errorf("%d %q %v, want a corrupt snapshot 1", seq, state, err)
	}
}
