package sim

import (
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// The bus carries messages between workers and servers. What a worker says reaches every server, as on a cluster of brokers; what a server says reaches its
// worker. Each delivery may be lost, late, twice, behind a later one, or cut off by a partition.

// carry delivers a message after some time, perhaps not, perhaps twice.
func (w *world) carry(cut bool, deliver func()) {
	if cut {
		w.count(Cut)
		return
	}
	if w.faulty(w.p.Drop) {
		w.count(Dropped)
		return
	}
	times := 1
	if w.faulty(w.p.Duplicate) {
		w.count(Duplicated)
		times = 2
	}
	for range times {
		d := time.Duration(w.rand.Float64() * w.rand.Float64() * float64(w.p.Delay))
		if w.faulty(w.p.Reorder) {
			w.count(Reordered)
			d += min(w.upTo(100*w.p.Delay), w.upTo(20*time.Second))
		}
		w.after(d, deliver)
	}
}

// up sends a message to all servers: to each what concerns its shard.
func (k *worker) up(m cloudcrowd.Up) {
	w := k.w
	parts := k.split(m)
	for _, s := range w.servers {
		m := parts[s.shard]
		if m.Hello == nil && m.Beat == nil && len(m.Reports) == 0 {
			continue
		}
		w.carry(w.now.Before(k.upCut) || w.now.Before(s.upCut), func() {
			copied := m
			copied.Reports = slices.Clone(m.Reports)
			for i := range copied.Reports {
				copied.Reports[i].Result.Outputs = slices.Clone(copied.Reports[i].Result.Outputs)
			}
			s.when(func() {
				if s.opened {
					w.note('u', uint64(s.n), uint64(k.n)<<32|uint64(len(m.Reports)))
					w.o.planted.receive(s, k.id, copied.Reports)
					s.manager.Receive(k.id, copied)
				}
			})
		})
	}
}

// courier is a server's way to its workers.
type courier struct{ s *server }

// Send implements taskmanager.Courier.
func (c courier) Send(id cloudcrowd.WorkerID, d cloudcrowd.Down) error {
	s, w := c.s, c.s.w
	s.point("between two messages")
	k := w.workers[id]
	if err := w.book.acknowledged(d.Acks); err != nil {
		w.fail(err)
	}
	if w.o.Trace != nil {
		w.tracef("server %d tells worker %d: %d leases, acks %v, cancels %v, refresh %v, welcome %v %s", s.n, k.n, len(d.Leases), d.Acks, d.Cancels, d.Refresh, d.Welcome != nil, d.Refused)
	}
	w.carry(w.now.Before(k.downCut) || w.now.Before(s.downCut), func() {
		w.note('d', uint64(k.n), uint64(len(d.Leases))<<32|uint64(len(d.Acks)))
		k.when(func() { k.receive(d) })
	})
	return nil
}

// partition cuts some workers, or a server with all of them, off; one way or both.
func (w *world) partition() {
	until := w.now.Add(w.about(20 * time.Second))
	up, down := true, true
	switch w.rand.IntN(4) {
	case 0:
		up = false
	case 1:
		down = false
	}
	if up && down {
		w.count(Partitioned)
	} else {
		w.count(CutOneWay)
	}
	cut := func(from *time.Time, really bool) {
		if really && until.After(*from) {
			*from = until
		}
	}
	if s := w.some(); s != nil && w.chance(0.3) {
		w.tracef("server %d is cut off until %s (hears nothing %v, is not heard %v)", s.n, until.Sub(epoch), up, down)
		cut(&s.upCut, up)
		cut(&s.downCut, down)
		return
	}
	for _, k := range w.list {
		if w.chance(0.4) {
			w.tracef("worker %d is cut off until %s (is not heard %v, hears nothing %v)", k.n, until.Sub(epoch), up, down)
			cut(&k.upCut, up)
			cut(&k.downCut, down)
		}
	}
}
