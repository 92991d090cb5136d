package platform

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/blob/bucket"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres"
)

// LookAtDatabase says whether a server could be started on its database, which must not be that of the data directory, and whether what all its servers have in
// common fits the settings. It changes nothing. Errors are those of the start; several are joined. Each note is a sentence for people.
func LookAtDatabase(ctx context.Context, c ServerConfig) (notes []string, err error) {
	switch unsummed, err := postgres.Unsummed(ctx, c.Database.Address, postgres.Options{PasswordFile: c.Database.PasswordFile}); {
	case err != nil:
		return nil, err
	case unsummed:
		notes = append(notes, unsummedNote)
	}
	v, err := c.Database.openView(ctx, c.DataDir)
	switch {
	case errors.Is(err, postgres.ErrEmpty):
		return append(notes, "the database is empty; the first start makes its tables"), nil
	case errors.Is(err, postgres.ErrOlder):
		return append(notes, "the database is of an earlier version; the first start brings it up to date, and servers of that version cannot be started on it any more"), nil
	case err != nil:
		return notes, err
	}
	defer v.Close()
	var errs []error
	read := func(key string) string {
		value, err := v.Setting(ctx, key)
		errs = append(errs, err)
		return value
	}
	if kept := read(shardsKey); kept != "" {
		_, err := checkShards(c.Cluster.Shards, kept)
		errs = append(errs, err)
	}
	if kept := read(blobsKey); kept != "" {
		mine, err := presentPlace(c)
		if err == nil {
			err = checkPlace(mine, kept)
		}
		errs = append(errs, err)
	}
	return notes, errors.Join(errs...)
}

// unsummedNote is said of a PostgreSQL that may answer from what its disk changed.
const unsummedNote = "the database compares no checksums of its pages (data_checksums is off, or ignore_checksum_failure on): it may answer from a bit that its disk flipped, until fsck is run; " +
	"stop it and switch them on with `pg_checksums --enable`"

// checkSums says in the log where the database may answer from what its disk changed.
func checkSums(ctx context.Context, s store.Store, log *slog.Logger) error {
	db, ok := s.(interface {
		Unsummed(ctx context.Context) (bool, error)
	})
	if !ok {
		return nil
	}
	unsummed, err := db.Unsummed(ctx)
	if unsummed {
		log.WarnContext(ctx, unsummedNote)
	}
	return err
}

// presentPlace is blobPlace without making anything: a directory that has no id yet is another one than all that have one.
func presentPlace(c ServerConfig) (string, error) {
	if c.Blobs != "" {
		return bucket.Place(c.Blobs)
	}
	dir, err := filepath.Abs(filepath.Join(c.DataDir, blobFolder))
	if err != nil {
		return "", err
	}
	id, err := os.ReadFile(filepath.Join(dir, blobIDFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return "dir " + strings.TrimSpace(string(id)) + " this machine:" + dir, nil
}
