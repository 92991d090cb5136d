package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// expireEvery is how often leases are looked over: far more often than any lease ends, far less often than batches are decided.
const expireEvery = cloudcrowd.Time(200_000)

// probeAfter is how long after a failed commit new work is tried again.
const probeAfter = cloudcrowd.Time(2e6)

// loop owns a shard's state. Only its goroutine touches it.
type loop struct {
	m         *Manager
	st        *lifecycle.State
	epoch     int64
	rand      *rand.Rand
	sessions  map[cloudcrowd.WorkerID]*session
	ordered   []*session                                // sessions by worker
	takers    []*scheduler.Worker                       // see open; nil: to be made again
	field     *scheduler.Field                          // of takers, kept from one placement to the next; nil: to be made again
	absent    map[cloudcrowd.WorkerID]*scheduler.Leases // held by workers without a session
	out       []*outbox                                 // with something to be sent after the commit
	strangers map[cloudcrowd.WorkerID]*outbox           // of them, those for workers without a session
	recent    *session                                  // looked up last, see session
	leased    []lifecycle.Leased
	inFlight  map[work]bool   // input-output jobs under way
	undone    map[work]undone // those that failed and are tried again
	project   *projector
	readOnly  string          // why nothing can be committed; "" if all is well
	troubled  cloudcrowd.Time // when a commit last failed
	ended     endedTasks
	packer    lifecycle.Packer
	asked     lifecycle.Sizes // of the batch before
	warmed    int             // what looking ahead has come to; nobody reads it
	more      bool            // leases may be left to give that the last batch had no room for
	ahead     bool            // st has what no commit holds: it was decided on, and the commit is under way or failed
	rows      int64           // since the last snapshot
	events    int64           // likewise
	snapped   cloudcrowd.Time
	snapCost  cloudcrowd.Time // how long making the last snapshot took
	expired   cloudcrowd.Time // when leases were last looked over
	copied    cloudcrowd.Time // when stragglers were last looked for
	toldUses  cloudcrowd.Time // when Uses was last made
	performed cloudcrowd.Time // when all jobs were last looked at for work beside the loop
	meter     meter
	scratch   []lifecycle.Event // of the batch before, to be used again
	others    others

	clock   cloudcrowd.Time // see now
	reading cloudcrowd.Time // of the server's clock, when it was last looked at

	granted   map[cloudcrowd.Digest]string // tokens for reading blobs, see grant
	grantedAt cloudcrowd.Time              // when the oldest was made
}

// session is that of a worker, nil if it has none. The one found last is asked for again and again.
func (l *loop) session(w cloudcrowd.WorkerID) *session {
	if l.recent == nil || l.recent.sched.ID != w {
		if l.recent = l.sessions[w]; l.recent == nil {
			return nil
		}
	}
	return l.recent
}

// heldBy are the leases a worker holds, connected or not; nil if it is not known to hold any.
func (l *loop) heldBy(w cloudcrowd.WorkerID) *scheduler.Leases {
	if s := l.session(w); s != nil {
		return &s.sched.Held
	}
	return l.absent[w]
}

// holdings is heldBy for whoever adds to them.
func (l *loop) holdings(w cloudcrowd.WorkerID) *scheduler.Leases {
	h := l.heldBy(w)
	if h == nil {
		h = &scheduler.Leases{}
		l.absent[w] = h
	}
	return h
}

// now is the loop's time. It follows the server's clock forward and never goes back: leases and pauses end by differences, and a clock that is set back by an
// hour must not keep them for one more. While that clock is behind, the loop's goes on at half its pace, until they agree again.
func (l *loop) now() cloudcrowd.Time {
	reading := cloudcrowd.TimeOf(l.m.cfg.Now())
	if passed := reading - l.reading; l.reading != 0 && passed > 0 {
		l.clock += (passed + 1) / 2
	}
	l.reading, l.clock = reading, max(l.clock, reading)
	return l.clock
}

