package e2e

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// trial is a number of clients and devices that use a server at once, and the history of it.
type trial struct {
	c        *crowd
	url      string   // of the server, or of what stands before it
	servers  []string // where there are several: all; clients begin with one each and go on to the next
	history  *history
	operator *client.Client
	accounts []cloudcrowd.AccountID
	apis     []*client.Client // of the accounts
	waits    cloudcrowd.JobSpec
	runs     cloudcrowd.JobSpec
	stop     chan struct{}
	clients  sync.WaitGroup

	mu      sync.Mutex
	era     int                       // which pair of accounts is in use
	waiting map[cloudcrowd.JobID]held // jobs no worker can run, of these
	running []cloudcrowd.JobID        // jobs that devices run; of the last account
	keys    int
}

type held struct {
	account int
	budget  cloudcrowd.Credits
}

// pieces is how many tasks a job has that devices run.
const pieces = 2

// newTrial prepares a trial of one server, or of what stands before it.
func newTrial(c *crowd, url, prefix string, eras int) *trial {
	c.t.Helper()
	return (&trial{c: c, url: url}).prepare(prefix, eras)
}

// prepare makes accounts, a pair for each era and one whose jobs run, and clients of them that never try again by themselves. What may or may not have
// happened to an account multiplies the orders to be looked at, so an era should not have many requests without an answer.
func (tr *trial) prepare(prefix string, eras int) *trial {
	c := tr.c
	c.t.Helper()
	tr.history, tr.stop, tr.waiting = newHistory(), make(chan struct{}), map[cloudcrowd.JobID]held{}
	tr.operator = tr.as(c.serving.AdminToken)
	module, err := c.api.PutBytes(c.t.Context(), noop)
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range 2*eras + 1 {
		id := cloudcrowd.AccountID(fmt.Sprint(prefix, i))
		api, token := c.newToken(id, cloudcrowd.RoleRequester)
		if _, err := api.PutBytes(c.t.Context(), noop); err != nil {
			c.t.Fatal(err)
		}
		tr.accounts, tr.apis = append(tr.accounts, id), append(tr.apis, tr.as(token))
	}
	stage := cloudcrowd.Stage{Name: "only", Run: &cloudcrowd.Program{Module: module}, Verify: cloudcrowd.Verify{None: true},
		Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: pieces, Size: 1}, Resources: cloudcrowd.Resources{MemoryBytes: 64 << 20}}
	tr.runs = cloudcrowd.JobSpec{Name: "runs", Stages: []cloudcrowd.Stage{stage}}
	stage.Resources.MemoryBytes = 4 << 30 // more than any device has
	tr.waits = cloudcrowd.JobSpec{Name: "waits", Stages: []cloudcrowd.Stage{stage}}
	if _, err := c.op.Issue(c.t.Context(), tr.payer(), wealth, "", ""); err != nil {
		c.t.Fatal(err)
	}
	return tr
}

// payer is the account whose jobs run; its balance is not modelled.
func (tr *trial) payer() cloudcrowd.AccountID { return tr.accounts[len(tr.accounts)-1] }

func (tr *trial) as(token string) *client.Client {
	tr.c.t.Helper()
	o := client.Options{URL: tr.url, Token: token, Retries: -1}
	for i := range tr.servers {
		o.Servers = append(o.Servers, tr.servers[(len(tr.apis)+i)%len(tr.servers)])
	}
	if len(tr.servers) > 0 {
		o.URL = o.Servers[0]
	}
	api, err := client.New(o)
	if err != nil {
		tr.c.t.Fatal(err)
	}
	tr.c.t.Cleanup(api.Close)
	return api
}

// ask performs one request and notes it. A refusal that is part of the answer is noted, too; a request that surely never reached the server is not. It
// reports whether there was an answer.
func (tr *trial) ask(number int, in any, parts []part, do func(context.Context) (answer, error)) bool {
	op := tr.history.begin(number, in, parts...)
	out, err := do(tr.c.owner.Context())
	switch code := cloudcrowd.CodeOf(err); {
	case err == nil:
	case code == cloudcrowd.InsufficientCredits, code == cloudcrowd.Conflict:
		out.code = code
	case len(tr.servers) > 0 && code == cloudcrowd.Unavailable: // another one may have had it before
		tr.wait()
		return false
	case errors.Is(err, syscall.ECONNREFUSED), code == cloudcrowd.RateLimited, code == cloudcrowd.Unavailable && strings.Contains(err.Error(), "the server is starting"):
		tr.history.forget(op, parts...)
		tr.wait()
		return false
	case code == cloudcrowd.Unavailable:
		tr.wait()
		return false
	default:
		tr.c.owner.Errorf("%T%+v: %v", in, in, err)
		return false
	}
	tr.history.finish(op, out)
	return true
}

