package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// form is what a database's file is.
type form int

const (
	none   form = iota // nothing
	plain              // without checksums of pages: of schema 3 or older
	summed             // with them
)

// formOf reads it from the file's header. Errors: *store.CorruptError if it is no database of ours, or that of the file system.
func formOf(path string) (form, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return none, nil
		}
		return none, err
	}
	defer f.Close()
	head := make([]byte, 100)
	n, err := io.ReadFull(f, head)
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return none, err
	case n == 0:
		return none, nil
	case bytes.HasPrefix(head, []byte(pagesum.Magic)):
		switch head[pagesum.ReserveAt] {
		case pagesum.Reserve:
			return summed, nil
		case 0:
			return plain, nil
		}
	}
	return none, &store.CorruptError{What: "the database file", Err: errors.New("by its header it is not a database of CloudCrowd")}
}

// prepareFile sees to it that the database exists, for its owner alone, with checksums of its pages; one without is written anew.
// SQLite gives the files it puts beside it the same mode.
func prepareFile(ctx context.Context, path string) error {
	is, err := formOf(path)
	if err == nil && is != summed {
		fresh := path + ".new"
		err = os.Remove(fresh) // left by one that was killed
		if errors.Is(err, os.ErrNotExist) {
			err = nil
		}
		if err == nil {
			err = writeFile(fresh, pagesum.Seed())
		}
		if err == nil && is == plain {
			err = addSums(ctx, path, fresh)
		}
		if err == nil {
			err = os.Rename(fresh, path)
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err == nil {
		return nil
	}
	if _, rotten := errors.AsType[*store.CorruptError](err); rotten || cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
		return err
	}
	return unusable(path, err)
}

// writeFile writes a file for its owner alone, synced.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// plainAddress is the driver's name of a database without sums.
func plainAddress(path string) (string, error) {
	u, err := url.Parse(address(path, ""))
	if err != nil {
		return "", err
	}
	u.RawQuery = url.Values{"_pragma": {"busy_timeout(1000)"}}.Encode()
	return u.String(), nil
}

// addSums copies a database without sums into an empty one with them, table by table, synced. Where it fails, the old one is as it was.
func addSums(ctx context.Context, old, fresh string) error {
	from, err := plainAddress(old)
	if err != nil {
		return err
	}
	db, err := sql.Open("sqlite", from)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	// What a killed server left in the WAL belongs to the file: a WAL that stays would be taken for that of the new one.
	var busy, pages, moved int
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return classify(err)
	}
	to, err := url.Parse(address(fresh, ""))
	if err != nil {
		return err
	}
	to.RawQuery = url.Values{"vfs": {pagesum.VFS()}}.Encode()
	if _, err := db.ExecContext(ctx, "ATTACH ? AS fresh", to.String()); err != nil {
		return classify(err)
	}
	if err := copyTables(ctx, db); err != nil {
		return classify(err)
	}
	if _, err := db.ExecContext(ctx, "DETACH fresh"); err != nil {
		return classify(err)
	}
	if err := db.Close(); err != nil {
		return classify(err)
	}
	if info, err := os.Stat(old + "-wal"); busy != 0 || err == nil && info.Size() > 0 {
		return &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: "another program has the database open: " + old, Hint: "end it, and start the server again"}
	}
	f, err := os.OpenFile(fresh, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// copyTables copies tables with their rows, then indexes, from the database "main" to "fresh".
func copyTables(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	rows, err := tx.QueryContext(ctx, `SELECT type, name, sql FROM main.sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY type = 'table' DESC, rowid`)
	if err != nil {
		return err
	}
	defer rows.Close()
	var statements []string
	for rows.Next() {
		var kind, name, text string
		if err := rows.Scan(&kind, &name, &text); err != nil {
			return err
		}
		var head, rest string
		for _, head = range []string{"CREATE TABLE ", "CREATE UNIQUE INDEX ", "CREATE INDEX ", ""} {
			var ok bool
			if rest, ok = strings.CutPrefix(text, head); ok {
				break
			}
		}
		if head == "" {
			return &store.CorruptError{What: "the database file", Err: fmt.Errorf("it holds %s, which is none of CloudCrowd's", text)}
		}
		statements = append(statements, head+"fresh."+rest)
		if kind == "table" {
			statements = append(statements, fmt.Sprintf(`INSERT INTO fresh."%[1]s" SELECT * FROM main."%[1]s"`, name))
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, text := range statements {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}
