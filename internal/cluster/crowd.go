package cluster

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
	"cloudcrowd.dev/cloudcrowd/internal/wire"
)

// Gate is the connection to workers at this server.
type Gate interface {
	Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error
	Kick(w cloudcrowd.WorkerID, reason string)
}

// Crowd stands between the workers connected here and the task managers of all shards, here and elsewhere. What a worker says is split by the shard it is about;
// what it offers is shared out: a shard with work that waits gets the same part as any other such shard, one without work may have all, as long as it has none.
type Crowd struct {
	n    *Node
	gate Gate

	mu     sync.Mutex
	guests map[cloudcrowd.WorkerID]*guest // connected here
	where  map[cloudcrowd.WorkerID]string // server through which a worker was heard last, for the task managers here
	hungry []hunger
	uses   []shardUses            // by shard
	sums   []atomic.Pointer[uses] // by shard: of all others
	turn   int                    // moves what cannot be divided from shard to shard
	turned time.Time
	told   []string // addresses of servers, as the workers connected here know them
}

// guest is a worker connected here.
type guest struct {
	hello    cloudcrowd.Hello // as it said it last, without what it holds; for task managers that start later
	welcomed bool
	welcome  cloudcrowd.Welcome

	// introduced are the shards whose task manager was told of the worker without its Hello. Its welcome is passed on: the worker then repeats what the one before
	// has not acknowledged.
	introduced map[int]bool
	target     int   // leases it can hold in all
	shares     []int // of each shard, as told last
}

// Headers of messages about workers.
const (
	headWorker    = "W"
	headServer    = "S"
	headShard     = "H"
	headIntroduce = "I"
)

const (
	appetite     = time.Second      // a shard counts as hungry for so long after its work ran out
	turnEvery    = 10 * time.Second // how often what cannot be divided moves on
	keptCached   = 64               // digests remembered of what a worker says it has
	sharesAtOnce = 2000             // workers in one message
)

func newCrowd(n *Node) *Crowd {
	return &Crowd{n: n, guests: map[cloudcrowd.WorkerID]*guest{}, where: map[cloudcrowd.WorkerID]string{}, hungry: make([]hunger, n.cfg.Shards),
		uses: make([]shardUses, n.cfg.Shards), sums: make([]atomic.Pointer[uses], n.cfg.Shards)}
}

// Crowd is where the gateway of this server brings what workers say.
func (n *Node) Crowd() *Crowd { return n.crowd }

// Through makes gate the way to workers connected here. To be called before Start.
func (c *Crowd) Through(gate Gate) { c.gate = gate }

// simple reports whether there is nobody to share with.
func (c *Crowd) simple() bool { return c.n.cfg.Alone && c.n.cfg.Shards == 1 }

// Receive implements gateway.Crowd.
func (c *Crowd) Receive(w cloudcrowd.WorkerID, up cloudcrowd.Up) {
	if c.simple() {
		if m := c.n.Local(0); m != nil {
			m.Receive(w, up)
		}
		return
	}
	parts := make([]cloudcrowd.Up, c.n.cfg.Shards)
	c.mu.Lock()
	c.where[w] = c.n.cfg.ID
	g := c.guests[w]
	if up.Hello != nil {
		g = c.welcome(w, up.Hello)
		c.splitHello(up.Hello, parts)
	}
	if up.Beat != nil {
		if g != nil {
			g.target = len(up.Beat.Holding) + up.Beat.Want
		}
		c.splitBeat(w, g, up.Beat, parts)
	}
	c.mu.Unlock()
	for _, r := range up.Reports {
		p := &parts[c.shardOf(r.Attempt)]
		p.Reports = append(p.Reports, r)
	}
	for _, id := range up.Returned {
		p := &parts[c.shardOf(id)]
		p.Returned = append(p.Returned, id)
	}
	for shard := range parts {
		parts[shard].Leaving = up.Leaving
		if p := &parts[shard]; p.Hello != nil || p.Beat != nil || len(p.Reports) > 0 || len(p.Returned) > 0 || p.Leaving {
			c.bring(shard, w, *p, false)
		}
	}
}

func (c *Crowd) shardOf(id cloudcrowd.AttemptID) int {
	return store.ShardOf(id.Task.Job, c.n.cfg.Shards)
}

// welcome remembers a worker that says hello. c.mu is held.
func (c *Crowd) welcome(w cloudcrowd.WorkerID, h *cloudcrowd.Hello) *guest {
	g := &guest{hello: *h, target: max(h.Info.Slots, 1) + taskmanager.DefaultAhead, shares: make([]int, c.n.cfg.Shards)}
	g.hello.Holding, g.hello.Spooled = nil, nil
	g.hello.Cached = slices.Clone(h.Cached[:min(len(h.Cached), keptCached)])
	c.guests[w] = g
	return g
}

