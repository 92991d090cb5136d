package platform

import (
	"context"
	"path/filepath"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// Database says where the store is. The zero value means the SQLite database in the data directory.
type Database struct {
	Address      string // postgres://user@host/database
	PasswordFile string // holds the password, if the address does not
	file         string // the SQLite database to look at instead of the data directory's; "" in all but a repair
}

// Name is what people may see of it: no secrets; "" for the one in the data directory.
func (d Database) Name() string {
	if d.Address == "" {
		return ""
	}
	return postgres.Name(d.Address)
}

// kind is what keeps it.
func (d Database) kind() string {
	if d.Address == "" {
		return "SQLite"
	}
	return "PostgreSQL"
}

// open opens the store for a server.
func (d Database) open(ctx context.Context, dataDir string) (store.Store, error) {
	if d.Address != "" {
		return opened[store.Store](postgres.Open(ctx, d.Address, postgres.Options{PasswordFile: d.PasswordFile}))
	}
	return opened[store.Store](sqlite.Open(ctx, filepath.Join(dataDir, databaseFile), sqlite.Options{}))
}

// view is a store opened for reading, which answers everything from one moment.
type view interface {
	store.Store
	tables.Source
	// Snapshot returns a shard's snapshot; nil and 0 if there is none.
	Snapshot(ctx context.Context, shard int) (seq int64, state []byte, err error)
	// JournalEnds returns the seq of the last journal row of every shard that has rows, whatever the shards' heads say.
	JournalEnds(ctx context.Context) (map[int]int64, error)
}

// selfChecked is a database that can check its own structures. It answers sentences that say what is wrong.
type selfChecked interface {
	Integrity(ctx context.Context, quick bool) ([]string, error)
}

// witnessed is a database that knows from outside of itself how far journals were acknowledged.
type witnessed interface {
	Acknowledged() map[int]int64
}

// openView opens the store for a check. Errors: those of the stores; Invalid if the folder is that of a server whose database is elsewhere and was not named.
func (d Database) openView(ctx context.Context, dataDir string) (view, error) {
	if d.Address != "" {
		return opened[view](postgres.OpenSnapshot(ctx, d.Address, postgres.Options{PasswordFile: d.PasswordFile}))
	}
	file := d.file
	if file == "" {
		file = filepath.Join(dataDir, databaseFile)
	}
	v, err := opened[view](sqlite.OpenSnapshot(ctx, file))
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound && exists(filepath.Join(dataDir, serverIDFile)) {
		err = &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "--store", Msg: "the server of " + dataDir + " keeps its state in a PostgreSQL database", Err: err,
			Hint: "name the database as the server does: --store postgres://USER@HOST/DATABASE"}
	}
	return v, err
}

// opened keeps the nil pointer that comes with an error from becoming an interface that is not nil.
func opened[T store.Store](v T, err error) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return v, nil
}
