package sqlite

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

func database(dir string) string { return filepath.Join(dir, "cloudcrowd.db") }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A WAL with one flipped bit, as a killed process left it, is not taken up as if what follows had never been: acquiring the shard is refused and names the
// journal, the epoch stays, and a reader says what was acknowledged. Without the file beside the database the shard goes on with what is there.
func TestDamagedWAL(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	head, err := s.Acquire(t.Context(), 0)
	must(t, err)
	for seq := int64(1); seq <= 20; seq++ {
		must(t, s.Commit(t.Context(), store.Batch{Shard: 0, Epoch: head.Epoch, Seq: seq, Events: []byte("row")}))
	}
	killed := t.TempDir() // the files as they are now
	must(t, os.CopyFS(killed, os.DirFS(dir)))
	must(t, os.Remove(database(killed)+".lock"))
	wal, err := os.ReadFile(database(killed) + "-wal")
	must(t, err)
	wal[len(wal)*3/4] ^= 4
	must(t, os.WriteFile(database(killed)+"-wal", wal, 0o600))

	view, err := OpenSnapshot(t.Context(), database(killed))
	must(t, err)
	if said := view.Acknowledged(); said[0] != 20 || len(said) != 1 {
		t.Errorf("acknowledged are %v", said)
	}
	must(t, view.Close())
	again := open(t, killed)
	_, err = again.Acquire(t.Context(), 0)
	if e, ok := errors.AsType[*store.CorruptError](err); !ok || e.What != "journal of shard 0" || !strings.Contains(err.Error(), "up to 20 ") {
		t.Fatalf("acquired, %v", err)
	}
	must(t, again.Close())
	must(t, os.Remove(database(killed)+".head"))
	again = open(t, killed)
	lower, err := again.Acquire(t.Context(), 0)
	must(t, err)
	if lower.Seq >= 20 || lower.Epoch != head.Epoch+1 {
		t.Errorf("it goes on at row %d under epoch %d; before, %d", lower.Seq, lower.Epoch, head.Epoch)
	}
	must(t, again.Commit(t.Context(), store.Batch{Shard: 0, Epoch: lower.Epoch, Seq: lower.Seq + 1}))
	must(t, again.Close())
	_, err = open(t, killed).Acquire(t.Context(), 0)
	must(t, err)
}
