package postgres

import (
	"context"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

var _ tables.Source = (*Store)(nil)

// EachRow implements tables.Source.
func (s *Store) EachRow(ctx context.Context, table string, columns []string, fn func(values []any) error) error {
	values := make([]any, len(columns))
	into := make([]any, len(values))
	for i := range into {
		into[i] = &values[i]
	}
	return s.each(ctx, "SELECT "+strings.Join(columns, ", ")+" FROM "+table, nil, func(scan scanner) error {
		if err := scan(into...); err != nil {
			return err
		}
		return fn(values)
	})
}

// EachSegment implements tables.Source.
func (s *Store) EachSegment(ctx context.Context, fn func(history.Stored) error) error {
	return source{s}.walk(ctx, segmentColumns+" ORDER BY job, stage, block, seq, part", nil, fn)
}

// EachListing implements tables.Source.
func (s *Store) EachListing(ctx context.Context, fn func(l history.Listing, level int) error) error {
	return s.each(ctx, "SELECT kind, id, latest, job, stage, block, seq, part, earliest, shard, level FROM listings", nil, func(scan scanner) error {
		var l history.Listing
		var level int
		if err := scan(append(listingFields(&l), &level)...); err != nil {
			return err
		}
		return fn(l, level)
	})
}
