package e2e

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
)

// counting is a job of n tasks, each of so many million steps, whose result is one file. verify is its demand on results.
func counting(n, spin int, verify string) string {
	return fmt.Sprintf(`
name: counting
stages:
  count:
    split: {range: {from: 0, to: %d, size: 1}}
    run: {wasm: ./program.wasm, args: [work, -from, "{{start}}", -to, "{{end}}", -spin, "%d"]}
    resources: {output: 1MiB}
    verify: %s
  all:
    after: [count]
    merge: concat
`, n, spin, verify)
}

// counted is the result of counting, found in this process.
func counted(n, spin int) string {
	var b strings.Builder
	for i := range uint64(n) {
		x := i*0x9e3779b97f4a7c15 + 1
		for range spin * 1_000_000 {
			x ^= x >> 33
			x *= 0xff51afd7ed558ccd
		}
		fmt.Fprintf(&b, "%d %x\n", i, x)
	}
	return b.String()
}

// single is a job of one task that runs the program with the given arguments; more is added to the stage.
func single(args, more string) string {
	return fmt.Sprintf("name: single\nstages:\n  only:\n    run: {wasm: ./program.wasm, args: [%s]}\n%s\n", args, more)
}

// spec reads a job description, uploads what it names, and returns what is to be submitted.
func (c *crowd) spec(api *client.Client, description string) cloudcrowd.JobSpec {
	c.t.Helper()
	file, err := jobfile.Parse([]byte(description), home, jobfile.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.resolve(api, file)
}

func (c *crowd) resolve(api *client.Client, file *jobfile.File) cloudcrowd.JobSpec {
	c.t.Helper()
	spec, err := file.Resolve(func(u jobfile.Upload) (cloudcrowd.Digest, int64, error) {
		f, err := api.PutFile(c.t.Context(), u.Path, nil)
		return f.Digest, f.SizeBytes, err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return spec
}

// submit submits a job of the requester.
func (c *crowd) submit(description string) cloudcrowd.JobID {
	c.t.Helper()
	job, err := c.api.Submit(c.t.Context(), c.spec(c.api, description), "")
	if err != nil {
		c.t.Fatal(err)
	}
	c.watch(job.ID)
	return job.ID
}

// watch says how a job stands if its test fails.
func (c *crowd) watch(id cloudcrowd.JobID) {
	t, api := c.t, c.impatient()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		job, err := api.Job(ctx, id)
		t.Logf("--- job %s: %s %s %q, %v", id, job.State, job.Reason, job.Notes, err)
		if why, err := api.Explain(ctx, id); err == nil {
			t.Logf("%s", strings.Join(why.Lines, "\n"))
		}
		page, _ := api.Attempts(ctx, id, client.PageQuery{Limit: 500})
		for _, a := range page.Items {
			if !a.State.Ended() {
				t.Logf("%s on %s: %s since %s", a.ID, a.WorkerName, a.State, a.LeasedAt.Time())
			}
		}
	})
}

// job is how a job stands.
func (c *crowd) job(id cloudcrowd.JobID) cloudcrowd.Job {
	c.t.Helper()
	job, err := c.op.Job(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return job
}

// reached waits until a running job is so far. A job that ends before is a failure.
func (c *crowd) reached(id cloudcrowd.JobID, what string, far func(cloudcrowd.Job) bool) cloudcrowd.Job {
	c.t.Helper()
	var job cloudcrowd.Job
	until(c.t, what, func() bool {
		job = c.job(id)
		if !far(job) && job.State.Ended() {
			c.t.Fatalf("%s: the job is %s before (%s)", what, job.State, job.Reason)
		}
		return far(job)
	})
	return job
}

// midway submits a job and waits until a part of it is done. If it is all done before this is seen, as on a busy machine, it submits it again.
func (c *crowd) midway(submit func() cloudcrowd.JobID) cloudcrowd.JobID {
	c.t.Helper()
	for range 20 {
		id := submit()
		var job cloudcrowd.Job
		until(c.t, "a first task is accepted", func() bool {
			job = c.job(id)
			return job.TasksDone > 0 || job.State.Ended()
		})
		if !job.State.Ended() {
			return id
		}
		c.t.Logf("job %s was %s before it was seen at work", id, job.State)
	}
	c.t.Fatal("no job was seen at work")
	return ""
}

// ended waits until a job has ended in the wanted state.
func (c *crowd) ended(id cloudcrowd.JobID, want cloudcrowd.JobState) cloudcrowd.Job {
	c.t.Helper()
	job := c.reached(id, "the job ends", func(j cloudcrowd.Job) bool { return j.State.Ended() })
	if job.State != want {
		c.t.Fatalf("the job is %s (%s), want %s", job.State, job.Reason, want)
	}
	return job
}

// answer is a result file of a job that is done.
func (c *crowd) answer(job cloudcrowd.Job, name string) string {
	c.t.Helper()
	i := slices.IndexFunc(job.Outputs, func(o cloudcrowd.StageOutput) bool { return o.Path == name })
	if i < 0 {
		c.t.Fatalf("no file %s among %+v", name, job.Outputs)
	}
	r, err := c.op.OpenOutput(c.t.Context(), job.ID, job.Outputs[i].Stage, job.Outputs[i].Task, name)
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// attempts are all attempts of a job.
func (c *crowd) attempts(id cloudcrowd.JobID) []cloudcrowd.Attempt {
	return all(c.t, func(cursor string) (client.Page[cloudcrowd.Attempt], error) {
		return c.op.Attempts(c.t.Context(), id, client.PageQuery{Cursor: cursor})
	})
}

// charges are a statement's lines of a job: what the account paid for it, or what its workers earned by it.
func (c *crowd) charges(account cloudcrowd.AccountID, id cloudcrowd.JobID, earned bool) []cloudcrowd.Charge {
	return all(c.t, func(cursor string) (client.Page[cloudcrowd.Charge], error) {
		return c.op.Statement(c.t.Context(), account, client.StatementQuery{PageQuery: client.PageQuery{Cursor: cursor}, Job: id, Earned: earned})
	})
}

func all[T any](t testing.TB, page func(cursor string) (client.Page[T], error)) []T {
	t.Helper()
	var list []T
	for item, err := range client.All(page) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, item)
	}
	return list
}
