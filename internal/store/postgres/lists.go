package postgres

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// Job implements store.Projections.
func (s *Store) Job(ctx context.Context, id cloudcrowd.JobID) (row store.JobRow, err error) {
	var doc string
	found, err := s.one(ctx, "SELECT summary, detail FROM jobs WHERE id = $1", []any{id}, &doc, &row.Detail)
	if err != nil {
		return row, err
	}
	if !found {
		return row, notFound("job", string(id))
	}
	return row, decode(doc, "job", id, &row.Summary)
}

type jobKey struct {
	At cloudcrowd.Time  `json:"t"`
	ID cloudcrowd.JobID `json:"i"`
}

// Jobs implements store.Projections.
func (s *Store) Jobs(ctx context.Context, f store.JobFilter, p store.Page) ([]store.JobRow, string, error) {
	var after jobKey
	more, err := store.DecodeCursor("jobs", p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var q query
	if f.Account != "" {
		q.and("account = ?", f.Account)
	}
	if f.State != "" {
		q.and("state = ?", f.State)
	}
	if f.Text != "" {
		q.and("strpos(search, ?) > 0", tables.Searched(f.Text))
	}
	if more {
		q.and("(submitted_at, id) < (?, ?)", after.At, after.ID)
	}
	var list []store.JobRow
	err = s.each(ctx, q.text("SELECT id, summary FROM jobs", "submitted_at DESC, id DESC", p.Size()+1), q.args, func(scan scanner) error {
		var id, doc string
		var row store.JobRow
		if err := scan(&id, &doc); err != nil {
			return err
		}
		if err := decode(doc, "job", id, &row.Summary); err != nil {
			return err
		}
		list = append(list, row)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, "jobs", func(j store.JobRow) any { return jobKey{j.Summary.SubmittedAt, j.Summary.ID} })
	return list, next, nil
}

// Records implements store.Projections.
func (s *Store) Records(ctx context.Context) (list []store.RecordRow, err error) {
	err = s.each(ctx, "SELECT worker, shard, doc FROM records ORDER BY worker, shard", nil, func(scan scanner) error {
		var r store.RecordRow
		var doc string
		if err := scan(&r.Worker, &r.Shard, &doc); err != nil {
			return err
		}
		if err := decode(doc, "record of worker", r.Worker, &r.Record); err != nil {
			return err
		}
		list = append(list, r)
		return nil
	})
	return list, err
}

// Tasks implements store.Projections.
func (s *Store) Tasks(ctx context.Context, job cloudcrowd.JobID, stage int32, p store.Page) ([]cloudcrowd.Task, string, error) {
	return s.history.Tasks(ctx, job, stage, p)
}

// Task implements store.Projections.
func (s *Store) Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	t, found, err := s.history.Task(ctx, id)
	if err == nil && !found {
		err = notFound("finished task", id.String())
	}
	return t, err
}

// WholeTasks implements store.Projections.
func (s *Store) WholeTasks(ctx context.Context, ids []cloudcrowd.TaskID) ([]cloudcrowd.Task, error) {
	return s.history.WholeTasks(ctx, ids)
}

// JobAttempts implements store.Projections.
func (s *Store) JobAttempts(ctx context.Context, job cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	return s.history.JobAttempts(ctx, job, p)
}

// WorkerAttempts implements store.Projections.
func (s *Store) WorkerAttempts(ctx context.Context, w cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	return s.history.WorkerAttempts(ctx, w, p)
}

// Charges implements store.Projections.
func (s *Store) Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	return s.history.Charges(ctx, f, p)
}
