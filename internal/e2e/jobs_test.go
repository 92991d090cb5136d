package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// What goes wrong with jobs, on one server with three honest workers.
func TestJobs(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil, "ada", "grace", "linus")
	for _, test := range []struct {
		name string
		run  func(*testing.T, *crowd)
	}{
		{"program fails", programFails},
		{"command says why", commandSaysWhy},
		{"cancel", cancelMidway},
		{"too little money", tooLittleMoney},
		{"two requesters", twoRequesters},
		{"same key", sameKey},
		{"nobody else's", nobodyElses},
		{"deadline", deadlinePasses},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.in(t)
			test.run(t, c)
		})
	}
}

// A program that fails everywhere fails its job with the reason, wherever it stems from; the workers that agree on it are paid, the rest of the hold
// goes back.
func programFails(t *testing.T, c *crowd) {
	for _, fault := range []struct {
		args, more string
		outcome    cloudcrowd.Outcome
		says       string // in the job's reason
	}{
		{`exit, -status, "3", -say, "no such gene"`, "", cloudcrowd.Exited, "no such gene"},
		{"trap", "", cloudcrowd.Trapped, "memory"},
		{"spin", "    timeout: 300ms", cloudcrowd.TimedOut, "300ms"},
		{"hog", "    resources: {memory: 32MiB}", cloudcrowd.OutOfMemory, "32"},
		{"flood", "    resources: {output: 2MiB}", cloudcrowd.OutputLimit, "2"},
	} {
		id := c.submit(single(fault.args, fault.more))
		job := c.ended(id, cloudcrowd.JobFailed)
		t.Logf("%s: %s; cost %s", fault.outcome, job.Reason, job.Cost)
		if !strings.Contains(job.Reason, fault.says) || !strings.Contains(job.Reason, "only") {
			t.Errorf("%s: the reason names neither stage nor cause: %s", fault.outcome, job.Reason)
		}
		paid := map[cloudcrowd.AttemptID]bool{}
		for _, line := range c.charges(requester, id, false) {
			paid[line.Attempt] = true
		}
		failed := 0
		for _, a := range c.attempts(id) {
			if a.State != cloudcrowd.AttemptFailed {
				continue
			}
			failed++
			if a.Result == nil || a.Result.Outcome != fault.outcome {
				t.Errorf("attempt %s: %+v, want %s", a.ID, a.Result, fault.outcome)
			}
			if !paid[a.ID] {
				t.Errorf("attempt %s agreed with the others that the program is at fault, and was not paid", a.ID)
			}
		}
		if failed < 2 {
			t.Errorf("%s: it failed %d times, want on every worker", fault.outcome, failed)
		}
		if c.held(requester) != 0 {
			t.Errorf("%s are still held", c.held(requester))
		}
		c.audit(job)
	}
}

