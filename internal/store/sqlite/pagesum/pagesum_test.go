package pagesum_test

import (
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"

	driver "modernc.org/sqlite"

	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// open opens a database with sums.
func open(t *testing.T, path string, pragmas ...string) *sql.DB {
	t.Helper()
	q := url.Values{"vfs": {pagesum.VFS()}, "_pragma": append([]string{"busy_timeout(10000)"}, pragmas...)}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// seeded is the path of a new, empty database.
func seeded(t *testing.T) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "a.db")
	if err := os.WriteFile(path, pagesum.Seed(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func must(t *testing.T, db *sql.DB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if _, err := db.Exec(text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

func mismatch(err error) bool {
	e, ok := errors.AsType[*driver.Error](err)
	return ok && e.Code() == pagesum.Mismatch
}

const fill = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO a SELECT i, printf('%0500d', i) FROM n"

// Whatever bit of a page flips, whoever needs the page gets an error and never wrong bytes; the page is named, and what lies in others is read. Writing the page anew mends it.
func TestFlips(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"WAL", "DELETE"} {
		path := seeded(t)
		db := open(t, path, "journal_mode("+mode+")")
		must(t, db, "CREATE TABLE a (i INTEGER PRIMARY KEY, x)", fill)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		sound, err := os.ReadFile(path)
		if err != nil || len(sound)%pagesum.PageSize != 0 || len(sound) < 50*pagesum.PageSize {
			t.Fatal(len(sound), err)
		}
		lots := rand.New(rand.NewPCG(1, 2))
		for i := range 60 {
			b := slices.Clone(sound)
			at := lots.IntN(len(b))
			if at%pagesum.PageSize >= pagesum.PageSize-2 { // says nothing
				continue
			}
			b[at] ^= 1 << lots.IntN(8)
			path := filepath.Join(filepath.Dir(path), fmt.Sprint("flipped-", i))
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			db := open(t, path)
			page := int64(at/pagesum.PageSize) + 1
			var sum sql.NullInt64
			err := db.QueryRow("SELECT sum(i + length(x)) FROM a").Scan(&sum)
			if _, ok := errors.AsType[*driver.Error](err); !mismatch(err) && !(ok && page == 1) {
				t.Errorf("byte %d: sum %v, %v", at, sum, err)
			}
			if mismatch(err) && !slices.Contains(pagesum.Damaged(path), page) {
				t.Errorf("byte %d of page %d: %v are named", at, page, pagesum.Damaged(path))
			}
			right := 0
			for i := 0; i < 500; i += 9 {
				var x string
				if err := db.QueryRow("SELECT x FROM a WHERE i = ?", i+1).Scan(&x); err == nil {
					if right++; x != fmt.Sprintf("%0500d", i+1) {
						t.Errorf("byte %d: row %d is %q", at, i+1, x)
					}
				} else if !mismatch(err) && page != 1 {
					t.Errorf("byte %d: row %d: %v", at, i+1, err)
				}
			}
			if right == 0 && page > 2 {
				t.Errorf("byte %d of page %d: no row can be read", at, page)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A page in another one's place, an older file's end cut off, and a file without sums are noticed.
func TestMisplaced(t *testing.T) {
	t.Parallel()
	path := seeded(t)
	db := open(t, path)
	must(t, db, "CREATE TABLE a (i INTEGER PRIMARY KEY, x)", fill)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := func(b []byte, n int) []byte { return b[(n-1)*pagesum.PageSize : n*pagesum.PageSize] }
	for what, change := range map[string]func([]byte) []byte{
		"moved":                       func(b []byte) []byte { copy(page(b, 7), page(b, 8)); return b },
		"zeroed":                      func(b []byte) []byte { clear(page(b, 7)); return b },
		"cut off":                     func(b []byte) []byte { return b[:len(b)-pagesum.PageSize] },
		"cut in the middle of a page": func(b []byte) []byte { return b[:len(b)-100] },
	} {
		if err := os.WriteFile(path, change(slices.Clone(sound)), 0o600); err != nil {
			t.Fatal(err)
		}
		db := open(t, path)
		var sum sql.NullInt64
		err := db.QueryRow("SELECT sum(i + length(x)) FROM a").Scan(&sum)
		if e, ok := errors.AsType[*driver.Error](err); !ok || e.Code()&0xff != pagesum.Mismatch&0xff {
			t.Errorf("%s: %v, %v", what, sum, err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A page of the WAL that changes while the program runs is noticed by whoever reads it, and not moved into the database.
func TestWAL(t *testing.T) {
	t.Parallel()
	path := seeded(t)
	writer := open(t, path, "journal_mode(WAL)", "wal_autocheckpoint(0)")
	must(t, writer, "CREATE TABLE a (i INTEGER PRIMARY KEY, x)", fill)
	f, err := os.OpenFile(path+"-wal", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	count := func() (n int, err error) {
		db := open(t, path)
		defer db.Close()
		return n, db.QueryRow("SELECT count(*) FROM a WHERE x <> ''").Scan(&n)
	}
	if n, err := count(); n != 500 || err != nil {
		t.Fatal(n, err)
	}
	const frame = 24 + pagesum.PageSize
	at := 32 + (info.Size()-32)/frame/2*frame + 24 + 2000
	flip := func() {
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	if n, err := count(); !mismatch(err) {
		t.Errorf("%d, %v, want a mismatch", n, err)
	}
	var a, b, c int
	if err := writer.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&a, &b, &c); !mismatch(err) {
		t.Errorf("checkpoint: %d %d %d, %v, want a mismatch", a, b, c, err)
	}
	flip()
	if err := writer.QueryRow("PRAGMA wal_checkpoint(TRUNCATE)").Scan(&a, &b, &c); err != nil || a != 0 {
		t.Errorf("checkpoint: %d %d %d, %v", a, b, c, err)
	}
	must(t, writer, "UPDATE a SET x = 'y' || x", "UPDATE a SET x = 'z' || x") // the WAL begins anew
	if n, err := count(); n != 500 || err != nil {
		t.Error(n, err)
	}
}

// Rolled back transactions, vacuuming into another file, growing and shrinking leave every page with its sum.
func TestSound(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"WAL", "DELETE", "TRUNCATE", "MEMORY"} {
		path := seeded(t)
		db := open(t, path, "journal_mode("+mode+")", "cache_size(10)", "cache_spill(1)")
		must(t, db, "CREATE TABLE a (i INTEGER PRIMARY KEY, x)", "CREATE INDEX b ON a (x)", fill)
		lots := rand.New(rand.NewPCG(3, 4))
		for range 12 {
			tx, err := db.Begin()
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"DELETE FROM a WHERE i % 7 = ?", "INSERT OR REPLACE INTO a SELECT i + ? * 100, x FROM a WHERE i % 3 = 1", "UPDATE a SET x = 'y' || ? || zeroblob(9000) WHERE i % 50 = 3", "DELETE FROM a WHERE i > 100 * ?"} {
				if lots.IntN(2) == 0 {
					if _, err := tx.Exec(text, lots.IntN(20)); err != nil {
						t.Fatal(err)
					}
				}
			}
			end := tx.Commit
			if lots.IntN(3) == 0 {
				end = tx.Rollback
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
		}
		must(t, db, "VACUUM INTO '"+path+".copy'")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{path, path + ".copy"} {
			db := open(t, path)
			var said string
			if err := db.QueryRow("PRAGMA integrity_check").Scan(&said); err != nil || said != "ok" {
				t.Errorf("%s %s: %s, %v", mode, path, said, err)
			}
			b, err := os.ReadFile(path)
			if err != nil || b[pagesum.ReserveAt] != pagesum.Reserve {
				t.Errorf("%s: %v, reserved %d", path, err, b[pagesum.ReserveAt])
			}
			without := 0
			for at := 0; at < len(b); at += pagesum.PageSize {
				if binary.BigEndian.Uint32(b[at+pagesum.PageSize-pagesum.Reserve:]) == 0 {
					without++
				}
			}
			if without > 0 && mode == "WAL" { // else SQLite may leave out free ones, which it does not read either
				t.Errorf("%s %s: %d of %d pages have no sum", mode, path, without, len(b)/pagesum.PageSize)
			}
		}
	}
}
