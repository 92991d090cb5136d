package sqlite

import (
	"context"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// ProjectedTo implements store.Projections.
func (s *Store) ProjectedTo(ctx context.Context, shard int) (seq int64, err error) {
	_, err = s.one(ctx, "SELECT projected FROM shards WHERE shard = ?", []any{shard}, &seq)
	return seq, err
}

// projectedBytes bounds the segments of one transaction of Project.
const projectedBytes = 1 << 20

// Project implements store.Projections. A long stretch is written in several transactions, so that commits do not wait for all of it, and a transaction ends
// early when one does; the last one moves ProjectedTo. Tasks come before their jobs: what a reader finds, he finds whole. Everything is encoded before a transaction begins.
func (s *Store) Project(ctx context.Context, p store.Projected) error {
	if p.To < p.From {
		return store.ErrFenced
	}
	b := projection{s: s, ctx: ctx, p: p}
	for _, seg := range history.Cut(p) {
		if s.merges.due(&seg) {
			m, err := s.merge(ctx, seg.Place, p.From)
			if err != nil {
				return err
			}
			if m != nil {
				if err := b.add(m.write, m.rows(), len(m.to.Bytes)); err != nil {
					return err
				}
			}
		}
		stored, listings := seg.Stored(), seg.Listings()
		if err := b.add(func(w *writer) error { return w.putSegment(stored, listings) }, 1+len(listings), len(stored.Bytes)); err != nil {
			return err
		}
	}
	for _, j := range p.Jobs {
		args, err := tables.JobValues(p.Shard, &j)
		if err != nil {
			return err
		}
		if err := b.add(statement(putJob, args), 1, len(j.Detail)); err != nil {
			return err
		}
	}
	for _, r := range p.Records {
		args, err := tables.RecordValues(p.Shard, &r)
		if err != nil {
			return err
		}
		if err := b.add(statement(putRecord, args), 1, 0); err != nil {
			return err
		}
	}
	return b.flush(true)
}

const (
	putSegment = "INSERT INTO segments (job, stage, block, seq, part, shard, items, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
	putListing = "INSERT OR REPLACE INTO listings (kind, id, level, latest, job, stage, block, seq, part, earliest, shard) VALUES "
	putJob     = "INSERT OR REPLACE INTO jobs (id, shard, account, state, submitted_at, search, summary, detail) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	putRecord  = "INSERT OR REPLACE INTO records (worker, shard, doc) VALUES (?, ?, ?)"
)

func statement(text string, args []any) func(*writer) error {
	return func(w *writer) error {
		_, err := w.exec(text, args...)
		return err
	}
}

// projection collects what a stretch writes, and writes it in transactions of a bounded size.
type projection struct {
	s           *Store
	ctx         context.Context
	p           store.Projected
	writes      []func(*writer) error // of the next transaction
	rows, bytes int                   // that they write
}

// add takes what must be written together, and writes what was collected if that is enough for a transaction.
func (b *projection) add(write func(*writer) error, rows, bytes int) error {
	if len(b.writes) > 0 && (b.rows+rows > b.s.options.ProjectedRows || b.bytes+bytes > projectedBytes) {
		if err := b.flush(false); err != nil {
			return err
		}
	}
	b.writes, b.rows, b.bytes = append(b.writes, write), b.rows+rows, b.bytes+bytes
	return nil
}

// flush writes what was collected, in one transaction, or in several if commits wait for their turn meanwhile.
func (b *projection) flush(last bool) error {
	defer func() {
		clear(b.writes)
		b.writes, b.rows, b.bytes = b.writes[:0], 0, 0
	}()
	for rest := b.writes; ; {
		err := b.s.writeLazily(b.ctx, func(w *writer) (err error) {
			rest, err = b.write(w, rest, last)
			return err
		})
		if err != nil || len(rest) == 0 {
			return err
		}
		time.Sleep(respite)
	}
}

// A transaction of a projection goes on for quantum though a commit waits, and then commits have the disk to themselves for respite: each of theirs is synced, with all that
// a projection has left there.
const (
	quantum = time.Millisecond
	respite = 3 * time.Millisecond
)

// write performs writes until a commit has to wait for longer than quantum, and returns the rest.
func (b *projection) write(w *writer, writes []func(*writer) error, last bool) ([]func(*writer) error, error) {
	began := time.Now()
	var at int64
	if _, err := w.row("SELECT projected FROM shards WHERE shard = ?", []any{b.p.Shard}, &at); err != nil {
		return nil, err
	}
	if at != b.p.From {
		return nil, store.ErrFenced
	}
	for i, write := range writes {
		if i > 0 && b.s.waiting.Load() > 0 && time.Since(began) > quantum {
			return writes[i:], nil
		}
		if err := write(w); err != nil {
			return nil, err
		}
	}
	if !last {
		return nil, nil
	}
	n, err := w.exec("UPDATE shards SET projected = ?1 WHERE shard = ?2 AND head >= ?1", b.p.To, b.p.Shard)
	if err == nil && n != 1 {
		return nil, store.ErrFenced // ahead of the journal
	}
	return nil, err
}

// ClearProjection implements store.Projections.
func (s *Store) ClearProjection(ctx context.Context, shard int) error {
	return s.writeLazily(ctx, func(w *writer) error {
		for _, table := range []string{"jobs", "segments", "listings", "records"} {
			if _, err := w.exec("DELETE FROM "+table+" WHERE shard = ?", shard); err != nil {
				return err
			}
		}
		_, err := w.exec("UPDATE shards SET projected = 0 WHERE shard = ?", shard)
		return err
	})
}
