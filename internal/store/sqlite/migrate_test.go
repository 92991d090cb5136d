package sqlite

import (
	"database/sql"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A database of every earlier version opens, is brought up to date, and keeps what it held.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	newest, err := newestSchema()
	if err != nil || newest < 2 {
		t.Fatal(newest, err)
	}
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	for older := int64(1); older < newest; older++ {
		path := filepath.Join(quickDir(t), "cloudcrowd.db")
		db, err := sql.Open("sqlite", address(path, ""))
		if err != nil {
			t.Fatal(err)
		}
		p, err := goose.NewProvider(goose.DialectSQLite3, db, steps)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.UpTo(t.Context(), older); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("INSERT INTO shards (shard, epoch, head) VALUES (3, 7, 0)"); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		heads, err := s.ShardList(t.Context())
		if h := heads[3]; err != nil || h.Epoch != 7 || h.Owner != "" {
			t.Errorf("from version %d: %+v, %v, want epoch 7 and no owner", older, h, err)
		}
		if h, err := s.Claim(t.Context(), 3, "server", 7); err != nil || h.Epoch != 8 {
			t.Errorf("from version %d: %+v, %v", older, h, err)
		}
		if err := s.PutServer(t.Context(), store.Server{ID: "server"}); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
