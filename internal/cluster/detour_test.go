package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// everywhere submits jobs at a server until every shard has one.
func (r *rig) everywhere(at *host, account cloudcrowd.AccountID, name string, tasks int64) []cloudcrowd.JobID {
	r.t.Helper()
	jobs := make([]cloudcrowd.JobID, r.shards)
	for i := 0; slices.Contains(jobs, ""); i++ {
		key := fmt.Sprint(name, i)
		if shard := store.ShardOfKey(string(account)+"\x00"+key, r.shards); jobs[shard] == "" {
			jobs[shard] = r.submit(at, account, r.spec(name, tasks), key)
		}
	}
	return jobs
}

// heard is what a watcher was told, without a pause.
type heard struct {
	events <-chan cloudcrowd.Event
	done   map[cloudcrowd.JobID]int
	resets int
}

func (r *rig) watch(at *host, account cloudcrowd.AccountID, job cloudcrowd.JobID) *heard {
	r.t.Helper()
	events, err := at.Backend().Events(r.t.Context(), "", account, job)
	if err != nil {
		r.t.Fatal(err)
	}
	return &heard{events: events, done: map[cloudcrowd.JobID]int{}}
}

// of reads on until the ends of some jobs were told.
func (h *heard) of(r *rig, jobs ...cloudcrowd.JobID) {
	r.t.Helper()
	r.until("the ends of all jobs are told", func() bool {
		for len(h.events) > 0 {
			switch e := <-h.events; e.Type {
			case "job.done":
				h.done[e.Job]++
			case taskmanager.ResetEvent:
				h.resets++
			}
		}
		return !slices.ContainsFunc(jobs, func(id cloudcrowd.JobID) bool { return h.done[id] == 0 })
	})
	for _, id := range jobs {
		if h.done[id] != 1 {
			r.t.Errorf("the end of job %s was told %d times", id, h.done[id])
		}
	}
	if h.resets > 0 {
		r.t.Errorf("told %d times that events were missed", h.resets)
	}
}

// Two servers that cannot reach each other go on through a third: requests, live events, and what workers say and hear. Where there is no third, requests for an owner
// that lives say whom they cannot reach, and nothing else fails.
func TestDetour(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	r.wires, r.patience = newWires(t), time.Hour // nothing is waited for that does not come
	a, b, c := r.start("a", ""), r.start("b", ""), r.start("c", "")
	r.spread(a, b, c)
	r.issue(a, "ada")
	r.join("w", 2, a)
	all := r.watch(a, "", "")
	for _, s := range []*host{a, b, c} {
		if _, err := s.bus.serve("echo."+s.cfg.ID, func(_, _ string, body []byte) ([]byte, error) { return body, nil }); err != nil {
			t.Fatal(err)
		}
	}
	jobs := r.everywhere(b, "ada", "before", 5)
	all.of(r, jobs...)

	r.wires.set(true, "a", "b")
	one := r.watch(a, "ada", "") // while the line is thought to be whole
	jobs = r.everywhere(a, "ada", "between", 20)
	for i, id := range jobs {
		if j := r.ended([]*host{a, b}[i%2], id); j.State != cloudcrowd.JobDone || j.TasksDone != 20 {
			t.Errorf("%+v", j.JobSummary)
		}
	}
	all.of(r, jobs...)
	one.of(r, jobs...)
	r.until("both know that the line is cut", func() bool { return a.bus.isFar("b") && b.bus.isFar("a") })
	for _, s := range []*host{a, b} {
		other := map[*host]string{a: "b", b: "a"}[s]
		for _, size := range []int{0, maxMessage, 5*maxMessage + 7} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(rand.Uint32())
			}
			got, _, err := s.bus.ask(t.Context(), other, "echo."+other, "", body)
			if err != nil || !slices.Equal(got, body) {
				t.Errorf("%d bytes to %s: %d came back, %v", size, other, len(got), err)
			}
		}
		if _, _, err := s.bus.ask(t.Context(), other, "shard.none", "", nil); !errors.Is(err, errElsewhere) {
			t.Errorf("what nobody answers, asked of %s: %v", other, err)
		}
	}
	// What comes over a detour is not sent on.
	if _, err := c.bus.requestOf(t.Context(), "b", "a", "echo.b", "", nil); !errors.Is(err, errNobody) {
		t.Errorf("asked of b over a, which does not reach it: %v", err)
	}
	whole := r.watch(b, "", "")
	jobs = r.everywhere(a, "ada", "around", 20)
	all.of(r, jobs...)
	one.of(r, jobs...)
	whole.of(r, jobs...)

	// Now there is no way from a to anybody.
	r.wires.set(true, "a", "c")
	var asked sync.WaitGroup
	for shard, id := range jobs {
		for _, s := range []*host{a, b, c} {
			asked.Go(func() {
				_, err := s.Backend().Job(t.Context(), id)
				_, owner := s.place(shard)
				if owner == "" || s != a && owner != "a" {
					if err != nil {
						t.Errorf("shard %d of %q, asked of %s: %v", shard, owner, s.cfg.ID, err)
					}
					return
				}
				var e *cloudcrowd.Error
				want := fmt.Sprintf("server %s (https://%[1]s), which has this part of the jobs (shard %d), cannot be reached from server %s", owner, shard, s.cfg.ID)
				if !errors.As(err, &e) || e.Code != cloudcrowd.Unavailable || !strings.Contains(e.Msg, want) {
					t.Errorf("shard %d of %s, asked of %s: %v", shard, owner, s.cfg.ID, err)
				}
			})
		}
	}
	asked.Wait()
	r.wires.set(false, "a", "b", "c")
	r.until("the lines are whole", func() bool { return len(a.bus.direct()) == 2 && len(a.bus.distant()) == 0 && len(b.bus.distant()) == 0 })
	jobs = r.everywhere(a, "ada", "after", 5)
	all.of(r, jobs...)
	whole.of(r, jobs...)
	r.balanced()
}