// turn begins the next era.
func (tr *trial) turn() {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.era++
	clear(tr.waiting)
	tr.keys = 0
}

// wait is the pause of a client that got no answer.
func (tr *trial) wait() {
	select {
	case <-time.After(5 * look):
	case <-tr.stop:
	}
}

// start lets a client ask for one thing after the other.
func (tr *trial) start(number int, lots *rand.Rand) {
	tr.clients.Go(func() {
		for {
			select {
			case <-tr.stop:
				return
			case <-time.After(time.Duration(lots.IntN(4)) * time.Millisecond):
				tr.act(number, lots)
			}
		}
	})
}

// act asks for one thing drawn by lot.
func (tr *trial) act(number int, lots *rand.Rand) {
	tr.mu.Lock()
	who := 2*tr.era + lots.IntN(2)
	tr.mu.Unlock()
	account := tr.accounts[who]
	switch lots.IntN(12) {
	case 0, 1:
		tr.issue(number, account, cloudcrowd.Credits(1+lots.IntN(20_000)))
	case 2:
		tr.submitKeyed(number, who, lots)
	case 3:
		tr.submitUnkeyed(number, who, cloudcrowd.Credits(10_000+lots.IntN(20_000)))
	case 4, 5:
		tr.cancelWaiting(number, lots)
	case 6, 7:
		tr.look(number, account)
	case 8:
		tr.submitRunning(number)
	case 9:
		if id, ok := tr.pick(lots); ok && lots.IntN(3) == 0 {
			tr.cancel(number, cancel{job: id}, len(tr.accounts)-1, jobPart(id))
		}
	case 10:
		if id, ok := tr.pick(lots); ok {
			tr.stand(number, id)
		}
	case 11:
		if id, ok := tr.pick(lots); ok {
			tr.pay(number, id)
		}
	}
}

func (tr *trial) issue(number int, account cloudcrowd.AccountID, amount cloudcrowd.Credits) {
	tr.ask(number, issue{amount}, []part{accountPart(account)}, func(ctx context.Context) (answer, error) {
		_, err := tr.operator.Issue(ctx, account, amount, "", "")
		return answer{}, err
	})
}

// submitUnkeyed submits a job that waits; without an answer there is one more job, or not.
func (tr *trial) submitUnkeyed(number, who int, budget cloudcrowd.Credits) {
	tr.submit(number, who, submit{budget: budget}, "")
}

// submitKeyed submits a job that waits, with a key that others use, too, until there is an answer.
func (tr *trial) submitKeyed(number, who int, lots *rand.Rand) {
	tr.mu.Lock()
	if tr.keys == 0 || lots.IntN(3) == 0 {
		tr.keys++
	}
	n := 1 + lots.IntN(tr.keys)
	tr.mu.Unlock()
	in := submit{budget: cloudcrowd.Credits(10_000 + n*7919%20_000), key: fmt.Sprint("key ", n)}
	tr.submit(number, who, in, in.key)
}

// submit submits a job that waits. Requests with one key have one effect, so however often one is repeated until there is an answer, it is one operation.
func (tr *trial) submit(number, who int, in submit, key string) {
	spec := tr.waits
	spec.Budget = in.budget
	tr.ask(number, in, []part{accountPart(tr.accounts[who])}, func(ctx context.Context) (answer, error) {
		job, err := tr.apis[who].Submit(ctx, spec, key)
		for key != "" && (cloudcrowd.CodeOf(err) == cloudcrowd.Unavailable || cloudcrowd.CodeOf(err) == cloudcrowd.RateLimited) && ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(look):
			}
			job, err = tr.apis[who].Submit(ctx, spec, key)
		}
		if err != nil {
			return answer{}, err
		}
		tr.mu.Lock()
		tr.waiting[job.ID] = held{who, in.budget}
		tr.mu.Unlock()
		return answer{job: job.ID}, nil
	})
}

