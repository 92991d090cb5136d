package cluster

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// peer is another server, or this one's earlier life.
type peer struct {
	row  store.Server
	seen time.Time // when its beat last moved, on this server's clock
}

// unique makes sure that no other server lives under this one's name, as when a data folder was copied: they would take each other's shards for good. Only a server
// that did not leave in order has to wait for it, since its earlier life is still written down.
func (n *Node) unique(ctx context.Context) error {
	beat := func() (int64, error) {
		rows, err := n.cfg.Store.Servers(ctx)
		i := slices.IndexFunc(rows, func(r store.Server) bool { return r.ID == n.cfg.ID })
		if err != nil || i < 0 {
			return 0, err
		}
		return rows[i].Beat, nil
	}
	first, err := beat()
	if err != nil || first == 0 {
		return err
	}
	seen := 0 // a last sign of life may have been on its way
	for began := time.Now(); time.Since(began) < n.every()*5/2; {
		pause := time.NewTimer(n.every() / 4)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return ctx.Err()
		}
		now, err := beat()
		if err != nil {
			return err
		}
		if now != first {
			first = now
			seen++
		}
		if seen > 1 {
			return cloudcrowd.Fieldf("data", "another server runs under the name of this one, %s: its data folder and this one are copies of each other", n.cfg.ID).
				WithHint("give this server a folder of its own, or remove the file server.id from the copy")
		}
	}
	return nil
}

// listen hears what the other servers say to all.
func (n *Node) listen() error {
	if err := n.cfg.Bus.join(n.refusal); err != nil {
		return err
	}
	for subject, hear := range map[string]func(*nats.Msg){
		"members":          func(*nats.Msg) { n.wake() },
		"hungry":           n.crowd.heardHungry,
		"uses":             n.crowd.heardUses,
		"gone":             n.crowd.heardGone,
		"down." + n.cfg.ID: n.crowd.heardDown,
	} {
		if _, err := n.cfg.Bus.subscribe(subject, hear); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) wake() {
	select {
	case n.poke <- struct{}{}:
	default:
	}
}

// tell lets the other servers look at once.
func (n *Node) tell() {
	if n.cfg.Bus != nil {
		n.cfg.Bus.publish("members", nil, nil)
	}
}

// every is how often a server gives a sign of life and looks at the others.
func (n *Node) every() time.Duration { return n.cfg.Lease / 6 }

func (n *Node) run(ctx context.Context) {
	defer close(n.done)
	tick := time.NewTicker(n.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.poke:
		}
		if err := n.tend(ctx); err != nil && ctx.Err() == nil {
			n.log.Warn("the store does not answer about the servers; shards are kept as long as nobody else can have taken them", "err", err)
		}
		if n.cfg.Bus != nil {
			n.cfg.Bus.survey(n.others())
		}
		n.crowd.tick()
	}
}

// others are the other servers that live.
func (n *Node) others() (list []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.live {
		if s.ID != n.cfg.ID {
			list = append(list, s.ID)
		}
	}
	return list
}

// owns reports whether no other server can have taken over a shard of this one: they wait for Lease after the last sign of life they saw, which is later than
// when it was given; this one trusts itself for less. Once it could not, another one may be about to take what it has, whatever sign of life comes after: then it
// has to claim everything anew.
func (n *Node) owns() bool {
	return n.cfg.Alone || time.Since(n.began)-time.Duration(n.renewed.Load()) < n.cfg.Lease*4/5
}

// tend gives a sign of life, looks who is there, and takes over or gives away what is to be.
func (n *Node) tend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Lease)
	defer cancel()
	n.mu.Lock()
	n.beat++
	row := store.Server{ID: n.cfg.ID, Beat: n.beat, URL: n.cfg.URL, Version: n.cfg.Version, Draining: n.draining || n.stopping, StartedAt: n.started}
	n.mu.Unlock()
	if n.cfg.Bus != nil {
		row.Bus = n.cfg.Bus.Address()
	}
	at := time.Since(n.began)
	if err := n.cfg.Store.PutServer(ctx, row); err != nil {
		return err
	}
	lapsed := !n.owns()
	if lapsed && n.renewed.Load() > 0 {
		n.term.Add(1)
		n.log.Warn("the lease on shards had run out; they are claimed anew", "after", (time.Since(n.began) - time.Duration(n.renewed.Load())).Round(time.Millisecond).String())
	}
	n.renewed.Store(int64(at))
	asked := time.Now()
	rows, err := n.cfg.Store.Servers(ctx)
	if err != nil {
		return err
	}
	heads, err := n.cfg.Store.ShardList(ctx)
	if err != nil {
		return err
	}
	if n.cfg.Bus != nil {
		n.cfg.Bus.Meet(n.elsewhere(rows))
	}
	n.look(ctx, asked, lapsed, rows, heads)
	return nil
}

