package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	driver "modernc.org/sqlite"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

// bookkeeper commits to shard 0.
type bookkeeper struct {
	t    *testing.T
	s    *Store
	head store.Head
}

func newBookkeeper(t *testing.T, s *Store) *bookkeeper {
	t.Helper()
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return &bookkeeper{t, s, h}
}

// commit issues one credit to anna in a row of some KiB.
func (b *bookkeeper) commit() error {
	seq := b.head.Seq + 1
	transfer := cloudcrowd.Transfer{ID: fmt.Sprintf("0-%d-0", seq), Kind: cloudcrowd.TransferIssue, Debit: "issuer", Credit: "anna", Amount: 1, Seq: seq, At: 1}
	err := b.s.Commit(b.t.Context(), store.Batch{Epoch: b.head.Epoch, Seq: seq, Events: make([]byte, 20_000), Transfers: []cloudcrowd.Transfer{transfer}})
	if err == nil {
		b.head.Seq = seq
	}
	return err
}

// check compares the store with what was acknowledged.
func (b *bookkeeper) check() {
	b.t.Helper()
	storetest.CheckSum(b.t, b.s)
	n := int64(0)
	if err := b.s.Rows(b.t.Context(), 0, 0, func(store.Row) error { n++; return nil }); err != nil || n != b.head.Seq {
		b.t.Errorf("%d rows, %v, want %d", n, err, b.head.Seq)
	}
	if a, err := b.s.Account(b.t.Context(), "anna"); err != nil || int64(a.Balance) != b.head.Seq {
		b.t.Errorf("account %+v, %v, want %d", a, err, b.head.Seq)
	}
}

// fill commits until the disk is full, and checks what the store says then.
func (b *bookkeeper) fill() {
	b.t.Helper()
	var err error
	for range 10_000 {
		if err = b.commit(); err != nil {
			break
		}
	}
	e, ok := errors.AsType[*cloudcrowd.Error](err)
	if !ok || e.Code != cloudcrowd.Unavailable || !strings.Contains(e.Msg, "full") || e.Hint == "" {
		b.t.Fatalf("after %d commits: %v, want code unavailable that speaks of a full disk", b.head.Seq, err)
	}
}

// When the database may not grow, commits answer Unavailable and leave nothing; reading goes on; with room again, so does writing.
func TestDatabaseFull(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	b := newBookkeeper(t, s)
	if err := b.commit(); err != nil {
		t.Fatal(err)
	}
	var pages int
	limit := func(pages int) {
		if _, err := s.durable.row(fmt.Sprintf("PRAGMA max_page_count = %d", pages), nil, &pages); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.durable.row("PRAGMA page_count", nil, &pages); err != nil {
		t.Fatal(err)
	}
	limit(pages + 100)
	b.fill()
	for range 3 {
		if err := b.commit(); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
			t.Errorf("%v, want code unavailable", err)
		}
	}
	b.check()
	limit(1 << 30)
	for range 10 {
		if err := b.commit(); err != nil {
			t.Fatal(err)
		}
	}
	b.check()
}

// The same on a disk that is really full, and what was acknowledged is there after opening it anew while it still is.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 6<<20)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, disk)
	b := newBookkeeper(t, s)
	b.fill()
	b.check()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := b.commit(); err != nil {
			t.Fatalf("with room again: %v", err)
		}
	}
	b.check()
	b.fill()
	if err := s.Close(); err != nil {
		t.Logf("closing on a full disk: %v", err)
	}
	if s, err := Open(t.Context(), s.path, Options{}); err == nil {
		b.s = s
		t.Cleanup(func() { _ = s.Close() })
		b.check()
	} else if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("opening on a full disk: %v, want success or code unavailable", err)
	}
}

// After a failed sync nothing is written until the store is opened anew, however healthy the disk looks.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	b := newBookkeeper(t, s)
	if err := b.commit(); err != nil {
		t.Fatal(err)
	}
	s.turn.Lock()
	s.failed = errors.New("fsync: input/output error")
	s.turn.Unlock()
	if err := b.commit(); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	if err := s.PutSetting(t.Context(), "a", "b"); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	b.check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b = newBookkeeper(t, open(t, dir))
	if err := b.commit(); err != nil {
		t.Error(err)
	}
	b.check()
}

// Every failure of the disk is told apart from a full one and from a caller's mistake.
func TestClassify(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	_, err := s.readers.Exec("INSERT INTO settings (key, value) VALUES ('a', 'b')") // this pool may only read
	if e, ok := errors.AsType[*driver.Error](err); !ok || fatal(err) {
		t.Fatalf("%v (%v), want an error of SQLite that is not fatal", err, e)
	}
	if have := classify(fmt.Errorf("wrapped: %w", err)); cloudcrowd.CodeOf(have) != cloudcrowd.Unavailable || !strings.Contains(have.Error(), "cannot be written") {
		t.Errorf("%v, want code unavailable", have)
	}
	_, err = s.readers.Exec("SELECT nun FROM journal") // as if a bit of the schema's text had flipped
	if have, ok := errors.AsType[*store.CorruptError](classify(err)); !ok || have.What != "the database file" {
		t.Errorf("%v became %v", err, have)
	}
	for _, err := range []error{nil, store.ErrFenced, &store.InsufficientError{}} {
		if have := classify(err); !errors.Is(have, err) {
			t.Errorf("%v became %v", err, have)
		}
	}
}