// run is the loop: take what waits, decide, commit, answer, send.
func (l *loop) run(ctx context.Context) error {
	l.project.start()
	defer l.shutdown()
	tick := time.NewTicker(DefaultTick)
	defer tick.Stop()
	batch := make([]command, 0, maxBatch)
	for first := true; ; first = false {
		batch = batch[:0]
		if !first && !l.more {
			select {
			case c := <-l.m.queue:
				batch = append(batch, c)
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		batch = l.m.gather(batch)
		if err := l.step(ctx, batch); err != nil {
			return err
		}
	}
}

// step decides and commits one batch. The error is fatal: the shard belongs to somebody else, or cannot be read back.
func (l *loop) step(ctx context.Context, batch []command) error {
	steady := context.WithoutCancel(ctx) // a stop does not reach what is begun: the batch is answered
	for {
		l.ahead = true
		d := l.decide(batch)
		err := l.commit(ctx, d)
		if err == nil && len(d.Events) == 0 && l.speaks(batch) {
			err = l.owned(steady)
		}
		if err == nil {
			l.ahead = false
			l.after(d, batch)
			return nil
		}
		l.unsend()
		l.leased = l.leased[:0]
		var short *store.InsufficientError
		switch {
		case errors.Is(err, store.ErrFenced):
			l.fail(batch, err)
			return err
		case errors.As(err, &short):
			// Decide again without the job that nobody can pay.
			if err := l.reload(steady); err != nil {
				l.fail(batch, err)
				return fmt.Errorf("reading the shard back: %w", err)
			}
			i := slices.IndexFunc(batch, func(c command) bool { return c.job == short.Job })
			if i < 0 {
				return fmt.Errorf("a hold nobody asked for: %w", err)
			}
			batch[i].done(insufficient(short))
			batch = slices.Delete(batch, i, i+1)
		case cloudcrowd.CodeOf(err) == cloudcrowd.Internal && len(batch) > 1:
			// A defect, not the disk: one command must not stop the others. Each is decided by itself.
			l.m.log.Error("a batch was refused; its commands are tried one by one", "err", err)
			if err := l.reload(steady); err != nil {
				l.fail(batch, err)
				return fmt.Errorf("reading the shard back: %w", err)
			}
			for i := range batch {
				if err := l.step(ctx, batch[i:i+1]); err != nil {
					return err
				}
			}
			return nil
		default:
			l.noteTrouble(err)
			if rerr := l.reload(ctx); rerr != nil {
				l.fail(batch, err)
				if errors.Is(rerr, store.ErrFenced) {
					return rerr
				}
				l.pause(ctx)
				return l.recover(ctx)
			}
			l.fail(batch, err)
			l.pause(ctx)
			return nil
		}
	}
}

// recover waits until the shard can be read back, so that a full or missing disk needs no operator's hand at the server.
func (l *loop) recover(ctx context.Context) error {
	for {
		err := l.reload(ctx)
		if err == nil || errors.Is(err, store.ErrFenced) {
			return err
		}
		if corrupt := (*store.CorruptError)(nil); errors.As(err, &corrupt) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		l.pause(ctx)
	}
}

// pause keeps a loop that cannot commit from spinning. Commands that arrive meanwhile wait in the queue.
func (l *loop) pause(ctx context.Context) {
	if l.m.cfg.Unpaused {
		return
	}
	t := time.NewTimer(500 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func insufficient(e *store.InsufficientError) error {
	return &cloudcrowd.Error{Code: cloudcrowd.InsufficientCredits, Field: "budget", Msg: e.Error(),
		Hint: "lower the budget, or ask the operator to issue credits (cloudcrowd account issue)"}
}

func (l *loop) noteTrouble(err error) {
	if l.readOnly == "" {
		l.m.log.Error("nothing can be committed; no new work is accepted until this is mended", "err", err)
	}
	l.readOnly, l.troubled = err.Error(), l.now()
}

// admits reports whether new work may be decided: all is well, or it is time to try whether it is again. Without trying, a server that has nothing else to
// commit would refuse work for ever.
func (l *loop) admits(at cloudcrowd.Time) bool {
	return l.readOnly == "" || at-l.troubled >= probeAfter
}

// fail answers a batch that was not committed, as far as is known. If that is because this server has lost the shard, whoever has it now may be asked.
func (l *loop) fail(batch []command, err error) {
	if errors.Is(err, store.ErrFenced) {
		err = notHere("another server has taken over this shard")
	}
	for i := range batch {
		if batch[i].done != nil {
			batch[i].done(err)
		}
	}
}

// decide runs the commands of a batch, then everything time brings, then placement.
func (l *loop) decide(batch []command) *lifecycle.Decider {
	l.more = false
	d := &lifecycle.Decider{State: l.st, At: l.now(), Rand: l.rand, Prices: l.m.cfg.Prices, Operator: l.m.cfg.Operator, Elsewhere: l.others.known, Most: maxWork, Events: l.scratch[:0]}
	d.Out.Grow(l.asked)
	ahead := 0
	for i := range batch {
		if i == ahead {
			for work := 0; ahead < len(batch) && work < warmWork; ahead++ {
				if work += batch[ahead].work; batch[ahead].warm != nil {
					batch[ahead].warm(l)
				}
			}
		}
		if batch[i].decide != nil {
			batch[i].err = batch[i].decide(l, d)
			l.absorb(d)
		}
	}
	d.Tick()
	l.absorb(d)
	draining := l.m.Draining() != ""
	if d.At-l.expired >= expireEvery && !draining {
		l.expired = d.At
		l.expire(d)
		l.absorb(d)
	}
	if l.admits(d.At) && !draining {
		d.Share(l.m.cfg.Sharing)
		d.Uses = l.usesElsewhere()
		if d.Copies = d.At-l.copied >= expireEvery; d.Copies {
			l.copied = d.At
		}
		workers := l.open()
		d.Field = l.field
		l.leased = d.Assign(workers, d.At+cloudcrowd.Time(l.m.cfg.LeaseTTL.Microseconds()))
		l.field, l.more = d.Field, len(l.leased) >= maxWork
		l.tellUses(d)
		l.absorb(d)
		if l.m.cfg.Hungry != nil {
			l.m.appetite(l.st.AnyRunning() && !slices.ContainsFunc(workers, func(w *scheduler.Worker) bool { return w.Free() > 0 }))
		}
	}
	return d
}

// absorb takes what the latest events mean for leases: those that ended are no longer held, and workers are told to stop what is not wanted.
func (l *loop) absorb(d *lifecycle.Decider) {
	for _, ev := range d.Events[d.Seen:] {
		switch {
		case ev.AttemptReported != nil:
			l.drop(ev.AttemptReported.ID)
		case ev.AttemptEnded != nil:
			id := ev.AttemptEnded.ID
			if w := l.drop(id); w != "" && ev.AttemptEnded.State == cloudcrowd.AttemptCancelled {
				l.to(w).Cancels = append(l.to(w).Cancels, id)
			}
		}
	}
	d.Seen = len(d.Events)
}

// drop forgets a lease and returns who held it.
func (l *loop) drop(id cloudcrowd.AttemptID) cloudcrowd.WorkerID {
	_, _, _, a := l.st.Find(id)
	if a == nil {
		return ""
	}
	held := l.heldBy(a.Worker)
	if held == nil || !held.Delete(id) {
		return ""
	}
	if s := l.session(a.Worker); s != nil {
		s.sched.Touch()
	} else if held.Len() == 0 {
		delete(l.absent, a.Worker)
	}
	return a.Worker
}

// outbox is what is to be sent to a worker after the commit.
type outbox struct {
	worker cloudcrowd.WorkerID
	order  int  // of its session; see open
	queued bool // it is in loop.out
	down   cloudcrowd.Down
}

// to is the message being put together for a worker.
func (l *loop) to(w cloudcrowd.WorkerID) *cloudcrowd.Down {
	b := l.boxOf(w)
	if l.session(w) == nil {
		l.strangers[w] = b
	}
	return l.queue(b)
}

// boxOf is where messages for a worker are put together.
func (l *loop) boxOf(w cloudcrowd.WorkerID) *outbox {
	if s := l.session(w); s != nil {
		return s.box
	}
	if b := l.strangers[w]; b != nil {
		return b
	}
	return &outbox{worker: w}
}

func (l *loop) queue(b *outbox) *cloudcrowd.Down {
	if !b.queued {
		b.queued = true
		l.out = append(l.out, b)
	}
	return &b.down
}

// unsend drops what was to be sent.
func (l *loop) unsend() {
	for _, b := range l.out {
		b.queued, b.down = false, cloudcrowd.Down{}
	}
	clear(l.out)
	l.out = l.out[:0]
	clear(l.strangers)
}

// commit writes the batch; with no events there is nothing to write.
func (l *loop) commit(ctx context.Context, d *lifecycle.Decider) error {
	if len(d.Events) == 0 {
		return nil
	}
	bytes, err := l.packer.Events(d.Events)
	if err != nil {
		return err
	}
	b := store.Batch{Shard: l.st.Shard, Epoch: l.epoch, Seq: l.st.Seq + 1, At: d.At, Events: bytes, Count: len(d.Events),
		Place: d.Out.Money.Place, Transfers: d.Out.Money.Transfers(l.st.Shard, l.st.Seq+1, d.At)}
	for _, e := range d.Out.Money.End {
		b.End = append(b.End, store.HoldEnd{Job: e.Job, State: e.State})
	}
	// A stop must not cut a commit in half: the context of the loop does not reach it.
	began := time.Now() // real time, also in a simulation: it decides nothing
	if err := l.m.cfg.Store.Commit(context.WithoutCancel(ctx), b); err != nil {
		return err
	}
	if l.m.cfg.Committed != nil {
		l.m.cfg.Committed(time.Since(began), b.Count)
	}
	l.st.Seq++
	if l.readOnly != "" {
		l.m.log.Info("commits work again")
		l.readOnly = ""
	}
	return nil
}

// speaks reports whether a batch that changes nothing has consequences outside: answers to those who asked for a decision, or messages to workers.
func (l *loop) speaks(batch []command) bool {
	return len(l.out) > 0 || slices.ContainsFunc(batch, func(c command) bool { return c.decide != nil && c.done != nil })
}

// owned holds, for a batch that has nothing to commit, what a commit would: that the state it was decided on is the shard's. A server that was replaced
// without noticing would otherwise acknowledge results of leases it has never heard of, and cancel them.
func (l *loop) owned(ctx context.Context) error {
	heads, err := l.m.cfg.Store.ShardList(ctx)
	if err != nil {
		return err
	}
	if heads[l.m.cfg.Shard].Epoch != l.epoch {
		return store.ErrFenced
	}
	return nil
}

// after answers and sends, once the batch is durable.
func (l *loop) after(d *lifecycle.Decider, batch []command) {
	if len(d.Events) > 0 {
		l.rows++
		l.asked = d.Out.Sizes()
		l.project.add(rowsOf(l.m, l.st, l.st.Seq, d.At, &d.Out))
		l.ended.add(l.st.Seq, d.Out.Tasks)
		l.events += int64(len(d.Events))
		l.publish(d)
		l.meter.count(d)
		l.m.figures.count(d, l.st.Seq)
	}
	for i := range batch {
		if batch[i].view != nil {
			if l.m.cfg.Owns != nil && !l.m.cfg.Owns() {
				batch[i].err = notHere("this server cannot tell whether the shard is still its own")
			} else {
				batch[i].view(l)
			}
		}
		if batch[i].done != nil {
			batch[i].done(batch[i].err)
		}
	}
	l.send()
	l.learn(d.At)
	l.performAll(d.At, d.Events)
	clear(d.Events)
	l.scratch = d.Events
	l.ended.retire(l.st, l.project.reached())
	l.housekeep(d.At)
}

// endedTasks are tasks that ended and wait, in order, until the readable tables hold them: then they are retired.
type endedTasks struct{ list []endedTask }

type endedTask struct {
	seq int64 // journal row in which it ended
	id  cloudcrowd.TaskID
}

func (e *endedTasks) add(seq int64, ids []cloudcrowd.TaskID) {
	for _, id := range ids {
		e.list = append(e.list, endedTask{seq, id})
	}
}

// retire drops from the state what rows up to seq, which the tables contain, ended.
func (e *endedTasks) retire(st *lifecycle.State, seq int64) {
	n := 0
	for n < len(e.list) && e.list[n].seq <= seq {
		st.Retire(e.list[n].id)
		n++
	}
	if e.list = e.list[n:]; len(e.list) == 0 {
		e.list = nil
	}
}

// housekeep snapshots and forgets now and then: often enough that a restart reads little, and so that snapshots never take more than a small share of the time.
func (l *loop) housekeep(now cloudcrowd.Time) {
	since := now - l.snapped
	due := l.rows > 0 && (l.rows >= snapshotRows || l.events >= snapshotEvents || since > cloudcrowd.Time(snapshotEvery.Microseconds()))
	if !due || since < snapshotShare*l.snapCost {
		return
	}
	began := l.now()
	for id, j := range l.st.Jobs {
		if j.State.Ended() && now-j.EndedAt > cloudcrowd.Time(forgetAfter.Microseconds()) && l.project.reached() >= l.st.Seq-1 {
			l.st.Forget(id)
		}
	}
	if b, err := l.st.Encode(); err != nil {
		l.m.log.Error("snapshot", "err", err)
	} else {
		l.project.save(l.epoch, l.st.Seq, b)
	}
	l.rows, l.events, l.snapped, l.snapCost = 0, 0, now, l.now()-began
}

func (l *loop) shutdown() {
	l.saveLast()
	l.project.stop()
	l.m.feed.close()
}

// saveLast queues a snapshot, so that whoever has the shard next reads little. A loop that ends while its store does not answer may have decided more than the journal
// holds, of which nobody must ever read.
func (l *loop) saveLast() {
	if l.rows > 0 && !l.ahead {
		if b, err := l.st.Encode(); err == nil {
			l.project.save(l.epoch, l.st.Seq, b)
		}
	}
}
