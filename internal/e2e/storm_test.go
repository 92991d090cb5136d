package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// Settings of the tests that draw lots; docs/testing.md names them.
const (
	seedSetting  = "CLOUDCROWD_SEED"  // of what is drawn; without it every run draws anew
	killsSetting = "CLOUDCROWD_KILLS" // processes killed by TestKillStorm
)

// chance is the random source of a test; its seed is printed, so that what was drawn can be drawn again.
func chance(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv(seedSetting); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedSetting, err)
		}
	}
	t.Logf("%s=%d", seedSetting, seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// setting is a number from the environment.
func setting(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a number above 0", name, text)
	}
	return n
}

// pass lets time pass in which the processes are left alone.
func pass(t testing.TB, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test ended")
	}
}

// load keeps a server busy: customers who submit a job, wait for its end, look at its result, and begin again; and one who is given credits all the
// time. Every request is repeated with its key until there is an answer.
type load struct {
	c    *crowd
	spec []cloudcrowd.JobSpec // index: its tasks, less one
	want []string             // its result
	stop chan struct{}
	wait sync.WaitGroup

	mu      sync.Mutex
	jobs    map[string]cloudcrowd.JobID // by idempotency key: acknowledged
	tasks   map[cloudcrowd.JobID]int
	issued  cloudcrowd.Credits // acknowledged
	unasked int                // requests that had to be repeated
}

// gifted is the account that is given credits.
const gifted cloudcrowd.AccountID = "gina"

func newLoad(c *crowd, customers, spin int) *load {
	l := &load{c: c, stop: make(chan struct{}), jobs: map[string]cloudcrowd.JobID{}, tasks: map[cloudcrowd.JobID]int{}}
	for n := 1; n <= 4; n++ {
		l.spec = append(l.spec, c.spec(c.api, counting(n, spin, pair)))
		l.want = append(l.want, counted(n, spin))
	}
	for i := range customers {
		l.wait.Go(func() { l.customer(i) })
	}
	l.wait.Go(l.giver)
	return l
}

// over reports whether the customers should go home.
func (l *load) over() bool {
	select {
	case <-l.stop:
		return true
	default:
		return false
	}
}

// breathe is the pause between two requests.
func (l *load) breathe() {
	select {
	case <-time.After(look):
	case <-l.c.owner.Context().Done():
	}
}

// insist repeats a request until it is answered by success; an answer that is neither success nor "not now" is a failure.
func (l *load) insist(what string, ask func(context.Context) error) bool {
	for deadline := time.Now().Add(patience); ; {
		err := ask(l.c.owner.Context())
		if err == nil {
			return true
		}
		if code := cloudcrowd.CodeOf(err); code != cloudcrowd.Unavailable && code != cloudcrowd.RateLimited || time.Now().After(deadline) {
			l.c.owner.Errorf("%s: %v", what, err)
			return false
		}
		l.mu.Lock()
		l.unasked++
		l.mu.Unlock()
		l.breathe()
	}
}

func (l *load) customer(number int) {
	for i := 0; !l.over(); i++ {
		n := 1 + (number+i)%len(l.spec)
		key := fmt.Sprintf("customer %d, job %d", number, i)
		var job cloudcrowd.Job
		if !l.insist("submit", func(ctx context.Context) (err error) { job, err = l.c.api.Submit(ctx, l.spec[n-1], key); return err }) {
			return
		}
		l.mu.Lock()
		l.jobs[key], l.tasks[job.ID] = job.ID, n
		l.mu.Unlock()
		for !job.State.Ended() && !l.over() {
			id := job.ID
			if !l.insist("look at job "+string(id), func(ctx context.Context) (err error) { job, err = l.c.api.Job(ctx, id); return err }) {
				return
			}
			l.breathe()
		}
	}
}

func (l *load) giver() {
	for i := int64(1); !l.over(); i++ {
		amount := cloudcrowd.Credits(i)
		if !l.insist("issue", func(ctx context.Context) error {
			_, err := l.c.op.Issue(ctx, gifted, amount, "", fmt.Sprint("gift ", i))
			return err
		}) {
			return
		}
		l.mu.Lock()
		l.issued += amount
		l.mu.Unlock()
		l.breathe()
	}
}

// settle ends the load and checks that everything acknowledged has come about: each job is done with the right result and paid once, its key names it
// still, every credit issued is there once, the books balance, fsck is clean.
func (l *load) settle() {
	c := l.c
	c.t.Helper()
	close(l.stop)
	l.wait.Wait()
	for _, key := range slices.Sorted(maps.Keys(l.jobs)) {
		id := l.jobs[key]
		n := l.tasks[id]
		job := c.ended(id, cloudcrowd.JobDone)
		if got := c.answer(job, "lines.txt"); got != l.want[n-1] {
			c.t.Errorf("the answer of job %s is\n%swant\n%s", id, got, l.want[n-1])
		}
		c.money(job)
		if again, err := c.api.Submit(c.t.Context(), l.spec[n-1], key); err != nil || again.ID != id {
			c.t.Errorf("the key of job %s now names job %s, %v", id, again.ID, err)
		}
	}
	account, err := c.op.Account(c.t.Context(), gifted)
	if err != nil || account.Balance != l.issued {
		c.t.Errorf("%s were issued, the account has %s, %v", l.issued, account.Balance, err)
	}
	if held := c.held(requester); held != 0 {
		c.t.Errorf("%s are held though every job has ended", held)
	}
	c.balance()
	c.fsck()
}

// Under load the server and its workers are killed and frozen at random moments, also while they start and several at once. Whatever was acknowledged
// comes about: every job ends with the right result and is paid once, every credit issued is there, fsck finds nothing.
func TestKillStorm(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	kills := setting(t, killsSetting, 12)
	names := []string{"ada", "grace", "linus"}
	c := newCrowd(t, shortLease, names...)
	l := newLoad(c, 3, 4)
	begun := time.Now()
	fallen := map[string]int{}
	kill := func(what string, p *process) {
		p.replace()
		fallen[what]++
		kills--
	}
	worker := func() {
		name := names[lots.IntN(len(names))]
		kill("worker", c.workers[name])
		c.work(name, "")
	}
	for kills > 0 && !t.Failed() {
		pass(t, time.Duration(lots.ExpFloat64()*float64(400*time.Millisecond)))
		switch draw := lots.IntN(10); {
		case draw < 4:
			worker()
		case draw < 7:
			kill("server", c.server)
			if lots.IntN(3) == 0 {
				worker() // that has results nobody has acknowledged
			}
			for lots.IntN(3) == 0 { // while it starts
				c.begin(c.host())
				pass(t, time.Duration(lots.Int64N(int64(300*time.Millisecond))))
				kill("server, starting", c.server)
			}
			c.again()
		case draw < 8:
			kill("server", c.server)
			for _, name := range names {
				kill("worker", c.workers[name])
				c.work(name, "")
			}
			c.again()
		case draw < 9:
			p := c.workers[names[lots.IntN(len(names))]]
			p.pause(t)
			pass(t, time.Duration(lots.Int64N(int64(4*time.Second)))) // perhaps beyond its lease
			p.wake(t)
			fallen["frozen worker"]++
		default:
			c.server.pause(t)
			pass(t, time.Duration(lots.Int64N(int64(4*time.Second))))
			c.server.wake(t)
			fallen["frozen server"]++
		}
	}
	stormy := time.Since(begun)
	l.settle()
	t.Logf("%v in %s; %d jobs and %s of gifts were acknowledged, %d requests were repeated", fallen, stormy.Round(time.Second), len(l.jobs), l.issued, l.unasked)
}
