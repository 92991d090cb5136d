package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

func TestDurable(t *testing.T) {
	t.Parallel()
	storetest.RunDurable(t, func(t *testing.T, dir string) store.Store { return open(t, dir) })
}

func TestKill(t *testing.T) {
	storetest.Kill(t, func(t *testing.T, dir string) store.Store { return open(t, dir) })
}

// tamper runs a statement on the closed database, past the store.
func tamper(t *testing.T, dir, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", address(filepath.Join(dir, "cloudcrowd.db"), ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Exec(text)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%s changed %d rows, %v", text, n, err)
	}
}

// commits writes n rows and a snapshot at row 2 of shard 0, and closes the store.
func commits(t *testing.T, dir string, n int) {
	t.Helper()
	s := open(t, dir)
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
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Whatever is changed in a journal row, or if it is gone, reading stops before it with an error that names it.
func TestCorruptRow(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"UPDATE journal SET events = x'74686520657665ff7473' WHERE key = 3",
		"UPDATE journal SET events = x'' WHERE key = 3",
		"UPDATE journal SET events = 'the events!' WHERE key = 3",
		"UPDATE journal SET at = at + 1 WHERE key = 3",
		"UPDATE journal SET count = 4 WHERE key = 3",
		"UPDATE journal SET epoch = 9 WHERE key = 3",
		"UPDATE journal SET sum = sum + 1 WHERE key = 3",
		"UPDATE journal SET at = 'noon' WHERE key = 3",
		"DELETE FROM journal WHERE key = 3",
	} {
		dir := t.TempDir()
		commits(t, dir, 5)
		tamper(t, dir, text)
		s := open(t, dir)
		seen := int64(0)
		err := s.Rows(t.Context(), 0, 0, func(r store.Row) error { seen = r.Seq; return nil })
		if e, ok := errors.AsType[*store.CorruptError](err); !ok || e.What != "journal row 0/3" || seen > 2 {
			t.Errorf("%s: %v after row %d, want row 0/3 named after row 2", text, err, seen)
		}
	}
}

// A journal that lost its last row is noticed, too.
func TestTruncatedJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	commits(t, dir, 5)
	tamper(t, dir, "DELETE FROM journal WHERE key = 5")
	err := open(t, dir).Rows(t.Context(), 0, 0, func(store.Row) error { return nil })
	if e, ok := errors.AsType[*store.CorruptError](err); !ok || e.What != "journal row 0/5" {
		t.Errorf("%v, want row 0/5 named", err)
	}
}

// A damaged snapshot is not given out, and the shard keeps its epoch.
func TestCorruptSnapshot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	commits(t, dir, 5)
	tamper(t, dir, "UPDATE snapshots SET state = x'00'")
	s := open(t, dir)
	_, err := s.Acquire(t.Context(), 0)
	if e, ok := errors.AsType[*store.CorruptError](err); !ok || e.What != "snapshot 0/2" {
		t.Errorf("%v, want snapshot 0/2 named", err)
	}
	if list, err := s.ShardList(t.Context()); err != nil || list[0].Epoch != 1 {
		t.Errorf("%v, %v, want epoch 1", list, err)
	}
}

// A database that the ledger's own rules would not allow cannot be made by SQL either.
func TestSchemaKeepsRules(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	for _, text := range []string{
		"INSERT INTO accounts (id, balance, held) VALUES ('anna', -1, 0)",
		"INSERT INTO accounts (id, balance, held) VALUES ('anna', 5, 6)",
		"INSERT INTO holds (job, account, amount, posted, state, at) VALUES ('j', 'anna', 5, 6, 'pending', 0)",
	} {
		if err := s.write(t.Context(), func(w *writer) error { _, err := w.exec(text); return err }); cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
			t.Errorf("%s: %v, want an internal error", text, err)
		}
	}
}

// A second opening of the same directory is refused with the first one's process number, and works once that has closed.
func TestInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	path := filepath.Join(dir, "cloudcrowd.db")
	_, err := Open(t.Context(), path, Options{})
	if cloudcrowd.CodeOf(err) != cloudcrowd.Conflict || !strings.Contains(err.Error(), "pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("%v, want code conflict and the pid", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

// A database of a newer version is refused with both versions and left as it was.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	commits(t, dir, 2)
	tamper(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	_, err := Open(t.Context(), filepath.Join(dir, "cloudcrowd.db"), Options{})
	if cloudcrowd.CodeOf(err) != cloudcrowd.Conflict || !strings.Contains(err.Error(), "99") || !strings.Contains(err.Error(), "newer") {
		t.Errorf("%v, want code conflict and the versions", err)
	}
	tamper(t, dir, "DELETE FROM goose_db_version WHERE version_id = 99")
	open(t, dir)
}

// What is no database is refused, not overwritten.
func TestNoDatabase(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "cloudcrowd.db")
	text := []byte(strings.Repeat("these are my holiday pictures ", 500))
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), path, Options{})
	if _, ok := errors.AsType[*store.CorruptError](err); !ok {
		t.Errorf("%v, want a CorruptError", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != string(text) {
		t.Errorf("the file was changed: %v", err)
	}
}

// The database and what lies beside it are for their owner alone; names that look like parts of an address are names.
func TestFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b?c#d%20")
	s := open(t, dir)
	if err := s.PutSetting(t.Context(), "a", "b"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 {
		t.Fatalf("%v, %v, want database, WAL and lock", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if os.PathSeparator == '/' && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
}

// A commit that was begun is finished whatever becomes of its caller, so that its outcome is known.
func TestCommitOutlivesCaller(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	err := s.write(ctx, func(w *writer) error {
		cancel()
		_, err := w.exec("INSERT INTO settings (key, value) VALUES ('a', 'b')")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Setting(t.Context(), "a"); err != nil || v != "b" {
		t.Errorf("%q, %v, want b", v, err)
	}
}
