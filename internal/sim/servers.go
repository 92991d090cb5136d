package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Several processes share several shards, as package cluster has it, but by lot: who sees a shard that nobody owns, or whose owner was not heard of for a while, claims
// it, whoever else does so at the same time. Only the claim itself decides.

// lease is how long a process that is not heard of keeps its shards.
const lease = 3 * time.Second

// several reports whether the platform has processes that share shards.
func (w *world) several() bool { return w.p.Servers[1] > 0 }

// startProcess starts a process, for the first time or again.
func (w *world) startProcess(name string) {
	p := w.newProcess(name)
	w.processes = append(w.processes, p)
	w.tracef("process %s starts", name)
	p.tend()
}

// end kills a process wherever it is, and lets it start again after some time.
func (w *world) end(p *process) {
	if !p.up {
		return
	}
	p.up = false
	w.processes = slices.DeleteFunc(w.processes, func(o *process) bool { return o == p })
	w.lost[p.name] = w.now
	for _, s := range slices.Clone(w.servers) {
		if s.process == p {
			s.kill()
		}
	}
	for _, k := range w.list {
		if k.host == p {
			k.disconnected()
		}
	}
	w.after(w.upTo(20*time.Second), func() { w.startProcess(p.name) })
}

// anyProcess picks one that lives.
func (w *world) anyProcess() *process {
	if len(w.processes) == 0 {
		return nil
	}
	return w.processes[w.rand.IntN(len(w.processes))]
}

// anyHost picks the process that a worker connects to; nil if there is one server only, or none.
func (w *world) anyHost() *process {
	if !w.several() {
		return nil
	}
	return w.anyProcess()
}

// when does something in the process: now, after its pause, or never.
func (p *process) when(do func()) {
	switch {
	case !p.up:
	case p.paused:
		p.backlog = append(p.backlog, func() { p.when(do) })
	default:
		do()
	}
}

// tend looks now and then which shards want an owner, and whether those it has are its own.
func (p *process) tend() {
	w := p.w
	w.after(time.Second+w.upTo(500*time.Millisecond), func() { p.when(p.tend) })
	heads, _ := w.store.ShardList(context.Background()) // memory: cannot fail
	for _, s := range slices.Clone(w.servers) {
		if s.process == p && s.opened && !s.busy && heads[s.shard].Owner != p.name && w.chance(0.5) { // else it finds out by itself
			s.alone = true
			s.kill()
		}
	}
	for _, shard := range w.rand.Perm(w.shards) {
		if head := heads[shard]; !p.has(shard) && p.free(shard, head) {
			w.after(w.upTo(300*time.Millisecond), func() { p.when(func() { p.claim(shard, head.Epoch) }) })
		}
	}
}

// free reports whether a shard may be claimed.
func (p *process) free(shard int, head store.Head) bool {
	w := p.w
	switch head.Owner {
	case p.name:
		return true
	case "":
		return w.now.Sub(p.gave[shard]) > 10*time.Second || len(w.processes) == 1
	}
	for _, o := range w.processes {
		if o.name == head.Owner {
			return o.paused && w.now.Sub(o.since) > lease
		}
	}
	return w.now.Sub(w.lost[head.Owner]) > lease
}

// has reports whether a Task Manager of the shard runs in the process.
func (p *process) has(shard int) bool {
	return slices.ContainsFunc(p.w.servers, func(s *server) bool { return s.process == p && s.shard == shard })
}

// claim starts a Task Manager that takes a shard over, if it still has the epoch that was seen.
func (p *process) claim(shard int, seen int64) {
	if p.has(shard) {
		return
	}
	p.w.launch(p, shard, p.w.secret(), func(ctx context.Context, h *handle) (store.Head, error) { return h.Claim(ctx, shard, p.name, seen) })
}

// move lets a server give its shard away; the others claim it then.
func (w *world) move() {
	if s := w.some(); s != nil && !s.leaving {
		w.count(GaveAway)
		w.tracef("server %d is to give shard %d away", s.n, s.shard)
		s.leaving = true
		s.soon()
	}
}

// split is what of a worker's message concerns each shard. What he wants is shared out among the shards with work that waits; one without may have all.
func (k *worker) split(m cloudcrowd.Up) []cloudcrowd.Up {
	w := k.w
	if w.shards == 1 {
		return []cloudcrowd.Up{m}
	}
	parts := make([]cloudcrowd.Up, w.shards)
	of := func(id cloudcrowd.AttemptID) *cloudcrowd.Up { return &parts[w.shardOf(id.Task.Job)] }
	for i := range parts {
		if m.Hello != nil {
			h := *m.Hello
			h.Holding, h.Spooled = nil, nil
			parts[i].Hello = &h
		}
		if m.Beat != nil {
			b := *m.Beat
			b.Holding = nil
			parts[i].Beat = &b
		}
	}
	if m.Hello != nil {
		for _, id := range m.Hello.Holding {
			h := of(id).Hello
			h.Holding = append(h.Holding, id)
		}
		for _, id := range m.Hello.Spooled {
			h := of(id).Hello
			h.Spooled = append(h.Spooled, id)
		}
	}
	if m.Beat != nil {
		for _, p := range m.Beat.Holding {
			b := of(p.Attempt).Beat
			b.Holding = append(b.Holding, p)
		}
		k.share(parts, len(m.Beat.Holding)+m.Beat.Want)
	}
	for _, r := range m.Reports {
		p := of(r.Attempt)
		p.Reports = append(p.Reports, r)
	}
	return parts
}

// share divides the leases a worker can hold among the hungry shards; what is left over moves on from one to the next.
func (k *worker) share(parts []cloudcrowd.Up, target int) {
	var hungry []int
	for shard, h := range k.w.hungry {
		if h {
			hungry = append(hungry, shard)
		}
	}
	n := len(hungry)
	turn := int(k.w.now.Sub(epoch) / (10 * time.Second))
	for shard := range parts {
		mine := target
		if at := slices.Index(hungry, shard); at >= 0 && n > 1 {
			mine = target / n
			if (at+k.n+turn)%n < target%n {
				mine++
			}
		}
		b := parts[shard].Beat
		b.Want = max(0, mine-len(b.Holding))
	}
}

// shardOf is the shard of a job.
func (w *world) shardOf(id cloudcrowd.JobID) int { return store.ShardOf(id, w.shards) }

// homeOf is the shard that a submission is taken to: that of the job's id, which is made for it.
func (w *world) homeOf(id cloudcrowd.JobID) int {
	if w.o.planted.misroute {
		return w.rand.IntN(w.shards)
	}
	return w.shardOf(id)
}

// shardOfKey is the shard that answers for a request of an account.
func (w *world) shardOfKey(account cloudcrowd.AccountID, key string) int {
	if w.o.planted.misroute {
		return w.rand.IntN(w.shards)
	}
	return store.ShardOfKey(string(account)+"\x00"+key, w.shards)
}

// startProcesses puts the starts of the processes on the agenda, and that shards move.
func (w *world) startProcesses() {
	for i := range w.report.Servers {
		w.after(w.upTo(3*time.Second), func() { w.startProcess(fmt.Sprint("s", i+1)) })
	}
	w.often(w.p.Moves, w.move)
}
