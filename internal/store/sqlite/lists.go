package sqlite

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Job implements store.Projections.
func (s *Store) Job(ctx context.Context, id cloudcrowd.JobID) (row store.JobRow, err error) {
	var doc string
	found, err := s.one(ctx, "SELECT summary, detail FROM jobs WHERE id = ?", []any{id}, &doc, &row.Detail)
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
		q.and("instr(search, ?) > 0", strings.ToLower(f.Text))
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

type taskKey struct {
	Stage int32 `json:"s"`
	Index int32 `json:"i"`
	N     int32 `json:"n,omitempty"`
}

// Tasks implements store.Projections.
func (s *Store) Tasks(ctx context.Context, job cloudcrowd.JobID, stage int32, p store.Page) ([]cloudcrowd.Task, string, error) {
	var after taskKey
	more, err := store.DecodeCursor("tasks", p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var q query
	q.and("job = ?", job)
	if stage >= 0 {
		q.and("stage = ?", stage)
	}
	if more {
		q.and("(stage, idx) > (?, ?)", after.Stage, after.Index)
	}
	var list []cloudcrowd.Task
	err = s.each(ctx, q.text("SELECT doc FROM tasks", "stage, idx", p.Size()+1), q.args, func(scan scanner) error {
		var doc string
		var t cloudcrowd.Task
		if err := scan(&doc); err != nil {
			return err
		}
		if err := decode(doc, "a task of job", job, &t); err != nil {
			return err
		}
		list = append(list, t)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, "tasks", func(t cloudcrowd.Task) any { return taskKey{t.ID.Stage, t.ID.Index, 0} })
	return list, next, nil
}

// Task implements store.Projections.
func (s *Store) Task(ctx context.Context, id cloudcrowd.TaskID) (t cloudcrowd.Task, err error) {
	var doc string
	found, err := s.one(ctx, "SELECT doc FROM tasks WHERE job = ? AND stage = ? AND idx = ?", []any{id.Job, id.Stage, id.Index}, &doc)
	if err != nil {
		return t, err
	}
	if !found {
		return t, notFound("finished task", id.String())
	}
	if err := decode(doc, "task", id, &t); err != nil {
		return t, err
	}
	t.Attempts, err = s.attempts(ctx, "SELECT doc FROM attempts WHERE job = ? AND stage = ? AND idx = ? ORDER BY n", []any{id.Job, id.Stage, id.Index})
	return t, err
}

func (s *Store) attempts(ctx context.Context, text string, args []any) (list []cloudcrowd.Attempt, err error) {
	err = s.each(ctx, text, args, func(scan scanner) error {
		var doc string
		var a cloudcrowd.Attempt
		if err := scan(&doc); err != nil {
			return err
		}
		if err := decode(doc, "an attempt of", args[0], &a); err != nil {
			return err
		}
		list = append(list, a)
		return nil
	})
	return list, err
}

// JobAttempts implements store.Projections.
func (s *Store) JobAttempts(ctx context.Context, job cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	var after taskKey
	more, err := store.DecodeCursor("job-attempts", p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var q query
	q.and("job = ?", job)
	if more {
		q.and("(stage, idx, n) > (?, ?, ?)", after.Stage, after.Index, after.N)
	}
	list, err := s.attempts(ctx, q.text("SELECT doc FROM attempts", "stage, idx, n", p.Size()+1), q.args)
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, "job-attempts", func(a cloudcrowd.Attempt) any { return taskKey{a.ID.Task.Stage, a.ID.Task.Index, a.ID.N} })
	return list, next, nil
}

// attemptKey orders attempts and charges by time, newest first.
type attemptKey struct {
	At cloudcrowd.Time      `json:"t"`
	ID cloudcrowd.AttemptID `json:"i"`
}

// before adds the condition that a row comes after the key in a list that is newest first.
func (k attemptKey) before(q *query, column string) {
	t := k.ID.Task
	q.and("("+column+", job, stage, idx, n) < (?, ?, ?, ?, ?)", k.At, t.Job, t.Stage, t.Index, k.ID.N)
}

// WorkerAttempts implements store.Projections.
func (s *Store) WorkerAttempts(ctx context.Context, w cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	var after attemptKey
	more, err := store.DecodeCursor("worker-attempts", p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var q query
	q.and("worker = ?", w)
	if more {
		after.before(&q, "ended_at")
	}
	list, err := s.attempts(ctx, q.text("SELECT doc FROM attempts", "ended_at DESC, job DESC, stage DESC, idx DESC, n DESC", p.Size()+1), q.args)
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, "worker-attempts", func(a cloudcrowd.Attempt) any { return attemptKey{a.EndedAt, a.ID} })
	return list, next, nil
}
