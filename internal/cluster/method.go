package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/callid"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// method is something the task manager of a shard does: here directly, on another server by a call over the bus. It may be done twice.
type method[I, O any] struct {
	name string
	do   func(ctx context.Context, m *taskmanager.Manager, in I) (O, error)
	once bool // copies of one call must agree, see perform
}

// methods are all of them, for calls from other servers.
var methods = map[string]func(ctx context.Context, n *Node, m *taskmanager.Manager, body []byte) ([]byte, error){}

func register[I, O any](name string, do func(ctx context.Context, m *taskmanager.Manager, in I) (O, error)) method[I, O] {
	return method[I, O]{name: name, do: do}.known()
}

func registerOnce[I, O any](name string, do func(ctx context.Context, m *taskmanager.Manager, in I) (O, error)) method[I, O] {
	return method[I, O]{name: name, do: do, once: true}.known()
}

func (x method[I, O]) known() method[I, O] {
	methods[x.name] = func(ctx context.Context, n *Node, m *taskmanager.Manager, body []byte) ([]byte, error) {
		var in I
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, err
		}
		out, err := x.perform(ctx, n, m, in)
		if err != nil {
			return nil, err
		}
		return json.Marshal(out)
	}
	return x
}

// none is what a method without arguments or without an answer takes or gives.
type none struct{}

