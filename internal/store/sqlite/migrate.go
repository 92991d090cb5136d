package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
	sqlite3 "modernc.org/sqlite/lib"

	"cloudcrowd.dev/cloudcrowd"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date, each step in its own transaction, and refuses a database of a newer version.
func migrate(ctx context.Context, db *sql.DB, path string) error {
	steps, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// What goose cannot read it takes for missing.
	var version sql.NullInt64
	const versions = "SELECT max(version_id) FROM goose_db_version"
	if err := db.QueryRowContext(ctx, versions).Scan(&version); codeOf(err)&0xff == sqlite3.SQLITE_CORRUPT {
		return located(path, versions, err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, steps)
	if err != nil {
		return fmt.Errorf("read the schema's steps: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read the schema's version: %w", err)
	}
	if current > target {
		return &cloudcrowd.Error{Code: cloudcrowd.Conflict,
			Msg:  fmt.Sprintf("%s was written by a newer version of CloudCrowd: its schema is %d, this program knows %d", path, current, target),
			Hint: "run the newer version, or restore a backup from before the upgrade"}
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("bring the schema up to date: %w", err)
	}
	return nil
}
