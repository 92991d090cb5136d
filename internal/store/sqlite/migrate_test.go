package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// old makes a database as a program of an earlier version did, without sums, with something in every table of the first version.
func old(t *testing.T, path string, version int64) *sql.DB {
	t.Helper()
	address, err := plainAddress(path)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", address+"&_pragma=journal_mode(WAL)&_pragma=wal_autocheckpoint(0)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, steps)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	statements := []string{"INSERT INTO shards (shard, epoch, head) VALUES (3, 7, 0)", "INSERT INTO snapshots VALUES (3, 0, 5, x'00ff')",
		"INSERT INTO journal (key, epoch, at, count, sum, events) VALUES (1, 2, 3, 4, 5, x'0102')", "INSERT INTO accounts VALUES ('issuer', -9, 0), ('anna', 9, 2)",
		"INSERT INTO records (worker, shard, doc) VALUES ('w', 1, '{}')", `INSERT INTO tokens VALUES ('t', 'h', '{"id":"t"}')`, "INSERT INTO invites VALUES ('i', 'h', 'anna', 1, 0, 0, 5, 6)",
		"INSERT INTO segments VALUES ('j', 1, 2, 3, 4, 5, 6, zeroblob(20000))", "INSERT INTO listings VALUES (1, 'w', 2, 3, 'j', 4, 5, 6, 7, 8, 9)",
		"INSERT INTO holds VALUES ('j', 'anna', 5, 3, 'pending', 9)", "INSERT INTO workers VALUES ('w', 'n', 'anna', 1, 0, 'i', 2, '{}')", "INSERT INTO settings VALUES ('k', 'v')"}
	for i := range 300 {
		statements = append(statements, fmt.Sprintf("INSERT INTO transfers VALUES (0, 1, %d, 'issue', 'issuer', 'anna', %d, '', 7, 'a note of some length')", i, i+1),
			fmt.Sprintf("INSERT INTO jobs VALUES ('j%d', 0, 'anna', 'done', 5, 'name', '{}', NULL)", i))
	}
	for _, text := range statements {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

type queries interface {
	QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error)
}

// contents are all rows of the tables that old fills, as text, and the schema's indexes.
func contents(t *testing.T, db queries) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	tables := map[string]string{"indexes": "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' ORDER BY name", "shards": "SELECT shard, epoch, head, projected FROM shards",
		"journal": "SELECT key, epoch, at, count, sum, events FROM journal"}
	for _, name := range strings.Fields("snapshots accounts transfers holds jobs segments listings records tokens invites workers settings") {
		tables[name] = "SELECT * FROM " + name
	}
	for name, text := range tables {
		rows, err := db.QueryContext(t.Context(), text)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values := make([]any, len(columns))
			into := make([]any, len(columns))
			for i := range into {
				into[i] = &values[i]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			all[name] = append(all[name], fmt.Sprint(values))
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// A database of every earlier version, left by a killed server, opens, is brought up to date, gets checksums, and keeps what it held.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	newest, err := newestSchema()
	if err != nil || newest < 4 {
		t.Fatal(newest, err)
	}
	for older := int64(1); older < newest; older++ {
		live := quickDir(t)
		db := old(t, filepath.Join(live, "cloudcrowd.db"), older)
		before := contents(t, db)
		if len(before) != 15 || len(before["transfers"]) != 300 {
			t.Fatalf("%d kinds, %d transfers", len(before), len(before["transfers"]))
		}
		dir := quickDir(t)
		if err := os.CopyFS(dir, os.DirFS(live)); err != nil { // all is in the WAL
			t.Fatal(err)
		}
		path := filepath.Join(dir, "cloudcrowd.db")
		if err := os.WriteFile(path+".new", []byte("left by one that was killed here"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenSnapshot(t.Context(), path); cloudcrowd.CodeOf(err) != cloudcrowd.Conflict {
			t.Errorf("version %d is read as it is: %v, want code conflict", older, err)
		}
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if after := contents(t, s.readers); !reflect.DeepEqual(after, before) {
			t.Errorf("from version %d: \n%v\nbefore\n%v", older, after, before)
		}
		heads, err := s.ShardList(t.Context())
		if h := heads[3]; err != nil || h.Epoch != 7 || h.Owner != "" {
			t.Errorf("from version %d: %+v, %v, want epoch 7 and no owner", older, h, err)
		}
		if err := s.PutServer(t.Context(), store.Server{ID: "server"}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if is, err := formOf(path); err != nil || is != summed {
			t.Errorf("form %d, %v, want one with sums", is, err)
		}
		view := openSnapshot(t, path)
		if bad, err := view.Integrity(t.Context(), false); err != nil || len(bad) > 0 {
			t.Errorf("from version %d: %q, %v", older, bad, err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "*.new*"))
		if err != nil || len(names) > 0 {
			t.Errorf("left: %v, %v", names, err)
		}
	}
}

// While another program has an older database open, it is left as it is.
func TestOlderSchemaInUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(quickDir(t), "cloudcrowd.db")
	db := old(t, path, 3)
	tx, err := db.Begin() // a reader that keeps the WAL
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var n int
	if err := tx.QueryRow("SELECT count(*) FROM transfers").Scan(&n); err != nil || n != 300 {
		t.Fatal(n, err)
	}
	if _, err := db.Exec("INSERT INTO settings VALUES ('later', 'v')"); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), path, Options{})
	if code := cloudcrowd.CodeOf(err); code != cloudcrowd.Conflict && code != cloudcrowd.Unavailable {
		t.Errorf("%v, want code conflict or unavailable", err)
	}
	if is, err := formOf(path); err != nil || is != plain {
		t.Errorf("form %d, %v, want the old one", is, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if v, err := s.Setting(t.Context(), "later"); err != nil || v != "v" {
		t.Errorf("%q, %v, want v", v, err)
	}
}

// One flipped bit of a header never makes a database with sums one without.
func TestHeaderFlips(t *testing.T) {
	t.Parallel()
	path := filepath.Join(quickDir(t), "cloudcrowd.db")
	for bit := range 8 * 100 {
		b := pagesum.Seed()
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if is, err := formOf(path); is == plain || is == none && err == nil {
			t.Errorf("bit %d makes it form %d", bit, is)
		}
	}
}
