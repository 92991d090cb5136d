package memory

import (
	"context"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// PutServer implements store.Members.
func (s *Store) PutServer(ctx context.Context, v store.Server) error {
	if err := store.CheckServer(v); err != nil {
		return err
	}
	return s.update(ctx, "PutServer", func() error {
		s.servers[v.ID] = v
		return nil
	})
}

// Servers implements store.Members.
func (s *Store) Servers(ctx context.Context) (list []store.Server, err error) {
	err = s.view(ctx, func() error {
		for _, id := range ids(s.servers) {
			list = append(list, s.servers[id])
		}
		return nil
	})
	return list, err
}

// DropServer implements store.Members.
func (s *Store) DropServer(ctx context.Context, id string) error {
	return s.update(ctx, "DropServer", func() error {
		delete(s.servers, id)
		return nil
	})
}
