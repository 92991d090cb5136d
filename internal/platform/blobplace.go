package platform

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob/bucket"
)

// blobsKey is the setting that says where the blobs of all servers of a store are.
const blobsKey = "cluster/blobs"

// blobIDFile in a directory of blobs holds what tells it from every other one, wherever it is mounted.
const blobIDFile = "id"

// keeper keeps a value that all servers of a store have in common: the first that it was given for a key.
type keeper interface {
	KeepSetting(ctx context.Context, key, value string) (kept string, err error)
}

// sameBlobs makes sure that a server's blobs, which openBlobs has opened, are those of the other servers of its store: what one stores another must find. The
// first server decides. Errors: code Invalid, field blobs, if they are elsewhere.
func sameBlobs(ctx context.Context, s keeper, c ServerConfig) error {
	mine, err := blobPlace(c)
	if err != nil {
		return err
	}
	kept, err := s.KeepSetting(ctx, blobsKey, mine)
	if err != nil {
		return err
	}
	return checkPlace(mine, kept)
}

// checkPlace refuses a place that is not the one the servers of the store have agreed on.
func checkPlace(mine, kept string) error {
	if samePlace(mine, kept) {
		return nil
	}
	return cloudcrowd.Fieldf("blobs", "the servers of this database have their blobs in %s; this one would have its own in %s, where the others do not find them",
		placeName(kept), placeName(mine)).
		WithHint("give all servers the same --blobs, or mount one file system as %q in the data folder of each; docs/blobs.md says how to move a crowd's blobs", blobFolder)
}

// blobPlace says where a server's blobs are: the place of a bucket, or "dir ID HOST:PATH", of which only the id counts.
func blobPlace(c ServerConfig) (string, error) {
	if c.Blobs != "" {
		return bucket.Place(c.Blobs)
	}
	dir, err := filepath.Abs(filepath.Join(c.DataDir, blobFolder))
	if err != nil {
		return "", err
	}
	id, err := blobID(filepath.Join(dir, blobIDFile))
	if err != nil {
		return "", &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the directory of the blobs cannot be used: " + dir, Err: err}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a server"
	}
	return "dir " + id + " " + host + ":" + dir, nil
}

func samePlace(a, b string) bool {
	if id, ok := placeID(a); ok {
		other, ok := placeID(b)
		return ok && id == other
	}
	return a == b
}

func placeID(place string) (id string, ok bool) {
	if place, ok = strings.CutPrefix(place, "dir "); !ok {
		return "", false
	}
	id, _, _ = strings.Cut(place, " ")
	return id, true
}

// placeName is a place for people.
func placeName(place string) string {
	if id, ok := placeID(place); ok {
		return "the directory " + strings.TrimPrefix(place, "dir "+id+" ")
	}
	return place
}

// blobID reads the id of a directory, or gives it one. Of several servers that do so at once, all get the same.
func blobID(path string) (string, error) {
	read := func() (string, error) {
		b, err := os.ReadFile(path)
		id := strings.TrimSpace(string(b))
		if err == nil && (id == "" || strings.ContainsAny(id, " \n")) {
			err = cloudcrowd.Errorf(cloudcrowd.Invalid, "%s is damaged", path)
		}
		return id, err
	}
	id, err := read()
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), blobIDFile+".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(strings.ToLower(rand.Text()) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) { // it appears whole, and never in place of another
		return "", err
	}
	return read()
}
