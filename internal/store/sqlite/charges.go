package sqlite

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Charges implements store.Projections.
func (s *Store) Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	var after attemptKey
	more, err := store.DecodeCursor("charges", p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	var q query
	if f.Job != "" {
		q.and("job = ?", f.Job)
	}
	if f.Task != nil {
		q.and("job = ? AND stage = ? AND idx = ?", f.Task.Job, f.Task.Stage, f.Task.Index)
	}
	if f.Requester != "" {
		q.and("requester = ?", f.Requester)
	}
	if f.Owner != "" {
		q.and("owner = ?", f.Owner)
	}
	if f.Worker != "" {
		q.and("worker = ?", f.Worker)
	}
	if f.Since != 0 {
		q.and("at >= ?", f.Since)
	}
	if f.Until != 0 {
		q.and("at < ?", f.Until)
	}
	if more {
		after.before(&q, "at")
	}
	const columns = "SELECT job, stage, idx, n, worker, requester, owner, gross, fee, core_seconds, at, shard, seq FROM charges"
	var list []cloudcrowd.Charge
	err = s.each(ctx, q.text(columns, "at DESC, job DESC, stage DESC, idx DESC, n DESC", p.Size()+1), q.args, func(scan scanner) error {
		var c cloudcrowd.Charge
		t := &c.Attempt.Task
		if err := scan(&t.Job, &t.Stage, &t.Index, &c.Attempt.N, &c.Worker, &c.Requester, &c.Owner, &c.Gross, &c.Fee, &c.CoreSeconds, &c.At, &c.Shard, &c.Seq); err != nil {
			return err
		}
		list = append(list, c)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, "charges", func(c cloudcrowd.Charge) any { return attemptKey{c.At, c.Attempt} })
	return list, next, nil
}

// Records implements store.Projections.
func (s *Store) Records(ctx context.Context) (list []store.RecordRow, err error) {
	err = s.each(ctx, "SELECT worker, doc FROM records ORDER BY worker", nil, func(scan scanner) error {
		var r store.RecordRow
		var doc string
		if err := scan(&r.Worker, &doc); err != nil {
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