// pageOf is a page of a list on its way.
type pageOf[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

type (
	byAccount struct {
		Account cloudcrowd.AccountID
		Spec    cloudcrowd.JobSpec
		Key     string
	}
	cancelling struct {
		Job    cloudcrowd.JobID
		By     cloudcrowd.AccountID
		Reason string
	}
	tasksOf struct {
		Job   cloudcrowd.JobID
		Stage string
		State cloudcrowd.TaskState
		Page  store.Page
	}
	attemptsOf struct {
		Job  cloudcrowd.JobID
		Page store.Page
	}
	issuing struct {
		To, By    cloudcrowd.AccountID
		Amount    cloudcrowd.Credits
		Note, Key string
	}
	revoking struct {
		Worker  cloudcrowd.WorkerID
		Revoked bool
	}
)

var (
	plan = register("plan", func(ctx context.Context, m *taskmanager.Manager, in byAccount) (cloudcrowd.Plan, error) {
		return m.Plan(ctx, in.Account, in.Spec)
	})
	submit = registerOnce("submit", func(ctx context.Context, m *taskmanager.Manager, in byAccount) (cloudcrowd.JobID, error) {
		return m.Submit(ctx, in.Account, in.Spec, in.Key)
	})
	cancel = registerOnce("cancel", func(ctx context.Context, m *taskmanager.Manager, in cancelling) (none, error) {
		return none{}, m.Cancel(ctx, in.Job, in.By, in.Reason)
	})
	job = register("job", func(ctx context.Context, m *taskmanager.Manager, in cloudcrowd.JobID) (cloudcrowd.Job, error) {
		return m.Job(ctx, in)
	})
	inMemory = register("memory", func(ctx context.Context, m *taskmanager.Manager, in store.JobFilter) (taskmanager.InMemory, error) {
		return m.InMemory(ctx, in)
	})
	tasks = register("tasks", func(ctx context.Context, m *taskmanager.Manager, in tasksOf) (pageOf[cloudcrowd.Task], error) {
		list, next, err := m.Tasks(ctx, in.Job, in.Stage, in.State, in.Page)
		return pageOf[cloudcrowd.Task]{list, next}, err
	})
	task = register("task", func(ctx context.Context, m *taskmanager.Manager, in cloudcrowd.TaskID) (cloudcrowd.Task, error) {
		return m.Task(ctx, in)
	})
	attempts = register("attempts", func(ctx context.Context, m *taskmanager.Manager, in attemptsOf) (pageOf[cloudcrowd.Attempt], error) {
		list, next, err := m.Attempts(ctx, in.Job, in.Page)
		return pageOf[cloudcrowd.Attempt]{list, next}, err
	})
	explain = register("explain", func(ctx context.Context, m *taskmanager.Manager, in cloudcrowd.JobID) (cloudcrowd.Explanation, error) {
		return m.Explain(ctx, in)
	})
	explainTask = register("explain-task", func(ctx context.Context, m *taskmanager.Manager, in cloudcrowd.TaskID) (cloudcrowd.Explanation, error) {
		return m.ExplainTask(ctx, in)
	})
	workers = register("workers", func(ctx context.Context, m *taskmanager.Manager, _ none) ([]cloudcrowd.WorkerView, error) {
		return m.Workers(ctx)
	})
	worker = register("worker", func(ctx context.Context, m *taskmanager.Manager, in cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
		return m.Worker(ctx, in)
	})
	running = register("running", func(ctx context.Context, m *taskmanager.Manager, in cloudcrowd.WorkerID) ([]cloudcrowd.Attempt, error) {
		return m.Running(ctx, in)
	})
	revoke = register("revoke", func(ctx context.Context, m *taskmanager.Manager, in revoking) (none, error) {
		return none{}, m.RevokeWorker(ctx, in.Worker, in.Revoked)
	})
	issue = registerOnce("issue", func(ctx context.Context, m *taskmanager.Manager, in issuing) (cloudcrowd.Transfer, error) {
		return m.Issue(ctx, in.To, in.Amount, in.By, in.Note, in.Key)
	})
	written  = register("written", func(ctx context.Context, m *taskmanager.Manager, _ none) (none, error) { return none{}, m.Written(ctx) })
	standing = register("standing", func(ctx context.Context, m *taskmanager.Manager, _ none) (cloudcrowd.ServerStatus, error) {
		return m.Standing(ctx)
	})
)

// answerSoon is how long the task manager of a shard waits for the bus before it begins without.
const answerSoon = time.Second

// answer lets other servers reach the task manager of a shard.
func (n *Node) answer(shard int, m *taskmanager.Manager) (subs []*hearing, err error) {
	if n.cfg.Bus == nil {
		return nil, nil
	}
	name := strconv.Itoa(shard)
	add := func(s *hearing, e error) {
		if e == nil {
			subs = append(subs, s)
		}
		err = errors.Join(err, e)
	}
	add(n.cfg.Bus.serve("shard."+name, func(call, method string, body []byte) ([]byte, error) {
		do := methods[method]
		if do == nil {
			return nil, cloudcrowd.Errorf(cloudcrowd.Internal, "this server knows no method %q; is it of another version?", method)
		}
		return do(callid.With(context.Background(), call), n, m, body) // it ends with the task manager at the latest
	}))
	add(n.cfg.Bus.subscribe("up."+name, func(msg *nats.Msg) { n.crowd.heardUp(m, msg) }))
	add(n.cfg.Bus.subscribe("shares."+name, func(msg *nats.Msg) { heardShares(m, msg) }))
	add(n.cfg.Bus.subscribe("watch."+name, func(msg *nats.Msg) { n.stream(m, msg) }))
	if err == nil && n.cfg.Bus.conn.FlushTimeout(answerSoon) != nil { // the others ask again, until the bus is back
		n.log.Debug("the bus cannot be reached; others do not reach this shard until it can", "shard", shard)
	}
	return subs, err
}

// on does it at whoever owns the shard. While nobody does it waits, at most for Patience; so a request outlives the server that had the shard. For an owner that lives and
// cannot be reached it does not wait as long.
func (x method[I, O]) on(ctx context.Context, n *Node, shard int, in I) (out O, err error) {
	out, _, err = x.try(ctx, n, shard, in)
	return out, err
}

// try is on; again says that the answer is to a repetition, and that what was asked for may have been done before it.
func (x method[I, O]) try(ctx context.Context, n *Node, shard int, in I) (out O, again bool, err error) {
	if x.once && callid.Of(ctx) == "" {
		ctx = callid.With(ctx, callid.New())
	}
	var body []byte
	var since time.Time // nobody does it
	var away absence
	for {
		n.mu.Lock()
		h := n.shards[shard]
		m, owner, epoch, failure, changed := h.manager, n.ownerOf(shard), h.epoch, h.failure, n.changed
		n.mu.Unlock()
		began := time.Now()
		switch {
		case m != nil:
			if out, err = x.perform(ctx, n, m, in); !taskmanager.Moved(err) || n.cfg.Alone {
				return out, again, err
			}
		case failure != nil:
			return out, again, unserved(shard, failure)
		case n.cfg.Bus != nil:
			if body == nil {
				if body, err = json.Marshal(in); err != nil {
					return out, again, err
				}
			}
			var answer []byte
			var twice bool
			answer, twice, err = n.ask(ctx, shard, owner, epoch, x.name, body)
			if again = again || twice; err == nil {
				err = json.Unmarshal(answer, &out)
				return out, again, err
			}
			again = again || errors.Is(err, errSilent) || errors.Is(err, context.Canceled)
			if !errors.Is(err, errElsewhere) && !errors.Is(err, errNobody) && !errors.Is(err, context.Canceled) {
				return out, again, err
			}
			away.note(owner, began, err)
			if cut := n.unreached(away, shard); cut != nil {
				return out, again, cut
			}
		}
		again = again || m != nil || errors.Is(err, errElsewhere) // who loses a shard in the middle of a commit cannot tell whether it was done
		if ctx.Err() != nil {
			return out, again, ctx.Err()
		}
		if since.IsZero() {
			since = time.Now()
		}
		if time.Since(since) > n.cfg.Patience {
			return out, again, cloudcrowd.Errorf(cloudcrowd.Unavailable, "no server has taken over this part of the jobs yet (shard %d)", shard).
				WithHint("try again in a moment; what was acknowledged is safe")
		}
		pause := time.NewTimer(askAgain)
		select {
		case <-changed:
		case <-pause.C:
		case <-ctx.Done():
		}
		pause.Stop()
	}
}

// askAgain is when a shard that had no owner is looked at again if nothing is heard.
const askAgain = 50 * time.Millisecond

// unserved is the answer of the server that was to serve a shard and cannot.
func unserved(shard int, failure error) error {
	return cloudcrowd.Errorf(cloudcrowd.Unavailable, "this part of the jobs cannot be served (shard %d): %v", shard, failure).WithHint("the operator finds more in the server's log")
}

// absence is since when a server was asked and could not be reached.
type absence struct {
	server string
	since  time.Time
	sure   bool // there is no way to it; else it only does not answer
}

// note takes how a question ended that was asked of a server at a time.
func (a *absence) note(server string, at time.Time, err error) {
	switch {
	case server == "" || !errors.Is(err, errNobody):
		*a = absence{}
	case a.server != server:
		*a = absence{server: server, since: at}
	}
	a.sure = errors.Is(err, errNobody) && !errors.Is(err, errSilent)
}

// reachLimit is how long an owner that lives may be out of reach before requests for it fail: a server that is started again has joined the bus by then, and the
// bus has found another way if there is one.
const reachLimit = 5 * time.Second

// unreached is an error if there is no way to the owner of a shard, for longer than others take to replace it if it is gone, and it has given signs of life since.
func (n *Node) unreached(a absence, shard int) error {
	waited := time.Since(a.since)
	if a.server == "" || waited < max(reachLimit, n.cfg.Lease+n.every()) || !a.sure && waited < n.cfg.Patience {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[a.server]
	if p == nil || p.seen.Before(a.since.Add(2*n.every())) { // a sign given before is seen one look later at the latest
		return nil
	}
	return cloudcrowd.Errorf(cloudcrowd.Unavailable, "server %s (%s), which has this part of the jobs (shard %d), cannot be reached from server %s; both are alive", a.server, p.row.URL, shard, n.cfg.ID).
		WithHint("ask another server; what was acknowledged is safe. Servers must reach each other at their addresses for the cluster, or all reach the bus")
}

// ownerOf is the other server that has a shard, or is about to have it, as far as is known; "" if none. n.mu is held.
func (n *Node) ownerOf(shard int) string {
	h := n.shards[shard]
	for _, id := range []string{h.owner, h.to} {
		if id != n.cfg.ID && slices.ContainsFunc(n.live, func(s store.Server) bool { return s.ID == id }) {
			return id
		}
	}
	return ""
}

// refusal is what this server says to who asks it by name for what it does not do.
func (n *Node) refusal(subject string) error {
	name, found := strings.CutPrefix(subject, "shard.")
	shard, err := strconv.Atoi(name)
	if !found || err != nil || shard < 0 || shard >= n.cfg.Shards {
		return errElsewhere
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.shards[shard]; h.failure != nil && h.manager == nil {
		return unserved(shard, h.failure)
	}
	return errElsewhere
}

// ask makes one call, and gives it up when the shard has another owner than under the given epoch.
func (n *Node) ask(ctx context.Context, shard int, owner string, epoch int64, method string, body []byte) (answer []byte, twice bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			n.mu.Lock()
			moved, changed := n.shards[shard].epoch != epoch || n.shards[shard].manager != nil, n.changed
			n.mu.Unlock()
			if moved {
				cancel()
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return n.cfg.Bus.ask(ctx, owner, "shard."+strconv.Itoa(shard), method, body)
}
