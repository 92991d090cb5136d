package postgres

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// segmentRows are the segments a stretch adds, and those that merging takes away, with their listings.
type segmentRows struct {
	add    []history.Stored
	list   []history.Listing
	drop   []history.Key
	unlist []history.Listing
}

// segmentsOf cuts what a stretch made final into segments, and merges blocks that have got many small ones.
func (s *Store) segmentsOf(ctx context.Context, p store.Projected) (*segmentRows, error) {
	out := &segmentRows{}
	for _, seg := range history.Cut(p) {
		if s.merges.due(&seg) {
			if err := s.merge(ctx, out, seg.Place); err != nil {
				return nil, err
			}
		}
		out.add, out.list = append(out.add, seg.Stored()), append(out.list, seg.Listings()...)
	}
	return out, nil
}

// merge reads and merges what history.Plan says of a block. A segment that cannot be read is left for fsck to name: new work is written all the same.
func (s *Store) merge(ctx context.Context, out *segmentRows, p history.Place) error {
	held, err := source{s}.Versions(ctx, p)
	if err != nil {
		return err
	}
	from, to := history.Plan(held)
	if from == to {
		return nil
	}
	var parts []*history.Segment
	for _, h := range held[from:to] {
		v, found, err := source{s}.Segment(ctx, h.Key)
		if err != nil || !found {
			return err
		}
		seg, err := history.Decode(v)
		if _, rotten := errors.AsType[*store.CorruptError](err); rotten {
			return nil
		}
		if err != nil {
			return err
		}
		parts = append(parts, seg)
	}
	for _, seg := range parts {
		out.drop, out.unlist = append(out.drop, seg.Key), append(out.unlist, seg.Listings()...)
	}
	whole := history.Merge(parts)
	out.add, out.list = append(out.add, whole.Stored()), append(out.list, whole.Listings()...)
	return nil
}

// queue adds the statements, and returns what says afterwards whether everything was there that had to be removed.
func (r *segmentRows) queue(batch *pgx.Batch) (whole func() bool) {
	removed := int64(0)
	if n := len(r.drop); n > 0 {
		k := keyColumns(n, func(i int) history.Key { return r.drop[i] })
		batch.Queue(`DELETE FROM segments s USING unnest($1::text[], $2::int[], $3::int[], $4::bigint[], $5::int[]) AS u (job, stage, block, seq, part)
			WHERE s.job = u.job AND s.stage = u.stage AND s.block = u.block AND s.seq = u.seq AND s.part = u.part`, k...).Exec(func(tag pgconn.CommandTag) error {
			removed = tag.RowsAffected()
			return nil
		})
		l := listingColumns(r.unlist)
		batch.Queue(`DELETE FROM listings l USING unnest($1::text[], $2::int[], $3::int[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::int[], $9::bigint[])
				AS u (job, stage, block, seq, part, kind, id, level, latest)
			WHERE l.kind = u.kind AND l.id = u.id AND l.level = u.level AND l.latest = u.latest
				AND l.job = u.job AND l.stage = u.stage AND l.block = u.block AND l.seq = u.seq AND l.part = u.part`, l[:9]...)
	}
	if n := len(r.add); n > 0 {
		shards, items, bytes := make([]int, n), make([]int, n), make([][]byte, n)
		for i, v := range r.add {
			shards[i], items[i], bytes[i] = v.Shard, v.Items, v.Bytes
		}
		batch.Queue(`INSERT INTO segments (job, stage, block, seq, part, shard, items, bytes)
			SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::bigint[], $5::int[], $6::int[], $7::bigint[], $8::bytea[])`,
			append(keyColumns(n, func(i int) history.Key { return r.add[i].Key }), shards, items, bytes)...)
	}
	if len(r.list) > 0 {
		batch.Queue(`INSERT INTO listings (job, stage, block, seq, part, kind, id, level, latest, earliest, shard)
			SELECT * FROM unnest($1::text[], $2::int[], $3::int[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::int[], $9::bigint[], $10::bigint[], $11::int[])`,
			listingColumns(r.list)...)
	}
	return func() bool { return removed == int64(len(r.drop)) }
}

// keyColumns are the columns of keys: job, stage, block, seq and part.
func keyColumns(n int, key func(int) history.Key) []any {
	jobs, stages, blocks, seqs, parts := make([]string, n), make([]int32, n), make([]int32, n), make([]int64, n), make([]int32, n)
	for i := range n {
		k := key(i)
		jobs[i], stages[i], blocks[i], seqs[i], parts[i] = string(k.Job), k.Stage, k.Block, k.Seq, k.Part
	}
	return []any{jobs, stages, blocks, seqs, parts}
}

// listingColumns are the columns of listings: those of their keys, then kind, id, level, latest, earliest and shard.
func listingColumns(list []history.Listing) []any {
	n := len(list)
	kinds, ids, levels, shards := make([]int, n), make([]string, n), make([]int, n), make([]int, n)
	latest, earliest := make([]int64, n), make([]int64, n)
	for i := range list {
		l := &list[i]
		kinds[i], ids[i], levels[i], shards[i], latest[i], earliest[i] = int(l.Kind), l.ID, l.Level(), l.Shard, int64(l.Latest), int64(l.Earliest)
	}
	return append(keyColumns(n, func(i int) history.Key { return list[i].Key }), kinds, ids, levels, latest, earliest, shards)
}

// merges counts the small segments that blocks have got, so that only blocks with many are looked at.
type merges struct {
	mu    sync.Mutex
	small map[history.Place]int
}

// blocksCounted bounds the memory of the counts. What is forgotten is looked at later.
const blocksCounted = 4096

// due counts a segment that is to be written, and reports whether its block should be looked at before.
func (m *merges) due(s *history.Segment) bool {
	if s.Items() >= history.LookBelow {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.small == nil || len(m.small) >= blocksCounted {
		m.small = map[history.Place]int{}
	}
	m.small[s.Place]++
	if m.small[s.Place] <= history.MaxSegments {
		return false
	}
	delete(m.small, s.Place)
	return true
}
