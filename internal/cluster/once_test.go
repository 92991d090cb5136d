package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/callid"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// A call that was refused stays refused, whichever server its copies come by and whatever has changed meanwhile: nobody is told that he cannot pay for a job that then
// runs. Another call with the same key is another try, and the same name for something else is another call.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	call := callid.With(t.Context(), "call-1")
	ask := func(ctx context.Context, at *host, key string) cloudcrowd.Code {
		_, err := at.Backend().Submit(ctx, "ada", r.spec(key, 20), key)
		return cloudcrowd.CodeOf(err)
	}
	for _, at := range []*host{a, b} {
		if got := ask(call, at, "k"); got != cloudcrowd.InsufficientCredits {
			t.Fatalf("without credits: %q", got)
		}
	}
	r.issue(a, "ada")
	for _, at := range []*host{a, b} {
		if got := ask(call, at, "k"); got != cloudcrowd.InsufficientCredits {
			t.Errorf("a copy of a refused call, at %s: %q", at.cfg.ID, got)
		}
	}
	if account, err := a.Backend().Account(t.Context(), "ada"); err != nil || account.Held != 0 {
		t.Errorf("%+v, %v", account, err)
	}
	for i, ctx := range []context.Context{call, t.Context(), callid.With(t.Context(), "call-2"), call} {
		at, key := []*host{a, b}[i%2], "k"
		if i == 0 {
			key = "another"
		}
		want := cloudcrowd.Code("")
		if i == 3 {
			want = cloudcrowd.InsufficientCredits
		}
		if got := ask(ctx, at, key); got != want {
			t.Errorf("call %d: %q, not %q", i, got, want)
		}
	}
}

// Copies that come while the call is under way are answered as it is, and performed no more often. What was done, or nobody knows of, is performed again: a key tells.
func TestPerformedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		told       error
		remembered bool
	}{
		"refused":     {cloudcrowd.Errorf(cloudcrowd.InsufficientCredits, "too poor"), true},
		"unavailable": {cloudcrowd.Errorf(cloudcrowd.Unavailable, "not now"), false},
		"done":        {nil, false},
	} {
		begun, goOn := make(chan struct{}, 3), make(chan struct{})
		slow := method[string, string]{name: "slow", once: true, do: func(_ context.Context, _ *taskmanager.Manager, in string) (string, error) {
			begun <- struct{}{}
			<-goOn
			return "did " + in, test.told
		}}
		n := New(Config{})
		ctx, leave := context.WithCancel(callid.With(t.Context(), "c"))
		answers := make(chan string, 3)
		ask := func() {
			out, err := slow.perform(ctx, n, nil, "it")
			answers <- fmt.Sprint(out, err)
		}
		go ask()
		<-begun
		go ask()
		leave() // whoever asked first has gone; what he asked for goes on
		gone, copied := context.WithoutCancel(ctx), make(chan string, 1)
		go func() {
			out, err := slow.perform(gone, n, nil, "it")
			copied <- fmt.Sprint(out, err)
		}()
		close(goOn)
		want := fmt.Sprint("did it", test.told)
		if got := <-copied; got != want {
			t.Errorf("%s: a copy was told %q", name, got)
		}
		<-answers
		<-answers
		before := len(begun)
		if out, err := slow.perform(gone, n, nil, "it"); fmt.Sprint(out, err) != want {
			t.Errorf("%s: later: %q, %v", name, out, err)
		}
		if again := len(begun) > before; again == test.remembered {
			t.Errorf("%s: performed again: %v", name, again)
		}
	}
}

// A call in which the server panics leaves no copy waiting, and tells none that it was done.
func TestPerformPanics(t *testing.T) {
	t.Parallel()
	begun, goOn, recovered := make(chan struct{}), make(chan struct{}), make(chan any)
	broken := method[string, string]{name: "broken", once: true, do: func(context.Context, *taskmanager.Manager, string) (string, error) {
		close(begun)
		<-goOn
		panic("a defect")
	}}
	n := New(Config{})
	go func() {
		defer func() { recovered <- recover() }()
		_, _ = broken.perform(callid.With(t.Context(), "c"), n, nil, "it")
	}()
	<-begun
	copied, first := n.refusals.begin(refusalKey{"broken", "c", sha256.Sum256([]byte(`"it"`))})
	if first {
		t.Fatal("the call under way is not known")
	}
	close(goOn)
	<-copied.done
	if cloudcrowd.CodeOf(copied.err) != cloudcrowd.Internal {
		t.Errorf("a copy is told %v", copied.err)
	}
	if cause := <-recovered; cause != "a defect" || len(n.refusals.calls) > 0 || len(n.refusals.order) > 0 {
		t.Errorf("%v; %d calls and %d refusals are left", cause, len(n.refusals.calls), len(n.refusals.order))
	}
}

// Refusals are forgotten after a while, and the oldest when there are too many.
func TestRefusalsForgotten(t *testing.T) {
	t.Parallel()
	var r refusals
	told := cloudcrowd.Errorf(cloudcrowd.Conflict, "no")
	refuse := func(i int) {
		key := refusalKey{method: "m", call: fmt.Sprint(i)}
		p, first := r.begin(key)
		if !first {
			t.Fatalf("call %d was there before", i)
		}
		r.end(key, p, nil, told)
	}
	for i := range refusalsKept + 10 {
		refuse(i)
	}
	if len(r.calls) != refusalsKept || len(r.order) != refusalsKept {
		t.Errorf("%d and %d are kept", len(r.calls), len(r.order))
	}
	if _, first := r.begin(refusalKey{method: "m", call: fmt.Sprint(refusalsKept)}); first {
		t.Error("the newest are forgotten")
	}
	for i := range r.order {
		r.order[i].at = r.order[i].at.Add(-refusalKept - time.Second)
	}
	refuse(-1)
	if len(r.order) != 1 || len(r.calls) != 1 {
		t.Errorf("%d and %d are kept after their time", len(r.calls), len(r.order))
	}
}
