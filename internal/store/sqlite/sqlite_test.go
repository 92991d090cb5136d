package sqlite

import (
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/storetest"
)

// open opens a store in a folder.
func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(dir, "cloudcrowd.db"), Options{ProjectedRows: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, quickDir(t)) })
}

// quickDir is a folder for tests that make thousands of commits and ask nothing of the disk: in memory where the system offers that.
func quickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cloudcrowd-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
