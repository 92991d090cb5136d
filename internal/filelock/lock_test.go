package filelock

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A lock excludes every other taker, who learns whose it is, until it is released.
func TestTake(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, _, err := Take(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, owner, err := Take(path); !errors.Is(err, ErrLocked) || owner != fmt.Sprintf("pid %d", os.Getpid()) {
		t.Errorf("a second taker gets %q, %v", owner, err)
	}
	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	again, _, err := Take(path)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again.Release(); err != nil {
		t.Error(err)
	}
}

// A folder that is not there is said, and is not taken for a lock of somebody else.
func TestTakeNowhere(t *testing.T) {
	t.Parallel()
	if _, _, err := Take(filepath.Join(t.TempDir(), "none", "lock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
