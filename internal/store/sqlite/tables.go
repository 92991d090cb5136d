package sqlite

import (
	"context"
	"errors"
	"hash/maphash"
	"reflect"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// TableRow is one item of what is there for reading: a row of a table, or a task, an attempt or a charge out of a segment. Values are nil, string
// (also for bytes), int64 or float64, in the order of Columns.
type TableRow struct {
	Table  string
	Values []any
}

// table is the shape of a kind of items.
type table struct {
	name    string
	columns []string
	keys    int // columns, from the first, that name an item
}

var (
	jobTable     = table{"jobs", columnsOf(putJob), 1}
	taskTable    = table{"tasks", []string{"job", "stage", "idx", "shard", "doc"}, 3}
	attemptTable = table{"attempts", []string{"job", "stage", "idx", "n", "shard", "worker", "ended_at", "doc"}, 4}
	chargeTable  = table{"charges", []string{"job", "stage", "idx", "n", "worker", "requester", "owner", "gross", "fee", "core_seconds", "at", "shard", "seq"}, 4}
	recordTable  = table{"records", columnsOf(putRecord), 1}
	tables       = []table{attemptTable, chargeTable, taskTable, jobTable, recordTable}
)

// columnsOf reads the columns out of an INSERT.
func columnsOf(put string) []string {
	_, rest, _ := strings.Cut(put, "(")
	list, _, _ := strings.Cut(rest, ")")
	return strings.Split(list, ", ")
}

// Columns names the columns of a table ("jobs", "tasks", "attempts", "charges" or "records") and how many of them, from the first, name a row.
func Columns(name string) (columns []string, keys int) {
	for _, t := range tables {
		if t.name == name {
			return t.columns, t.keys
		}
	}
	panic("sqlite: no table " + name)
}

// Tables calls fn for everything that is there for reading, each item in its latest version. damaged is called for every segment that cannot be
// read; what it answers ends the walk, unless it is nil. fn must not keep Values, and neither may call the store.
func (s *Store) Tables(ctx context.Context, fn func(TableRow) error, damaged func(error) error) error {
	for _, t := range []table{jobTable, recordTable} {
		values := make([]any, len(t.columns))
		into := make([]any, len(values))
		for i := range into {
			into[i] = &values[i]
		}
		err := s.each(ctx, "SELECT "+strings.Join(t.columns, ", ")+" FROM "+t.name, nil, func(scan scanner) error {
			if err := scan(into...); err != nil {
				return err
			}
			return fn(rowOf(t, values))
		})
		if err != nil {
			return err
		}
	}
	var block []*history.Segment
	flush := func() error {
		if len(block) == 0 {
			return nil
		}
		whole := history.Merge(block)
		block = block[:0]
		return segmentRows(whole.Shard, whole.Tasks, whole.Attempts, whole.Charges, fn)
	}
	err := s.segments(ctx, damaged, func(seg *history.Segment) error {
		if len(block) > 0 && block[0].Place != seg.Place {
			if err := flush(); err != nil {
				return err
			}
		}
		block = append(block, seg)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// segments opens all segments in the order of their keys.
func (s *Store) segments(ctx context.Context, damaged func(error) error, fn func(*history.Segment) error) error {
	return source{s}.walk(ctx, segmentColumns+" ORDER BY job, stage, block, seq, part", nil, func(v history.Stored) error {
		seg, err := history.Decode(v)
		if err != nil {
			return damaged(err)
		}
		return fn(seg)
	})
}

// TableRows returns the items that Project would write, in the order in which it writes them: later ones replace earlier ones of the same name.
func TableRows(p store.Projected) (rows []TableRow, err error) {
	err = segmentRows(p.Shard, p.Tasks, p.Attempts, p.Charges, func(r TableRow) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range p.Jobs {
		args, err := jobArgs(p.Shard, &p.Jobs[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowOf(jobTable, args))
	}
	for i := range p.Records {
		args, err := recordArgs(p.Shard, &p.Records[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowOf(recordTable, args))
	}
	return rows, nil
}

// segmentRows calls fn for what is kept in segments, as rows. Its Values may be kept.
func segmentRows(shard int, tasks []cloudcrowd.Task, attempts []cloudcrowd.Attempt, charges []cloudcrowd.Charge, fn func(TableRow) error) error {
	for i := range attempts {
		a := &attempts[i]
		doc, err := encode(*a)
		if err != nil {
			return err
		}
		if err := fn(rowOf(attemptTable, []any{a.ID.Task.Job, a.ID.Task.Stage, a.ID.Task.Index, a.ID.N, shard, a.Worker, a.EndedAt, doc})); err != nil {
			return err
		}
	}
	for i := range charges {
		c := &charges[i]
		t := c.Attempt.Task
		if err := fn(rowOf(chargeTable, []any{t.Job, t.Stage, t.Index, c.Attempt.N, c.Worker, c.Requester, c.Owner, c.Gross, c.Fee, finite(c.CoreSeconds), c.At, c.Shard, c.Seq})); err != nil {
			return err
		}
	}
	for _, t := range tasks {
		t.Attempts = nil
		doc, err := encode(t)
		if err != nil {
			return err
		}
		if err := fn(rowOf(taskTable, []any{t.ID.Job, t.ID.Stage, t.ID.Index, shard, doc})); err != nil {
			return err
		}
	}
	return nil
}

// rowOf puts the values, in place, into their plain form.
func rowOf(t table, values []any) TableRow {
	for i := range values {
		values[i] = plain(values[i])
	}
	return TableRow{t.name, values}
}

// plain turns a column's value, as written or as read, into one form.
func plain(v any) any {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.String:
		return r.String()
	case reflect.Int, reflect.Int32, reflect.Int64:
		return r.Int()
	case reflect.Float64:
		return r.Float()
	case reflect.Slice:
		if r.IsNil() {
			return nil
		}
		return string(r.Bytes())
	}
	return v
}

// listingSeed makes hashes of listings comparable.
var listingSeed = maphash.MakeSeed()

// listingSet is a set of listings: how many there are, and the sum of their hashes.
type listingSet struct{ n, sum uint64 }

func (s *listingSet) add(l history.Listing) {
	s.n++
	s.sum += maphash.Comparable(listingSeed, l)
}

// Listings compares the listings with the segments. It calls missing for those that segments should have, and foreign for those that no segment has;
// the listings of segments that cannot be read are left out. Neither may call the store.
func (s *Store) Listings(ctx context.Context, missing, foreign func(history.Listing)) error {
	var should, are listingSet
	err := s.eachListing(ctx, func(segment bool, l history.Listing) {
		if segment {
			should.add(l)
		} else {
			are.add(l)
		}
	}, func(error) {})
	if err != nil || should == are {
		return err
	}
	// Something differs: once more, with all in memory.
	want := map[history.Listing]bool{}
	rotten := map[string]bool{} // segments, by name
	var surplus []history.Listing
	err = s.eachListing(ctx, func(segment bool, l history.Listing) {
		switch {
		case segment:
			want[l] = true
		case want[l]:
			delete(want, l)
		default:
			surplus = append(surplus, l)
		}
	}, func(err error) {
		if e, ok := errors.AsType[*store.CorruptError](err); ok {
			rotten[e.What] = true
		}
	})
	if err != nil {
		return err
	}
	for l := range want {
		missing(l)
	}
	for _, l := range surplus {
		if !rotten[l.Key.String()] {
			foreign(l)
		}
	}
	return nil
}

// eachListing calls fn for the listings that the segments should have, then for those that are stored.
func (s *Store) eachListing(ctx context.Context, fn func(segment bool, l history.Listing), damaged func(error)) error {
	err := s.segments(ctx, func(err error) error { damaged(err); return nil }, func(seg *history.Segment) error {
		for _, l := range seg.Listings() {
			fn(true, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.each(ctx, "SELECT kind, id, latest, job, stage, block, seq, part, earliest, shard, level FROM listings", nil, func(scan scanner) error {
		var l history.Listing
		var level int
		if err := scan(append(listingFields(&l), &level)...); err != nil {
			return err
		}
		if level == l.Level() { // under another one nobody finds it
			fn(false, l)
		}
		return nil
	})
}
