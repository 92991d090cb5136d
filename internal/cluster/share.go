package cluster

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// uses is what requesters have and had of the workers.
type uses = map[cloudcrowd.AccountID]lifecycle.Use

// shardUses are those of one shard, as its owner said last.
type shardUses struct {
	of uses
	at time.Time
}

// hunger is whether a shard has work that waits for workers.
type hunger struct {
	now   bool
	since time.Time // of the last change to false
}

// hungryShards are those with work that waits, ascending. c.mu is held.
func (c *Crowd) hungryShards(now time.Time) []int {
	var list []int
	for shard, h := range c.hungry {
		if h.now || !h.since.IsZero() && now.Sub(h.since) < appetite {
			list = append(list, shard)
		}
	}
	return list
}

// share is how many of a worker's target leases a shard may give it. Hungry shards divide them; what is left over goes to some of them by turns, to others on other
// workers. A shard that is not hungry may give all: it has nothing to give, and when it has it must not wait.
func share(w cloudcrowd.WorkerID, target, shard int, hungry []int, turn int) int {
	at, found := slices.BinarySearch(hungry, shard)
	if !found || len(hungry) == 1 {
		return target
	}
	n := len(hungry)
	h := fnv.New32a()
	_, _ = h.Write([]byte(w)) // never fails
	part := target / n
	if (at+int(h.Sum32()%uint32(n))+turn)%n < target%n {
		part++
	}
	return part
}

// setHungry is told by a task manager here whether work waits.
func (c *Crowd) setHungry(shard int, hungry bool) {
	c.note(shard, hungry)
	c.sayHungry(shard, hungry)
}

func (c *Crowd) sayHungry(shard int, hungry bool) {
	if c.n.cfg.Bus != nil {
		c.n.cfg.Bus.publish("hungry", nats.Header{headShard: {strconv.Itoa(shard)}}, []byte(strconv.FormatBool(hungry)))
	}
}

func (c *Crowd) heardHungry(msg *nats.Msg) {
	shard, err := strconv.Atoi(msg.Header.Get(headShard))
	if err != nil || shard < 0 || shard >= c.n.cfg.Shards || c.n.Local(shard) != nil {
		return
	}
	c.note(shard, string(msg.Data) == "true")
}

func (c *Crowd) note(shard int, hungry bool) {
	c.mu.Lock()
	h := &c.hungry[shard]
	changed := h.now != hungry
	if changed {
		h.now = hungry
		if !hungry {
			h.since = time.Now()
		}
	}
	c.mu.Unlock()
	if changed && hungry {
		go c.reshare()
	}
}

// usesKept is how long what a shard said of requesters counts if it says nothing more.
const usesKept = 10 * time.Second

func (c *Crowd) sayUses(shard int, of uses) {
	c.mu.Lock()
	c.uses[shard] = shardUses{of, time.Now()}
	c.mu.Unlock()
	if c.n.cfg.Bus != nil {
		body, _ := json.Marshal(of) // numbers
		if len(body) > maxMessage { // tens of thousands of requesters: each shard then shares by what it knows itself
			return
		}
		c.n.cfg.Bus.publish("uses", nats.Header{headShard: {strconv.Itoa(shard)}}, body)
	}
}

func (c *Crowd) heardUses(msg *nats.Msg) {
	shard, err := strconv.Atoi(msg.Header.Get(headShard))
	if err != nil || shard < 0 || shard >= c.n.cfg.Shards || c.n.Local(shard) != nil {
		return
	}
	var of uses
	if json.Unmarshal(msg.Data, &of) == nil {
		c.mu.Lock()
		c.uses[shard] = shardUses{of, time.Now()}
		c.mu.Unlock()
	}
}

// addUses adds up, for each shard here, what requesters have in all others: shares and quotas are of the whole crowd.
func (c *Crowd) addUses() {
	c.mu.Lock()
	all := slices.Clone(c.uses)
	c.mu.Unlock()
	now := time.Now()
	for shard := range c.n.Locals() {
		sum := uses{}
		for other, u := range all {
			if other == shard || now.Sub(u.at) > usesKept {
				continue
			}
			for account, v := range u.of {
				s := sum[account]
				sum[account] = lifecycle.Use{Running: s.Running + v.Running, Slots: s.Slots + v.Slots, CoreSeconds: s.CoreSeconds + v.CoreSeconds}
			}
		}
		c.sums[shard].Store(&sum)
	}
}

// usesBeside is what requesters have in the shards other than one.
func (c *Crowd) usesBeside(shard int) uses {
	if u := c.sums[shard].Load(); u != nil {
		return *u
	}
	return nil
}

// reshare tells task managers whose share of a worker has changed.
func (c *Crowd) reshare() {
	changed := make([]map[cloudcrowd.WorkerID]int, c.n.cfg.Shards)
	c.mu.Lock()
	hungry := c.hungryShards(time.Now())
	for w, g := range c.guests {
		for shard := range changed {
			s := share(w, g.target, shard, hungry, c.turn)
			if s == g.shares[shard] {
				continue
			}
			g.shares[shard] = s
			if changed[shard] == nil {
				changed[shard] = map[cloudcrowd.WorkerID]int{}
			}
			changed[shard][w] = s
		}
	}
	c.mu.Unlock()
	for shard, list := range changed {
		if len(list) == 0 {
			continue
		}
		m, owner := c.n.place(shard)
		if m != nil {
			m.Shares(list)
			continue
		}
		if c.n.cfg.Bus == nil {
			continue
		}
		some := map[cloudcrowd.WorkerID]int{}
		flush := func() {
			body, _ := json.Marshal(some) // strings and numbers
			c.n.cfg.Bus.publishTo(owner, "shares."+strconv.Itoa(shard), nil, body)
			clear(some)
		}
		for w, s := range list {
			if some[w] = s; len(some) >= sharesAtOnce {
				flush()
			}
		}
		if len(some) > 0 {
			flush()
		}
	}
}

func heardShares(m *taskmanager.Manager, msg *nats.Msg) {
	var list map[cloudcrowd.WorkerID]int
	if json.Unmarshal(msg.Data, &list) == nil {
		m.Shares(list)
	}
}
