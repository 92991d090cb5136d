package memory

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// ProjectedTo implements store.Projections.
func (s *Store) ProjectedTo(ctx context.Context, n int) (seq int64, err error) {
	err = s.view(ctx, func() error {
		if h := s.shards[n]; h != nil {
			seq = h.projected
		}
		return nil
	})
	return seq, err
}

// Project implements store.Projections.
func (s *Store) Project(ctx context.Context, p store.Projected) error {
	return s.update(ctx, "Project", func() error {
		h := s.shards[p.Shard]
		if h == nil || h.projected != p.From || p.To < p.From || p.To > h.head.Seq {
			return store.ErrFenced
		}
		for _, v := range p.Attempts {
			s.attempts[v.ID] = sharded[cloudcrowd.Attempt]{v, p.Shard}
		}
		for _, v := range p.Charges {
			s.charges[v.Attempt] = sharded[cloudcrowd.Charge]{v, p.Shard}
		}
		for _, v := range p.Tasks {
			v.Attempts = nil
			s.tasks[v.ID] = sharded[cloudcrowd.Task]{v, p.Shard}
		}
		for _, v := range p.Jobs {
			v.Detail = slices.Clone(v.Detail)
			s.jobs[v.Summary.ID] = sharded[store.JobRow]{v, p.Shard}
		}
		for _, v := range p.Records {
			s.records[recordKey{v.Worker, p.Shard}] = sharded[cloudcrowd.Record]{v.Record, p.Shard}
		}
		h.projected = p.To
		return nil
	})
}

func forget[K comparable, V any](m map[K]sharded[V], n int) {
	maps.DeleteFunc(m, func(_ K, v sharded[V]) bool { return v.shard == n })
}

// ClearProjection implements store.Projections.
func (s *Store) ClearProjection(ctx context.Context, n int) error {
	return s.update(ctx, "ClearProjection", func() error {
		forget(s.jobs, n)
		forget(s.tasks, n)
		forget(s.attempts, n)
		forget(s.charges, n)
		forget(s.records, n)
		if h := s.shards[n]; h != nil {
			h.projected = 0
		}
		return nil
	})
}

// Job implements store.Projections.
func (s *Store) Job(ctx context.Context, id cloudcrowd.JobID) (row store.JobRow, err error) {
	err = s.view(ctx, func() error {
		v, ok := s.jobs[id]
		if !ok {
			return notFound("job", id)
		}
		row = v.v
		row.Detail = slices.Clone(row.Detail)
		return nil
	})
	return row, err
}

// pick returns the values of a map that fn chooses.
func pick[K comparable, V any](s *Store, ctx context.Context, m map[K]sharded[V], fn func(V) bool) (list []V, err error) {
	err = s.view(ctx, func() error {
		for _, v := range m {
			if fn(v.v) {
				list = append(list, v.v)
			}
		}
		return nil
	})
	return list, err
}

type jobKey struct {
	At cloudcrowd.Time  `json:"t"`
	ID cloudcrowd.JobID `json:"i"`
}

// Jobs implements store.Projections.
func (s *Store) Jobs(ctx context.Context, f store.JobFilter, p store.Page) ([]store.JobRow, string, error) {
	text := strings.ToLower(f.Text)
	list, err := pick(s, ctx, s.jobs, func(j store.JobRow) bool {
		return (f.Account == "" || j.Summary.Account == f.Account) && (f.State == "" || j.Summary.State == f.State) &&
			strings.Contains(strings.ToLower(j.Summary.Name+"\n"+string(j.Summary.ID)), text)
	})
	if err != nil {
		return nil, "", err
	}
	for i := range list {
		list[i].Detail = nil
	}
	return page(list, p, "jobs", func(j store.JobRow) jobKey { return jobKey{j.Summary.SubmittedAt, j.Summary.ID} }, func(a, b jobKey) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(b.ID, a.ID))
	})
}

func compareAttempts(a, b cloudcrowd.AttemptID) int {
	return cmp.Or(cmp.Compare(a.Task.Job, b.Task.Job), cmp.Compare(a.Task.Stage, b.Task.Stage), cmp.Compare(a.Task.Index, b.Task.Index), cmp.Compare(a.N, b.N))
}

func attemptID(a cloudcrowd.Attempt) cloudcrowd.AttemptID { return a.ID }

