package e2e

import (
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// audit checks the money of a job that has ended, and then everything: no credit came into being, and fsck finds nothing.
func (c *crowd) audit(job cloudcrowd.Job) {
	c.t.Helper()
	c.money(job)
	c.balance()
	c.fsck()
}

// money checks that every attempt of a job that has ended is paid at most once and for a reason, that what was charged is what the job cost and what the
// account paid, and that the hold is gone.
func (c *crowd) money(job cloudcrowd.Job) {
	c.t.Helper()
	states := map[cloudcrowd.AttemptID]cloudcrowd.AttemptState{}
	for _, a := range c.attempts(job.ID) {
		if _, twice := states[a.ID]; twice {
			c.t.Errorf("attempt %s is listed twice", a.ID)
		}
		states[a.ID] = a.State
		if !a.State.Ended() {
			c.t.Errorf("attempt %s of a job that has ended is %s", a.ID, a.State)
		}
	}
	if int64(len(states)) != job.Attempts {
		c.t.Errorf("%d attempts are listed, the job says %d", len(states), job.Attempts)
	}
	var charged cloudcrowd.Credits
	paid := map[cloudcrowd.AttemptID]bool{}
	for _, line := range c.charges(job.Account, job.ID, false) {
		if paid[line.Attempt] {
			c.t.Errorf("attempt %s is charged twice", line.Attempt)
		}
		paid[line.Attempt] = true
		charged += line.Gross
		state := states[line.Attempt]
		if state != cloudcrowd.AttemptAccepted && (state != cloudcrowd.AttemptFailed || job.State != cloudcrowd.JobFailed) {
			c.t.Errorf("attempt %s is %q and yet charged", line.Attempt, state)
		}
	}
	for id, state := range states {
		if state == cloudcrowd.AttemptAccepted && !paid[id] {
			c.t.Errorf("attempt %s was accepted and not paid", id)
		}
	}
	var moved cloudcrowd.Credits
	for _, t := range all(c.t, func(cursor string) (client.Page[cloudcrowd.Transfer], error) {
		return c.op.Transfers(c.t.Context(), client.TransferQuery{PageQuery: client.PageQuery{Cursor: cursor}, Job: job.ID})
	}) {
		moved += t.Amount
	}
	if charged != job.Cost || moved != job.Cost {
		c.t.Errorf("%s was charged and %s moved, the job cost %s", charged, moved, job.Cost)
	}
	if job.Hold.State == cloudcrowd.HoldPending || job.Hold.Posted != job.Cost {
		c.t.Errorf("the hold is %+v, the job cost %s", job.Hold, job.Cost)
	}
}

// balance checks that all accounts together hold nothing, and that none is in debt.
func (c *crowd) balance() {
	c.t.Helper()
	page, err := c.op.Accounts(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	var sum cloudcrowd.Credits
	for _, a := range page.Items {
		sum += a.Balance
		if a.ID != cloudcrowd.IssuerAccount && a.Balance < a.Held || a.Held < 0 {
			c.t.Errorf("account %+v", a)
		}
	}
	if sum != 0 {
		c.t.Errorf("all accounts together hold %s", sum)
	}
}

// held is what an account has on hold.
func (c *crowd) held(id cloudcrowd.AccountID) cloudcrowd.Credits {
	c.t.Helper()
	account, err := c.op.Account(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	return account.Held
}

// fsck recomputes everything the server knows.
func (c *crowd) fsck() {
	c.t.Helper()
	r := command(c.t, c.env, append([]string{"fsck", "--data", c.data, "--json"}, c.checked...)...)
	if r.status != 0 || !strings.Contains(r.last(), `"clean"`) {
		c.t.Errorf("fsck: status %d, %s%s", r.status, r.stdout, r.stderr)
	}
}