func (c *Crowd) splitHello(h *cloudcrowd.Hello, parts []cloudcrowd.Up) {
	for shard := range parts {
		one := *h
		one.Holding, one.Spooled = nil, nil
		parts[shard].Hello = &one
	}
	for _, id := range h.Holding {
		p := parts[c.shardOf(id)].Hello
		p.Holding = append(p.Holding, id)
	}
	for _, id := range h.Spooled {
		p := parts[c.shardOf(id)].Hello
		p.Spooled = append(p.Spooled, id)
	}
}

// splitBeat gives each shard its part of a beat; what the worker wants is asked of each by its share. c.mu is held.
func (c *Crowd) splitBeat(w cloudcrowd.WorkerID, g *guest, b *cloudcrowd.Beat, parts []cloudcrowd.Up) {
	hungry := c.hungryShards(time.Now())
	for shard := range parts {
		one := *b
		one.Holding = nil
		parts[shard].Beat = &one
	}
	for _, p := range b.Holding {
		one := parts[c.shardOf(p.Attempt)].Beat
		one.Holding = append(one.Holding, p)
	}
	for shard := range parts {
		one := parts[shard].Beat
		mine := share(w, len(b.Holding)+b.Want, shard, hungry, c.turn)
		one.Want = max(0, mine-len(one.Holding))
		if g != nil {
			g.shares[shard] = mine
		}
	}
}

// bring hands what a worker said to the task manager of a shard, wherever that is.
func (c *Crowd) bring(shard int, w cloudcrowd.WorkerID, up cloudcrowd.Up, introduce bool) {
	m, owner := c.n.place(shard)
	if m != nil {
		if introduce {
			m.Introduce(w, *up.Hello)
		} else {
			m.Receive(w, up)
		}
		return
	}
	if c.n.cfg.Bus == nil {
		return // no owner yet: the worker repeats what matters
	}
	frames, err := wire.SplitUp(&up)
	if err != nil {
		c.n.log.Warn("a worker's message cannot be passed on", "worker", w.Short(), "err", err)
		return
	}
	header := nats.Header{headWorker: {string(w)}, headServer: {c.n.cfg.ID}}
	if introduce {
		header[headIntroduce] = []string{"1"}
	}
	for _, f := range frames {
		c.n.cfg.Bus.publishTo(owner, "up."+strconv.Itoa(shard), header, f)
	}
}

// heardUp takes what a worker said at another server, for a task manager here.
func (c *Crowd) heardUp(m *taskmanager.Manager, msg *nats.Msg) {
	w := cloudcrowd.WorkerID(msg.Header.Get(headWorker))
	up, err := wire.DecodeUp(msg.Data)
	if err != nil {
		c.n.log.Warn("a message from another server cannot be read", "worker", w.Short(), "err", err)
		return
	}
	c.mu.Lock()
	c.where[w] = msg.Header.Get(headServer)
	c.mu.Unlock()
	if msg.Header.Get(headIntroduce) != "" && up.Hello != nil {
		m.Introduce(w, *up.Hello)
		return
	}
	m.Receive(w, *up)
}

// Gone implements gateway.Crowd.
func (c *Crowd) Gone(w cloudcrowd.WorkerID) {
	if c.simple() {
		if m := c.n.Local(0); m != nil {
			m.Gone(w)
		}
		return
	}
	c.mu.Lock()
	delete(c.guests, w)
	c.mu.Unlock()
	c.gone(w, c.n.cfg.ID)
	if c.n.cfg.Bus != nil {
		c.n.cfg.Bus.publish("gone", nats.Header{headWorker: {string(w)}, headServer: {c.n.cfg.ID}}, nil)
	}
}

// gone lets the task managers here know, unless the worker is at another server by now.
func (c *Crowd) gone(w cloudcrowd.WorkerID, server string) {
	c.mu.Lock()
	here := c.where[w] == server
	if here {
		delete(c.where, w)
	}
	c.mu.Unlock()
	if !here {
		return
	}
	for _, m := range c.n.Locals() {
		m.Gone(w)
	}
}

func (c *Crowd) heardGone(msg *nats.Msg) {
	c.gone(cloudcrowd.WorkerID(msg.Header.Get(headWorker)), msg.Header.Get(headServer))
}

// courier carries what one shard's task manager says.
type courier struct {
	c     *Crowd
	shard int
}

