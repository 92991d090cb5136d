package platform

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/file"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
)

// archiveSuffix tells an archive from a folder.
const archiveSuffix = ".tar.zst"

// folderBackup is a backup in a folder:
//
//	DIR/manifest.json   of the newest set, replaced when the set is whole
//	DIR/set-…/          database, list of blobs, secrets
//	DIR/blobs/          of all sets
type folderBackup struct {
	dir, set string
	blobs    *file.Store
	lock     *filelock.Lock
	fresh    bool // the folder was made or empty
}

func newFolder(dir string) (*folderBackup, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 && !exists(filepath.Join(dir, manifestFile)) && !exists(filepath.Join(dir, "lock")) {
		return nil, cloudcrowd.Errorf(cloudcrowd.Conflict, "%s holds something that is no backup", dir).WithHint("give an empty folder, one with an earlier backup, or a file that ends in %s", archiveSuffix)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	lock, owner, err := filelock.Take(filepath.Join(dir, "lock"))
	if errors.Is(err, filelock.ErrLocked) {
		return nil, cloudcrowd.Errorf(cloudcrowd.Conflict, "another backup to %s is under way (%s)", dir, owner)
	}
	if err != nil {
		return nil, err
	}
	f := &folderBackup{dir: dir, lock: lock, fresh: len(entries) == 0, set: fmt.Sprintf("set-%d", time.Now().UnixMicro())}
	if f.blobs, err = file.Open(filepath.Join(dir, blobFolder)); err == nil {
		err = os.Mkdir(f.work(), 0o700)
	}
	if err != nil {
		f.abort()
		return nil, err
	}
	return f, nil
}

func (f *folderBackup) work() string { return filepath.Join(f.dir, f.set) }

func (f *folderBackup) begin(m *Manifest) error {
	m.Set = f.set
	b, err := os.ReadFile(filepath.Join(f.dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if before, err := decodeManifest(b); err == nil && before.Origin != m.Origin {
		return cloudcrowd.Errorf(cloudcrowd.Conflict, "%s holds the backup of another server", f.dir).WithHint("give each server a folder of its own")
	}
	return nil
}

func (f *folderBackup) part(_ *Manifest, p Part, from string) error {
	to := filepath.Join(f.work(), filepath.FromSlash(p.Name))
	if from == to {
		return syncFile(to)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if blob.DigestOf(b) != p.Digest {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "%s changed while it was copied", from).WithHint("try again")
	}
	return writeFile(to, b)
}

func (f *folderBackup) blob(ctx context.Context, i blob.Info, blobs blob.Store) (bool, error) {
	if n, err := f.blobs.Stat(ctx, i.Digest); err == nil && n == i.SizeBytes {
		return false, nil
	}
	r, err := blobs.Open(ctx, i.Digest, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return true, f.blobs.Put(ctx, i.Digest, i.SizeBytes, r)
}

func (f *folderBackup) finish(m *Manifest) error {
	if err := syncFolder(f.work()); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(f.dir, manifestFile), m.encode()); err != nil {
		return err
	}
	if err := syncFolder(f.dir); err != nil {
		return err
	}
	// Sets that no manifest names any more.
	old, _ := filepath.Glob(filepath.Join(f.dir, "set-*"))
	for _, set := range old {
		if filepath.Base(set) != f.set {
			_ = os.RemoveAll(set)
		}
	}
	return f.lock.Release()
}

func (f *folderBackup) abort() {
	_ = os.RemoveAll(f.work())
	_ = f.lock.Release()
	if f.fresh {
		_ = os.RemoveAll(f.dir)
	}
}

// archiveBackup is a backup in one file: a tar archive, packed with zstd, manifest first.
type archiveBackup struct {
	path, temp string
	file       *os.File
	packed     *zstd.Encoder
	tar        *tar.Writer
	at         time.Time
}

func newArchive(to string) (*archiveBackup, error) {
	if exists(to) {
		return nil, cloudcrowd.Errorf(cloudcrowd.Conflict, "%s exists", to).WithHint("give another name, or remove it first")
	}
	a := &archiveBackup{path: to}
	var err error
	if a.temp, err = os.MkdirTemp(filepath.Dir(to), ".cloudcrowd-backup-"); err != nil {
		return nil, err
	}
	if a.file, err = os.OpenFile(filepath.Join(a.temp, "archive"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		a.abort()
		return nil, err
	}
	a.packed, err = zstd.NewWriter(a.file, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(min(4, runtime.GOMAXPROCS(0))))
	if err != nil {
		a.abort()
		return nil, err
	}
	a.tar = tar.NewWriter(a.packed)
	return a, nil
}

func (a *archiveBackup) work() string { return a.temp }

func (a *archiveBackup) write(name string, size int64, r io.Reader) error {
	h := &tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: a.at, Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(a.tar, r)
	return err
}

func (a *archiveBackup) begin(m *Manifest) error {
	a.at = m.At.Time().Truncate(time.Second)
	b := m.encode()
	return a.write(manifestFile, int64(len(b)), strings.NewReader(string(b)))
}

func (a *archiveBackup) part(_ *Manifest, p Part, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	return a.write(p.Name, p.Size, f)
}

func (a *archiveBackup) blob(ctx context.Context, i blob.Info, blobs blob.Store) (bool, error) {
	r, err := blobs.Open(ctx, i.Digest, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	return true, a.write(path.Join(blobFolder, string(i.Digest)), i.SizeBytes, r)
}

func (a *archiveBackup) finish(*Manifest) error {
	if err := errors.Join(a.tar.Close(), a.packed.Close(), a.file.Sync(), a.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(a.file.Name(), a.path); err != nil {
		return err
	}
	_ = os.RemoveAll(a.temp)
	return syncFolder(filepath.Dir(a.path))
}

func (a *archiveBackup) abort() {
	if a.packed != nil {
		_ = a.packed.Close()
	}
	if a.file != nil {
		_ = a.file.Close()
	}
	_ = os.RemoveAll(a.temp)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncFolder makes names in a folder durable, where the system knows how.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
