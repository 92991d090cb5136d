package taskmanager

import (
	"context"
	"errors"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

func newLoop(ctx context.Context, m *Manager) (*loop, error) {
	l := &loop{m: m, sessions: map[cloudcrowd.WorkerID]*session{}, inFlight: map[work]bool{}, undone: map[work]undone{}, strangers: map[cloudcrowd.WorkerID]*outbox{}}
	head, err := m.cfg.Take(ctx)
	if err != nil {
		return nil, fmt.Errorf("taking over shard %d: %w", m.cfg.Shard, err)
	}
	l.epoch = head.Epoch
	l.rand = newRand(*m.cfg.Seed, head.Epoch)
	projected, err := m.cfg.Store.ProjectedTo(ctx, m.cfg.Shard)
	if err != nil {
		return nil, err
	}
	if projected < head.SnapshotSeq { // the tables were cleared: what they lack is derived from the whole journal
		head.Snapshot, head.SnapshotSeq = nil, 0
	}
	l.project = newProjector(m, projected, head)
	l.st, err = load(ctx, m.cfg.Store, m.cfg.Shard, head, func(st *lifecycle.State, row store.Row, events []lifecycle.Event, out *lifecycle.Out) {
		if row.Seq > projected {
			l.project.add(rowsOf(m, st, row.Seq, row.At, out))
		}
		l.ended.add(row.Seq, out.Tasks)
		l.ended.retire(st, min(row.Seq, projected))
		if row.Seq > head.Seq-feedKeep { // so that who watched at the server before goes on here
			l.st = st
			l.publish(&lifecycle.Decider{Events: events, At: row.At})
		}
	})
	if err != nil {
		return nil, l.read(ctx, err)
	}
	before, err := l.row(ctx, max(head.SnapshotSeq, head.Seq-feedKeep))
	if _, damaged := errors.AsType[*store.CorruptError](err); err != nil && !damaged { // what the snapshot holds is not read for its own sake
		return nil, err
	}
	m.feed.base = (&fact{shard: m.cfg.Shard, seq: before.Seq, n: before.Count - 1}).id()
	last := before
	if last.Seq != head.Seq {
		if last, err = l.row(ctx, head.Seq); err != nil {
			return nil, err
		}
	}
	l.clock = last.At // the clock of the server before may have been ahead of this one's
	l.snapped = l.now()
	l.rebuildHeld()
	l.ask(ctx)
	return l, nil
}

// row reads a row of the journal; there is nothing in row 0.
func (l *loop) row(ctx context.Context, seq int64) (row store.Row, err error) {
	if seq == 0 {
		return row, nil
	}
	enough := errors.New("enough")
	err = l.m.cfg.Store.Rows(ctx, l.m.cfg.Shard, seq-1, func(r store.Row) error {
		row = r
		return enough
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return row, err
}

// load replays a shard: snapshot, then journal tail. each is called after every row.
func load(ctx context.Context, s store.Shards, shard int, head store.Head, each func(*lifecycle.State, store.Row, []lifecycle.Event, *lifecycle.Out)) (*lifecycle.State, error) {
	st := lifecycle.NewState(shard)
	if head.Snapshot != nil {
		var err error
		if st, err = lifecycle.DecodeState(head.Snapshot); err != nil {
			return nil, &store.CorruptError{What: "snapshot " + describe(shard, head.SnapshotSeq), Err: err}
		}
		st.Shard, st.Seq = shard, head.SnapshotSeq
	}
	err := s.Rows(ctx, shard, st.Seq, func(row store.Row) error {
		var out lifecycle.Out
		events, err := st.Replay(row.Seq, row.At, row.Events, &out)
		if err != nil {
			return &store.CorruptError{What: "journal row " + describe(shard, row.Seq), Err: err}
		}
		if each != nil {
			each(st, row, events, &out)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if head.Seq != 0 && st.Seq != head.Seq {
		return nil, &store.CorruptError{What: "journal of shard " + fmt.Sprint(shard), Err: fmt.Errorf("it ends at row %d, its head says %d", st.Seq, head.Seq)}
	}
	return st, nil
}

// read is the error of reading the shard: that another server has taken it over if one has, since its journal then goes on beyond the head that was read before it, and
// is not damaged.
func (l *loop) read(ctx context.Context, err error) error {
	if owned := l.owned(ctx); errors.Is(owned, store.ErrFenced) {
		return owned
	}
	return err
}

// reload drops the memory a failed commit touched. The epoch stays: nobody else has taken the shard, or the next commit says so.
func (l *loop) reload(ctx context.Context) error {
	heads, err := l.m.cfg.Store.ShardList(ctx)
	if err != nil {
		return err
	}
	head := heads[l.m.cfg.Shard]
	if head.Epoch != l.epoch {
		return store.ErrFenced
	}
	// The list leaves the snapshot out; the whole journal tells the same.
	head.Snapshot, head.SnapshotSeq = l.project.snapshot()
	// A commit whose answer was lost may have been written all the same; what it did was not told to the tables and watchers yet.
	known := l.project.queued()
	l.ended = endedTasks{}
	st, err := load(ctx, l.m.cfg.Store, l.m.cfg.Shard, head, func(st *lifecycle.State, row store.Row, events []lifecycle.Event, out *lifecycle.Out) {
		if row.Seq > known && row.Seq <= head.Seq { // what comes after was written by another server that has taken over meanwhile
			l.st = st
			l.project.add(rowsOf(l.m, st, row.Seq, row.At, out))
			l.publish(&lifecycle.Decider{Events: events, At: row.At})
		}
		l.ended.add(row.Seq, out.Tasks)
		l.ended.retire(st, min(row.Seq, l.project.reached()))
	})
	if err != nil {
		return l.read(ctx, err)
	}
	l.st, l.ahead = st, false
	l.rebuildHeld()
	return nil
}

// rebuildHeld derives who holds what from the state. Leases known before keep their expiry, others (after a restart) start anew.
func (l *loop) rebuildHeld() {
	before, absent := map[cloudcrowd.WorkerID]scheduler.Leases{}, l.absent
	for w, held := range absent {
		before[w] = *held
	}
	for _, s := range l.ordered {
		before[s.sched.ID] = s.sched.Held
		s.sched.Held, s.due = scheduler.Leases{}, 0
	}
	l.absent = map[cloudcrowd.WorkerID]*scheduler.Leases{}
	now := l.now()
	expires := now + cloudcrowd.Time(l.m.cfg.LeaseTTL.Microseconds())
	for _, j := range l.st.Jobs {
		if j.State.Ended() {
			continue
		}
		for si, stage := range j.Stages {
			for _, ti := range stage.Open() { // a task that has ended has no leases
				for _, a := range stage.Tasks[ti].Attempts {
					if a.State != cloudcrowd.AttemptLeased {
						continue
					}
					id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: j.ID, Stage: int32(si), Index: ti}, N: a.N}
					known := before[a.Worker]
					if h := known.Get(id); h != nil {
						l.holdings(a.Worker).Put(*h)
						continue
					}
					l.holdings(a.Worker).Put(scheduler.Held{ID: id, MemoryBytes: j.Spec.Stages[si].Resources.MemoryBytes, Expected: a.Expected, LeasedAt: a.LeasedAt, Expires: expires,
						Until: lifecycle.LeaseLimit(&j.Spec.Stages[si], now)})
				}
			}
		}
	}
	l.field = nil
}
