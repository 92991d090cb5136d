package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// scanner reads the columns of one row.
type scanner = func(dst ...any) error

// each runs a query and calls fn for every row. fn must not call the store. A connection that breaks before the first row is replaced.
func (s *Store) each(ctx context.Context, text string, args []any, fn func(scanner) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.moment != nil {
		return classify(s.moment.each(ctx, text, args, fn))
	}
	begun := false
	var stop error // fn's, which is passed on as it is
	err = s.again(ctx, s.patience, func(ctx context.Context) error {
		rows, err := s.reads.Query(ctx, text, args...)
		if err == nil {
			err = walk(rows, func(scan scanner) error {
				begun = true
				stop = fn(scan)
				return stop
			})
		}
		if begun && err != nil && stop == nil {
			stop = classify(err)
		}
		if stop != nil {
			return nil
		}
		return err
	})
	if stop != nil {
		return stop
	}
	return classify(err)
}

// walk calls fn for every row.
func walk(rows pgx.Rows, fn func(scanner) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// one runs a query for at most one row and reports whether there was one.
func (s *Store) one(ctx context.Context, text string, args []any, dst ...any) (found bool, err error) {
	err = s.each(ctx, text, args, func(scan scanner) error {
		found = true
		return scan(dst...)
	})
	return found, err
}

// exec is what runs statements: a pool, a connection or a transaction.
type exec interface {
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
}

// row is one inside of a transaction.
func row(ctx context.Context, tx exec, text string, args []any, dst ...any) (found bool, err error) {
	rows, err := tx.Query(ctx, text, args...)
	if err != nil {
		return false, err
	}
	err = walk(rows, func(scan scanner) error {
		found = true
		return scan(dst...)
	})
	return found, err
}

// query is a SELECT being put together. Its conditions have a ? for each argument.
type query struct {
	where []string
	args  []any
}

func (q *query) and(condition string, args ...any) {
	for _, a := range args {
		q.args = append(q.args, a)
		condition = strings.Replace(condition, "?", "$"+strconv.Itoa(len(q.args)), 1)
	}
	q.where = append(q.where, condition)
}

// text returns the statement: what is selected, the conditions, the order and the limit.
func (q *query) text(selects, order string, limit int) string {
	var b strings.Builder
	b.WriteString(selects)
	if len(q.where) > 0 {
		b.WriteString(" WHERE " + strings.Join(q.where, " AND "))
	}
	fmt.Fprintf(&b, " ORDER BY %s LIMIT %d", order, limit)
	return b.String()
}

// decode reads a doc column.
func decode(doc string, what string, id any, dst any) error {
	if err := json.Unmarshal([]byte(doc), dst); err != nil {
		return &store.CorruptError{What: fmt.Sprintf("%s %v", what, id), Err: err}
	}
	return nil
}

// page cuts a list that was read one longer than the page, and makes the next page's cursor from the last item's key.
func page[T any](list []T, p store.Page, name string, key func(T) any) ([]T, string) {
	if len(list) <= p.Size() {
		return list, ""
	}
	list = list[:p.Size()]
	return list, store.EncodeCursor(name, key(list[len(list)-1]))
}
