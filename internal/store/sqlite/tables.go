package sqlite

import (
	"context"
	"fmt"
	"reflect"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// TableRow is one row of a readable table as it is stored. Values are nil, string (also for bytes), int64 or float64, in the order of Columns.
type TableRow struct {
	Table  string
	Values []any
}

// table is the shape of a readable table.
type table struct {
	name    string
	put     string // the statement that projects a row; its arguments are the columns in order
	columns []string
	keys    int // columns, from the first, that name a row
}

var tables = []table{
	{"attempts", putAttempt, columnsOf(putAttempt), 4},
	{"charges", putCharge, columnsOf(putCharge), 4},
	{"tasks", putTask, columnsOf(putTask), 3},
	{"jobs", putJob, columnsOf(putJob), 1},
	{"records", putRecord, columnsOf(putRecord), 1},
}

// columnsOf reads the columns out of an INSERT.
func columnsOf(put string) []string {
	_, rest, _ := strings.Cut(put, "(")
	list, _, _ := strings.Cut(rest, ")")
	return strings.Split(list, ", ")
}

func tableNamed(name string) table {
	for _, t := range tables {
		if t.name == name {
			return t
		}
	}
	panic("sqlite: no table " + name)
}

// Columns names the columns of a readable table and how many of them, from the first, name a row.
func Columns(name string) (columns []string, keys int) {
	t := tableNamed(name)
	return t.columns, t.keys
}

// Tables calls fn for every row of a readable table ("jobs", "tasks", "attempts", "charges" or "records"). fn must not keep Values.
func (s *Store) Tables(ctx context.Context, name string, fn func(TableRow) error) error {
	t := tableNamed(name)
	values := make([]any, len(t.columns))
	into := make([]any, len(values))
	for i := range into {
		into[i] = &values[i]
	}
	return s.each(ctx, fmt.Sprintf("SELECT %s FROM %s", strings.Join(t.columns, ", "), t.name), nil, func(scan scanner) error {
		if err := scan(into...); err != nil {
			return err
		}
		for i := range values {
			values[i] = plain(values[i])
		}
		return fn(TableRow{t.name, values})
	})
}

// TableRows returns the rows that Project would write, in the order it writes them: later ones replace earlier ones of the same name.
func TableRows(p store.Projected) ([]TableRow, error) {
	changes, err := projectedRows(p)
	if err != nil {
		return nil, err
	}
	rows := make([]TableRow, len(changes))
	for i, c := range changes {
		for _, t := range tables {
			if t.put == c.text {
				rows[i].Table = t.name
			}
		}
		for k := range c.args {
			c.args[k] = plain(c.args[k])
		}
		rows[i].Values = c.args
	}
	return rows, nil
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
