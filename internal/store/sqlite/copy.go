package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// Copy writes the database at from, as it is at one moment but without who serves it, to the new file to, synced, readable by its owner alone. It reads beside a server that goes on
// committing, and takes no lock of it. Errors: those of OpenSnapshot, and Unavailable if to cannot be written; nothing is left then.
func Copy(ctx context.Context, from, to string) (err error) {
	s, err := OpenSnapshot(ctx, from) // is it one of ours, of this version?
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	to, err = filepath.Abs(to)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600) // SQLite takes an empty file for none
	if err != nil {
		return unusable(to, err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			_ = os.Remove(to)
		}
	}()
	source, err := url.Parse(address(s.path, ""))
	if err != nil {
		return err
	}
	source.RawQuery = url.Values{"_pragma": {"busy_timeout(10000)"}, "mode": {"ro"}, "vfs": {pagesum.VFS()}}.Encode()
	db, err := sql.Open("sqlite", source.String())
	if err != nil {
		return err
	}
	defer db.Close()
	// VACUUM INTO reads in one transaction, leaves out what is free, and fails on a page that is not what its neighbours say.
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return classify(err)
	}
	if err := forgetServers(ctx, to); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return unusable(to, err)
	}
	return nil
}

// forgetServers leaves out of a copy who serves the original: those processes do not serve the copy, and nobody shall wait for them.
func forgetServers(ctx context.Context, path string) error {
	db, err := sql.Open("sqlite", address(path, "journal_mode(DELETE)"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	for _, text := range []string{"DELETE FROM servers", "UPDATE shards SET owner = '' WHERE owner <> ''"} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return classify(err)
		}
	}
	return nil
}

// ForgetSetting removes a setting from a database that nobody uses, and every trace of it from the file.
func ForgetSetting(ctx context.Context, path, key string) error {
	db, err := sql.Open("sqlite", address(path, "journal_mode(DELETE)"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "DELETE FROM settings WHERE key = ?", key); err != nil {
		return classify(err)
	}
	_, err = db.ExecContext(ctx, "VACUUM") // writes every page anew, without what was deleted
	return classify(err)
}
