package postgres

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
)

// Servers that start at once on an empty database all find it complete, and each step of the schema was done once.
func TestMigrateTogether(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	var wait sync.WaitGroup
	stores := make([]*Store, 8)
	for i := range stores {
		wait.Go(func() {
			var err error
			if stores[i], err = Open(t.Context(), address, Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, s := range stores {
		if s == nil {
			continue
		}
		if err := s.PutSetting(t.Context(), "a", "b"); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A database of a newer version is refused with both versions, also for reading, and left as it was; one without tables cannot be read.
func TestNewerSchema(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	if _, err := OpenSnapshot(t.Context(), address, Options{}); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("an empty database opens for reading with %v", err)
	}
	openAt(t, address)
	postgrestest.Exec(t, address, "INSERT INTO schema_versions (version) VALUES (99)")
	for _, open := range []func() (*Store, error){
		func() (*Store, error) { return Open(t.Context(), address, Options{}) },
		func() (*Store, error) { return OpenSnapshot(t.Context(), address, Options{}) },
	} {
		if _, err := open(); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict || !strings.Contains(err.Error(), "99") || !strings.Contains(err.Error(), "newer") {
			t.Errorf("%v, want code conflict and the versions", err)
		}
	}
	postgrestest.Exec(t, address, "DELETE FROM schema_versions WHERE version = 99")
	openAt(t, address)
}

// A store that was opened for reading sees one moment, and refuses to write.
func TestSnapshotView(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	s := openAt(t, address)
	commits(t, s, 3)
	view, err := OpenSnapshot(t.Context(), address, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if err := s.Commit(t.Context(), batchOf(0, 1, 4, "anna")); err != nil {
		t.Fatal(err)
	}
	heads, err := view.ShardList(t.Context())
	if err != nil || heads[0].Seq != 3 {
		t.Errorf("heads %+v, %v, want row 3", heads, err)
	}
	if a, err := view.Account(t.Context(), "anna"); err != nil || a.Balance != 0 {
		t.Errorf("%+v, %v, want nothing", a, err)
	}
	if seq, state, err := view.Snapshot(t.Context(), 0); err != nil || seq != 2 || string(state) != "the state" {
		t.Errorf("snapshot %d %q, %v", seq, state, err)
	}
	if ends, err := view.JournalEnds(t.Context()); err != nil || ends[0] != 3 {
		t.Errorf("ends %v, %v, want row 3", ends, err)
	}
	if err := view.PutSetting(t.Context(), "a", "b"); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
		t.Errorf("writing: %v, want code forbidden", err)
	}
	if err := view.Commit(t.Context(), batchOf(0, 1, 4)); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
		t.Errorf("committing: %v, want code forbidden", err)
	}
}

// A database that does not sync is refused, with the setting's name.
func TestUnsafeServer(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "fsync=off")
	_, err := Open(t.Context(), server.Address(t), Options{})
	if cloudcrowd.CodeOf(err) != cloudcrowd.Conflict || !strings.Contains(err.Error(), "fsync") {
		t.Errorf("%v, want code conflict and the setting", err)
	}
}

// A database without checksums of pages is told from one with them; one with them answers no account from a page that its disk changed, and the error names the page.
func TestUnsummed(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "ignore_checksum_failure=off")
	address := server.Address(t)
	if is, err := Unsummed(t.Context(), address, Options{}); err != nil || is != (postgrestest.Major(t) < 18) {
		t.Errorf("%v, %v", is, err)
	}
	if postgrestest.Major(t) < 18 {
		server.Sum(t)
	}
	s := openAt(t, address)
	if is, err := s.Unsummed(t.Context()); err != nil || is {
		t.Errorf("%v, %v, want one with checksums", is, err)
	}
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	gift := func(seq int64) error {
		return s.Commit(t.Context(), store.Batch{Epoch: h.Epoch, Seq: seq, Count: 1, Events: []byte("x"), Transfers: []cloudcrowd.Transfer{
			{ID: fmt.Sprintf("0-%d-0", seq), Kind: cloudcrowd.TransferIssue, Debit: "issuer", Credit: "anna", Amount: 5, Seq: seq}}})
	}
	if err := gift(1); err != nil {
		t.Fatal(err)
	}
	server.Flip(t, address, "accounts")
	for what, try := range map[string]func() error{
		"one account":  func() error { _, err := s.Account(t.Context(), "anna"); return err },
		"all accounts": func() error { _, err := s.Accounts(t.Context()); return err },
		"a commit":     func() error { return gift(2) },
	} {
		err := try()
		for range 8 { // connections of before
			if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
				break
			}
			err = try()
		}
		if e, ok := errors.AsType[*store.CorruptError](err); !ok || !strings.Contains(e.What, "page") {
			t.Errorf("%s: %v, want the page named", what, err)
		}
	}
	if heads, err := s.ShardList(t.Context()); err != nil || heads[0].Seq != 1 {
		t.Errorf("%+v, %v, want the journal to end at 1", heads, err)
	}
}

// What is committed is synced also where the database's own default says otherwise.
func TestSynchronousCommit(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "synchronous_commit=off")
	s := openAt(t, server.Address(t))
	var v string
	if _, err := row(t.Context(), s.writes, "SHOW synchronous_commit", nil, &v); err != nil || v != "on" {
		t.Errorf("synchronous_commit is %q, %v, want on", v, err)
	}
}

