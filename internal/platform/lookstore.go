package platform

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/blob/bucket"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres"
)

// LookAtDatabase says whether a server could be started on its database, which must not be that of the data directory, and whether what all its servers have in
// common fits the settings. It changes nothing. Errors are those of the start; several are joined. The note, if there is one, is a sentence for people.
func LookAtDatabase(ctx context.Context, c ServerConfig) (note string, err error) {
	v, err := c.Database.openView(ctx, c.DataDir)
	switch {
	case errors.Is(err, postgres.ErrEmpty):
		return "the database is empty; the first start makes its tables", nil
	case errors.Is(err, postgres.ErrOlder):
		return "the database is of an earlier version; the first start brings it up to date, and servers of that version cannot be started on it any more", nil
	case err != nil:
		return "", err
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
	return "", errors.Join(errs...)
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
