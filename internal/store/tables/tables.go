// Package tables is how a check reads what SQL stores keep for reading: every item as a row of named columns, whichever database it is in, and whether
// it lies in a table of its own or in a segment. It knows no SQL; a Source gives it rows.
package tables

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

// Row is one item of what is there for reading: a row of a table, or a task, an attempt or a charge out of a segment. Values are nil, string
// (also for bytes), int64 or float64, in the order of Columns.
type Row struct {
	Table  string
	Values []any
}

// Source is a store opened for reading. What it calls must not call it.
type Source interface {
	// EachRow calls fn for the rows of a table of its own ("jobs" or "records"); fn must not keep values.
	EachRow(ctx context.Context, table string, columns []string, fn func(values []any) error) error
	// EachSegment calls fn for all segments in the order of their keys.
	EachSegment(ctx context.Context, fn func(history.Stored) error) error
	// EachListing calls fn for all listings with the level they are stored under.
	EachListing(ctx context.Context, fn func(l history.Listing, level int) error) error
}

// table is the shape of a kind of items.
type table struct {
	name    string
	columns []string
	keys    int // columns, from the first, that name an item
}

var (
	jobTable     = table{"jobs", []string{"id", "shard", "account", "state", "submitted_at", "search", "summary", "detail"}, 1}
	taskTable    = table{"tasks", []string{"job", "stage", "idx", "shard", "doc"}, 3}
	attemptTable = table{"attempts", []string{"job", "stage", "idx", "n", "shard", "worker", "ended_at", "doc"}, 4}
	chargeTable  = table{"charges", []string{"job", "stage", "idx", "n", "worker", "requester", "owner", "gross", "fee", "core_seconds", "at", "shard", "seq"}, 4}
	recordTable  = table{"records", []string{"worker", "shard", "doc"}, 2}
	all          = []table{attemptTable, chargeTable, taskTable, jobTable, recordTable}
)

// Columns names the columns of a table ("jobs", "tasks", "attempts", "charges" or "records") and how many of them, from the first, name a row.
func Columns(name string) (columns []string, keys int) {
	for _, t := range all {
		if t.name == name {
			return t.columns, t.keys
		}
	}
	panic("tables: no table " + name)
}

// JobValues are the columns of a job's row.
func JobValues(shard int, j *store.JobRow) ([]any, error) {
	doc, err := store.EncodeDoc(j.Summary)
	return []any{j.Summary.ID, shard, j.Summary.Account, j.Summary.State, j.Summary.SubmittedAt, Searched(j.Summary.Name + "\n" + string(j.Summary.ID)), doc, j.Detail}, err
}

// RecordValues are the columns of a worker's record.
func RecordValues(shard int, r *store.RecordRow) ([]any, error) {
	doc, err := store.EncodeDoc(r.Record)
	return []any{r.Worker, shard, doc}, err
}

// Searched is the form in which names are searched: in lower case, and without what some databases' texts cannot hold.
func Searched(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(strings.ToLower(text), "\uFFFD"), "\x00", "\uFFFD")
}

// Walk calls fn for everything that is there for reading, each item in its latest version. damaged is called for every segment that cannot be
// read; what it answers ends the walk, unless it is nil. fn must not keep Values, and neither may call the store.
func Walk(ctx context.Context, src Source, fn func(Row) error, damaged func(error) error) error {
	for _, t := range []table{jobTable, recordTable} {
		err := src.EachRow(ctx, t.name, t.columns, func(values []any) error { return fn(rowOf(t, values)) })
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
	err := segments(ctx, src, damaged, func(seg *history.Segment) error {
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
func segments(ctx context.Context, src Source, damaged func(error) error, fn func(*history.Segment) error) error {
	return src.EachSegment(ctx, func(v history.Stored) error {
		seg, err := history.Decode(v)
		if err != nil {
			return damaged(err)
		}
		return fn(seg)
	})
}

// Rows returns the items that Project would write, in the order in which it writes them: later ones replace earlier ones of the same name.
func Rows(p store.Projected) (rows []Row, err error) {
	err = segmentRows(p.Shard, p.Tasks, p.Attempts, p.Charges, func(r Row) error {
		rows = append(rows, r)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range p.Jobs {
		args, err := JobValues(p.Shard, &p.Jobs[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowOf(jobTable, args))
	}
	for i := range p.Records {
		args, err := RecordValues(p.Shard, &p.Records[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, rowOf(recordTable, args))
	}
	return rows, nil
}

// segmentRows calls fn for what is kept in segments, as rows. Its Values may be kept.
func segmentRows(shard int, tasks []cloudcrowd.Task, attempts []cloudcrowd.Attempt, charges []cloudcrowd.Charge, fn func(Row) error) error {
	for i := range attempts {
		a := &attempts[i]
		doc, err := store.EncodeDoc(*a)
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
		if err := fn(rowOf(chargeTable, []any{t.Job, t.Stage, t.Index, c.Attempt.N, c.Worker, c.Requester, c.Owner, c.Gross, c.Fee, store.Finite(c.CoreSeconds), c.At, c.Shard, c.Seq})); err != nil {
			return err
		}
	}
	for _, t := range tasks {
		t.Attempts = nil
		doc, err := store.EncodeDoc(t)
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
func rowOf(t table, values []any) Row {
	for i := range values {
		values[i] = plain(values[i])
	}
	return Row{t.name, values}
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
func Listings(ctx context.Context, src Source, missing, foreign func(history.Listing)) error {
	var should, are listingSet
	err := eachListing(ctx, src, func(segment bool, l history.Listing) {
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
	err = eachListing(ctx, src, func(segment bool, l history.Listing) {
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
func eachListing(ctx context.Context, src Source, fn func(segment bool, l history.Listing), damaged func(error)) error {
	err := segments(ctx, src, func(err error) error { damaged(err); return nil }, func(seg *history.Segment) error {
		for _, l := range seg.Listings() {
			fn(true, l)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return src.EachListing(ctx, func(l history.Listing, level int) error {
		if level == l.Level() { // under another one nobody finds it
			fn(false, l)
		}
		return nil
	})
}
