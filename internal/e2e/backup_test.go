package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// A backup is taken while jobs run and come in; then the server and its disk are gone. What is restored elsewhere agrees with itself, every job that was
// acknowledged before the backup began is there and ends with the right answer, and the same workers and tokens go on.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil, "ada", "grace")
	id := c.submit(counting(8, 40, pair))
	load := c.keepSubmitting(counting(2, 5, pair))
	c.reached(id, "a task is done, and jobs come in", func(j cloudcrowd.Job) bool { return j.TasksDone > 0 && len(load.acknowledged()) >= 3 })
	before := slices.Clone(load.acknowledged())
	forms := []string{filepath.Join(c.dir, "backup.tar.zst"), filepath.Join(c.dir, "backup")}
	for _, to := range forms {
		if r := command(t, nil, "backup", "--data", c.data, "--out", to, "--json"); r.status != 0 {
			t.Fatalf("status %d: %s%s", r.status, r.stdout, r.stderr)
		}
	}
	load.end()
	c.server.kill()
	for _, from := range forms {
		if r := command(t, nil, "backup", "verify", from, "--json"); r.status != 0 || !strings.Contains(r.last(), `"clean"`) {
			t.Fatalf("verify: status %d: %s%s", r.status, r.stdout, r.stderr)
		}
		c.data = from + "-restored"
		if r := command(t, nil, "restore", from, "--data", c.data, "--json"); r.status != 0 {
			t.Fatalf("restore: status %d: %s%s", r.status, r.stdout, r.stderr)
		}
		c.fsck()
	}
	c.again()
	c.online("ada", "grace")
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(8, 40) {
		t.Errorf("the answer is\n%s", got)
	}
	want := counted(2, 5)
	for _, id := range before {
		job := c.ended(id, cloudcrowd.JobDone)
		if got := c.answer(job, "lines.txt"); got != want {
			t.Errorf("the answer of %s is\n%s", id, got)
		}
	}
	c.audit(job)
}