// The command line says why a job failed, in words for people and as the last line for programs, and ends with status 8.
func commandSaysWhy(t *testing.T, c *crowd) {
	path := filepath.Join(home, "fails.yaml")
	if err := os.WriteFile(path, []byte(single(`exit, -status, "3", -say, "the sequence is empty"`, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	r := command(t, c.cli(), "run", path, "--out", t.TempDir(), "--json")
	var last struct {
		State  cloudcrowd.JobState `json:"state"`
		Job    cloudcrowd.JobID    `json:"job"`
		Reason string              `json:"reason"`
	}
	if err := json.Unmarshal([]byte(r.last()), &last); err != nil {
		t.Fatalf("%v: %s", err, r.last())
	}
	if r.status != cloudcrowd.Unsuccessful.ExitStatus() || last.State != cloudcrowd.JobFailed || !strings.Contains(last.Reason, "the sequence is empty") {
		t.Errorf("status %d, %+v", r.status, last)
	}
	r = command(t, c.cli(), "run", path, "--out", t.TempDir())
	if r.status != 8 || !strings.Contains(r.stderr, "the sequence is empty") || !strings.Contains(r.stderr, "hint:") {
		t.Errorf("status %d\n%s", r.status, r.stderr)
	}
}

// A job that is cancelled midway costs what was accepted, gives the rest of its hold back and frees its workers.
func cancelMidway(t *testing.T, c *crowd) {
	id := c.submit(single("spin", "    timeout: 10m"))
	c.reached(id, "two workers spin", func(cloudcrowd.Job) bool { return c.running(id) >= 2 })
	if c.held(requester) == 0 {
		t.Error("nothing is held for a running job")
	}
	if _, err := c.api.Cancel(t.Context(), id, "changed my mind"); err != nil {
		t.Fatal(err)
	}
	job := c.ended(id, cloudcrowd.JobCancelled)
	if !strings.Contains(job.Reason, "changed my mind") || job.Hold.State != cloudcrowd.HoldVoided || job.Cost != 0 || c.held(requester) != 0 {
		t.Errorf("%s, hold %+v, cost %s, held %s", job.Reason, job.Hold, job.Cost, c.held(requester))
	}
	if _, err := c.api.Cancel(t.Context(), id, ""); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
		t.Errorf("cancelled twice: %v", err)
	}
	c.audit(job)
	done := c.ended(c.submit(counting(2, 1, pair)), cloudcrowd.JobDone) // the slots are free again
	if got := c.answer(done, "lines.txt"); got != counted(2, 1) {
		t.Errorf("the answer is\n%s", got)
	}
}

// running counts the attempts of a job that workers say they run.
func (c *crowd) running(id cloudcrowd.JobID) int {
	page, err := c.op.Workers(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	n := 0
	for _, w := range page.Items {
		for _, a := range w.Running {
			if a.Task.Job == id {
				n++
			}
		}
	}
	return n
}

// A budget below the cheapest plan, or above what the account has, is refused at submit; nothing is held and nothing stored. A budget that is just
// enough for the plan's lower end either suffices or ends the job with a reason.
func tooLittleMoney(t *testing.T, c *crowd) {
	poor, _ := c.newRequester("poor", 2000)
	spec := c.spec(poor, counting(4, 1, pair))
	plan, err := poor.Plan(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Budget = plan.Minimum - 1
	_, err = poor.Submit(t.Context(), spec, "")
	if e, ok := err.(*cloudcrowd.Error); !ok || e.Code != cloudcrowd.Invalid || e.Field != "budget" || e.Hint == "" {
		t.Errorf("a budget below the cheapest plan: %v", err)
	}
	spec.Budget = 2001
	_, err = poor.Submit(t.Context(), spec, "")
	if e, ok := err.(*cloudcrowd.Error); !ok || e.Code != cloudcrowd.InsufficientCredits || e.Hint == "" {
		t.Errorf("a budget beyond the account: %v", err)
	}
	jobs, err := poor.Jobs(t.Context(), client.JobQuery{})
	if err != nil || len(jobs.Items) > 0 || c.held("poor") != 0 {
		t.Errorf("%d jobs, %s held, %v", len(jobs.Items), c.held("poor"), err)
	}
	spec.Budget = max(plan.Minimum, plan.Cost[0])
	job, err := poor.Submit(t.Context(), spec, "")
	if err != nil {
		t.Fatalf("a budget of %s for a plan from %s: %v", spec.Budget, plan.Cost[0], err)
	}
	c.reached(job.ID, "the job ends", func(j cloudcrowd.Job) bool { return j.State.Ended() })
	if job = c.job(job.ID); job.State == cloudcrowd.JobFailed && !strings.Contains(job.Reason, "budget") {
		t.Errorf("it failed for another reason: %s", job.Reason)
	}
	t.Logf("with %s: %s %s", spec.Budget, job.State, job.Reason)
	c.audit(job)
}

// Jobs of two requesters run side by side and both end, each paid by its own account.
func twoRequesters(t *testing.T, c *crowd) {
	sam, _ := c.newRequester("sam", wealth)
	mine := c.submit(counting(8, 20, pair))
	his, err := sam.Submit(t.Context(), c.spec(sam, counting(9, 20, pair)), "")
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range map[cloudcrowd.JobID]int{mine: 8, his.ID: 9} {
		job := c.ended(id, cloudcrowd.JobDone)
		if got := c.answer(job, "lines.txt"); got != counted(n, 20) {
			t.Errorf("the answer is\n%s", got)
		}
		c.audit(job)
	}
}

// The same idempotency key from the same account is the same job.
func sameKey(t *testing.T, c *crowd) {
	spec := c.spec(c.api, counting(2, 1, pair))
	first, err := c.api.Submit(t.Context(), spec, "nightly")
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.api.Submit(t.Context(), spec, "nightly")
	if err != nil || again.ID != first.ID {
		t.Errorf("%s, then %s, %v", first.ID, again.ID, err)
	}
	other, err := c.api.Submit(t.Context(), spec, "weekly")
	if err != nil || other.ID == first.ID {
		t.Errorf("%s by another key, %v", other.ID, err)
	}
	c.ended(first.ID, cloudcrowd.JobDone)
	c.audit(c.ended(other.ID, cloudcrowd.JobDone))
	again, err = c.api.Submit(t.Context(), spec, "nightly")
	if err != nil || again.ID != first.ID {
		t.Errorf("after the end %s, %v", again.ID, err)
	}
}

// A requester sees and touches nothing of another's; a worker's owner sees his machines alone; without a token nothing is seen.
func nobodyElses(t *testing.T, c *crowd) {
	id := c.submit(counting(2, 1, pair))
	job := c.ended(id, cloudcrowd.JobDone)
	eve, _ := c.newRequester("eve", 0)
	ctx := t.Context()
	task := cloudcrowd.TaskID{Job: id}
	for what, try := range map[string]func() error{
		"job":      func() error { _, err := eve.Job(ctx, id); return err },
		"tasks":    func() error { _, err := eve.Tasks(ctx, id, client.TaskQuery{}); return err },
		"attempts": func() error { _, err := eve.Attempts(ctx, id, client.PageQuery{}); return err },
		"task":     func() error { _, err := eve.Task(ctx, task); return err },
		"explain":  func() error { _, err := eve.Explain(ctx, id); return err },
		"cancel":   func() error { _, err := eve.Cancel(ctx, id, ""); return err },
		"output":   func() error { _, err := eve.OpenOutput(ctx, id, "all", -1, "lines.txt"); return err },
		"log":      func() error { _, err := eve.AttemptLog(ctx, cloudcrowd.AttemptID{Task: task, N: 1}); return err },
		"blob":     func() error { _, err := eve.OpenBlob(ctx, job.Outputs[0].Digest, 0, -1, ""); return err },
		"account":  func() error { _, err := eve.Account(ctx, requester); return err },
		"statement": func() error {
			_, err := eve.Statement(ctx, requester, client.StatementQuery{})
			return err
		},
	} {
		if code := cloudcrowd.CodeOf(try()); code != cloudcrowd.NotFound && code != cloudcrowd.Forbidden {
			t.Errorf("another requester's %s: code %q", what, code)
		}
	}
	if page, err := eve.Jobs(ctx, client.JobQuery{}); err != nil || len(page.Items) > 0 {
		t.Errorf("eve lists %d jobs, %v", len(page.Items), err)
	}
	for what, try := range map[string]func() error{
		"issue": func() error { _, err := eve.Issue(ctx, "eve", cloudcrowd.Credit, "", ""); return err },
		"token": func() error {
			_, err := eve.CreateToken(ctx, client.TokenRequest{Account: "eve", Role: cloudcrowd.RoleOperator})
			return err
		},
		"invite":  func() error { _, err := eve.CreateInvite(ctx, client.InviteRequest{Owner: "ada"}); return err },
		"revoke":  func() error { _, err := eve.RevokeWorker(ctx, c.worker("ada").ID, true); return err },
		"nobody":  func() error { _, err := c.as("").Jobs(ctx, client.JobQuery{}); return err },
		"a guess": func() error { _, err := c.as("cc_guess").Jobs(ctx, client.JobQuery{}); return err },
	} {
		if code := cloudcrowd.CodeOf(try()); code != cloudcrowd.Forbidden && code != cloudcrowd.Unauthorized && code != cloudcrowd.NotFound {
			t.Errorf("%s: code %q", what, code)
		}
	}
	ada, _ := c.newToken("ada", cloudcrowd.RoleOwner)
	page, err := ada.Workers(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range page.Items {
		if w.Owner != "ada" {
			t.Errorf("ada sees %s of %s", w.Name, w.Owner)
		}
	}
	if _, err := ada.Worker(ctx, c.worker("grace").ID); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound && cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
		t.Errorf("ada asks for grace's worker: %v", err)
	}
}

// A job that is not done by its deadline fails and says how far it came; its hold expires.
func deadlinePasses(t *testing.T, c *crowd) {
	id := c.submit("deadline: 1s\n" + single("spin", ""))
	job := c.ended(id, cloudcrowd.JobFailed)
	if !strings.Contains(job.Reason, "deadline") || job.Hold.State != cloudcrowd.HoldExpired {
		t.Errorf("%s, hold %+v", job.Reason, job.Hold)
	}
	until(t, "the workers are free", func() bool { return c.running(id) == 0 })
	c.audit(job)
}
