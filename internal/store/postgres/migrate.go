package postgres

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd"
)

//go:embed migrations/*.sql
var migrations embed.FS

// step is one change of the schema.
type step struct {
	version int64
	text    string
}

// steps are the embedded ones, in order.
func steps() ([]step, error) {
	files, err := fs.ReadDir(migrations, "migrations") // sorted
	if err != nil {
		return nil, err
	}
	var list []step
	for _, f := range files {
		number, _, _ := strings.Cut(f.Name(), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version != int64(len(list)+1) {
			return nil, fmt.Errorf("the schema's step %s is not number %d", f.Name(), len(list)+1)
		}
		b, err := migrations.ReadFile("migrations/" + f.Name())
		if err != nil {
			return nil, err
		}
		list = append(list, step{version, string(b)})
	}
	return list, nil
}

// stepLimit is how long one step may take, waiting for another server that does it included.
const stepLimit = time.Hour

// migrate brings the schema up to date and refuses one of a newer version. Several servers may start at once: each step is one transaction whose
// first statement inserts the step's version, which is a key, so that all others wait there until it is done and then find it done. The waiting
// needs no lock that could be left behind: the row goes with the transaction, and the transaction with its connection.
func (s *Store) migrate(ctx context.Context) error {
	list, err := steps()
	if err != nil {
		return err
	}
	for {
		version, err := s.schema(ctx)
		switch {
		case err != nil:
			return err
		case version > int64(len(list)):
			return newer(s.name, version, int64(len(list)))
		case version == int64(len(list)):
			return nil
		}
		if version < 0 {
			if err := s.firstTable(ctx); err != nil {
				return err
			}
			continue
		}
		next := list[version]
		err = s.writeWithin(ctx, stepLimit, durable, func(ctx context.Context, tx pgx.Tx) error {
			if tag, err := tx.Exec(ctx, "INSERT INTO schema_versions (version) VALUES ($1) ON CONFLICT DO NOTHING", next.version); err != nil || tag.RowsAffected() == 0 {
				return err
			}
			_, err := tx.Exec(ctx, next.text, pgx.QueryExecModeSimpleProtocol)
			return err
		})
		if err != nil {
			return fmt.Errorf("bring the schema up to version %d: %w", next.version, err)
		}
	}
}

// firstTable makes the table of versions.
func (s *Store) firstTable(ctx context.Context) error {
	return s.again(ctx, stepLimit, func(ctx context.Context) error {
		_, err := s.writes.Exec(ctx, "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT PRIMARY KEY)")
		if code := sqlState(err); code == "42P07" || code == "42710" { // made by another server between the question and the answer
			err = nil
		}
		return err
	})
}

// schema is the version the database has: 0 if no step was done, -1 if there is no table of versions either.
func (s *Store) schema(ctx context.Context) (version int64, err error) {
	exists := false
	_, err = s.one(ctx, "SELECT to_regclass('schema_versions') IS NOT NULL", nil, &exists)
	if err != nil || !exists {
		return -1, err
	}
	_, err = s.one(ctx, "SELECT coalesce(max(version), 0) FROM schema_versions", nil, &version)
	return version, err
}

func newer(name string, found, known int64) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: fmt.Sprintf("the %s was written by a newer version of CloudCrowd: its schema is %d, this program knows %d", name, found, known),
		Hint: "run the newer version, or restore a backup from before the upgrade"}
}
