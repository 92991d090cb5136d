package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	sqlite3 "modernc.org/sqlite/lib"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// Lock takes the lock of the database at path; code Conflict while another process has it open.
func Lock(path string) (*filelock.Lock, error) { return lockFile(path + ".lock") }

// told are the columns of what no journal tells. The tables for reading, the ledger and snapshots follow from the journals; who serves is written at every start.
var told = []struct{ table, columns string }{
	{"shards", "shard, epoch, head"},
	{"journal", "key, epoch, at, count, sum, events, seen"},
	{"tokens", "id, hash, doc"},
	{"invites", "id, hash, owner, max_uses, uses, revoked, created_at, expires_at"},
	{"workers", "id, name, owner, registered_at, revoked, invite, last_seen, info"},
	{"settings", "key, value"},
}

// Salvage makes a new database at to of what no journal tells of the one at from, which nobody may have open; the caller has its Lock. Indexes are made anew, and what
// follows from the journals is empty. The old database keeps what it holds: what a killed server left in its WAL is moved into it. Errors: those of OpenSnapshot,
// *store.CorruptError that names what cannot be read or ends before what was acknowledged, and code Unavailable if there is no room.
func Salvage(ctx context.Context, from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	if err := whole(ctx, from); err != nil {
		return err
	}
	fresh, err := Open(ctx, to, Options{})
	if err != nil {
		return err
	}
	to = fresh.path
	if err := fresh.Close(); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", address(from, ""))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	// A WAL that stays would be taken for that of the new database.
	var busy, pages, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return classify(located(from, "", err))
	}
	u, err := url.Parse(address(to, ""))
	if err != nil {
		return err
	}
	u.RawQuery = url.Values{"vfs": {pagesum.VFS()}}.Encode()
	// Nobody needs the new file before it is whole and synced.
	for _, text := range []string{"ATTACH '" + strings.ReplaceAll(u.String(), "'", "''") + "' AS fresh", "PRAGMA fresh.journal_mode=OFF", "PRAGMA fresh.synchronous=OFF"} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return classify(err)
		}
	}
	for _, t := range told {
		// With a condition, SQLite takes the rows and not the pages of the table and its indexes.
		text := fmt.Sprintf("INSERT INTO fresh.%[1]s (%[2]s) SELECT %[2]s FROM main.%[1]s NOT INDEXED WHERE true", t.table, t.columns)
		if _, err := db.ExecContext(ctx, text); err != nil {
			err = located(from, "FROM "+t.table, err)
			if codeOf(err)&0xff == sqlite3.SQLITE_CONSTRAINT {
				err = &store.CorruptError{What: "table " + t.table, Err: err}
			}
			return classify(err)
		}
	}
	if err := db.Close(); err != nil {
		return classify(err)
	}
	if info, err := os.Stat(from + "-wal"); busy != 0 || err == nil && info.Size() > 0 {
		return &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: "another program has the database open: " + from, Hint: "end it, and try again"}
	}
	return nil
}

// whole holds that the database at path is of this version's schema and has what was acknowledged.
func whole(ctx context.Context, path string) error {
	s, err := OpenSnapshot(ctx, path)
	if err != nil {
		return err
	}
	defer s.Close()
	heads, err := s.ShardList(ctx)
	if err != nil {
		return err
	}
	for shard, acknowledged := range s.said {
		if head := heads[shard].Seq; head < acknowledged {
			return s.lost(shard, head, acknowledged)
		}
	}
	return nil
}

// AddTransfers writes transfers to a database that was made by Salvage, without waiting for the disk. Accounts and holds stay as they are.
func (s *Store) AddTransfers(ctx context.Context, list []cloudcrowd.Transfer) error {
	numbers := make([]int64, len(list))
	for i := range list {
		id := list[i].ID
		if _, err := fmt.Sscan(id[strings.LastIndexByte(id, '-')+1:], &numbers[i]); err != nil {
			return fmt.Errorf("transfer %q: %w", id, err)
		}
	}
	return s.writeLazily(ctx, func(w *writer) error { return w.keep(store.Batch{Transfers: list}, store.Changes{Numbers: numbers}) })
}

// PutBook writes accounts and holds, likewise.
func (s *Store) PutBook(ctx context.Context, accounts []cloudcrowd.Account, holds []cloudcrowd.Hold) error {
	return s.writeLazily(ctx, func(w *writer) error { return w.keep(store.Batch{}, store.Changes{Accounts: accounts, Holds: holds}) })
}

// Replace puts the whole database at fresh, which nobody has open, in the place of the one at path, and keeps the old one as kept. At every moment
// one of them is at path.
func Replace(path, fresh, kept string) error {
	f, err := os.OpenFile(fresh, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = os.Link(path, kept)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return unusable(path, err)
	}
	return nil
}
