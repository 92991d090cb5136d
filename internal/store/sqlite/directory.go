package sqlite

import (
	"context"
	"encoding/json"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// PutToken implements store.Directory.
func (s *Store) PutToken(ctx context.Context, hash string, t cloudcrowd.Token) error {
	doc, err := store.EncodeDoc(t)
	if err != nil {
		return err
	}
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec("INSERT OR REPLACE INTO tokens (id, hash, doc) VALUES (?, ?, ?)", t.ID, hash, doc)
		return err
	})
}

// TokenByHash implements store.Directory.
func (s *Store) TokenByHash(ctx context.Context, hash string) (t cloudcrowd.Token, err error) {
	var doc string
	found, err := s.one(ctx, "SELECT doc FROM tokens WHERE hash = ?", []any{hash}, &doc)
	if err != nil {
		return t, err
	}
	if !found {
		return t, cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no such token")
	}
	return t, decode(doc, "token", hash[:min(8, len(hash))], &t)
}

// Tokens implements store.Directory.
func (s *Store) Tokens(ctx context.Context) (list []cloudcrowd.Token, err error) {
	err = s.each(ctx, "SELECT id, doc FROM tokens ORDER BY id", nil, func(scan scanner) error {
		var id, doc string
		var t cloudcrowd.Token
		if err := scan(&id, &doc); err != nil {
			return err
		}
		if err := decode(doc, "token", id, &t); err != nil {
			return err
		}
		list = append(list, t)
		return nil
	})
	return list, err
}

// change runs one statement that must change a row.
func (s *Store) change(ctx context.Context, what, id, text string, args ...any) error {
	return s.write(ctx, func(w *writer) error {
		n, err := w.exec(text, args...)
		if err == nil && n == 0 {
			err = notFound(what, id)
		}
		return err
	})
}

// DeleteToken implements store.Directory.
func (s *Store) DeleteToken(ctx context.Context, id string) error {
	return s.change(ctx, "token", id, "DELETE FROM tokens WHERE id = ?", id)
}

// PutInvite implements store.Directory.
func (s *Store) PutInvite(ctx context.Context, hash string, i cloudcrowd.Invite) error {
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec("INSERT OR REPLACE INTO invites (id, hash, owner, max_uses, uses, revoked, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			i.ID, hash, i.Owner, i.MaxUses, i.Uses, i.Revoked, i.CreatedAt, i.ExpiresAt)
		return err
	})
}

const inviteColumns = "SELECT id, owner, max_uses, uses, revoked, created_at, expires_at FROM invites"

func inviteFields(i *cloudcrowd.Invite) []any {
	return []any{&i.ID, &i.Owner, &i.MaxUses, &i.Uses, &i.Revoked, &i.CreatedAt, &i.ExpiresAt}
}

// Invites implements store.Directory.
func (s *Store) Invites(ctx context.Context) (list []cloudcrowd.Invite, err error) {
	err = s.each(ctx, inviteColumns+" ORDER BY id", nil, func(scan scanner) error {
		var i cloudcrowd.Invite
		err := scan(inviteFields(&i)...)
		list = append(list, i)
		return err
	})
	return list, err
}

// RevokeInvite implements store.Directory.
func (s *Store) RevokeInvite(ctx context.Context, id string) error {
	return s.change(ctx, "invite", id, "UPDATE invites SET revoked = 1 WHERE id = ?", id)
}

// Setting implements store.Directory.
func (s *Store) Setting(ctx context.Context, key string) (value string, err error) {
	_, err = s.one(ctx, "SELECT value FROM settings WHERE key = ?", []any{key}, &value)
	return value, err
}

// PutSetting implements store.Directory.
func (s *Store) PutSetting(ctx context.Context, key, value string) error {
	return s.write(ctx, func(w *writer) error {
		_, err := w.exec("INSERT OR REPLACE INTO settings (key, value) VALUES (?, ?)", key, value)
		return err
	})
}

// KeepSetting implements store.Directory.
func (s *Store) KeepSetting(ctx context.Context, key, value string) (kept string, err error) {
	err = s.write(ctx, func(w *writer) error {
		if _, err := w.exec("INSERT INTO settings (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE settings.value = ''", key, value); err != nil {
			return err
		}
		_, err := w.row("SELECT value FROM settings WHERE key = ?", []any{key}, &kept)
		return err
	})
	return kept, err
}

// SeenWorker implements store.Directory.
func (s *Store) SeenWorker(ctx context.Context, id cloudcrowd.WorkerID, info cloudcrowd.WorkerInfo, at cloudcrowd.Time) error {
	info.Speed = store.Finite(info.Speed)
	doc, err := json.Marshal(info)
	if err != nil {
		return err
	}
	return s.writeLazily(ctx, func(w *writer) error {
		n, err := w.exec("UPDATE workers SET info = ?, last_seen = ? WHERE id = ?", string(doc), at, id)
		if err == nil && n == 0 {
			err = notFound("worker", string(id))
		}
		return err
	})
}

// RevokeWorker implements store.Directory.
func (s *Store) RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error {
	return s.change(ctx, "worker", string(id), "UPDATE workers SET revoked = ? WHERE id = ?", revoked, id)
}
