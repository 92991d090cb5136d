package sim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// settle judges the whole run: what jobs ended as, whether what was accepted is true, and whether journal, ledger, tables and a server's memory agree.
func (w *world) settle() error {
	if err := w.book.check(); err != nil {
		return err
	}
	for _, j := range w.jobs {
		if err := w.outcome(j); err != nil {
			return err
		}
	}
	if w.p.MaxWrong == 0 && w.report.Wrong > 0 {
		return fmt.Errorf("%d of %d accepted results are wrong", w.report.Wrong, w.report.Tasks)
	}
	for _, j := range w.book.shards {
		if bad := j.state.Check(); len(bad) > 0 {
			return errors.New(bad[0])
		}
	}
	if holds, err := w.store.Holds(context.Background(), cloudcrowd.HoldPending); err != nil || len(holds) > 0 {
		return fmt.Errorf("%d holds are still pending (%w)", len(holds), err)
	}
	return w.reopen()
}

func (w *world) outcome(j *job) error {
	state := w.book.job(j.id)
	if j.refused {
		if state != nil {
			return fmt.Errorf("job %s was refused and is in the journal", j.id)
		}
		w.report.Refused++
		return nil
	}
	switch {
	case state == nil:
		return fmt.Errorf("job %s has left the journal", j.id)
	case state.State == cloudcrowd.JobDone && j.fails:
		return fmt.Errorf("job %s is done though its program fails", j.id)
	case state.State == cloudcrowd.JobFailed && !j.fails:
		return fmt.Errorf("job %s failed without fault of its program: %s", j.id, state.Reason)
	case state.State == cloudcrowd.JobCancelled && !j.cancel:
		return fmt.Errorf("job %s was cancelled by nobody", j.id)
	}
	if state.State == cloudcrowd.JobDone {
		w.report.Done++
	} else {
		w.report.Failed++
	}
	w.report.Attempts += state.Attempts
	w.report.Rejected += state.Refused
	for si, st := range state.Stages {
		w.report.Tasks += int64(len(st.Tasks))
		for ti, t := range st.Tasks {
			if t.State != cloudcrowd.TaskDone {
				continue
			}
			p, err := decompose.Payload(state.Facts(cloudcrowd.TaskID{Job: j.id, Stage: int32(si), Index: int32(ti)}))
			if err != nil {
				return err
			}
			if t.Outputs[0].Digest == digest(truth(&p)) {
				continue
			}
			w.report.Wrong++
			if !t.Alone { // those who lie alike are one party, so no quorum can have agreed on it
				return fmt.Errorf("a quorum of %d accepted a wrong result of task %s-%d-%d", t.Quorum, j.id, si, ti)
			}
		}
	}
	return nil
}

// reopen starts a last server on the store as it is: its memory, read from snapshot and journal, must be what the audit's is, and the tables, once they have
// caught up, what follows from the journal.
func (w *world) reopen() error {
	for _, s := range slices.Clone(w.servers) {
		s.stop()
	}
	w.servers = nil
	var managers []*taskmanager.Manager
	for shard := range w.shards {
		w.repair(shard) // of what the last server to start was about to be refused
		m := taskmanager.New(taskmanager.Config{Store: w.store, Blobs: w.blobs, Courier: silent{}, Signer: signer{}, Operator: operator, Sharing: w.sharing(), Now: w.latest, Seed: new([32]byte),
			Shard: shard, Shards: w.shards, Perform: func(func()) {}, Unpaused: true, Merge: merged})
		if err := m.Open(context.Background()); err != nil {
			return fmt.Errorf("shard %d cannot be opened at the end: %w", shard, err)
		}
		if err := w.same(shard, m.State()); err != nil {
			return fmt.Errorf("shard %d: %w", shard, err)
		}
		managers = append(managers, m)
	}
	w.disk.full = w.now
	for _, m := range managers {
		if err := m.Step(context.Background()); err != nil {
			return err
		}
	}
	return w.tables(managers)
}

func (w *world) latest() time.Time { return w.now.Add(100 * w.p.Jump) }

// silent is the way to workers of a server that has none.
type silent struct{}

// Send implements taskmanager.Courier.
func (silent) Send(cloudcrowd.WorkerID, cloudcrowd.Down) error { return nil }

// same compares a server's memory with the audit's. A server forgets jobs that have ended long ago.
func (w *world) same(shard int, got *lifecycle.State) error {
	want := w.book.shards[shard].state
	if got.Seq != want.Seq {
		return fmt.Errorf("a restarted server is at row %d, the journal ends at %d", got.Seq, want.Seq)
	}
	for id, j := range want.Jobs {
		if got.Jobs[id] == nil && !j.State.Ended() {
			return fmt.Errorf("a restarted server does not know job %s", id)
		}
	}
	for id, j := range got.Jobs {
		a, err := encoded(j)
		if err != nil {
			return err
		}
		b, err := encoded(want.Jobs[id])
		if err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return fmt.Errorf("job %s: snapshot and journal say other than the journal alone", id)
		}
	}
	if !maps.EqualFunc(got.Records, want.Records, func(a, b *cloudcrowd.Record) bool { return *a == *b }) || !maps.Equal(got.Keys, want.Keys) || !maps.Equal(got.Rates, want.Rates) {
		return errors.New("records, keys or rates of a restarted server are not those of the journal")
	}
	return nil
}

