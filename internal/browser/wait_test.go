package browser

import (
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/chromedp/chromedp"
)

// limit is the end of the patience for one thing.
type limit time.Time

func patienceEnds() limit { return limit(time.Now().Add(patience)) }

// check fails the test once the patience has ended, otherwise it lets a little time pass.
func (l limit) check(t *testing.T, what string) {
	t.Helper()
	if time.Now().After(time.Time(l)) {
		t.Fatalf("it never came true that %s", what)
	}
	pause := time.NewTimer(20 * time.Millisecond)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-t.Context().Done():
		t.Fatal("the test ended")
	}
}

// ended waits for the end of a job.
func (p *platform) ended(id cloudcrowd.JobID) cloudcrowd.Job {
	p.t.Helper()
	for end := patienceEnds(); ; end.check(p.t, "the job ends") {
		job, err := p.api.Job(p.t.Context(), id)
		if err != nil {
			p.t.Fatal(err)
		}
		if job.State.Ended() {
			return job
		}
	}
}

// worker is the id of a worker that has joined.
func (p *platform) worker(name string) cloudcrowd.WorkerID {
	p.t.Helper()
	page, err := p.api.Workers(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	for _, w := range page.Items {
		if w.Name == name {
			return w.ID
		}
	}
	p.t.Fatalf("there is no worker %s", name)
	return ""
}

// address and markup are read by the browser's debugger, which works where pages may not run scripts.
func (b *tab) address() string {
	b.t.Helper()
	at, err := chromedp.Run(b.ctx, chromedp.Location())
	if err != nil {
		b.t.Fatal(err)
	}
	return at
}

func (b *tab) markup() string {
	b.t.Helper()
	return eval[string](b, `document.documentElement.outerHTML`)
}
