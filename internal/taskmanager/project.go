package taskmanager

import (
	"context"
	"errors"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// projector writes the readable tables behind the journal, in order and in bulk, and saves snapshots once the tables have caught up with them. What
// it has not written when the process dies is derived from the journal again.
type projector struct {
	m *Manager

	mu      sync.Mutex
	cond    *sync.Cond
	pending []store.Projected // one per journal row, in order
	tasks   int               // ended in pending
	jobs    int               // likewise
	readers int               // wait for the tables
	hurry   chan struct{}     // of length 1: what waits is to be written now
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

// The projector lets little become more before it writes it, unless somebody waits to read it: until gatherTasks tasks or gatherJobs jobs have ended, or for
// gatherFor. The store has one writer, and commits shall not wait for the tables to hear of the last one; and what is written together costs less, because
// segments that are large from the beginning are not merged later. Of different jobs nothing is written together, and a commit would wait for all: where tasks of
// so many jobs end that a segment would have fewer than gatherEach, it lets them become more for scatteredFor.
const (
	gatherTasks  = 1024
	gatherJobs   = 8
	gatherEach   = 16
	gatherFor    = 100 * time.Millisecond
	scatteredFor = 200 * time.Millisecond
)

func newProjector(m *Manager, to int64, head store.Head) *projector {
	p := &projector{m: m, to: to, hurry: make(chan struct{}, 1), done: make(chan struct{}), saved: snapshot{seq: head.SnapshotSeq, bytes: head.Snapshot}}
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
	before := p.enough()
	tasks, jobs := ended(&rows)
	p.tasks, p.jobs = p.tasks+tasks, p.jobs+jobs
	enough := !before && p.enough()
	p.mu.Unlock()
	p.cond.Signal()
	if enough {
		p.now()
	}
}

// enough reports whether what waits is worth writing.
func (p *projector) enough() bool { return p.tasks >= gatherTasks || p.jobs >= gatherJobs }

// scattered reports whether what waits are few tasks each of many jobs.
func (p *projector) scattered() bool {
	jobs := map[cloudcrowd.JobID]struct{}{}
	for i := range p.pending {
		for j := range p.pending[i].Tasks {
			jobs[p.pending[i].Tasks[j].ID.Job] = struct{}{}
		}
	}
	return p.tasks < gatherEach*len(jobs)
}

// ended counts what ended in a journal row, or several.
func ended(rows *store.Projected) (tasks, jobs int) {
	for i := range rows.Jobs {
		if rows.Jobs[i].Summary.State.Ended() {
			jobs++
		}
	}
	return len(rows.Tasks), jobs
}

// now ends gathering.
func (p *projector) now() {
	select {
	case p.hurry <- struct{}{}:
	default:
	}
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
	p.now()
	<-p.done
}

func (p *projector) run() {
	defer close(p.done)
	gather := time.NewTimer(gatherFor)
	defer gather.Stop()
	for {
		p.mu.Lock()
		for len(p.pending) == 0 && p.snap.bytes == nil && !p.closed {
			p.cond.Wait()
		}
		if len(p.pending) == 0 && p.snap.bytes == nil {
			p.mu.Unlock()
			return
		}
		for _, long := range []time.Duration{gatherFor, scatteredFor} {
			if p.enough() || p.readers > 0 || p.closed || long == scatteredFor && !p.scattered() {
				break
			}
			p.mu.Unlock()
			gather.Reset(long)
			select {
			case <-gather.C:
			case <-p.hurry:
			}
			p.mu.Lock()
		}
		batch := p.pending[:min(len(p.pending), projectRows)]
		snap, closed := p.snap, p.closed
		p.mu.Unlock()
		if err := p.write(batch, snap); err != nil {
			if errors.Is(err, store.ErrFenced) {
				p.m.log.Debug("the readable tables are left to the server that has taken over the shard", "err", err)
			} else {
				p.m.log.Warn("writing the readable tables; they catch up when this is mended", "err", err)
			}
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

// Joined makes one stretch of several that follow one another. Of jobs and records, which are replaced, it keeps the last version alone.
func Joined(batch []store.Projected) store.Projected {
	if len(batch) == 1 {
		return batch[0]
	}
	all := store.Projected{Shard: batch[0].Shard, From: batch[0].From, To: batch[len(batch)-1].To}
	var tasks, attempts, charges int
	for i := range batch {
		tasks, attempts, charges = tasks+len(batch[i].Tasks), attempts+len(batch[i].Attempts), charges+len(batch[i].Charges)
	}
	all.Tasks, all.Attempts, all.Charges = make([]cloudcrowd.Task, 0, tasks), make([]cloudcrowd.Attempt, 0, attempts), make([]cloudcrowd.Charge, 0, charges)
	jobs, records := map[cloudcrowd.JobID]int{}, map[cloudcrowd.WorkerID]int{}
	for i := range batch {
		b := &batch[i]
		all.Tasks, all.Attempts, all.Charges = append(all.Tasks, b.Tasks...), append(all.Attempts, b.Attempts...), append(all.Charges, b.Charges...)
		for _, j := range b.Jobs {
			all.Jobs = replaced(all.Jobs, jobs, j.Summary.ID, j)
		}
		for _, r := range b.Records {
			all.Records = replaced(all.Records, records, r.Worker, r)
		}
	}
	return all
}

// replaced puts a value in the place of the earlier one with its key, or at the end; at knows the places.
func replaced[K comparable, V any](list []V, at map[K]int, key K, v V) []V {
	if i, ok := at[key]; ok {
		list[i] = v
		return list
	}
	at[key] = len(list)
	return append(list, v)
}

// passed drops what waits up to a row that the tables hold.
func (p *projector) passed(to int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.pending) && p.pending[n].To <= to {
		tasks, jobs := ended(&p.pending[n])
		p.tasks, p.jobs = p.tasks-tasks, p.jobs-jobs
		n++
	}
	clear(p.pending[:n]) // the array lives on
	p.pending = p.pending[n:]
	p.to = to
}

func (p *projector) write(batch []store.Projected, snap snapshot) error {
	ctx := context.Background()
	if len(batch) > 0 {
		all := Joined(batch)
		err := p.m.cfg.Store.Project(ctx, all)
		reached := all.To
		if errors.Is(err, store.ErrFenced) {
			// Who had the shard before may have written some of it since this server read how far the tables go: what he writes is in the journal, too.
			at, asked := p.m.cfg.Store.ProjectedTo(ctx, p.m.cfg.Shard)
			if asked == nil && at > all.From {
				reached, err = at, nil
			}
		}
		if err != nil {
			return err
		}
		p.passed(reached)
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

// wait blocks until the tables contain journal row seq.
func (p *projector) wait(ctx context.Context, seq int64) error {
	p.mu.Lock()
	p.readers++
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.readers--
		p.mu.Unlock()
	}()
	p.now()
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
