package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// ProjectedTo implements store.Projections.
func (s *Store) ProjectedTo(ctx context.Context, shard int) (seq int64, err error) {
	_, err = s.one(ctx, "SELECT seq FROM projected WHERE shard = $1", []any{shard}, &seq)
	return seq, err
}

// Project implements store.Projections. A stretch is one transaction of two round trips: commits do not wait for it, because it changes other rows
// than they do. Everything is encoded before the transaction begins. It is synced, unlike that of a store in the server's own process: the database may
// crash alone, and a server that goes on relies on what was acknowledged.
func (s *Store) Project(ctx context.Context, p store.Projected) error {
	if p.To < p.From {
		return store.ErrFenced
	}
	segments, err := s.segmentsOf(ctx, p)
	if err != nil {
		return err
	}
	jobs, err := jobRows(p)
	if err != nil {
		return err
	}
	records, err := recordRows(p)
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		at, err := s.stands(ctx, p)
		if err != nil || at == p.To && at != p.From {
			return err
		}
		err = s.transact(ctx, s.patience, durable, func(ctx context.Context, tx pgx.Tx) error {
			fenced := false
			var batch pgx.Batch
			// The row stays locked: whoever projects the same stretch at the same time finds it moved.
			batch.Queue(`UPDATE projected SET seq = $1 WHERE shard = $2 AND seq = $3
				AND EXISTS (SELECT 1 FROM shards WHERE shards.shard = projected.shard AND shards.head >= $1)`, p.To, p.Shard, at).Exec(func(tag pgconn.CommandTag) error {
				fenced = tag.RowsAffected() != 1
				return nil
			})
			whole := segments.queue(&batch)
			queueJobs(&batch, p.Shard, jobs)
			queueRecords(&batch, p.Shard, records)
			err := tx.SendBatch(ctx, &batch).Close()
			if fenced || err == nil && !whole() {
				return store.ErrFenced // also if a row was there already: that is why
			}
			return err
		})
		if _, open := errors.AsType[openOutcome](err); open {
			s.stretches.add(p)
			if s.refresh(); try < settleTries {
				continue
			}
		}
		return errorOf(err)
	}
}

// stretches are those whose outcome is open, because the connection broke in their COMMIT: one for each shard.
type stretches struct {
	mu   sync.Mutex
	open map[int][2]int64 // from, to
}

func (l *stretches) add(p store.Projected) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[int][2]int64{}
	}
	l.open[p.Shard] = [2]int64{p.From, p.To}
}

func (l *stretches) of(shard int) (span [2]int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	span, ok = l.open[shard]
	return span, ok
}

func (l *stretches) forget(shard int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, shard)
}

// stands is where the tables stand at which the stretch is to be written: at its beginning, or, if an earlier try of it was written and only the answer
// lost, at the end of that: at p.To if nothing is left to do. What an earlier and shorter try wrote is written over.
func (s *Store) stands(ctx context.Context, p store.Projected) (int64, error) {
	span, ok := s.stretches.of(p.Shard)
	if !ok {
		return p.From, nil
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	var at int64
	err = s.again(ctx, s.patience, func(ctx context.Context) error { // waits until that try has ended
		_, err := row(ctx, s.writes, "SELECT seq FROM projected WHERE shard = $1 FOR UPDATE", []any{p.Shard}, &at)
		return err
	})
	if err != nil {
		return 0, classify(err)
	}
	s.stretches.forget(p.Shard)
	if span[0] == p.From && span[1] == at && at <= p.To {
		return at, nil
	}
	return p.From, nil
}

// ClearProjection implements store.Projections.
func (s *Store) ClearProjection(ctx context.Context, shard int) error {
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "UPDATE projected SET seq = 0 WHERE shard = $1", shard); err != nil {
			return err
		}
		for _, table := range []string{"jobs", "segments", "listings", "records"} {
			if _, err := tx.Exec(ctx, "DELETE FROM "+table+" WHERE shard = $1", shard); err != nil {
				return err
			}
		}
		return nil
	})
}

// jobRow is a row of the table jobs.
type jobRow struct {
	id, account, state, search, summary string
	submittedAt                         int64
	detail                              []byte
}

// jobRows are the rows of a stretch, the last version of each, by id: a statement may change a row once, and those of several shards must not wait for each other in a circle.
func jobRows(p store.Projected) ([]jobRow, error) {
	rows := make([]jobRow, len(p.Jobs))
	for i, j := range p.Jobs {
		doc, err := store.EncodeDoc(j.Summary)
		if err != nil {
			return nil, err
		}
		rows[i] = jobRow{id: string(j.Summary.ID), account: string(j.Summary.Account), state: string(j.Summary.State), search: tables.Searched(j.Summary.Name + "\n" + string(j.Summary.ID)),
			summary: doc, submittedAt: int64(j.Summary.SubmittedAt), detail: j.Detail}
	}
	return newest(rows, func(r jobRow) string { return r.id }), nil
}

func queueJobs(batch *pgx.Batch, shard int, rows []jobRow) {
	n := len(rows)
	if n == 0 {
		return
	}
	ids, accounts, states, searches, summaries := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	submitted, details := make([]int64, n), make([][]byte, n)
	for i, r := range rows {
		ids[i], accounts[i], states[i], searches[i], summaries[i], submitted[i], details[i] = r.id, r.account, r.state, r.search, r.summary, r.submittedAt, r.detail
	}
	batch.Queue(`INSERT INTO jobs (shard, id, account, state, submitted_at, search, summary, detail)
		SELECT $1, u.* FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bytea[]) AS u
		ON CONFLICT (id) DO UPDATE SET shard = excluded.shard, account = excluded.account, state = excluded.state, submitted_at = excluded.submitted_at,
			search = excluded.search, summary = excluded.summary, detail = excluded.detail`, shard, ids, accounts, states, submitted, searches, summaries, details)
}

// recordRow is a row of the table records.
type recordRow struct{ worker, doc string }

func recordRows(p store.Projected) ([]recordRow, error) {
	rows := make([]recordRow, len(p.Records))
	for i, r := range p.Records {
		doc, err := store.EncodeDoc(r.Record)
		if err != nil {
			return nil, err
		}
		rows[i] = recordRow{string(r.Worker), doc}
	}
	return newest(rows, func(r recordRow) string { return r.worker }), nil
}

func queueRecords(batch *pgx.Batch, shard int, rows []recordRow) {
	if len(rows) == 0 {
		return
	}
	workers, docs := make([]string, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		workers[i], docs[i] = r.worker, r.doc
	}
	batch.Queue(`INSERT INTO records (shard, worker, doc) SELECT $1, u.* FROM unnest($2::text[], $3::text[]) AS u
		ON CONFLICT (worker, shard) DO UPDATE SET doc = excluded.doc`, shard, workers, docs)
}

// newest keeps the last of the rows that have the same key, and sorts them by it.
func newest[T any](rows []T, key func(T) string) []T {
	slices.SortStableFunc(rows, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	kept := rows[:0]
	for i, r := range rows {
		if i+1 == len(rows) || key(rows[i+1]) != key(r) {
			kept = append(kept, r)
		}
	}
	return kept
}
