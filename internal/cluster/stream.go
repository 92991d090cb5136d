package cluster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// A watcher of events at a server that does not own the shard gets them over the bus, as long as it says every now and then that it is still there; the owner says
// the same. Either notices the other's end, and the watcher goes on where it was, at the owner then.

const (
	streamBeat  = time.Second
	streamLost  = 4 * streamBeat
	streamBatch = 256 // events of one message
)

// watching opens, renews or ends a stream.
type watching struct {
	ID      string
	Renew   bool
	Stop    bool
	After   string
	Account cloudcrowd.AccountID
	Job     cloudcrowd.JobID
}

// streamed is one message of a stream.
type streamed struct {
	N      int                `json:"n"`            // counts the messages: none may be missing
	At     string             `json:"at,omitempty"` // where to go on if no event comes any more; "" where the event before says it
	Events []cloudcrowd.Event `json:"events,omitempty"`
	End    bool               `json:"end,omitempty"`
}

// streams are those this server sends.
type streams struct {
	mu    sync.Mutex
	open  map[string]*time.Timer // by id; it ends the stream unless it is reset
	all   sync.WaitGroup
	ended bool // none begins any more
}

// end lets none begin, and returns when all have ended, or ctx has.
func (s *streams) end(ctx context.Context) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.all.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// stream serves a watcher at another server.
func (n *Node) stream(m *taskmanager.Manager, msg *nats.Msg) {
	var w watching
	if err := json.Unmarshal(msg.Data, &w); err != nil {
		return
	}
	s := &n.streams
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.open[w.ID]; t != nil {
		if w.Stop {
			t.Reset(0)
		} else {
			t.Reset(streamLost)
		}
		return
	}
	count := 0
	say := func(v streamed) {
		v.N = count
		count++
		body, _ := json.Marshal(v)            // plain values
		_ = n.cfg.Bus.answer(msg.Reply, body) // the watcher notices what is missing by the silence
	}
	if w.Renew || w.Stop || s.ended {
		if w.Renew {
			say(streamed{End: true}) // not known here
		}
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	if s.open == nil {
		s.open = map[string]*time.Timer{}
	}
	s.open[w.ID] = time.AfterFunc(streamLost, cancel)
	s.all.Go(func() {
		last := streamed{End: true}
		defer func() {
			cancel()
			s.mu.Lock()
			delete(s.open, w.ID)
			s.mu.Unlock()
			say(last)
		}()
		events, at, reached := m.Watch(ctx, w.After, w.Account, w.Job)
		defer func() { last.At = reached() }()
		say(streamed{At: at})
		beat := time.NewTicker(streamBeat)
		defer beat.Stop()
		for {
			var batch streamed
			select {
			case <-beat.C:
				batch.At = reached()
			case e, ok := <-events:
				if !ok {
					return
				}
				batch.Events = append(batch.Events, e)
				for len(batch.Events) < streamBatch && len(events) > 0 {
					if e, ok = <-events; ok {
						batch.Events = append(batch.Events, e)
					}
				}
			}
			say(batch)
		}
	})
}

// follow hands on the events of one shard until ctx ends, whoever owns it meanwhile. Whenever it has begun take is called without events; at is where the feed
// stands if it begins from now, or from now again because events were missed.
func (n *Node) follow(ctx context.Context, shard int, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID, take func(at string, events []cloudcrowd.Event) bool) {
	around := false // the direct way to the owner gave nothing
	for first := true; ctx.Err() == nil; first = false {
		n.mu.Lock()
		m, owner, changed := n.shards[shard].manager, n.ownerOf(shard), n.changed
		n.mu.Unlock()
		if !first {
			pause := time.NewTimer(100 * time.Millisecond)
			select {
			case <-changed:
			case <-pause.C:
			case <-ctx.Done():
			}
			pause.Stop()
		}
		note := func(at string, events []cloudcrowd.Event) bool {
			if at != "" {
				after = at
			}
			for _, e := range events { // before take gives them other ids
				if e.Type != taskmanager.ResetEvent {
					after = e.ID
				}
			}
			return take(at, events)
		}
		switch {
		case m != nil:
			n.followHere(ctx, m, after, account, job, note)
		case n.cfg.Bus != nil:
			via := ""
			if around {
				via = n.cfg.Bus.between(owner)
			}
			lost := n.followThere(ctx, shard, owner, via, watching{ID: rand.Text(), After: after, Account: account, Job: job}, note)
			around = lost && !around
		}
	}
}

func (n *Node) followHere(ctx context.Context, m *taskmanager.Manager, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID, take func(string, []cloudcrowd.Event) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, at, reached := m.Watch(ctx, after, account, job)
	if !take(at, nil) {
		return
	}
	for e := range events {
		if !take("", []cloudcrowd.Event{e}) {
			return
		}
	}
	take(reached(), nil)
}

// followThere follows a shard at its owner, through another server if via is not "". It returns true if nothing was heard, or nothing any more.
func (n *Node) followThere(ctx context.Context, shard int, owner, via string, w watching, take func(string, []cloudcrowd.Event) bool) (lost bool) {
	bus := n.cfg.Bus
	reply, answers, done := bus.calls.expect(4096)
	defer done()
	say := func(w watching) {
		body, _ := json.Marshal(w) // plain values
		m := &nats.Msg{Subject: bus.prefix + "watch." + strconv.Itoa(shard), Reply: reply, Header: nats.Header{headPart: {"1/1"}}, Data: body}
		if via != "" {
			bus.pass(bus.addressed(m, owner, via))
		} else if err := bus.send(owner, m); err != nil {
			n.log.Debug("bus: not asked", "err", err) // the silence tells
		}
	}
	say(w)
	defer say(watching{ID: w.ID, Stop: true})
	renew := time.NewTicker(streamBeat)
	defer renew.Stop()
	silence := time.NewTimer(streamLost)
	defer silence.Stop()
	var parts assembly
	next, leaving := 0, false
	leave := func() { // it gives the shard away, and says where the feed ends when it has; or it is gone
		if !leaving {
			leaving = true
			silence.Reset(2 * streamBeat)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-silence.C:
			return true
		case <-renew.C:
			say(watching{ID: w.ID, Renew: true})
		case msg := <-answers:
			if msg.Header.Get(headStatus) == "503" {
				if next == 0 {
					return true
				}
				leave()
				continue
			}
			whole, err := parts.add(msg) // a refusal is no part
			if err != nil {
				return true
			}
			if !whole {
				continue
			}
			var v streamed
			err = json.Unmarshal(parts.bytes(), &v)
			parts = assembly{}
			if err == nil && next > 0 && v.N == 0 && v.End && v.At == "" { // the next owner, which does not know the stream
				leave()
				continue
			}
			if err != nil || v.N != next || v.End && v.At == "" {
				return false
			}
			next++
			leaving = false
			silence.Reset(streamLost)
			if (v.N == 0 || v.At != "" || len(v.Events) > 0) && !take(v.At, v.Events) || v.End {
				return false
			}
		}
	}
}

// Events implements api.Backend. The feed of one job has the ids its shard gave; one over several shards has ids that say how far each shard's is.
func (b *Backend) Events(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) (<-chan cloudcrowd.Event, error) {
	if b.n.cfg.Alone && b.n.cfg.Shards == 1 {
		if m := b.n.Local(0); m != nil {
			return m.Events(ctx, after, account, job)
		}
	}
	out := make(chan cloudcrowd.Event, eventBuffer)
	feed := &merged{at: make([]string, b.n.cfg.Shards), out: out, begun: make(chan struct{})}
	from := make([]string, b.n.cfg.Shards)
	if job != "" || b.n.cfg.Shards == 1 {
		shard := 0
		if job != "" {
			shard = b.shardOf(job)
		}
		from[shard] = after
		feed.plain = true
		feed.follow(ctx, b.n, []int{shard}, from, account, job)
		feed.wait(ctx)
		return out, nil
	}
	all := make([]int, b.n.cfg.Shards)
	parts := strings.Split(after, "+")
	for shard := range from {
		all[shard] = shard
		feed.at[shard] = unknown
		if after != "" {
			from[shard] = unknown
			if len(parts) == len(from) {
				from[shard] = parts[shard]
			}
			feed.at[shard] = from[shard]
		}
	}
	feed.follow(ctx, b.n, all, from, account, "")
	feed.wait(ctx)
	return out, nil
}

const eventBuffer = 1024

// pass hands events on; false when ctx has ended.
func pass(ctx context.Context, out chan<- cloudcrowd.Event, events []cloudcrowd.Event) bool {
	for _, e := range events {
		select {
		case out <- e:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// unknown stands for where a shard's feed was that nobody could tell; whoever goes on from there is told that events were missed.
const unknown = "?"

// merged is a feed over shards.
type merged struct {
	out   chan<- cloudcrowd.Event
	plain bool // one shard's, with its own ids
	begun chan struct{}

	mu      sync.Mutex
	at      []string // where each shard's feed is
	pending int      // shards that did not begin yet
}

// follow hands on the events of some shards until ctx ends; then it closes the channel.
func (f *merged) follow(ctx context.Context, n *Node, shards []int, from []string, account cloudcrowd.AccountID, job cloudcrowd.JobID) {
	f.pending = len(shards)
	var all sync.WaitGroup
	for _, shard := range shards {
		all.Go(func() {
			first := true
			n.follow(ctx, shard, from[shard], account, job, func(at string, events []cloudcrowd.Event) bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				if first {
					first = false
					if f.pending--; f.pending == 0 {
						close(f.begun)
					}
				}
				if at != "" {
					f.at[shard] = at
				}
				for i := range events {
					if events[i].Type != taskmanager.ResetEvent {
						f.at[shard] = events[i].ID
					}
					if !f.plain {
						events[i].ID = strings.Join(f.at, "+")
					}
				}
				return pass(ctx, f.out, events)
			})
		})
	}
	go func() {
		all.Wait()
		close(f.out)
	}()
}

// beginLimit is how long a feed waits for shards that nobody serves at the moment; their events come when somebody does.
const beginLimit = 2 * time.Second

// wait returns when what happens from now on is in the feed.
func (f *merged) wait(ctx context.Context) {
	limit := time.NewTimer(beginLimit)
	defer limit.Stop()
	select {
	case <-f.begun:
	case <-limit.C:
	case <-ctx.Done():
	}
}
