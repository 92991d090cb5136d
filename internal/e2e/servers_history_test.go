package e2e

import (
	"math/rand/v2"
	"testing"
	"time"
)

// While clients of three servers submit with and without keys, cancel, issue credits and read, each beginning at another server, and devices connected to any of them
// claim and report tasks, owners of shards are killed, frozen beyond their lease, cut off from the database, and stopped in order. What clients and devices were told is as if one server had done
// everything, one thing after the other.
func TestServersLinearizable(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	s := newServers(t, []string{"--failover", "1500ms"})
	blows := setting(t, killsSetting, 4)
	tr := (&trial{c: s.crowd, url: s.serving.URL, servers: s.more}).prepare("account-", 1+blows)
	tr.crowdOf(lots, "dev-a", "dev-b", "dev-c")
	for i := range 4 {
		tr.start(1+i, rand.New(rand.NewPCG(lots.Uint64(), 0)))
	}
	for i, first := 0, lots.IntN(4); i < blows; i++ {
		tr.turn()
		pass(t, time.Duration(200+lots.IntN(800))*time.Millisecond)
		h := s.leader(lots.IntN(s.shards))
		if h == nil {
			continue
		}
		switch (first + i) % 4 {
		case 0:
			h.process.replace()
			if lots.IntN(2) == 0 {
				h.lostAll()
			}
			h.begin()
		case 1:
			h.process.pause(t)
			h.lostAll()
			h.process.wake(t)
		case 2:
			s.fabric.part(h.name, database)
			h.lostAll()
			pass(t, time.Duration(lots.IntN(500))*time.Millisecond) // reads go on meanwhile
			s.fabric.heal()
		case 3:
			h.process.terminate(t)
			until(t, "server "+h.name+" ends", h.process.gone)
			h.process.replace()
			h.begin()
		}
		h.serves()
	}
	s.settled()
	v := tr.close()
	v.explained(t)
	s.balance()
	s.fsck()
}
