package sqlite

import (
	"context"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// PutServer implements store.Members.
func (s *Store) PutServer(ctx context.Context, v store.Server) error {
	if err := store.CheckServer(v); err != nil {
		return err
	}
	return s.writeLazily(ctx, func(w *writer) error {
		_, err := w.exec("INSERT OR REPLACE INTO servers (id, beat, url, bus, version, draining, started_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
			v.ID, v.Beat, v.URL, v.Bus, v.Version, v.Draining, v.StartedAt)
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
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec("DELETE FROM servers WHERE id = ?", id)
		return err
	})
}
