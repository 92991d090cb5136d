package e2e

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// submitter submits jobs of a kind until it is told to stop, and keeps those that were acknowledged.
type submitter struct {
	mu       sync.Mutex
	accepted []cloudcrowd.JobID
	refused  []error
	done     sync.WaitGroup
	stop     context.CancelFunc
}

func (c *crowd) keepSubmitting(description string) *submitter {
	c.t.Helper()
	api, spec := c.impatient(), c.spec(c.api, description)
	ctx, stop := context.WithCancel(c.t.Context())
	s := &submitter{stop: stop}
	s.done.Go(func() {
		for ctx.Err() == nil {
			job, err := api.Submit(ctx, spec, "")
			s.mu.Lock()
			if err == nil {
				s.accepted = append(s.accepted, job.ID)
			} else if ctx.Err() == nil {
				s.refused = append(s.refused, err)
			}
			s.mu.Unlock()
			pause := time.NewTimer(look)
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
		}
	})
	c.t.Cleanup(s.end)
	return s
}

func (s *submitter) end() { s.stop(); s.done.Wait() }

func (s *submitter) acknowledged() []cloudcrowd.JobID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// blameless checks that no attempt of a job was lost or failed, and that nobody's machine is said to be at fault.
func (c *crowd) blameless(id cloudcrowd.JobID) {
	c.t.Helper()
	for _, a := range c.attempts(id) {
		if a.State == cloudcrowd.AttemptLost || a.State == cloudcrowd.AttemptFailed || a.State == cloudcrowd.AttemptRefused {
			c.t.Errorf("attempt %s of %s is %s: %s", a.ID, a.WorkerName, a.State, a.Verdict)
		}
	}
}

// SIGTERM in the middle of work and submissions: the server ends in order and by itself, every job that was acknowledged is finished after the restart with
// the right answer, and no attempt is lost or held against its worker.
func TestTerminateUnderLoad(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil, "ada", "grace", "linus")
	id := c.submit(counting(16, 60, pair))
	load := c.keepSubmitting(counting(2, 10, pair))
	c.reached(id, "all work, and jobs come in", func(cloudcrowd.Job) bool {
		return c.leasedTo(id, "ada") && c.leasedTo(id, "grace") && c.leasedTo(id, "linus") && len(load.acknowledged()) >= 3
	})
	c.server.terminate(t)
	until(t, "the server ends", c.server.gone)
	if code := c.server.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
	load.end()
	for _, err := range load.refused {
		if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
			t.Errorf("a submission was refused with %v", err)
		}
	}
	c.fsck()
	c.again()
	c.online("ada", "grace", "linus")
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(16, 60) {
		t.Errorf("the answer is\n%s", got)
	}
	c.blameless(id)
	c.audit(job)
	t.Logf("%d further jobs were acknowledged, %d refused", len(load.accepted), len(load.refused))
	want := counted(2, 10)
	for _, id := range load.accepted {
		job := c.ended(id, cloudcrowd.JobDone)
		if got := c.answer(job, "lines.txt"); got != want {
			t.Errorf("the answer of %s is\n%s", id, got)
		}
		c.blameless(id)
	}
	c.balance()
	c.fsck()
}

// A server that is drained while something runs says so: at /readyz, to whoever submits, to a worker that connects. It lives until what was out has come
// in, ends by itself, and goes on after the restart.
func TestDrainWaits(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil, "ada", "late")
	c.dismiss("late") // it has joined and measured its machine, so that it connects at once when it comes back
	id := c.submit(counting(8, 400, "{replicas: 1, quorum: 1}"))
	c.reached(id, "ada works", func(cloudcrowd.Job) bool { return c.leasedTo(id, "ada") })
	spec := c.spec(c.api, counting(1, 1, "{replicas: 1, quorum: 1}"))
	if _, err := c.as(c.token).Drain(t.Context(), time.Minute); cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
		t.Errorf("a requester drained the server: %v", err)
	}
	d, err := c.op.Drain(t.Context(), patience)
	if err != nil || d.Leased == 0 || d.EndsBy.Time().Before(time.Now()) {
		t.Fatalf("%+v, %v", d, err)
	}
	if code, text := c.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(text, "draining") {
		t.Errorf("/readyz: %d %s", code, text)
	}
	if code, text := c.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: %d %s", code, text)
	}
	if _, err := c.impatient().Submit(t.Context(), spec, ""); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), "draining") {
		t.Errorf("a submission: %v", err)
	}
	late := c.work("late", "")
	until(t, "late is told, or the server has ended", func() bool {
		return c.server.gone() || strings.Contains(strings.Join(late.output(), "\n"), "draining")
	})
	until(t, "the server ends by itself", c.server.gone)
	if code := c.server.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
	if text := strings.Join(late.output(), "\n"); !strings.Contains(text, "the server is draining") {
		t.Errorf("late was not told: %s", text)
	}
	c.again()
	c.online("ada", "late")
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(8, 400) {
		t.Errorf("the answer is\n%s", got)
	}
	c.blameless(id)
	c.audit(job)
}

// get asks the server for a page without a token.
func (c *crowd) get(path string) (int, string) {
	c.t.Helper()
	resp, err := http.Get(c.serving.URL + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}
