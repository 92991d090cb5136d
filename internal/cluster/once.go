package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/callid"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// Two copies of one call may be on their way to a shard: a server that was to pass it on has died, or did not answer, and it was sent again. Without more, one could be
// refused, its refusal be told, and the other succeed a moment later: a job that its requester was told he cannot pay. What succeeded is found again by its key; what
// was refused is remembered here for a while.

const (
	refusalKept  = 2 * time.Minute // longer than a client tries one call
	refusalsKept = 10_000
)

// refusals are the calls under way, and those that were refused lately, with what they asked for.
type refusals struct {
	mu    sync.Mutex
	calls map[refusalKey]*performed
	order []refused // oldest first
}

type refusalKey struct {
	method, call string
	in           [sha256.Size]byte
}

type refused struct {
	key refusalKey
	at  time.Time
}

// performed is a call under way or one that has ended; out and err are set when done is closed.
type performed struct {
	done chan struct{}
	out  any
	err  error
}

// perform does it by a shard's task manager, once for all copies of one call that come while it is under way or within refusalKept after it was refused.
func (x method[I, O]) perform(ctx context.Context, n *Node, m *taskmanager.Manager, in I) (out O, err error) {
	call := callid.Of(ctx)
	if !x.once || call == "" {
		return x.do(ctx, m, in)
	}
	text, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	key := refusalKey{x.name, call, sha256.Sum256(text)}
	p, first := n.refusals.begin(key)
	if first {
		err = errPanicked // unless it returns
		defer func() { n.refusals.end(key, p, out, err) }()
		out, err = x.do(context.WithoutCancel(ctx), m, in) // another copy may wait for it; it ends with the task manager at the latest
		return out, err
	}
	select {
	case <-p.done:
		out, _ = p.out.(O)
		return out, p.err
	case <-ctx.Done():
		return out, ctx.Err()
	}
}

var errPanicked = cloudcrowd.Errorf(cloudcrowd.Internal, "something went wrong in the server; its log says what")

func (r *refusals) begin(key refusalKey) (p *performed, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p = r.calls[key]; p != nil {
		return p, false
	}
	p = &performed{done: make(chan struct{})}
	if r.calls == nil {
		r.calls = map[refusalKey]*performed{}
	}
	r.calls[key] = p
	return p, true
}

func (r *refusals) end(key refusalKey, p *performed, out any, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.out, p.err = out, err
	close(p.done)
	switch cloudcrowd.CodeOf(err) {
	case "", cloudcrowd.Unavailable, cloudcrowd.Internal: // done, or nobody knows: whoever asks again gets to know
		delete(r.calls, key)
		return
	}
	now := time.Now()
	r.order = append(r.order, refused{key, now})
	for len(r.order) > refusalsKept || now.Sub(r.order[0].at) > refusalKept {
		delete(r.calls, r.order[0].key)
		r.order = r.order[1:]
	}
}