// elsewhere is where the other servers can be reached over the bus.
func (n *Node) elsewhere(rows []store.Server) (list []string) {
	for _, r := range rows {
		if r.ID != n.cfg.ID && r.Bus != "" {
			list = append(list, r.Bus)
		}
	}
	return list
}

// forgetAfter is how many leases a server that is not heard of stays written down.
const forgetAfter = 20

// look compares what the store, asked at a time, says with what is to be, and starts what is to be done. Who could not look for a while judges nobody: the others may
// have had no chance to give a sign of life either.
func (n *Node) look(ctx context.Context, asked time.Time, blind bool, rows []store.Server, heads map[int]store.Head) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	silence := func(id string) time.Duration {
		p := n.peers[id]
		if p == nil {
			p = &peer{seen: now}
			n.peers[id] = p
		}
		if blind {
			p.seen = now
		}
		return asked.Sub(p.seen)
	}
	alive := map[string]bool{}
	var takers []string
	live := make([]store.Server, 0, len(rows))
	for _, r := range rows {
		if p := n.peers[r.ID]; p != nil && p.row.Beat != r.Beat {
			p.seen = now
		}
		silent := silence(r.ID)
		n.peers[r.ID].row = r
		if r.ID != n.cfg.ID && silent >= n.cfg.Lease {
			if silent > forgetAfter*n.cfg.Lease {
				go n.forget(r)
			}
			continue
		}
		alive[r.ID] = true
		live = append(live, r)
		if !r.Draining {
			takers = append(takers, r.ID)
		}
	}
	for _, head := range heads { // an owner that is not written down may be about to write itself down again
		if head.Owner != "" && !alive[head.Owner] && silence(head.Owner) < n.cfg.Lease {
			alive[head.Owner] = true
		}
	}
	for id, p := range n.peers {
		if asked.Sub(p.seen) >= n.cfg.Lease && !slices.ContainsFunc(rows, func(r store.Server) bool { return r.ID == id }) &&
			!slices.ContainsFunc(slices.Collect(maps.Values(heads)), func(h store.Head) bool { return h.Owner == id }) {
			delete(n.peers, id)
		}
	}
	n.live = live
	moved := false
	for shard, to := range Spread(takers, n.cfg.Shards) {
		h, head := n.shards[shard], heads[shard]
		h.to = to
		if h.owner != head.Owner || h.epoch != head.Epoch {
			h.owner, h.epoch, moved = head.Owner, head.Epoch, true
			if head.Owner != n.cfg.ID {
				h.failure = nil // it is somebody else's to serve
			}
		}
		if h.busy || h.manager != nil && head.Epoch < h.claimed { // it was claimed after the list was made
			continue
		}
		mine := to == n.cfg.ID
		switch {
		case h.manager != nil && (head.Owner != n.cfg.ID || head.Epoch != h.claimed):
			// Taken over while this server was not heard of. The task manager finds out by itself; it may have nothing to commit.
			n.begin(shard, func() { n.drop(shard) })
		case h.manager != nil && h.term != n.term.Load():
			n.begin(shard, func() { n.drop(shard) })
		case h.manager != nil && !mine && to != "":
			n.begin(shard, func() { n.give(ctx, shard) })
		case h.manager == nil && !mine && to != "" && head.Owner == n.cfg.ID:
			// An earlier life of this server had it, or it was dropped here; nobody else takes from who is alive.
			n.begin(shard, func() { n.release(ctx, shard, head.Epoch) })
		case h.manager == nil && mine && !n.stopping && !now.Before(h.retry) && (head.Owner == "" || head.Owner == n.cfg.ID || !alive[head.Owner]):
			n.begin(shard, func() {
				if err := n.take(context.WithoutCancel(ctx), shard, head.Epoch); err != nil && !errors.Is(err, store.ErrFenced) {
					n.failed(shard, err)
				}
			})
		}
	}
	if moved {
		n.signal()
	}
}

func (n *Node) forget(r store.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.Lease)
	defer cancel()
	if err := n.cfg.Store.DropServer(ctx, r.ID); err != nil {
		n.log.Debug("forgetting a server", "server", r.ID, "err", err)
	}
}

// URLs are the addresses of the servers that are alive; this one's first, those that drain left out.
func (n *Node) URLs() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []string
	if !n.draining && !n.stopping {
		list = append(list, n.cfg.URL)
	}
	for _, s := range n.live {
		if s.URL != "" && !s.Draining && !slices.Contains(list, s.URL) {
			list = append(list, s.URL)
		}
	}
	return list
}

// told is what workers are told of the servers; nil where there is but one.
func (n *Node) told() func() []string {
	if n.cfg.Alone {
		return nil
	}
	return n.URLs
}
