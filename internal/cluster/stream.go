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
	At     string             `json:"at,omitempty"` // of the first: where the feed stands
	Events []cloudcrowd.Event `json:"events,omitempty"`
	End    bool               `json:"end,omitempty"`
}

// streams are those this server sends.
type streams struct {
	mu   sync.Mutex
	open map[string]*time.Timer // by id; it ends the stream unless it is reset
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
	say := func(v streamed) {
		body, _ := json.Marshal(v)                        // plain values
		_ = n.cfg.Bus.sendParts(msg.Reply, "", nil, body) // the watcher notices what is missing by the silence
	}
	if w.Renew || w.Stop {
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
	go func() {
		defer func() {
			cancel()
			s.mu.Lock()
			delete(s.open, w.ID)
			s.mu.Unlock()
			say(streamed{End: true})
		}()
		events, at := m.Watch(ctx, w.After, w.Account, w.Job)
		say(streamed{At: at})
		beat := time.NewTicker(streamBeat)
		defer beat.Stop()
		for {
			var batch streamed
			select {
			case <-beat.C:
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
	}()
}

// follow hands on the events of one shard until ctx ends, whoever owns it meanwhile. When it begins from now, or from now again because events were missed, take is
// told where the feed stands, before the events after that.
func (n *Node) follow(ctx context.Context, shard int, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID, take func(at string, events []cloudcrowd.Event) bool) {
	for first := true; ctx.Err() == nil; first = false {
		n.mu.Lock()
		m, changed := n.shards[shard].manager, n.changed
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
			n.followThere(ctx, shard, watching{ID: rand.Text(), After: after, Account: account, Job: job}, note)
		}
	}
}

func (n *Node) followHere(ctx context.Context, m *taskmanager.Manager, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID, take func(string, []cloudcrowd.Event) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, at := m.Watch(ctx, after, account, job)
	if at != "" && !take(at, nil) {
		return
	}
	for e := range events {
		if !take("", []cloudcrowd.Event{e}) {
			return
		}
	}
}

func (n *Node) followThere(ctx context.Context, shard int, w watching, take func(string, []cloudcrowd.Event) bool) {
	subject := "watch." + strconv.Itoa(shard)
	reply, answers, done := n.cfg.Bus.calls.expect(4096)
	defer done()
	say := func(w watching) {
		body, _ := json.Marshal(w) // plain values
		_ = n.cfg.Bus.sendParts(subject, reply, nil, body)
	}
	say(w)
	defer say(watching{ID: w.ID, Stop: true})
	renew := time.NewTicker(streamBeat)
	defer renew.Stop()
	silence := time.NewTimer(streamLost)
	defer silence.Stop()
	var parts assembly
	for {
		select {
		case <-ctx.Done():
			return
		case <-silence.C:
			return
		case <-renew.C:
			say(watching{ID: w.ID, Renew: true})
		case msg := <-answers:
			if msg.Header.Get(headStatus) == "503" {
				return
			}
			whole, err := parts.add(msg)
			if err != nil {
				return
			}
			if !whole {
				continue
			}
			var v streamed
			err = json.Unmarshal(parts.bytes(), &v)
			parts = assembly{}
			if err != nil || v.End {
				return
			}
			silence.Reset(streamLost)
			if (v.At != "" || len(v.Events) > 0) && !take(v.At, v.Events) {
				return
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
	if job != "" || b.n.cfg.Shards == 1 {
		go func() {
			defer close(out)
			shard := 0
			if job != "" {
				shard = b.shardOf(job)
			}
			b.n.follow(ctx, shard, after, account, job, func(_ string, events []cloudcrowd.Event) bool { return pass(ctx, out, events) })
		}()
		return out, nil
	}
	go b.n.together(ctx, after, account, out)
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

// together merges the feeds of all shards.
func (n *Node) together(ctx context.Context, after string, account cloudcrowd.AccountID, out chan<- cloudcrowd.Event) {
	var mu sync.Mutex
	at := make([]string, n.cfg.Shards)
	from := make([]string, n.cfg.Shards)
	for shard := range at {
		at[shard] = unknown
	}
	if after != "" {
		parts := strings.Split(after, "+")
		for shard := range from {
			from[shard] = unknown
			if len(parts) == n.cfg.Shards {
				from[shard] = parts[shard]
			}
			at[shard] = from[shard]
		}
	}
	var all sync.WaitGroup
	for shard := range at {
		all.Go(func() {
			n.follow(ctx, shard, from[shard], account, "", func(pos string, events []cloudcrowd.Event) bool {
				mu.Lock()
				defer mu.Unlock()
				if pos != "" {
					at[shard] = pos
				}
				for i := range events {
					if events[i].Type != taskmanager.ResetEvent {
						at[shard] = events[i].ID
					}
					events[i].ID = strings.Join(at, "+")
				}
				return pass(ctx, out, events)
			})
		})
	}
	all.Wait()
	close(out)
}
