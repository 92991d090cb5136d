package e2e

import (
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// A worker among three honest ones misbehaves in every way it can: the answer is right, what was wrong is refused and unpaid, and the job says whose
// results were.
func TestMisbehave(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, shortLease, "ada", "grace", "linus")
	want := counted(6, 10)
	for _, mode := range []struct {
		how     string
		refused bool // results of it are refused
		paid    bool // it may earn something
	}{
		{"lie", true, false},
		{"garbage", true, false},
		{"nothing", true, false},
		{"huge", true, false},
		{"swap", true, true}, // the first result is its own
		{"twice", false, true},
		{"vanish", false, true},
		{"slow", false, true},
	} {
		t.Run(mode.how, func(t *testing.T) {
			c.in(t)
			c.dismiss("linus") // until the bad one has done its worst: with two honest ones alone nothing can be decided against it
			bad := "mallory-" + mode.how
			c.hire(bad, "--misbehave", mode.how)
			c.online(bad)
			id := c.submit(counting(6, 10, "{replicas: 3, quorum: 3}"))
			until(t, bad+" misbehaves", func() bool {
				return c.reports(id, bad) >= 2 || c.workers[bad].gone()
			})
			c.work("linus", "")
			job := c.ended(id, cloudcrowd.JobDone)
			if got := c.answer(job, "lines.txt"); got != want {
				t.Errorf("the answer is\n%s", got)
			}
			i := slices.IndexFunc(job.Workers, func(w cloudcrowd.JobWorker) bool { return w.Name == bad })
			if i < 0 {
				t.Fatalf("%s had no part in the job", bad)
			}
			w := job.Workers[i]
			notes := strings.Join(job.Notes, "\n")
			t.Logf("%d attempts, %d accepted, %d refused, %d failed; %s", w.Attempts, w.Accepted, w.Refused, w.Failed, notes)
			if mode.refused && (w.Refused == 0 || job.Refused != w.Refused || !strings.Contains(notes, bad)) {
				t.Errorf("%d of %d refused results are from %s; notes: %s", w.Refused, job.Refused, bad, notes)
			}
			if !mode.refused && job.Refused > 0 {
				t.Errorf("%d results were refused", job.Refused)
			}
			if !mode.paid && (w.Earned != 0 || w.Accepted != 0 || len(c.charges(cloudcrowd.AccountID(bad), id, true)) > 0) {
				t.Errorf("%s earned %s by %d results", bad, w.Earned, w.Accepted)
			}
			for _, w := range job.Workers {
				if w.Name != bad && (w.Refused > 0 || w.Failed > 0) {
					t.Errorf("of honest %s's results %d were refused, %d failed", w.Name, w.Refused, w.Failed)
				}
			}
			c.audit(job)
			if mode.how == "vanish" {
				until(t, "it vanishes", c.workers[bad].gone)
			} else {
				c.dismiss(bad)
			}
		})
	}
}

// reports counts the results of a job that a worker has returned.
func (c *crowd) reports(id cloudcrowd.JobID, worker string) int {
	n := 0
	for _, a := range c.attempts(id) {
		if a.WorkerName == worker && a.Result != nil {
			n++
		}
	}
	return n
}
