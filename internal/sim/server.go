package sim

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// process is one server of the platform, with a clock, a way to the store and a way to the bus of its own: the Task Managers that run in it freeze and die together.
type process struct {
	w       *world
	name    string // under which it claims shards; the same in its next life
	up      bool
	paused  bool
	since   time.Time // of its pause
	backlog []func()  // what came while it was paused
	skew    time.Duration
	upCut   time.Time   // nothing reaches it before
	downCut time.Time   // nothing leaves it before
	gave    []time.Time // when it gave shards away, by shard
}

func (w *world) newProcess(name string) *process {
	return &process{w: w, name: name, up: true, skew: 2*w.upTo(w.p.Skew) - w.p.Skew, gave: make([]time.Time, w.shards)}
}

// server is a Task Manager of one shard. It runs as a coroutine, so that the world goes on while it waits for its disk, and it can die wherever it waits.
type server struct {
	*process
	n       int // counted over the run
	shard   int
	manager *taskmanager.Manager
	store   *handle
	next    func() (time.Duration, bool)
	stop    func()
	yield   func(time.Duration) bool

	alive   bool
	opened  bool  // it owns the shard, or believes so
	inside  bool  // its coroutine runs at this moment
	busy    bool  // in the middle of a step, or about to begin one
	due     bool  // asked for another step
	leaving bool  // it is to give its shard away
	alone   bool  // its end is no end of its process
	damaged bool  // it has read a bit that had flipped
	epoch   int64 // 0 before it has the shard
	err     error // why it ended
}

// idle is what a server waits for after a step: the next message or tick.
const idle = time.Duration(-1)

// killed unwinds a server that dies where it stands.
type killed struct{}

// startServer starts the process of a platform that has one shard and, as a rule, one server.
func (w *world) startServer() {
	seed := w.secret()
	w.launch(w.newProcess(""), 0, seed, nil)
}

// secret draws what a Task Manager draws from.
func (w *world) secret() (seed [32]byte) {
	for i := range seed {
		seed[i] = byte(w.rand.Uint32())
	}
	return seed
}

// launch starts a Task Manager in a process. take claims the shard; nil: it is acquired, whoever has it.
func (w *world) launch(p *process, shard int, seed [32]byte, take func(context.Context, *handle) (store.Head, error)) {
	w.started++
	s := &server{process: p, n: w.started, shard: shard, alive: true, busy: true}
	w.damage(shard)
	s.store = &handle{Store: w.store, s: s}
	c := taskmanager.Config{Store: s.store, Blobs: w.blobs, Courier: courier{s}, Signer: signer{}, Operator: operator, Sharing: w.sharing(), Now: s.clock, Shard: shard, Shards: w.shards,
		Seed: &seed, Perform: s.perform, Unpaused: true, Merge: merged}
	if take != nil {
		c.Take = func(ctx context.Context) (store.Head, error) { return take(ctx, s.store) }
	}
	if w.several() {
		c.Hungry = func(hungry bool) { w.hungry[shard] = hungry }
	}
	s.manager = taskmanager.New(c)
	s.next, s.stop = iter.Pull(s.life)
	w.servers = append(w.servers, s)
	w.note('S', uint64(s.n), uint64(shard))
	w.tracef("server %d starts", s.n)
	if w.several() {
		w.tracef("server %d is of process %s, for shard %d", s.n, p.name, shard)
	}
	s.drive()
}

// life is what runs. It yields how long it waits.
func (s *server) life(yield func(time.Duration) bool) {
	s.yield = yield
	defer func() {
		switch r := recover(); r {
		case nil:
		case killed{}:
			s.err = nil
		default:
			panic(r)
		}
	}()
	ctx := context.Background()
	if s.err = s.manager.Open(ctx); s.err != nil {
		return
	}
	s.opened = true
	s.w.opened(s)
	for {
		if s.err = s.manager.Step(ctx); s.err != nil {
			return
		}
		if s.leaving {
			s.giveAway(ctx)
			return
		}
		if !yield(idle) {
			return
		}
	}
}

// giveAway ends a Task Manager in good order and frees its shard.
func (s *server) giveAway(ctx context.Context) {
	_ = s.manager.Close() // the tables catch up later
	if err := s.store.Release(ctx, s.shard, s.epoch); err == nil {
		s.gave[s.shard] = s.w.now
	}
	s.alone = true
}

func (s *server) clock() time.Time { return s.w.now.Add(s.skew) }

// drive lets the server run until it waits for something.
func (s *server) drive() {
	if !s.alive {
		return
	}
	if s.paused {
		s.backlog = append(s.backlog, s.drive)
		return
	}
	s.inside = true
	d, ok := s.next()
	s.inside = false
	switch {
	case !ok:
		s.w.died(s)
	case d != idle:
		s.w.after(d, s.drive)
	default:
		s.busy = false
		if again := s.due; again || s.manager.Queued() {
			s.soon()
		}
	}
}

// soon lets the loop take what has come by then as one batch.
func (s *server) soon() {
	if s.busy {
		s.due = true
		return
	}
	s.busy, s.due = true, false
	s.w.after(time.Millisecond, s.drive)
}

// sleep waits for a disk.
func (s *server) sleep(d time.Duration) {
	if s.inside && d > 0 && !s.yield(d) {
		panic(killed{})
	}
}

// point is a place at which the server may die.
func (s *server) point(where string) {
	if s.inside && s.w.faulty(s.w.p.CrashHere) {
		s.w.count(CrashedHere)
		s.w.note('c', uint64(s.n), uint64(len(where)))
		s.w.tracef("server %d dies %s", s.n, where)
		panic(killed{})
	}
}

