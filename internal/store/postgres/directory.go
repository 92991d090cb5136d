package postgres

import (
	"context"
	"encoding/json"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// PutToken implements store.Directory.
func (s *Store) PutToken(ctx context.Context, hash string, t cloudcrowd.Token) error {
	doc, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM tokens WHERE id = $1 OR hash = $2", t.ID, hash); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO tokens (id, hash, doc) VALUES ($1, $2, $3)", t.ID, hash, string(doc))
		return err
	})
}

// TokenByHash implements store.Directory.
func (s *Store) TokenByHash(ctx context.Context, hash string) (t cloudcrowd.Token, err error) {
	var doc string
	found, err := s.one(ctx, "SELECT doc FROM tokens WHERE hash = $1", []any{hash}, &doc)
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
func (s *Store) change(ctx context.Context, d durability, what, id, text string, args ...any) error {
	return s.write(ctx, d, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, text, args...)
		if err == nil && tag.RowsAffected() == 0 {
			err = notFound(what, id)
		}
		return err
	})
}

// DeleteToken implements store.Directory.
func (s *Store) DeleteToken(ctx context.Context, id string) error {
	return s.change(ctx, durable, "token", id, "DELETE FROM tokens WHERE id = $1", id)
}

// PutInvite implements store.Directory.
func (s *Store) PutInvite(ctx context.Context, hash string, i cloudcrowd.Invite) error {
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM invites WHERE id = $1 OR hash = $2", i.ID, hash); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "INSERT INTO invites (id, hash, owner, max_uses, uses, revoked, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
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
	return s.change(ctx, durable, "invite", id, "UPDATE invites SET revoked = TRUE WHERE id = $1", id)
}

// Setting implements store.Directory.
func (s *Store) Setting(ctx context.Context, key string) (string, error) {
	var value []byte
	_, err := s.one(ctx, "SELECT value FROM settings WHERE key = $1", []any{key}, &value)
	return string(value), err
}

// PutSetting implements store.Directory.
func (s *Store) PutSetting(ctx context.Context, key, value string) error {
	return s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, []byte(value))
		return err
	})
}

// KeepSetting implements store.Directory. Of those that write at once, all but the first wait for its row and then find it.
func (s *Store) KeepSetting(ctx context.Context, key, value string) (string, error) {
	var kept []byte
	err := s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE settings.value = ''",
			key, []byte(value)); err != nil {
			return err
		}
		_, err := row(ctx, tx, "SELECT value FROM settings WHERE key = $1", []any{key}, &kept)
		return err
	})
	if err != nil {
		return "", err
	}
	return string(kept), nil
}

// SeenWorker implements store.Directory.
func (s *Store) SeenWorker(ctx context.Context, id cloudcrowd.WorkerID, info cloudcrowd.WorkerInfo, at cloudcrowd.Time) error {
	doc, err := store.EncodeDoc(info)
	if err != nil {
		return err
	}
	return s.change(ctx, lazy, "worker", string(id), "UPDATE workers SET info = $1, last_seen = $2 WHERE id = $3", doc, at, id)
}

// RevokeWorker implements store.Directory.
func (s *Store) RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error {
	return s.change(ctx, durable, "worker", string(id), "UPDATE workers SET revoked = $1 WHERE id = $2", revoked, id)
}

const workerColumns = "SELECT id, name, owner, registered_at, revoked, invite, last_seen, info FROM workers"

func scanWorker(scan scanner) (r store.WorkerRow, err error) {
	var name []byte
	var info string
	if err := scan(&r.ID, &name, &r.Owner, &r.RegisteredAt, &r.Revoked, &r.Invite, &r.LastSeen, &info); err != nil {
		return r, err
	}
	r.Name = string(name)
	return r, decode(info, "worker", r.ID, &r.Info)
}

// Worker implements store.Directory.
func (s *Store) Worker(ctx context.Context, id cloudcrowd.WorkerID) (r store.WorkerRow, err error) {
	found := false
	err = s.each(ctx, workerColumns+" WHERE id = $1", []any{id}, func(scan scanner) error {
		found = true
		r, err = scanWorker(scan)
		return err
	})
	if err == nil && !found {
		err = notFound("worker", string(id))
	}
	return r, err
}

// Workers implements store.Directory.
func (s *Store) Workers(ctx context.Context) (list []store.WorkerRow, err error) {
	err = s.each(ctx, workerColumns+" ORDER BY registered_at, id", nil, func(scan scanner) error {
		r, err := scanWorker(scan)
		list = append(list, r)
		return err
	})
	return list, err
}

// Join implements store.Directory. The invite's row is locked, so that those who use it at once are let in one by one.
func (s *Store) Join(ctx context.Context, inviteHash string, worker cloudcrowd.Worker, now cloudcrowd.Time) (joined cloudcrowd.Worker, err error) {
	err = s.write(ctx, durable, func(ctx context.Context, tx pgx.Tx) error {
		var invite *cloudcrowd.Invite
		var i cloudcrowd.Invite
		found, err := row(ctx, tx, inviteColumns+" WHERE hash = $1 FOR UPDATE", []any{inviteHash}, inviteFields(&i)...)
		if err != nil {
			return err
		}
		if found {
			invite = &i
		}
		rows, err := tx.Query(ctx, workerColumns+" WHERE id = $1", worker.ID)
		if err != nil {
			return err
		}
		var known *cloudcrowd.Worker
		err = walk(rows, func(scan scanner) error {
			r, err := scanWorker(scan)
			known = &r.Worker
			return err
		})
		if err != nil {
			return err
		}
		var fresh bool
		if joined, fresh, err = store.Admit(invite, known, worker, now); err != nil || !fresh {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE invites SET uses = uses + 1 WHERE id = $1", i.ID); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, "INSERT INTO workers (id, name, owner, registered_at, revoked, invite, last_seen, info) VALUES ($1, $2, $3, $4, $5, $6, 0, '{}')",
			joined.ID, []byte(joined.Name), joined.Owner, joined.RegisteredAt, joined.Revoked, joined.Invite)
		return err
	})
	if err != nil {
		return cloudcrowd.Worker{}, err
	}
	return joined, nil
}