func (tr *trial) cancelWaiting(number int, lots *rand.Rand) {
	tr.mu.Lock()
	var id cloudcrowd.JobID
	var h held
	if n := len(tr.waiting); n > 0 {
		n = lots.IntN(n)
		for id, h = range tr.waiting {
			if n--; n < 0 {
				break
			}
		}
		if lots.IntN(8) > 0 { // now and then another client cancels it, too
			delete(tr.waiting, id)
		}
	}
	tr.mu.Unlock()
	if id != "" {
		tr.cancel(number, cancel{id, h.budget}, h.account, accountPart(tr.accounts[h.account]), jobPart(id))
		tr.stand(number, id)
	}
}

func (tr *trial) cancel(number int, in cancel, who int, parts ...part) {
	tr.ask(number, in, parts, func(ctx context.Context) (answer, error) {
		reason := crand.Text()
		job, err := tr.apis[who].Cancel(ctx, in.job, reason)
		if err == nil && !strings.Contains(job.Reason, reason) { // it was asked for again and found that another one had done it
			return answer{code: cloudcrowd.Conflict}, nil
		}
		return answer{}, err
	})
}

func (tr *trial) look(number int, account cloudcrowd.AccountID) {
	tr.ask(number, balance{}, []part{accountPart(account)}, func(ctx context.Context) (answer, error) {
		a, err := tr.operator.Account(ctx, account)
		return answer{balance: a.Balance, held: a.Held}, err
	})
}

func (tr *trial) stand(number int, id cloudcrowd.JobID) {
	tr.ask(number, stand{}, []part{jobPart(id)}, func(ctx context.Context) (answer, error) {
		job, err := tr.operator.Job(ctx, id)
		return answer{state: job.State}, err
	})
}

// submitRunning submits a job that devices run. Without an answer nobody asks about it.
func (tr *trial) submitRunning(number int) {
	tr.ask(number, nil, nil, func(ctx context.Context) (answer, error) {
		job, err := tr.apis[len(tr.apis)-1].Submit(ctx, tr.runs, "")
		if err == nil {
			tr.mu.Lock()
			tr.running = append(tr.running, job.ID)
			tr.mu.Unlock()
		}
		return answer{}, err
	})
}

// pick draws one of the latest jobs that run.
func (tr *trial) pick(lots *rand.Rand) (cloudcrowd.JobID, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	n := len(tr.running)
	if n == 0 {
		return "", false
	}
	return tr.running[n-1-lots.IntN(min(n, 8))], true
}

// pay reads who was paid for the tasks of a job.
func (tr *trial) pay(number int, id cloudcrowd.JobID) {
	asked := tr.history.now()
	page, err := tr.operator.Statement(tr.c.owner.Context(), tr.payer(), client.StatementQuery{PageQuery: client.PageQuery{Limit: 1000}, Job: id})
	if err != nil {
		if code := cloudcrowd.CodeOf(err); code != cloudcrowd.Unavailable && code != cloudcrowd.RateLimited {
			tr.c.owner.Errorf("the statement of job %s: %v", id, err)
		}
		return
	}
	for i := range int32(pieces) {
		task := cloudcrowd.TaskID{Job: id, Index: i}
		var out answer
		for _, line := range page.Items {
			if line.Attempt.Task == task {
				out.paid = append(out.paid, line.Attempt)
			}
		}
		sortedAttempts(out.paid)
		op := tr.history.begin(number, paid{}, taskPart(task))
		op.call = asked
		tr.history.finish(op, out)
	}
}

// close ends the clients, waits until the jobs that run have ended, looks at everything once more, and checks the history.
func (tr *trial) close() verdict {
	c := tr.c
	c.t.Helper()
	close(tr.stop)
	tr.clients.Wait()
	for _, id := range tr.running {
		job := c.reached(id, "job "+string(id)+" ends", func(j cloudcrowd.Job) bool { return j.State.Ended() })
		tr.stand(0, id)
		tr.pay(0, id)
		lines := c.charges(tr.payer(), id, false)
		if job.State == cloudcrowd.JobDone && len(lines) != pieces {
			c.t.Errorf("job %s is done, %d attempts were paid for %d tasks", id, len(lines), pieces)
		}
	}
	for _, account := range tr.accounts[:len(tr.accounts)-1] {
		tr.look(0, account)
	}
	v := tr.history.check()
	c.t.Logf("%d operations on %d accounts, jobs and tasks, %d without an answer; %d jobs were run", v.operations, v.parts, v.unknown, len(tr.running))
	return v
}