// Send implements taskmanager.Courier.
func (k courier) Send(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	c := k.c
	if c.simple() {
		return c.hand(w, d)
	}
	c.mu.Lock()
	at := c.where[w]
	c.mu.Unlock()
	if at == c.n.cfg.ID || at == "" {
		return c.deliver(k.shard, w, d)
	}
	if c.n.cfg.Bus == nil {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "worker %s is not connected", w.Short())
	}
	frames, large, err := wire.SplitDown(&d)
	if err != nil {
		return err
	}
	for _, f := range frames {
		c.n.cfg.Bus.publishTo(at, "down."+at, nats.Header{headWorker: {string(w)}, headShard: {strconv.Itoa(k.shard)}}, f)
	}
	if len(large) > 0 {
		c.bring(k.shard, w, cloudcrowd.Up{Reports: wire.Undeliverable(large)}, false)
	}
	return nil
}

func (c *Crowd) heardDown(msg *nats.Msg) {
	w := cloudcrowd.WorkerID(msg.Header.Get(headWorker))
	shard, err := strconv.Atoi(msg.Header.Get(headShard))
	var d *cloudcrowd.Down
	if err == nil {
		d, err = wire.DecodeDown(msg.Data)
	}
	if err == nil && (shard < 0 || shard >= c.n.cfg.Shards) {
		return
	}
	if err == nil {
		err = c.deliver(shard, w, *d)
	}
	if err != nil {
		c.n.log.Debug("passing on to a worker", "worker", w.Short(), "err", err)
	}
}

// deliver gives a worker connected here what a shard says. It is welcomed once, whatever the number of shards, and again by one with another owner, and introduced to a shard that does not know it.
func (c *Crowd) deliver(shard int, w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	c.mu.Lock()
	g := c.guests[w]
	introduce := false
	if g != nil {
		if d.Welcome != nil && g.welcomed && !g.introduced[shard] {
			d.Welcome = nil
		}
		if d.Welcome != nil {
			g.welcomed, g.welcome = true, *d.Welcome
			delete(g.introduced, shard)
		}
		introduce = d.Refresh
		d.Refresh = false
	}
	c.mu.Unlock()
	if introduce {
		c.introduceOne(shard, w, g)
	}
	if d.Welcome == nil && !d.Refresh && len(d.Leases)+len(d.Acks)+len(d.Cancels) == 0 && d.Refused == "" {
		return nil
	}
	return c.hand(w, d)
}

// hand gives a worker connected here a message.
func (c *Crowd) hand(w cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	err := c.gate.Send(w, d)
	if err == nil && d.Refused != "" {
		c.gate.Kick(w, d.Refused)
	}
	return err
}

// introduce tells a task manager that has just started about the workers connected here.
func (c *Crowd) introduce(shard int) {
	if c.simple() {
		return
	}
	c.mu.Lock()
	guests := maps.Clone(c.guests)
	c.mu.Unlock()
	for w, g := range guests {
		c.introduceOne(shard, w, g)
	}
}

func (c *Crowd) introduceOne(shard int, w cloudcrowd.WorkerID, g *guest) {
	c.mu.Lock()
	hello := g.hello
	if g.introduced == nil {
		g.introduced = map[int]bool{}
	}
	g.introduced[shard] = true
	c.mu.Unlock()
	c.bring(shard, w, cloudcrowd.Up{Hello: &hello}, true)
}

// tellServers lets workers connected here know which servers there are, when that has changed.
func (c *Crowd) tellServers() {
	servers := c.n.URLs()
	slices.Sort(servers)
	list := map[cloudcrowd.WorkerID]cloudcrowd.Welcome{}
	c.mu.Lock()
	if !slices.Equal(servers, c.told) {
		c.told = servers
		for w, g := range c.guests {
			if g.welcomed {
				g.welcome.Servers = servers
				list[w] = g.welcome
			}
		}
	}
	c.mu.Unlock()
	for w, welcome := range list {
		if err := c.gate.Send(w, cloudcrowd.Down{Welcome: &welcome}); err != nil {
			c.n.log.Debug("telling a worker the servers", "worker", w.Short(), "err", err)
		}
	}
}

// tick repeats what may have been lost, and moves what cannot be divided.
func (c *Crowd) tick() {
	c.tellServers()
	if c.n.cfg.Shards == 1 {
		return
	}
	for shard, m := range c.n.Locals() {
		c.note(shard, m.Hungry())
		c.sayHungry(shard, m.Hungry())
		c.sayUses(shard, m.Uses())
	}
	c.addUses()
	now := time.Now()
	c.mu.Lock()
	if now.Sub(c.turned) >= turnEvery {
		c.turned = now
		c.turn++
	}
	c.mu.Unlock()
	c.reshare()
}
