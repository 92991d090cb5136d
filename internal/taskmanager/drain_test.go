package taskmanager

import (
	"context"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// A Manager that drains takes no jobs and gives no leases, takes results, blames nobody for silence, and its leases are there after a restart.
func TestDrain(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("w", "bob", 1, nil)
	id := r.leaseOf(w)
	silent := r.join("silent", "carol", 1, nil)
	r.submit("ada", "", r.spec("more", 20, false, one))
	r.pass(time.Second)
	held := r.received(silent).Leases
	if len(held) == 0 {
		t.Fatal("nothing was leased to the second worker")
	}
	r.m.Drain("the server is draining")
	r.m.Drain("another reason")
	if err := r.m.Ready(t.Context()); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.HasSuffix(err.Error(), "the server is draining") {
		t.Errorf("ready: %v", err)
	}
	if _, err := r.m.Submit(t.Context(), "ada", r.spec("late", 1, false, one), ""); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("a job was taken: %v", err)
	}
	r.received(w)
	r.answer(w, id, "5")
	if down := r.received(w); len(down.Acks) != 1 || len(down.Leases) != 0 {
		t.Errorf("after a result: %v acknowledged, %v leased", down.Acks, attempts(down.Leases))
	}
	r.m.Gone(silent)
	r.pass(time.Hour)
	before := must(r, r.m.Leased)
	if s := r.state(held[0].Attempt); s != cloudcrowd.AttemptLeased {
		t.Errorf("the lease of a silent worker is %s", s)
	}
	r.restart()
	if n := must(r, func(ctx context.Context) (int, error) { return r.m.Leased(ctx) }); n != before || n == 0 {
		t.Errorf("%d leases after the restart, %d before", n, before)
	}
	if s := r.state(held[0].Attempt); s != cloudcrowd.AttemptLeased {
		t.Errorf("after the restart it is %s", s)
	}
	if rec := r.m.State().Record(silent); rec.Lost != 0 || rec.Failed != 0 {
		t.Errorf("blamed: %+v", rec)
	}
	if err := must(r, func(ctx context.Context) (error, error) { return r.m.Ready(ctx), nil }); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}
