package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// codeOf returns SQLite's extended result code, or 0 for an error that is not SQLite's.
func codeOf(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code()
	}
	return 0
}

// fatal reports whether the disk failed in a way after which nothing more may be written: what SQLite believes and what the disk holds may differ
// until the file is read anew.
func fatal(err error) bool {
	code := codeOf(err)
	return code&0xff == sqlite3.SQLITE_IOERR && code != sqlite3.SQLITE_IOERR_SHMSIZE
}

// tableOf finds the table that a statement is about.
var tableOf = regexp.MustCompile(`(?i)\b(?:FROM|INTO|UPDATE) ([a-z_]+)`)

// located names what a statement found damaged: the page and the table. Other errors pass unchanged.
func located(path, statement string, err error) error {
	code := codeOf(err)
	if code&0xff != sqlite3.SQLITE_CORRUPT {
		return err
	}
	if _, done := errors.AsType[*store.CorruptError](err); done {
		return err
	}
	what := "the database file"
	if code == pagesum.Mismatch {
		err = fmt.Errorf("a page does not match its checksum: %w", err)
		if real, unresolved := filepath.EvalSymlinks(path); unresolved == nil {
			switch pages := pagesum.Damaged(real); len(pages) {
			case 0: // in the WAL
			case 1:
				what = fmt.Sprintf("page %d of the database file", pages[0])
			default:
				what = "one of the pages " + strings.Trim(fmt.Sprint(pages[:min(len(pages), 8)]), "[]") + " of the database file"
			}
		}
	}
	if m := tableOf.FindStringSubmatch(statement); m != nil {
		what += " (table " + m[1] + ")"
	}
	return &store.CorruptError{What: what, Err: err}
}

// classify turns an error of SQLite into one of the contract. Errors of the contract pass unchanged.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if _, rotten := errors.AsType[*store.CorruptError](err); rotten {
		return err
	}
	unavailable := func(msg, hint string) error {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: msg, Hint: hint, Err: err}
	}
	code := codeOf(err)
	if text := err.Error(); code == sqlite3.SQLITE_ERROR && (strings.Contains(text, "no such ") || strings.Contains(text, "has no column")) {
		return &store.CorruptError{What: "the database file", Err: err} // a statement of ours that the schema does not fit
	}
	if code == sqlite3.SQLITE_IOERR_SHMSIZE {
		code = sqlite3.SQLITE_FULL
	}
	switch code & 0xff {
	case 0:
		if errors.Is(err, sql.ErrConnDone) {
			return unavailable("the store is closed", "")
		}
		return err
	case sqlite3.SQLITE_FULL:
		return unavailable("the disk of the data directory is full", "free some space there; the server goes on by itself")
	case sqlite3.SQLITE_IOERR:
		return unavailable("the disk of the data directory failed", "see the system's log for the disk, then restart the server")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return unavailable("the data directory cannot be written", "check that its disk is mounted for writing and that this user may write there")
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return unavailable("the database is locked by another program", "end the program that has it open")
	case sqlite3.SQLITE_NOMEM:
		return unavailable("the server is out of memory", "")
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return &store.CorruptError{What: "the database file", Err: err}
	case sqlite3.SQLITE_INTERRUPT:
		return context.Canceled
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the store failed", Err: err}
}

// notFound is the answer for a row that is not there.
func notFound(what, id string) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no %s %q", what, id)
}