// No message holds the password, wherever it was given; an address that cannot be read is named as the caller's mistake, a database that is not
// there as gone.
func TestSecrets(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		address, file string
		code          cloudcrowd.Code
	}{
		{"postgres://anna:geheim@127.0.0.1:1/cloudcrowd", "", cloudcrowd.Unavailable},
		{"postgres://anna@127.0.0.1:1/cloudcrowd?password=geheim", "", cloudcrowd.Unavailable},
		{"postgres://anna@127.0.0.1:1/cloudcrowd", file, cloudcrowd.Unavailable},
		{"postgres://anna:geheim@127.0.0.1:port/cloudcrowd", "", cloudcrowd.Invalid},
		{"postgres://anna:geh%zzeim@127.0.0.1/cloudcrowd", "", cloudcrowd.Invalid},
		{"mysql://anna:geheim@127.0.0.1/cloudcrowd", "", cloudcrowd.Invalid},
		{"postgres://anna@127.0.0.1:1/cloudcrowd", file + "x", cloudcrowd.Invalid},
	} {
		s, err := Open(t.Context(), tt.address, Options{PasswordFile: tt.file})
		if err == nil {
			_ = s.Close()
		}
		if cloudcrowd.CodeOf(err) != tt.code || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "eim@") {
			t.Errorf("%s: %v, want code %s and no password", tt.address, err, tt.code)
		}
	}
	if name := Name("postgres://anna:geheim@db.example.org/cloudcrowd"); strings.Contains(name, "geheim") || !strings.Contains(name, "db.example.org") {
		t.Errorf("the name is %q", name)
	}
	for address, want := range map[string]bool{"postgres://a:b@c/d": true, "postgres://a@c/d?password=b": true, "postgres://a@c/d": false, "postgres://a:%zz@c/d": true} {
		if HasPassword(address) != want {
			t.Errorf("%s: a password: %v, want %v", address, !want, want)
		}
	}
}

// Text that a database's own text cannot hold is kept where people may write it, and refused as theirs where it cannot be.
func TestOddText(t *testing.T) {
	t.Parallel()
	s := openAt(t, postgrestest.Shared(t).Address(t))
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(0, h.Epoch, 1, "anna")
	b.Transfers[0].Note = "a zero \x00 and no UTF-8 \xff"
	if err := s.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	list, err := s.transfersOf(t, "anna")
	if err != nil || len(list) != 1 || list[0].Note != b.Transfers[0].Note {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := s.Account(t.Context(), "a\x00b"); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Errorf("an account with a zero byte in its name: %v, want code invalid", err)
	}
}

// A lock that somebody holds for too long is answered as unavailable, and nothing of the commit stays behind.
func TestPatience(t *testing.T) {
	t.Parallel()
	address := postgrestest.Shared(t).Address(t)
	s, err := Open(t.Context(), address, Options{Patience: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), batchOf(0, h.Epoch, 1, "anna")); err != nil {
		t.Fatal(err)
	}
	spending := batchOf(0, h.Epoch, 2, "bert")
	spending.Place = []cloudcrowd.Hold{{Job: "j", Account: "anna", Amount: 1, State: cloudcrowd.HoldPending}}
	other := openAt(t, address)
	if _, err := other.writes.Exec(t.Context(), "INSERT INTO spenders (id) VALUES ('anna')"); err != nil {
		t.Fatal(err)
	}
	tx, err := other.writes.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT 1 FROM spenders WHERE id = 'anna' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), spending); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), spending); err != nil {
		t.Error(err)
	}
}

// A database of every earlier version opens, is brought up to date, and keeps what it held.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	list, err := steps()
	if err != nil {
		t.Fatal(err)
	}
	for older := 1; older < len(list); older++ {
		address := postgrestest.Shared(t).Address(t)
		text := "CREATE TABLE schema_versions (version BIGINT PRIMARY KEY);"
		for _, step := range list[:older] {
			text += fmt.Sprintf("INSERT INTO schema_versions (version) VALUES (%d);\n%s", step.version, step.text)
		}
		postgrestest.Exec(t, address, text+"INSERT INTO shards (shard, epoch, head) VALUES (3, 7, 0); INSERT INTO projected (shard, seq) VALUES (3, 0)")
		s := openAt(t, address)
		heads, err := s.ShardList(t.Context())
		if h := heads[3]; err != nil || h.Epoch != 7 || h.Owner != "" {
			t.Errorf("from version %d: %+v, %v, want epoch 7 and no owner", older, h, err)
		}
		if h, err := s.Claim(t.Context(), 3, "server", 7); err != nil || h.Epoch != 8 {
			t.Errorf("from version %d: %+v, %v", older, h, err)
		}
		if err := s.PutServer(t.Context(), store.Server{ID: "server"}); err != nil {
			t.Error(err)
		}
	}
}
