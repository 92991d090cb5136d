package file

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/blobtest"
)

func TestSharedStore(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store {
		s, err := OpenShared(quickDir(t))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// Processes that share a directory leave alone what the others are writing, though not what nobody has written to for long, and answer for what another one
// has made visible.
func TestShared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, err := OpenShared(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := blobtest.Bytes(200_000, 1)
	w, err := a.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "tmp", "blob-old")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*abandoned)); err != nil {
		t.Fatal(err)
	}
	other, err := OpenShared(dir)
	if err != nil {
		t.Fatal(err)
	}
	d, err := w.Commit()
	if err != nil {
		t.Fatalf("what was being written when another process opened the directory: %v", err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("what nobody writes any more is still there: %v", err)
	}
	f := other.folder(d)
	for range 2 {
		before := f.synced
		if _, err := blob.PutBytes(t.Context(), other, b); err != nil {
			t.Fatal(err)
		}
		if f.synced == before {
			t.Error("the name of a blob that another process stored was not synced")
		}
	}
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}
