package sqlite

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// ProjectedTo implements store.Projections.
func (s *Store) ProjectedTo(ctx context.Context, shard int) (seq int64, err error) {
	_, err = s.one(ctx, "SELECT projected FROM shards WHERE shard = ?", []any{shard}, &seq)
	return seq, err
}

// Project implements store.Projections. A long stretch is written in several transactions, so that commits do not wait for all of it; the
// last one moves ProjectedTo. Attempts come before their tasks and tasks before their jobs: what a reader finds, he finds whole.
func (s *Store) Project(ctx context.Context, p store.Projected) error {
	rows, err := projectedRows(p)
	if err != nil {
		return err
	}
	for {
		part := rows[:min(s.options.ProjectedRows, len(rows))]
		rows = rows[len(part):]
		last := len(rows) == 0
		err := s.writeLazily(ctx, func(w *writer) error {
			var at int64
			if _, err := w.row("SELECT projected FROM shards WHERE shard = ?", []any{p.Shard}, &at); err != nil {
				return err
			}
			if at != p.From {
				return store.ErrFenced
			}
			for _, r := range part {
				if _, err := w.exec(r.text, r.args...); err != nil {
					return err
				}
			}
			if !last {
				return nil
			}
			n, err := w.exec("UPDATE shards SET projected = ?1 WHERE shard = ?2 AND head >= ?1", p.To, p.Shard)
			if err == nil && n != 1 {
				return store.ErrFenced // ahead of the journal
			}
			return err
		})
		if err != nil || last {
			return err
		}
	}
}

// change is one statement of a projection.
type change struct {
	text string
	args []any
}

const (
	putAttempt = "INSERT OR REPLACE INTO attempts (job, stage, idx, n, shard, worker, ended_at, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	putCharge  = "INSERT OR REPLACE INTO charges (job, stage, idx, n, worker, requester, owner, gross, fee, core_seconds, at, shard, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	putTask    = "INSERT OR REPLACE INTO tasks (job, stage, idx, shard, doc) VALUES (?, ?, ?, ?, ?)"
	putJob     = "INSERT OR REPLACE INTO jobs (id, shard, account, state, submitted_at, search, summary, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	putRecord  = "INSERT OR REPLACE INTO records (worker, shard, doc) VALUES (?, ?, ?)"
)

func projectedRows(p store.Projected) ([]change, error) {
	if p.To < p.From {
		return nil, store.ErrFenced
	}
	rows := make([]change, 0, len(p.Attempts)+len(p.Charges)+len(p.Tasks)+len(p.Jobs)+len(p.Records))
	for _, a := range p.Attempts {
		doc, err := encode(a)
		if err != nil {
			return nil, err
		}
		rows = append(rows, change{putAttempt, []any{a.ID.Task.Job, a.ID.Task.Stage, a.ID.Task.Index, a.ID.N, p.Shard, a.Worker, a.EndedAt, doc}})
	}
	for _, c := range p.Charges {
		t := c.Attempt.Task
		rows = append(rows, change{putCharge, []any{t.Job, t.Stage, t.Index, c.Attempt.N, c.Worker, c.Requester, c.Owner, c.Gross, c.Fee, finite(c.CoreSeconds), c.At, c.Shard, c.Seq}})
	}
	for _, t := range p.Tasks {
		t.Attempts = nil
		doc, err := encode(t)
		if err != nil {
			return nil, err
		}
		rows = append(rows, change{putTask, []any{t.ID.Job, t.ID.Stage, t.ID.Index, p.Shard, doc}})
	}
	for _, j := range p.Jobs {
		doc, err := encode(j.Summary)
		if err != nil {
			return nil, err
		}
		search := strings.ToLower(j.Summary.Name + "\n" + string(j.Summary.ID))
		rows = append(rows, change{putJob, []any{j.Summary.ID, p.Shard, j.Summary.Account, j.Summary.State, j.Summary.SubmittedAt, search, doc, j.Detail}})
	}
	for _, r := range p.Records {
		doc, err := encode(r.Record)
		if err != nil {
			return nil, err
		}
		rows = append(rows, change{putRecord, []any{r.Worker, p.Shard, doc}})
	}
	return rows, nil
}

// ClearProjection implements store.Projections.
func (s *Store) ClearProjection(ctx context.Context, shard int) error {
	return s.writeLazily(ctx, func(w *writer) error {
		for _, table := range []string{"jobs", "tasks", "attempts", "charges", "records"} {
			if _, err := w.exec("DELETE FROM "+table+" WHERE shard = ?", shard); err != nil {
				return err
			}
		}
		_, err := w.exec("UPDATE shards SET projected = 0 WHERE shard = ?", shard)
		return err
	})
}
