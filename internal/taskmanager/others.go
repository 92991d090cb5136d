package taskmanager

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// learnEvery is how often a shard looks up what the others know of workers.
const learnEvery = cloudcrowd.Time(10_000_000)

// others is what the other shards of the store know of workers.
type others struct {
	known   map[cloudcrowd.WorkerID]cloudcrowd.Record // replaced as a whole
	heeded  map[cloudcrowd.WorkerID]cloudcrowd.Record // the known ones whose refusals this shard has drawn its conclusions from
	asked   cloudcrowd.Time
	pending bool
}

// elsewhere adds up what the other shards' tables say.
func (m *Manager) elsewhere(ctx context.Context) (map[cloudcrowd.WorkerID]cloudcrowd.Record, error) {
	rows, err := m.cfg.Records(ctx)
	if err != nil {
		return nil, err
	}
	known := make(map[cloudcrowd.WorkerID]cloudcrowd.Record, len(rows))
	for _, r := range rows {
		if r.Shard != m.cfg.Shard {
			known[r.Worker] = known[r.Worker].Add(r.Record)
		}
	}
	return known, nil
}

// ask looks up for the first time what the other shards know, so that a worker is no stranger to the first decision. It can do without.
func (l *loop) ask(ctx context.Context) {
	if l.m.cfg.Shards == 1 {
		return
	}
	var err error
	if l.others.known, err = l.m.elsewhere(ctx); err != nil {
		l.m.log.Warn("what other shards know of workers cannot be read", "err", err)
	}
}

// learn looks it up now and then, beside the loop.
func (l *loop) learn(now cloudcrowd.Time) {
	if l.m.cfg.Shards == 1 || l.others.pending || l.others.asked != 0 && now-l.others.asked < learnEvery {
		return
	}
	l.others.asked, l.others.pending = now, true
	m := l.m
	m.cfg.Perform(func() {
		known, err := m.elsewhere(context.Background())
		if err != nil {
			m.log.Warn("what other shards know of workers cannot be read", "err", err)
		}
		c := command{decide: func(l *loop, d *lifecycle.Decider) error {
			if err == nil {
				d.Elsewhere = known
				d.Recheck(caught(l.others.heeded, known))
			}
			return nil
		}, done: func(failed error) {
			if l.others.pending = false; err == nil && failed == nil {
				l.others.known, l.others.heeded = known, known
			}
		}}
		select {
		case m.queue <- c:
		case <-m.closed:
		}
	})
}

// caught are the workers of which a result was refused since the records before, and when.
func caught(before, now map[cloudcrowd.WorkerID]cloudcrowd.Record) map[cloudcrowd.WorkerID]cloudcrowd.Time {
	list := map[cloudcrowd.WorkerID]cloudcrowd.Time{}
	for w, r := range now {
		if r.LastInvalid > before[w].LastInvalid {
			list[w] = r.LastInvalid
		}
	}
	return list
}

// record is a worker's standing by what this shard and the others know.
func (l *loop) record(w cloudcrowd.WorkerID) cloudcrowd.Record {
	return (&lifecycle.Decider{State: l.st, Elsewhere: l.others.known}).Record(w)
}

// usesEvery is how often a shard says what requesters have of its attempts.
const usesEvery = cloudcrowd.Time(500_000)

// tellUses makes what Uses returns.
func (l *loop) tellUses(d *lifecycle.Decider) {
	if l.m.cfg.Uses != nil && (l.toldUses == 0 || d.At-l.toldUses >= usesEvery) {
		l.toldUses = d.At
		uses := d.OwnUses()
		l.m.uses.Store(&uses)
	}
}

func (l *loop) usesElsewhere() map[cloudcrowd.AccountID]lifecycle.Use {
	if l.m.cfg.Uses == nil {
		return nil
	}
	return l.m.cfg.Uses()
}

// Uses is what requesters have and had of this shard's attempts, of half a second ago; not to be changed. nil unless Config.Uses is set.
func (m *Manager) Uses() map[cloudcrowd.AccountID]lifecycle.Use {
	if u := m.uses.Load(); u != nil {
		return *u
	}
	return nil
}

// appetite notes whether work waits that no worker has room for.
func (m *Manager) appetite(hungry bool) {
	if m.hungry.Swap(hungry) != hungry {
		m.cfg.Hungry(hungry)
	}
}
