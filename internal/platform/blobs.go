package platform

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/bucket"
	"cloudcrowd.dev/cloudcrowd/internal/blob/file"
)

// Files of a data directory that concern blobs.
const (
	blobFolder  = "blobs"
	spoolFolder = "blobs-spool" // what is on its way to a bucket
	bucketFile  = "bucket"      // the address of the bucket of the last start; missing: the blobs are in blobFolder
)

// openBlobs opens the store of a server's blobs and notes in the data directory where it is, so that fsck finds it.
func openBlobs(ctx context.Context, c ServerConfig) (blob.Store, error) {
	before, err := bucketOf(c.DataDir)
	if err != nil {
		return nil, err
	}
	var s blob.Store
	if c.Blobs == "" {
		open := file.Open
		if c.Database.Address != "" { // there may be other servers, and one file system that all of them mount
			open = file.OpenShared
		}
		local, err := open(filepath.Join(c.DataDir, blobFolder))
		if err != nil {
			return nil, err
		}
		s = local
	} else {
		remote, err := bucket.Open(ctx, c.Blobs, bucket.Options{Spool: filepath.Join(c.DataDir, spoolFolder)})
		if err != nil {
			return nil, err
		}
		s = remote
	}
	if before == c.Blobs {
		return s, nil
	}
	if before != "" || exists(filepath.Join(c.DataDir, blobFolder)) {
		c.Log.Warn("the blobs are kept elsewhere than before; jobs find only what was copied", "before", placeOf(before), "now", placeOf(c.Blobs))
	}
	path := filepath.Join(c.DataDir, bucketFile)
	if c.Blobs == "" {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, []byte(c.Blobs+"\n"), 0o600)
	}
	if err != nil {
		closeBlobs(s)
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the data directory cannot be written: " + c.DataDir, Hint: "check that its disk is not full and that this user may write there", Err: err}
	}
	return s, nil
}

func placeOf(address string) string {
	if address == "" {
		return "the data folder"
	}
	return address
}

// bucketOf reads where the blobs of a data directory are: the address of a bucket, "" for the directory itself.
func bucketOf(dataDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, bucketFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(b)), err
}

// openBlobsReadOnly opens the blobs of a data directory beside the server that owns it, or on their own. address replaces what the directory says.
func openBlobsReadOnly(ctx context.Context, dataDir, address string) (blob.Store, error) {
	if address == "" {
		var err error
		if address, err = bucketOf(dataDir); err != nil {
			return nil, err
		}
	}
	if address == "" {
		s, err := file.OpenReadOnly(filepath.Join(dataDir, blobFolder))
		if err != nil {
			return nil, err // no nil *file.Store in an interface
		}
		return s, nil
	}
	s, err := bucket.Open(ctx, address, bucket.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// closeBlobs frees what a store holds, if anything.
func closeBlobs(s blob.Store) {
	if c, ok := s.(interface{ Close() error }); ok {
		_ = c.Close() // everything acknowledged is durable
	}
}
