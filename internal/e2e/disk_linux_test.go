package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// smallDisk mounts a file system of so many MiB at a new folder.
func smallDisk(t *testing.T, mebibytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mebibytes)); err != nil {
		lack(t, "a small file system cannot be mounted (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// fill takes what is left of a file system and returns what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// The server's disk is full: new work is refused with the reason, running work goes on at the workers, and everything goes on by itself when there is
// space again.
func TestServerDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 48)
	c := crowdIn(t, t.TempDir(), filepath.Join(disk, "data"), nil)
	c.hire("ada")
	c.hire("grace")
	c.online("ada", "grace")
	spec := c.spec(c.api, counting(2, 1, pair))
	running := c.midway(func() cloudcrowd.JobID { return c.submit(counting(8, 80, pair)) })
	free := fill(t, disk)
	short := c.impatient()
	until(t, "new work is refused", func() bool {
		_, err := short.Submit(t.Context(), spec, "")
		if err == nil {
			return false // the last bytes of the database's own room
		}
		if code := cloudcrowd.CodeOf(err); code != cloudcrowd.Unavailable {
			t.Fatalf("code %s: %v", code, err)
		}
		t.Log(err)
		if !strings.Contains(err.Error(), "full") && !strings.Contains(err.Error(), "space") {
			t.Errorf("the message does not say why: %v", err)
		}
		return true
	})
	if _, err := short.PutBytes(t.Context(), []byte(strings.Repeat("new", 100_000))); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("an upload: %v", err)
	}
	if status, err := c.op.Status(t.Context()); err != nil || status.ReadOnly == "" {
		t.Errorf("the overview says nothing: %+v, %v", status, err)
	}
	if job := c.job(running); job.State != cloudcrowd.JobRunning && job.State != cloudcrowd.JobDone { // done, if the disk was full too late to hold it up
		t.Errorf("the running job is %s: %s", job.State, job.Reason)
	}
	free()
	job := c.ended(running, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(8, 80) {
		t.Errorf("the answer is\n%s", got)
	}
	c.audit(job)
	again, err := c.api.Submit(t.Context(), spec, "")
	if err != nil {
		t.Fatal(err)
	}
	c.audit(c.ended(again.ID, cloudcrowd.JobDone))
}

// A worker's disk is full: it takes no work it cannot do, others do it, and it works again when there is space.
func TestWorkerDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 300) // a worker wants room before it takes work again
	c := newCrowd(t, shortLease, "ada", "grace")
	if err := os.MkdirAll(filepath.Dir(c.folder("linus")), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(disk, c.folder("linus")); err != nil {
		t.Fatal(err)
	}
	c.hire("linus")
	c.online("linus")
	free := fill(t, disk)
	everybody := "{replicas: 3, quorum: 2}"
	job := c.ended(c.submit(counting(6, 60, everybody)), cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(6, 60) {
		t.Errorf("the answer is\n%s", got)
	}
	if job.Refused > 0 {
		t.Errorf("%d results were refused", job.Refused)
	}
	for _, w := range job.Workers {
		t.Logf("%s: %d attempts, %d accepted, %d failed", w.Name, w.Attempts, w.Accepted, w.Failed)
		if w.Name == "linus" && w.Accepted > 0 {
			t.Error("a worker without a byte of disk delivered results")
		}
	}
	c.audit(job)
	free()
	var last cloudcrowd.Job
	until(t, "the worker works again", func() bool {
		last = c.ended(c.submit(counting(3, 60, "{replicas: 3, quorum: 3}")), cloudcrowd.JobDone)
		for _, w := range last.Workers {
			if w.Name == "linus" && w.Accepted > 0 {
				return true
			}
		}
		return false
	})
	c.audit(last)
}
