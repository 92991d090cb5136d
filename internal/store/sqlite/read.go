package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// scanner reads the columns of one row.
type scanner = func(dst ...any) error

// each runs a query on the pool and calls fn for every row.
func (s *Store) each(ctx context.Context, text string, args []any, fn func(scanner) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.observe != nil {
		s.observe(text, args)
	}
	query := s.readers.QueryContext
	if s.moment != nil {
		query = s.moment.QueryContext
	}
	rows, err := query(ctx, text, args...)
	if err != nil {
		return classify(located(s.path, text, err))
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows.Scan); err != nil {
			return err
		}
	}
	return classify(located(s.path, text, rows.Err()))
}

// one runs a query for at most one row and reports whether there was one.
func (s *Store) one(ctx context.Context, text string, args []any, dst ...any) (found bool, err error) {
	err = s.each(ctx, text, args, func(scan scanner) error {
		found = true
		return scan(dst...)
	})
	return found, err
}

// query is a SELECT being put together.
type query struct {
	where []string
	args  []any
}

func (q *query) and(condition string, args ...any) {
	q.where, q.args = append(q.where, condition), append(q.args, args...)
}

func (q *query) clone() query { return query{slices.Clone(q.where), slices.Clone(q.args)} }

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
