package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// PutServer implements store.Members.
func (s *Store) PutServer(ctx context.Context, v store.Server) error {
	if err := store.CheckServer(v); err != nil {
		return err
	}
	return s.write(ctx, lazy, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO servers (id, beat, url, bus, version, draining, started_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, url = excluded.url, bus = excluded.bus, version = excluded.version,
				draining = excluded.draining, started_at = excluded.started_at`, v.ID, v.Beat, v.URL, v.Bus, v.Version, v.Draining, v.StartedAt)
		return err
	})
}

// Servers implements store.Members.
func (s *Store) Servers(ctx context.Context) (list []store.Server, err error) {
	err = s.each(ctx, "SELECT id, beat, url, bus, version, draining, started_at FROM servers ORDER BY id", nil, func(scan scanner) error {
		var v store.Server
		err := scan(&v.ID, &v.Beat, &v.URL, &v.Bus, &v.Version, &v.Draining, &v.StartedAt)
		list = append(list, v)
		return err
	})
	return list, err
}

// DropServer implements store.Members.
func (s *Store) DropServer(ctx context.Context, id string) error {
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DELETE FROM servers WHERE id = $1", id)
		return err
	})
}