// perform runs input and output beside the loop.
func (s *server) perform(work func()) {
	s.w.after(s.w.upTo(2*time.Millisecond), func() { s.when(work) })
}

// when does something the server's process does beside its loop: now, after its pause, or never.
func (s *server) when(do func()) {
	switch {
	case !s.alive:
	case s.paused:
		s.backlog = append(s.backlog, func() { s.when(do) })
	default:
		do()
		if !s.inside {
			s.soon()
		}
	}
}

// kill ends the process wherever it is: its memory, and what was queued, is gone.
func (s *server) kill() {
	s.stop()
	s.w.died(s)
}

// died clears up after a Task Manager that has ended, and lets another one start.
func (w *world) died(s *server) {
	s.alive = false
	w.servers = slices.DeleteFunc(w.servers, func(o *server) bool { return o == s })
	w.note('D', uint64(s.n), 0)
	w.tracef("server %d has ended: %v", s.n, s.err)
	corrupt := (*store.CorruptError)(nil)
	switch {
	case s.err == nil:
	case errors.As(s.err, &corrupt):
		if !w.disk.shards[s.shard].flipped && !s.damaged {
			w.fail(s.err)
		}
		s.alone = true // a damaged shard stops nobody else
	case errors.Is(s.err, store.ErrFenced):
		if s.epoch >= w.disk.shards[s.shard].epoch {
			w.fail(errors.New("a server was fenced though nobody has taken its shard"))
		}
		if s.epoch == 0 {
			w.count(ClaimLost)
		}
		s.alone = true
	case cloudcrowd.CodeOf(s.err) == cloudcrowd.Unavailable && !s.opened: // the disk is full: it is started again
		s.alone = true
	default:
		w.fail(s.err)
	}
	w.repair(s.shard)
	if w.several() {
		if !s.alone {
			w.end(s.process)
		}
		return
	}
	if !slices.ContainsFunc(w.servers, func(o *server) bool { return o.opened && !o.paused }) {
		w.restart(w.upTo(20 * time.Second))
	}
	for _, k := range w.list {
		k.disconnected()
	}
}

// restart starts a server after some time, unless one is about to start.
func (w *world) restart(d time.Duration) {
	if w.starting {
		return
	}
	w.starting = true
	w.after(d, func() {
		w.starting = false
		w.startServer()
	})
}

// opened is called when a server has taken over its shard.
func (w *world) opened(s *server) {
	if w.disk.shards[s.shard].flipped {
		w.fail(errors.New("a server works on a damaged store"))
	}
	for _, k := range w.list {
		if !k.online && !k.away {
			w.after(w.upTo(5*time.Second), k.reconnect)
		}
	}
}

// some picks a server that lives.
func (w *world) some() *server { return w.pick(w.servers) }

// of picks a server of a shard, or one that believes so.
func (w *world) of(shard int) *server {
	if !w.several() {
		return w.some()
	}
	return w.pick(slices.DeleteFunc(slices.Clone(w.servers), func(s *server) bool { return s.shard != shard }))
}

func (w *world) pick(list []*server) *server {
	if len(list) == 0 {
		return nil
	}
	if s := list[w.rand.IntN(len(list))]; s.opened {
		return s
	}
	return nil
}

func (w *world) crashOne() {
	switch {
	case w.several():
		if p := w.anyProcess(); p != nil {
			w.count(Crashed)
			w.tracef("process %s is killed", p.name)
			w.end(p)
		}
	case len(w.servers) > 0:
		s := w.servers[w.rand.IntN(len(w.servers))]
		w.count(Crashed)
		w.tracef("server %d is killed", s.n)
		s.kill()
	}
}

// pauseOne freezes a process; mostly others take over before it wakes.
func (w *world) pauseOne() {
	s := w.some()
	if s == nil || s.paused {
		return
	}
	w.count(Paused)
	p := s.process
	p.paused, p.since = true, w.now
	length := w.about(20 * time.Second)
	w.note('P', uint64(s.n), uint64(length))
	w.tracef("server %d is paused for %s", s.n, length)
	w.after(length, func() {
		if w.several() && !p.up || !w.several() && !s.alive {
			return
		}
		w.tracef("server %d wakes", s.n)
		p.paused = false
		backlog := p.backlog
		p.backlog = nil
		for _, do := range backlog {
			do()
		}
	})
	if !w.several() && w.chance(0.7) {
		w.restart(w.upTo(length + 5*time.Second))
	}
}

// takeOver starts a server beside the one at work, as when two believe that they own the shard.
func (w *world) takeOver() {
	switch {
	case w.several():
		if p := w.anyProcess(); p != nil && !p.paused {
			if shard := w.rand.IntN(w.shards); !p.has(shard) {
				w.count(TookOver)
				p.claim(shard, w.disk.shards[shard].epoch)
			}
		}
	case len(w.servers) > 0 && len(w.servers) < 3:
		w.count(TookOver)
		w.startServer()
	}
}

// setClock sets a server's clock, back or forth.
func (w *world) setClock() {
	if s := w.some(); s != nil {
		by := time.Duration(w.rand.Float64() * w.rand.Float64() * float64(2*w.upTo(w.p.Jump)-w.p.Jump))
		s.skew += by
		w.count(ClockSet)
		w.note('C', uint64(s.n), uint64(by))
		w.tracef("the clock of server %d is set by %s", s.n, by)
	}
}

type signer struct{}

func (signer) Read(d cloudcrowd.Digest, _ time.Time) string { return string(d) }
func (signer) Upload(a cloudcrowd.AttemptID, _ cloudcrowd.WorkerID, _ int64, _ time.Time) string {
	return a.String()
}
