package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// flip changes one bit of a file.
func flip(t testing.TB, path string, at int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// rest stops the server in order, so that all it knows is in its files.
func (c *crowd) rest() {
	c.t.Helper()
	if err := c.server.cmd.Process.Signal(os.Interrupt); err != nil {
		c.t.Fatal(err)
	}
	until(c.t, "the server stops", c.server.gone)
}

// readings are answers of a server to questions about what is over, by question. A question it refuses has no answer.
func (c *crowd) readings(jobs []cloudcrowd.JobID) map[string]string {
	c.t.Helper()
	op := c.once(c.serving.AdminToken)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	list := map[string]string{}
	note := func(question string, answer any, err error) {
		if err != nil {
			return
		}
		b, err := json.Marshal(answer)
		if err != nil {
			c.t.Fatal(err)
		}
		list[question] = string(b)
	}
	accounts, err := op.Accounts(ctx)
	note("accounts", accounts, err)
	transfers, err := op.Transfers(ctx, client.TransferQuery{PageQuery: client.PageQuery{Limit: 1000}})
	note("transfers", transfers, err)
	tokens, err := op.Tokens(ctx)
	note("tokens", tokens, err)
	invites, err := op.Invites(ctx)
	note("invites", invites, err)
	all, err := op.Jobs(ctx, client.JobQuery{})
	note("jobs", all, err)
	for _, id := range jobs {
		job, err := op.Job(ctx, id)
		note("job "+string(id), job, err)
		tasks, err := op.Tasks(ctx, id, client.TaskQuery{})
		note("tasks of "+string(id), tasks, err)
		attempts, err := op.Attempts(ctx, id, client.PageQuery{})
		note("attempts of "+string(id), attempts, err)
		lines, err := op.Statement(ctx, requester, client.StatementQuery{Job: id})
		note("statement of "+string(id), lines, err)
		for _, o := range job.Outputs {
			r, err := op.OpenOutput(ctx, id, o.Stage, o.Task, o.Path)
			if err != nil {
				continue
			}
			b, err := io.ReadAll(r)
			r.Close()
			note(fmt.Sprint("output ", o.Path, " of ", id), string(b), err)
		}
	}
	return list
}
