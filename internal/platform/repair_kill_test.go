package platform

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

const repaired = "CLOUDCROWD_TEST_REPAIR"

// A repair that is killed leaves the old database in its place or the new one, and repairing again works.
func TestRepairKilled(t *testing.T) {
	if dir := os.Getenv(repaired); dir != "" {
		_, _ = Repair(context.Background(), dir, false)
		return
	}
	t.Parallel()
	dir, db := aHistoryOf(t, 3)
	if _, err := db.Exec("DELETE FROM accounts"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	lots, replaced := rand.New(rand.NewPCG(3, 4)), 0
	for range 8 {
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
		child.Env = append(os.Environ(), repaired+"="+dir)
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(time.Duration(lots.IntN(250))*time.Millisecond, func() { _ = child.Process.Kill() })
		_ = child.Wait()
		kill.Stop()
		names, err := filepath.Glob(filepath.Join(dir, databaseFile+damagedSuffix+"*"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := Fsck(t.Context(), dir, FsckOptions{Quick: true})
		if err != nil || r.Verdict == Faulty && (replaced > 0 || len(names) > 1) {
			t.Fatalf("%+v, %v, %v", r, names, err)
		}
		if r.Verdict == Clean {
			replaced++
		}
	}
	if r, err := Repair(t.Context(), dir, false); err != nil || r.Verdict != Clean {
		t.Fatalf("%+v, %v, replaced %d times before", r, err, replaced)
	}
	mustBeClean(t, check(t, dir, FsckOptions{}))
}

// While a server has the database open, or where there is none, a repair is refused.
func TestRepairRefuses(t *testing.T) {
	t.Parallel()
	h := newHistory(t, quickDir(t), 1)
	if _, err := Repair(t.Context(), h.dir, false); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
		t.Errorf("%v, want code conflict", err)
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Repair(t.Context(), t.TempDir(), false); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("%v, want code not found", err)
	}
}