// Tasks implements store.Projections.
func (s *Store) Tasks(ctx context.Context, job cloudcrowd.JobID, stage int32, p store.Page) ([]cloudcrowd.Task, string, error) {
	list, err := pick(s, ctx, s.tasks, func(t cloudcrowd.Task) bool { return t.ID.Job == job && (stage < 0 || t.ID.Stage == stage) })
	if err != nil {
		return nil, "", err
	}
	return page(list, p, store.TaskList, func(t cloudcrowd.Task) store.Position { return store.PositionOf(cloudcrowd.AttemptID{Task: t.ID}) }, store.Position.Compare)
}

// Task implements store.Projections.
func (s *Store) Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	list, err := s.WholeTasks(ctx, []cloudcrowd.TaskID{id})
	if err != nil {
		return cloudcrowd.Task{}, err
	}
	return list[0], nil
}

// WholeTasks implements store.Projections.
func (s *Store) WholeTasks(ctx context.Context, ids []cloudcrowd.TaskID) (list []cloudcrowd.Task, err error) {
	err = s.view(ctx, func() error {
		tries := make(map[cloudcrowd.TaskID][]cloudcrowd.Attempt, len(ids))
		for _, id := range ids {
			v, ok := s.tasks[id]
			if !ok {
				return notFound("finished task", id)
			}
			tries[id], list = nil, append(list, v.v)
		}
		for _, a := range s.attempts {
			if _, ok := tries[a.v.ID.Task]; ok {
				tries[a.v.ID.Task] = append(tries[a.v.ID.Task], a.v)
			}
		}
		for _, of := range tries {
			slices.SortFunc(of, func(a, b cloudcrowd.Attempt) int { return cmp.Compare(a.ID.N, b.ID.N) })
		}
		for i := range list {
			list[i].Attempts = slices.Clone(tries[list[i].ID])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// JobAttempts implements store.Projections.
func (s *Store) JobAttempts(ctx context.Context, job cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	list, err := pick(s, ctx, s.attempts, func(a cloudcrowd.Attempt) bool { return a.ID.Task.Job == job })
	if err != nil {
		return nil, "", err
	}
	return page(list, p, "job-attempts", attemptID, compareAttempts)
}

// attemptKey orders attempts and charges by time, newest first.
type attemptKey struct {
	At cloudcrowd.Time      `json:"t"`
	ID cloudcrowd.AttemptID `json:"i"`
}

func newerAttempt(a, b attemptKey) int {
	return cmp.Or(cmp.Compare(b.At, a.At), compareAttempts(b.ID, a.ID))
}

// WorkerAttempts implements store.Projections.
func (s *Store) WorkerAttempts(ctx context.Context, w cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	list, err := pick(s, ctx, s.attempts, func(a cloudcrowd.Attempt) bool { return a.Worker == w })
	if err != nil {
		return nil, "", err
	}
	return page(list, p, "worker-attempts", func(a cloudcrowd.Attempt) attemptKey { return attemptKey{a.EndedAt, a.ID} }, newerAttempt)
}

// Charges implements store.Projections.
func (s *Store) Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	list, err := pick(s, ctx, s.charges, func(c cloudcrowd.Charge) bool {
		return (f.Job == "" || c.Attempt.Task.Job == f.Job) && (f.Requester == "" || c.Requester == f.Requester) && (f.Owner == "" || c.Owner == f.Owner) &&
			(f.Worker == "" || c.Worker == f.Worker) && (f.Task == nil || c.Attempt.Task == *f.Task) && within(c.At, f.Since, f.Until)
	})
	if err != nil {
		return nil, "", err
	}
	return page(list, p, "charges", func(c cloudcrowd.Charge) attemptKey { return attemptKey{c.At, c.Attempt} }, newerAttempt)
}

// Records implements store.Projections.
func (s *Store) Records(ctx context.Context) (list []store.RecordRow, err error) {
	err = s.view(ctx, func() error {
		for key, v := range s.records {
			list = append(list, store.RecordRow{Worker: key.worker, Shard: key.shard, Record: v.v})
		}
		return nil
	})
	slices.SortFunc(list, func(a, b store.RecordRow) int {
		return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.Shard, b.Shard))
	})
	return list, err
}
