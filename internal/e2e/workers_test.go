package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// pair demands two equal results of every task.
const pair = "{replicas: 2, quorum: 2}"

// shortLease lets the work of a worker that is silent go elsewhere soon.
var shortLease = []string{"--lease", "3s"}

// leasedTo reports whether a worker has an attempt of a job that it has not returned.
func (c *crowd) leasedTo(id cloudcrowd.JobID, worker string) bool {
	return slices.ContainsFunc(c.attempts(id), func(a cloudcrowd.Attempt) bool { return a.WorkerName == worker && a.State == cloudcrowd.AttemptLeased })
}

// lostBy reports whether a worker has let a lease of a job go.
func (c *crowd) lostBy(id cloudcrowd.JobID, worker string) bool {
	return slices.ContainsFunc(c.attempts(id), func(a cloudcrowd.Attempt) bool { return a.WorkerName == worker && a.State == cloudcrowd.AttemptLost })
}

// Two of four workers are killed and one is frozen beyond its lease, all in the middle of their work: their leases go elsewhere, who comes back is
// taken back, and the answer is right.
func TestLoseWorkers(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, shortLease, "ada", "grace", "linus", "barbara")
	id := c.submit(counting(16, 60, pair))
	for _, name := range []string{"ada", "grace", "linus"} {
		c.reached(id, name+" works", func(cloudcrowd.Job) bool { return c.leasedTo(id, name) })
	}
	c.workers["ada"].kill()
	c.workers["grace"].kill()
	c.workers["linus"].pause(t)
	for _, name := range []string{"ada", "grace", "linus"} {
		c.reached(id, name+" is given up", func(cloudcrowd.Job) bool { return c.lostBy(id, name) })
	}
	if c.worker("ada").Online || c.worker("linus").Online {
		t.Error("workers that are gone count as connected")
	}
	c.workers["linus"].wake(t)
	c.online("linus")
	device := c.worker("ada").ID
	c.work("ada", "") // the same device, without a link
	c.online("ada")
	if now := c.worker("ada").ID; now != device {
		t.Errorf("ada came back as %s, was %s", now, device)
	}
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(16, 60) {
		t.Errorf("the answer is\n%s", got)
	}
	if job.Failed < 3 {
		t.Errorf("%d attempts failed or were lost, at least 3 were", job.Failed)
	}
	c.audit(job)
}

// Workers finish what they have while the server is away, keep the results on their disks, also if they are killed themselves, and deliver them when
// it is back: nothing is computed again.
func TestServerAway(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil, "ada", "grace")
	id := c.submit(counting(6, 200, pair))
	told := func(name, event string) int {
		n := 0
		for _, line := range c.workers[name].output() {
			if strings.Contains(line, `"event":"`+event+`"`) {
				n++
			}
		}
		return n
	}
	finished := func(name string) int { return told(name, "finished") }
	// Started, not only leased: what a task reads cannot be fetched from a server that is away.
	c.reached(id, "both work", func(cloudcrowd.Job) bool { return told("ada", "started") > 0 && told("grace", "started") > 0 })
	c.server.kill()
	before := finished("ada")
	until(t, "ada finishes something for nobody", func() bool { return finished("ada") > before })
	until(t, "grace finishes something", func() bool { return finished("grace") > 0 })
	c.workers["ada"].kill()
	c.work("ada", "")
	c.again()
	c.online("ada", "grace")
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(6, 200) {
		t.Errorf("the answer is\n%s", got)
	}
	// What ada was running or had queued when it was killed is done again; what it had finished is not.
	for _, a := range c.attempts(id) {
		if a.WorkerName == "grace" && a.State != cloudcrowd.AttemptAccepted {
			t.Errorf("attempt %s of grace, who was there all the time, is %s: %s", a.ID, a.State, a.Verdict)
		}
		if a.WorkerName == "ada" && a.State == cloudcrowd.AttemptLost {
			t.Errorf("attempt %s of ada is lost: %s", a.ID, a.Verdict)
		}
	}
	c.audit(job)
}

// The server is frozen for longer than leases live, while its workers work, and wakes: it takes what they have done meanwhile, nobody's work is lost to the
// pause for good, and the answer is right.
func TestServerFrozen(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, shortLease, "ada", "grace")
	id := c.submit(counting(6, 60, pair))
	finished := func(name string) int {
		return strings.Count(strings.Join(c.workers[name].output(), "\n"), `"event":"finished"`)
	}
	started := func(name string) bool {
		return strings.Contains(strings.Join(c.workers[name].output(), "\n"), `"event":"started"`)
	}
	// Started, not only leased: what a task reads cannot be fetched from a server that is frozen.
	c.reached(id, "both work", func(cloudcrowd.Job) bool { return started("ada") && started("grace") })
	c.server.pause(t)
	before, frozen := finished("ada")+finished("grace"), time.Now()
	until(t, "something is finished for nobody, and the leases are over", func() bool {
		return finished("ada")+finished("grace") > before && time.Since(frozen) > 4*time.Second
	})
	c.server.wake(t)
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(6, 60) {
		t.Errorf("the answer is\n%s", got)
	}
	if job.Refused > 0 {
		t.Errorf("%d results were refused", job.Refused)
	}
	c.audit(job)
}
