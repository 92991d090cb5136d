package e2e

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd"
)

// mostTries is how many jobs are looked at in search of one that runs.
const mostTries = 500

// victim is the server that owns the shard of a running job.
func (s *servers) victim(l *load, lots *rand.Rand) *host {
	s.t.Helper()
	var found *host
	tries := 0
	until(s.t, "a job runs at a server", func() bool {
		l.mu.Lock()
		jobs := slices.Collect(maps.Values(l.jobs))
		l.mu.Unlock()
		lots.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
		for _, id := range jobs {
			state := ""
			s.query("SELECT state FROM jobs WHERE id = $1", func(rows pgx.Rows) error { return rows.Scan(&state) }, string(id))
			if tries++; !cloudcrowd.JobState(state).Ended() || tries > mostTries { // short jobs are over before the tables know of them; others follow in their shards
				found = s.leader(s.shardOf(id))
				return found != nil
			}
		}
		return false
	})
	return found
}

// lostAll waits until others own what a server owned.
func (h *host) lostAll() {
	h.s.t.Helper()
	until(h.s.t, "others take over from "+h.name, func() bool { return len(h.owns()) == 0 })
}

// Under load three servers fare badly, one or all at a time, the owner of a running job first of all: they are killed and started again, frozen beyond their lease, cut
// off from the database, from each other and from their workers, one way and both. Whatever was acknowledged comes about, once.
func TestServersStorm(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	names := []string{"ada", "grace", "linus"}
	s := newServers(t, []string{"--failover", "1500ms"}, names...)
	l := newLoad(s.crowd, 3, 4)
	begun := time.Now()
	fared := map[string]int{}
	bad := []func(h *host){
		func(h *host) {
			fared["owner killed"]++
			h.process.replace()
			if lots.IntN(2) == 0 {
				h.lostAll()
			}
			h.begin()
		},
		func(h *host) {
			fared["frozen beyond its lease"]++
			h.process.pause(t)
			h.lostAll()
			h.process.wake(t)
		},
		func(h *host) {
			fared["cut off from the database"]++
			s.fabric.part(h.name, database)
			h.lostAll()
			s.fabric.heal()
		},
		func(h *host) {
			fared["cut off from the other servers"]++
			for _, o := range s.others(h) {
				s.fabric.hold(h.name, o.name)
				if lots.IntN(2) == 0 {
					s.fabric.hold(o.name, h.name)
				}
			}
			pass(t, time.Second+time.Duration(lots.Int64N(int64(2*time.Second))))
			s.fabric.heal()
		},
		func(h *host) {
			fared["cut off from workers"]++
			s.fabric.part(h.name, names...)
			pass(t, time.Second+time.Duration(lots.Int64N(int64(2*time.Second))))
			s.fabric.heal()
		},
		func(h *host) {
			fared["cut off from everything"]++
			s.fabric.part(h.name, append([]string{database, "one", "two", "three"}, names...)...)
			h.lostAll()
			s.fabric.heal()
		},
		func(*host) {
			fared["all killed"]++
			for _, o := range s.hosts {
				o.process.replace()
			}
			for _, o := range s.hosts {
				o.begin()
			}
		},
	}
	for i, blows := lots.IntN(len(bad)), setting(t, killsSetting, 5); blows > 0 && !t.Failed(); i, blows = i+1, blows-1 {
		pass(t, time.Duration(lots.ExpFloat64()*float64(300*time.Millisecond)))
		h, before := s.victim(l, lots), time.Since(begun)
		bad[i%len(bad)](h)
		l.mu.Lock()
		t.Logf("%5.1f to %.1f s: %d at server %s; %d jobs", before.Seconds(), time.Since(begun).Seconds(), i%len(bad), h.name, len(l.jobs))
		l.mu.Unlock()
		for _, h := range s.hosts {
			h.serves()
		}
	}
	s.settled()
	stormy := time.Since(begun)
	l.settle()
	t.Logf("%v in %s; %d jobs and %s of gifts were acknowledged, %d requests were repeated", fared, stormy.Round(time.Second), len(l.jobs), l.issued, l.unasked)
}
