package sqlite

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

const workerColumns = "SELECT id, name, owner, registered_at, revoked, invite, last_seen, info FROM workers"

func workerFields(r *store.WorkerRow, info *string) []any {
	return []any{&r.ID, &r.Name, &r.Owner, &r.RegisteredAt, &r.Revoked, &r.Invite, &r.LastSeen, info}
}

// Join implements store.Directory.
func (s *Store) Join(ctx context.Context, inviteHash string, worker cloudcrowd.Worker, now cloudcrowd.Time) (joined cloudcrowd.Worker, err error) {
	err = s.write(ctx, func(w *writer) error {
		var invite *cloudcrowd.Invite
		var i cloudcrowd.Invite
		found, err := w.row(inviteColumns+" WHERE hash = ?", []any{inviteHash}, inviteFields(&i)...)
		if err != nil {
			return err
		}
		if found {
			invite = &i
		}
		var known *cloudcrowd.Worker
		var row store.WorkerRow
		var info string
		found, err = w.row(workerColumns+" WHERE id = ?", []any{worker.ID}, workerFields(&row, &info)...)
		if err != nil {
			return err
		}
		if found {
			known = &row.Worker
		}
		var fresh bool
		if joined, fresh, err = store.Admit(invite, known, worker, now); err != nil || !fresh {
			return err
		}
		if _, err := w.exec("UPDATE invites SET uses = uses + 1 WHERE id = ?", i.ID); err != nil {
			return err
		}
		_, err = w.exec("INSERT INTO workers (id, name, owner, registered_at, revoked, invite, last_seen, info) VALUES (?, ?, ?, ?, ?, ?, 0, '{}')",
			joined.ID, joined.Name, joined.Owner, joined.RegisteredAt, joined.Revoked, joined.Invite)
		return err
	})
	if err != nil {
		return cloudcrowd.Worker{}, err
	}
	return joined, nil
}

// Worker implements store.Directory.
func (s *Store) Worker(ctx context.Context, id cloudcrowd.WorkerID) (r store.WorkerRow, err error) {
	var info string
	found, err := s.one(ctx, workerColumns+" WHERE id = ?", []any{id}, workerFields(&r, &info)...)
	if err != nil {
		return r, err
	}
	if !found {
		return r, notFound("worker", string(id))
	}
	return r, decode(info, "worker", id, &r.Info)
}

// Workers implements store.Directory.
func (s *Store) Workers(ctx context.Context) (list []store.WorkerRow, err error) {
	err = s.each(ctx, workerColumns+" ORDER BY registered_at, id", nil, func(scan scanner) error {
		var r store.WorkerRow
		var info string
		if err := scan(workerFields(&r, &info)...); err != nil {
			return err
		}
		if err := decode(info, "worker", r.ID, &r.Info); err != nil {
			return err
		}
		list = append(list, r)
		return nil
	})
	return list, err
}