func encoded(j *lifecycle.Job) ([]byte, error) {
	if j == nil {
		return nil, errors.New("a restarted server knows a job that the journal does not")
	}
	j.RetireAll()
	one := lifecycle.State{Jobs: map[cloudcrowd.JobID]*lifecycle.Job{j.ID: j}}
	return one.Encode()
}

// tables derives what the readable tables should hold from the journal, from its first row, and compares.
func (w *world) tables(managers []*taskmanager.Manager) error {
	ctx := context.Background()
	should := rows{}
	for shard, m := range managers {
		if to, err := w.store.ProjectedTo(ctx, shard); err != nil || to != w.book.shards[shard].seq {
			return fmt.Errorf("the tables of shard %d end at row %d, the journal at %d (%w)", shard, to, w.book.shards[shard].seq, err)
		}
		if err := w.derive(shard, m, should); err != nil {
			return err
		}
	}
	is := rows{}
	for _, j := range w.jobs {
		if err := w.stored(is, j.id); err != nil {
			return err
		}
	}
	records, err := w.store.Records(ctx)
	if err != nil {
		return err
	}
	for _, v := range records {
		is.put(fmt.Sprintf("record in shard %d of", v.Shard), v.Worker, v)
	}
	return should.equal(is)
}

// derive collects what the tables should hold of one shard.
func (w *world) derive(shard int, m *taskmanager.Manager, should rows) error {
	state := lifecycle.NewState(shard)
	return w.store.Rows(context.Background(), shard, 0, func(row store.Row) error {
		var out lifecycle.Out
		if _, err := state.Replay(row.Seq, row.At, row.Events, &out); err != nil {
			return err
		}
		p := m.Rows(state, row, &out)
		for _, v := range p.Jobs {
			should.put("job", v.Summary.ID, v)
		}
		for _, v := range p.Tasks {
			v.Attempts = nil
			should.put("task", v.ID, v)
		}
		for _, v := range p.Attempts {
			should.put("attempt", v.ID, v)
		}
		for _, v := range p.Charges {
			should.put("charge of", v.Attempt, v)
		}
		for _, v := range p.Records {
			v.Shard = shard
			should.put(fmt.Sprintf("record in shard %d of", shard), v.Worker, v)
		}
		return nil
	})
}

// stored reads a job's rows.
func (w *world) stored(is rows, id cloudcrowd.JobID) error {
	ctx := context.Background()
	job, err := w.store.Job(ctx, id)
	switch {
	case cloudcrowd.CodeOf(err) == cloudcrowd.NotFound:
		return nil
	case err != nil:
		return err
	}
	is.put("job", id, job)
	return cmp.Or(
		pages(func(p store.Page) ([]cloudcrowd.Task, string, error) { return w.store.Tasks(ctx, id, -1, p) }, func(v cloudcrowd.Task) { is.put("task", v.ID, v) }),
		pages(func(p store.Page) ([]cloudcrowd.Attempt, string, error) { return w.store.JobAttempts(ctx, id, p) }, func(v cloudcrowd.Attempt) { is.put("attempt", v.ID, v) }),
		pages(func(p store.Page) ([]cloudcrowd.Charge, string, error) {
			return w.store.Charges(ctx, store.ChargeFilter{Job: id}, p)
		}, func(v cloudcrowd.Charge) { is.put("charge of", v.Attempt, v) }),
	)
}

func pages[T any](list func(store.Page) ([]T, string, error), each func(T)) error {
	for p := (store.Page{Limit: store.MaximumLimit}); ; {
		page, next, err := list(p)
		if err != nil {
			return err
		}
		for _, v := range page {
			each(v)
		}
		if p.Cursor = next; next == "" {
			return nil
		}
	}
}

// rows are rows of tables, by name, as text.
type rows map[string]string

func (r rows) put(what string, id, v any) {
	b, _ := json.Marshal(v) // plain values: cannot fail
	r[fmt.Sprint(what, " ", id)] = string(b)
}

func (r rows) equal(is rows) error {
	for _, name := range slices.Sorted(maps.Keys(r)) {
		if is[name] != r[name] {
			return fmt.Errorf("%s: the tables hold %q, the journal says %q", name, is[name], r[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if _, ok := r[name]; !ok {
			return fmt.Errorf("%s: the tables hold it, the journal does not know it", name)
		}
	}
	return nil
}