// Whoever watches hears everything once, and is not told that events were missed, when shards move in good order: also if the last events were none of his.
func TestFeedMoves(t *testing.T) {
	t.Parallel()
	r := newRig(t, 6)
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	r.issue(a, "ada")
	r.issue(a, "joe")
	r.join("w", 2, a)
	all, ada, joe := r.watch(a, "", ""), r.watch(a, "ada", ""), r.watch(a, "joe", "")
	jobs := r.everywhere(a, "ada", "first", 3)
	all.of(r, jobs...)
	ada.of(r, jobs...)
	c := r.start("c", "")
	r.spread(a, b, c)
	b.stop()
	r.spread(a, c)
	jobs = r.everywhere(a, "ada", "second", 3)
	all.of(r, jobs...)
	ada.of(r, jobs...)
	b = r.start("b", "")
	r.spread(a, b, c)
	own := r.watch(a, "joe", r.submit(a, "joe", r.spec("one", 1), "one"))
	jobs = r.everywhere(a, "joe", "third", 3)
	all.of(r, jobs...)
	joe.of(r, jobs...)
	ada.of(r)
	own.of(r)
	if len(all.done) < 18 || len(ada.done) != 12 || len(own.done) > 1 {
		t.Errorf("the ends of %d jobs were told to all, of %d to ada, of %d to who watches one", len(all.done), len(ada.done), len(own.done))
	}
}

// When a shard moves, its next owner may be the first to answer who watches, that it knows no such stream. Where the feed ended is told by the one before, and waited for.
func TestFeedEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	const elsewhere = 7 // a shard of nobody
	tell := func(to string, v streamed) {
		body, err := json.Marshal(v)
		if err == nil {
			err = b.bus.answer(to, body)
		}
		if err != nil {
			t.Error(err)
		}
	}
	_, err := b.bus.subscribe(fmt.Sprint("watch.", elsewhere), func(m *nats.Msg) {
		var w watching
		switch err := json.Unmarshal(m.Data, &w); {
		case err != nil:
			t.Error(err)
		case w.Renew:
			tell(m.Reply, streamed{End: true})
			tell(m.Reply, streamed{N: 1, End: true, At: "2"})
		case !w.Stop:
			tell(m.Reply, streamed{At: "1"})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var at []string
	lost := true
	r.until("it is heard", func() bool { // what is subscribed to there is known here a little later
		lost = a.followThere(t.Context(), elsewhere, "", "", watching{ID: "w"}, func(to string, _ []cloudcrowd.Event) bool {
			at = append(at, to)
			return true
		})
		return len(at) > 0
	})
	if lost || !slices.Equal(at, []string{"1", "2"}) {
		t.Errorf("it was told %q; lost: %v", at, lost)
	}
}

// A server is asked by its name for what it hears, also over an external bus, where there are no detours.
func TestAskedByName(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, MaxPayload: maxPayload, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("no NATS server")
	}
	a, b := r.start("a", s.ClientURL()), r.start("b", s.ClientURL())
	r.spread(a, b)
	if _, err := b.bus.subscribe("some.thing", func(m *nats.Msg) {
		b.bus.refuse(m.Reply, cloudcrowd.Errorf(cloudcrowd.Conflict, "heard %s", m.Subject))
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.bus.requestOf(t.Context(), "b", "", "some.thing", "", nil); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict || !strings.HasSuffix(err.Error(), "some.thing") {
		t.Errorf("%v", err)
	}
	if _, _, err := a.bus.ask(t.Context(), "nobody", "shard.0", "", nil); errors.Is(err, errNobody) {
		t.Errorf("what is heard is not asked by name: %v", err)
	}
	if _, _, err := a.bus.ask(t.Context(), "b", "other", "", nil); !errors.Is(err, errElsewhere) {
		t.Errorf("a server that was reached and does not hear it: %v", err)
	}
	if _, _, err := a.bus.ask(t.Context(), "nobody", "other", "", nil); !errors.Is(err, errNobody) {
		t.Errorf("nobody: %v", err)
	}
}
