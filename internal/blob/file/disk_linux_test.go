package file

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// smallDisk mounts a file system of so many bytes for one test.
func smallDisk(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatalf("a small file system cannot be mounted: %v", err)
		}
		t.Skipf("SKIPPED: a small file system cannot be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
