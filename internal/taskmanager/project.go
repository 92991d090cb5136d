package taskmanager

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// projector writes the readable tables behind the journal, in order and in bulk, and saves snapshots once the tables have caught up with them. What
// it has not written when the process dies is derived from the journal again.
type projector struct {
	m *Manager

	mu      sync.Mutex
	cond    *sync.Cond
	pending []store.Projected // one per journal row, in order
	to      int64             // last row in the tables
	snap    snapshot          // waiting to be saved
	saved   snapshot          // newest one known, saved or as loaded
	closed  bool
	done    chan struct{}
}

type snapshot struct {
	epoch, seq int64
	bytes      []byte
}

const projectRows = 512 // journal rows of one call

func newProjector(m *Manager, to int64, head store.Head) *projector {
	p := &projector{m: m, to: to, done: make(chan struct{}), saved: snapshot{seq: head.SnapshotSeq, bytes: head.Snapshot}}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *projector) start() { go p.run() }

// queued is the last journal row that is in the tables or waits to be written to them.
func (p *projector) queued() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.pending); n > 0 {
		return p.pending[n-1].To
	}
	return p.to
}

// add queues what one journal row did.
func (p *projector) add(rows store.Projected) {
	p.mu.Lock()
	p.pending = append(p.pending, rows)
	p.mu.Unlock()
	p.cond.Signal()
}

// save queues a snapshot; it is written when the tables contain everything up to it.
func (p *projector) save(epoch, seq int64, b []byte) {
	p.mu.Lock()
	p.snap = snapshot{epoch, seq, b}
	p.mu.Unlock()
	p.cond.Signal()
}

// reached is the last journal row contained in the tables.
func (p *projector) reached() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.to
}

// snapshot is the newest state known to be saved.
func (p *projector) snapshot() ([]byte, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.saved.bytes, p.saved.seq
}

// stop writes what waits and ends. After a failure it gives up: the journal has it all.
func (p *projector) stop() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cond.Broadcast()
	<-p.done
}

func (p *projector) run() {
	defer close(p.done)
	for {
		p.mu.Lock()
		for len(p.pending) == 0 && p.snap.bytes == nil && !p.closed {
			p.cond.Wait()
		}
		if len(p.pending) == 0 && p.snap.bytes == nil {
			p.mu.Unlock()
			return
		}
		batch := p.pending[:min(len(p.pending), projectRows)]
		snap, closed := p.snap, p.closed
		p.mu.Unlock()
		if err := p.write(batch, snap); err != nil {
			p.m.log.Warn("writing the readable tables; they catch up when this is mended", "err", err)
			if closed {
				return
			}
			time.Sleep(time.Second)
		}
	}
}

// flush writes everything that waits, in the caller's goroutine; for loops driven by hand.
func (p *projector) flush() error {
	for {
		p.mu.Lock()
		batch, snap := p.pending[:min(len(p.pending), projectRows)], p.snap
		p.mu.Unlock()
		if len(batch) == 0 && snap.bytes == nil {
			return nil
		}
		if err := p.write(batch, snap); err != nil {
			return nil // the tables catch up later
		}
	}
}

func (p *projector) write(batch []store.Projected, snap snapshot) error {
	ctx := context.Background()
	if len(batch) > 0 {
		all := store.Projected{Shard: p.m.cfg.Shard, From: batch[0].From, To: batch[len(batch)-1].To}
		for _, b := range batch {
			all.Jobs = append(all.Jobs, b.Jobs...)
			all.Tasks = append(all.Tasks, b.Tasks...)
			all.Attempts = append(all.Attempts, b.Attempts...)
			all.Charges = append(all.Charges, b.Charges...)
			all.Records = append(all.Records, b.Records...)
		}
		if err := p.m.cfg.Store.Project(ctx, all); err != nil {
			return err
		}
		p.mu.Lock()
		p.pending = p.pending[len(batch):]
		p.to = all.To
		p.mu.Unlock()
	}
	if snap.bytes != nil && p.reached() >= snap.seq {
		if err := p.m.cfg.Store.SaveSnapshot(ctx, p.m.cfg.Shard, snap.epoch, snap.seq, snap.bytes); err != nil {
			return err
		}
		p.mu.Lock()
		if p.snap.seq == snap.seq {
			p.snap = snapshot{}
		}
		p.saved = snap
		p.mu.Unlock()
	}
	return nil
}

// rowsOf derives what one journal row did to the readable tables from the state after it.
func rowsOf(m *Manager, st *lifecycle.State, seq int64, at cloudcrowd.Time, out *lifecycle.Out) store.Projected {
	p := store.Projected{Shard: st.Shard, From: seq - 1, To: seq}
	for _, c := range out.Charges {
		c.Shard, c.Seq = st.Shard, seq
		p.Charges = append(p.Charges, c)
	}
	seen := map[cloudcrowd.WorkerID]bool{}
	for _, w := range out.Records {
		if !seen[w] {
			seen[w] = true
			p.Records = append(p.Records, store.RecordRow{Worker: w, Record: st.Record(w)})
		}
	}
	tasks := map[cloudcrowd.TaskID]bool{}
	for _, id := range out.Tasks {
		if j, _, t := st.FindTask(id); t != nil && !tasks[id] && (t.State == cloudcrowd.TaskDone || t.State == cloudcrowd.TaskFailed) {
			tasks[id] = true
			p.Tasks = append(p.Tasks, taskView(m, j, id, t, false))
		}
	}
	attempts := map[cloudcrowd.AttemptID]bool{}
	addAttempt := func(id cloudcrowd.AttemptID) {
		if j, _, _, a := st.Find(id); a != nil && !attempts[id] {
			attempts[id] = true
			p.Attempts = append(p.Attempts, attemptView(m, j, id, a, nil))
		}
	}
	for _, id := range out.Attempts {
		addAttempt(id)
	}
	for _, c := range out.Charges { // deferred charges settle attempts that were final before
		addAttempt(c.Attempt)
	}
	jobs := map[cloudcrowd.JobID]bool{}
	for _, id := range out.Jobs {
		if j := st.Jobs[id]; j != nil && !jobs[id] {
			jobs[id] = true
			full := jobView(m, st, j, at, nil)
			detail, _ := json.Marshal(full) // plain values: cannot fail
			p.Jobs = append(p.Jobs, store.JobRow{Summary: full.JobSummary, Detail: detail})
			if j.State.Ended() {
				// Tasks that never became final are part of its history too.
				for si, stage := range j.Stages {
					for ti, t := range stage.Tasks {
						id := cloudcrowd.TaskID{Job: j.ID, Stage: int32(si), Index: int32(ti)}
						if (t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning) && !tasks[id] {
							tasks[id] = true
							p.Tasks = append(p.Tasks, taskView(m, j, id, t, false))
						}
					}
				}
			}
		}
	}
	return p
}

// wait blocks until the tables contain journal row seq.
func (p *projector) wait(ctx context.Context, seq int64) error {
	for p.reached() < seq {
		t := time.NewTimer(2 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-p.done:
			return unavailable()
		}
	}
	return nil
}