// crowdOf is a number of devices that work for a trial.
func (tr *trial) crowdOf(lots *rand.Rand, names ...string) {
	for i, name := range names {
		newDevice(tr.c.t, tr.c, tr.history, 100+i, name, rand.New(rand.NewPCG(lots.Uint64(), 0)))
	}
}

// While clients submit with and without keys, cancel, issue credits and read, and simulated devices claim and report tasks, the server is killed again and
// again. What they were told is as if everything had happened one thing after the other: balances and holds, states of jobs, and who was paid.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	c := newCrowd(t, shortLease)
	kills := setting(t, killsSetting, 4)
	tr := newTrial(c, c.serving.URL, "account-", 1+kills/2)
	tr.crowdOf(lots, "dev-a", "dev-b", "dev-c")
	for i := range 4 {
		tr.start(1+i, rand.New(rand.NewPCG(lots.Uint64(), 0)))
	}
	for i := range kills {
		if i%2 == 1 {
			tr.turn()
		}
		pass(t, time.Duration(200+lots.IntN(800))*time.Millisecond)
		c.server.replace()
		c.again()
	}
	v := tr.close()
	v.explained(t)
	c.balance()
	c.fsck()
}

// explained fails the test unless some order of all operations explains their answers, and enough was tried.
func (v verdict) explained(t *testing.T) {
	t.Helper()
	for _, what := range v.wrong {
		t.Errorf("no order of these operations explains their answers: %s", what)
	}
	if len(v.undecided) > 0 {
		t.Errorf("undecided: %v", v.undecided)
	}
	if v.parts < 10 || v.operations < 100 {
		t.Errorf("little was tried: %+v", v)
	}
}

// The check can fail: what stands between the clients and the server is made to break a promise, in one way each, and is found out.
func TestNotLinearizable(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	c := newCrowd(t, shortLease)
	for _, test := range []struct {
		name, kind string // kind of what is found wrong
		spoil      func(w http.ResponseWriter, r *http.Request, forward http.Handler) bool
	}{
		{"a cancel is acknowledged and lost", "job", func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
			lose := strings.HasSuffix(r.URL.Path, "/cancel")
			if lose {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, "{}")
			}
			return lose
		}},
		{"an account is read from memory that is old", "account", stale()},
		{"credits are issued twice", "account", func(_ http.ResponseWriter, r *http.Request, forward http.Handler) bool {
			if strings.HasSuffix(r.URL.Path, "/issue") {
				body, _ := io.ReadAll(r.Body)
				again := r.Clone(r.Context())
				again.Header.Set("Idempotency-Key", r.Header.Get("Idempotency-Key")+" again")
				again.Body = io.NopCloser(strings.NewReader(string(body)))
				forward.ServeHTTP(httptest.NewRecorder(), again)
				r.Body = io.NopCloser(strings.NewReader(string(body)))
			}
			return false
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.in(t)
			target, err := url.Parse(c.serving.URL)
			if err != nil {
				t.Fatal(err)
			}
			forward := httputil.NewSingleHostReverseProxy(target)
			between := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !test.spoil(w, r, forward) {
					forward.ServeHTTP(w, r)
				}
			}))
			defer between.Close()
			tr := newTrial(c, between.URL, strings.ReplaceAll(test.name, " ", "-")[:12], 1)
			mine := rand.New(rand.NewPCG(lots.Uint64(), 0))
			for range 150 {
				tr.act(1, mine)
			}
			tr.running = nil // nobody runs them
			v := tr.close()
			if len(v.wrong) == 0 || !strings.HasPrefix(v.wrong[0], test.kind) && !strings.Contains(strings.Join(v.wrong, "\n"), test.kind+" ") {
				t.Errorf("not found out: %+v", v)
			}
		})
	}
}

// stale answers every third read of an account with what the read before was told.
func stale() func(w http.ResponseWriter, r *http.Request, forward http.Handler) bool {
	var mu sync.Mutex
	reads, old := 0, map[string][]byte{}
	return func(w http.ResponseWriter, r *http.Request, forward http.Handler) bool {
		if r.Method != http.MethodGet || !strings.HasPrefix(r.URL.Path, "/v1/accounts/") {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		reads++
		if b := old[r.URL.Path]; b != nil && reads%3 == 0 {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(b)
			return true
		}
		seen := httptest.NewRecorder()
		forward.ServeHTTP(seen, r)
		old[r.URL.Path] = seen.Body.Bytes()
		for name, values := range seen.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(seen.Code)
		_, _ = w.Write(seen.Body.Bytes())
		return true
	}
}
