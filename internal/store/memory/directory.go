package memory

import (
	"cmp"
	"context"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// put stores a value under its id and drops any other one with the same secret.
func put[T any](m map[string]hashed[T], id, hash string, v T) {
	for other, h := range m {
		if h.hash == hash {
			delete(m, other)
		}
	}
	m[id] = hashed[T]{v, hash}
}

// byHash finds the id a secret belongs to.
func byHash[T any](m map[string]hashed[T], hash string) (id string, ok bool) {
	for id, h := range m {
		if h.hash == hash {
			return id, true
		}
	}
	return "", false
}

func listed[T any](m map[string]hashed[T]) (list []T) {
	for _, id := range ids(m) {
		list = append(list, m[id].v)
	}
	return list
}

// PutToken implements store.Directory.
func (s *Store) PutToken(ctx context.Context, hash string, t cloudcrowd.Token) error {
	return s.update(ctx, "PutToken", func() error {
		put(s.tokens, t.ID, hash, t)
		return nil
	})
}

// TokenByHash implements store.Directory.
func (s *Store) TokenByHash(ctx context.Context, hash string) (t cloudcrowd.Token, err error) {
	err = s.view(ctx, func() error {
		id, ok := byHash(s.tokens, hash)
		if !ok {
			return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no such token")
		}
		t = s.tokens[id].v
		return nil
	})
	return t, err
}

// Tokens implements store.Directory.
func (s *Store) Tokens(ctx context.Context) (list []cloudcrowd.Token, err error) {
	err = s.view(ctx, func() error {
		list = listed(s.tokens)
		return nil
	})
	return list, err
}

// DeleteToken implements store.Directory.
func (s *Store) DeleteToken(ctx context.Context, id string) error {
	return s.update(ctx, "DeleteToken", func() error {
		if _, ok := s.tokens[id]; !ok {
			return notFound("token", id)
		}
		delete(s.tokens, id)
		return nil
	})
}

// PutInvite implements store.Directory.
func (s *Store) PutInvite(ctx context.Context, hash string, i cloudcrowd.Invite) error {
	return s.update(ctx, "PutInvite", func() error {
		put(s.invites, i.ID, hash, i)
		return nil
	})
}

// Invites implements store.Directory.
func (s *Store) Invites(ctx context.Context) (list []cloudcrowd.Invite, err error) {
	err = s.view(ctx, func() error {
		list = listed(s.invites)
		return nil
	})
	return list, err
}

// RevokeInvite implements store.Directory.
func (s *Store) RevokeInvite(ctx context.Context, id string) error {
	return s.update(ctx, "RevokeInvite", func() error {
		i, ok := s.invites[id]
		if !ok {
			return notFound("invite", id)
		}
		i.v.Revoked = true
		s.invites[id] = i
		return nil
	})
}

// Join implements store.Directory.
func (s *Store) Join(ctx context.Context, inviteHash string, w cloudcrowd.Worker, now cloudcrowd.Time) (joined cloudcrowd.Worker, err error) {
	err = s.update(ctx, "Join", func() error {
		var invite *cloudcrowd.Invite
		id, ok := byHash(s.invites, inviteHash)
		found := s.invites[id]
		if ok {
			invite = &found.v
		}
		var known *cloudcrowd.Worker
		if row, ok := s.workers[w.ID]; ok {
			known = &row.Worker
		}
		var fresh bool
		if joined, fresh, err = store.Admit(invite, known, w, now); err != nil || !fresh {
			return err
		}
		found.v.Uses++
		s.invites[id] = found
		s.workers[w.ID] = store.WorkerRow{Worker: joined}
		return nil
	})
	return joined, err
}

// Worker implements store.Directory.
func (s *Store) Worker(ctx context.Context, id cloudcrowd.WorkerID) (r store.WorkerRow, err error) {
	err = s.view(ctx, func() error {
		var ok bool
		if r, ok = s.workers[id]; !ok {
			return notFound("worker", id)
		}
		return nil
	})
	return r, err
}

// Workers implements store.Directory.
func (s *Store) Workers(ctx context.Context) (list []store.WorkerRow, err error) {
	err = s.view(ctx, func() error {
		for _, r := range s.workers {
			list = append(list, r)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b store.WorkerRow) int {
		return cmp.Or(cmp.Compare(a.RegisteredAt, b.RegisteredAt), cmp.Compare(a.ID, b.ID))
	})
	return list, err
}

// edit changes a worker's row.
func (s *Store) edit(ctx context.Context, method string, id cloudcrowd.WorkerID, fn func(*store.WorkerRow)) error {
	return s.update(ctx, method, func() error {
		r, ok := s.workers[id]
		if !ok {
			return notFound("worker", id)
		}
		fn(&r)
		s.workers[id] = r
		return nil
	})
}

// SeenWorker implements store.Directory.
func (s *Store) SeenWorker(ctx context.Context, id cloudcrowd.WorkerID, info cloudcrowd.WorkerInfo, at cloudcrowd.Time) error {
	info.Sandboxes = slices.Clone(info.Sandboxes)
	return s.edit(ctx, "SeenWorker", id, func(r *store.WorkerRow) { r.Info, r.LastSeen = info, at })
}

// RevokeWorker implements store.Directory.
func (s *Store) RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error {
	return s.edit(ctx, "RevokeWorker", id, func(r *store.WorkerRow) { r.Revoked = revoked })
}

// Setting implements store.Directory.
func (s *Store) Setting(ctx context.Context, key string) (value string, err error) {
	err = s.view(ctx, func() error {
		value = s.settings[key]
		return nil
	})
	return value, err
}

// PutSetting implements store.Directory.
func (s *Store) PutSetting(ctx context.Context, key, value string) error {
	return s.update(ctx, "PutSetting", func() error {
		s.settings[key] = value
		return nil
	})
}

// KeepSetting implements store.Directory.
func (s *Store) KeepSetting(ctx context.Context, key, value string) (kept string, err error) {
	err = s.update(ctx, "KeepSetting", func() error {
		if s.settings[key] == "" {
			s.settings[key] = value
		}
		kept = s.settings[key]
		return nil
	})
	return kept, err
}
