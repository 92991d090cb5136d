// Package file keeps blobs as files in a directory.
//
//	DIR/ab/cdef…      the bytes of the blob abcdef…, nothing else
//	DIR/ab/cdef….sum  CRC-32C of each of its 64 KiB blocks, if it has more than one
//	DIR/tmp/          what is being written
//
// A blob is written in tmp, synced, renamed to its place, and the folder synced; only then it counts as stored. Ranges are read and
// verified block by block. The sums are made again from a blob that matches its digest when they are missing or damaged, so they need no
// sync of their own. One process owns a directory at a time, unless all open it as shared.
package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// Store is a blob store in a directory. Its methods are safe for concurrent use.
type Store struct {
	dir     string
	reading bool // opened by OpenReadOnly
	shared  bool // opened by OpenShared
	folders [256]folder
	failed  atomic.Pointer[error] // a sync failed: why every further write is refused

	mu      sync.Mutex
	damaged map[cloudcrowd.Digest]bool // seen damaged by a reader; the next Put writes it anew
}

var _ blob.Store = (*Store)(nil)

// abandoned is how long nothing was written to a file in tmp of a shared directory that nobody writes any more.
const abandoned = 24 * time.Hour

// Open opens the store in dir, creates it if there is none, and removes what interrupted writes left in tmp. Errors: code Unavailable if the
// directory cannot be used.
func Open(dir string) (*Store, error) { return openOwned(dir, false) }

// OpenShared is Open for a directory that other processes, perhaps of other machines, use at the same time: what they are writing stays, and a blob of theirs
// that is stored again is made durable by this process, too. All must open it so.
func OpenShared(dir string) (*Store, error) { return openOwned(dir, true) }

func openOwned(dir string, shared bool) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &Store{dir: dir, shared: shared, damaged: map[cloudcrowd.Digest]bool{}}
	if err := s.prepare(); err != nil {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the directory of the blobs cannot be used: " + dir,
			Hint: "check that its disk is not full and that this user may write to it", Err: err}
	}
	return s, nil
}

// OpenReadOnly opens the store in dir beside the process that owns it, or on a disk that cannot be written: it removes and creates nothing, and
// Put, Create and Delete answer code Forbidden. Errors: code NotFound if there is no such directory.
func OpenReadOnly(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "there is no directory of blobs at " + dir, Hint: "give the data folder of a server", Err: err}
	}
	s := &Store{dir: dir, reading: true, damaged: map[cloudcrowd.Digest]bool{}}
	for i := range s.folders {
		s.folders[i].path = filepath.Join(dir, fmt.Sprintf("%02x", i))
	}
	return s, nil
}

// forbidden is the answer to whoever wants to write to a store opened for reading only; nil for others.
func (s *Store) forbidden() error {
	if !s.reading {
		return nil
	}
	return cloudcrowd.Errorf(cloudcrowd.Forbidden, "the blobs were opened for reading only")
}

func (s *Store) prepare() error {
	tmp := filepath.Join(s.dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return err
	}
	leftovers, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range leftovers {
		if s.shared {
			if info, err := e.Info(); err != nil || time.Since(info.ModTime()) < abandoned {
				continue // somebody else's, perhaps
			}
		}
		if err := os.RemoveAll(filepath.Join(tmp, e.Name())); err != nil {
			return err
		}
	}
	for i := range s.folders {
		path := filepath.Join(s.dir, fmt.Sprintf("%02x", i))
		if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		s.folders[i].path = path
		s.folders[i].renames = 1 // of an earlier process, perhaps not synced
		s.folders[i].idle = sync.NewCond(&s.folders[i].mu)
	}
	if err := syncDir(s.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(s.dir))
}

// path is where a valid digest's blob is.
func (s *Store) path(d cloudcrowd.Digest) string {
	return filepath.Join(s.dir, string(d[:2]), string(d[2:]))
}

// folder returns the folder a valid digest's blob is in.
func (s *Store) folder(d cloudcrowd.Digest) *folder { return &s.folders[unhex(d[0])<<4|unhex(d[1])] }

func unhex(c byte) int {
	if c >= 'a' {
		return int(c-'a') + 10
	}
	return int(c - '0')
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, d cloudcrowd.Digest) (int64, error) {
	if err := begin(ctx, d); err != nil {
		return 0, err
	}
	info, err := os.Stat(s.path(d))
	if err != nil {
		return 0, s.explain(d, err)
	}
	return info.Size(), nil
}

func begin(ctx context.Context, d cloudcrowd.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return blob.CheckDigest(d)
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, fn func(blob.Info) error) error {
	for i := range s.folders {
		entries, err := os.ReadDir(s.folders[i].path) // sorted by name
		if s.reading && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s.explain("", err)
		}
		for _, e := range entries {
			if err := ctx.Err(); err != nil {
				return err
			}
			d := cloudcrowd.Digest(filepath.Base(s.folders[i].path) + e.Name())
			if !d.Valid() {
				continue // the sums
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return s.explain(d, err)
			}
			if err := fn(blob.Info{Digest: d, SizeBytes: info.Size(), ModTime: cloudcrowd.TimeOf(info.ModTime())}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements blob.Store. It is not synced: a crash may bring the blob back.
func (s *Store) Delete(ctx context.Context, d cloudcrowd.Digest) error {
	if err := begin(ctx, d); err != nil {
		return err
	}
	if err := s.forbidden(); err != nil {
		return err
	}
	if err := os.Remove(s.path(d)); err != nil {
		return s.explain(d, err)
	}
	s.mark(d, false)
	if err := os.Remove(s.path(d) + sums.Suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.explain(d, err)
	}
	return nil
}

// mark remembers or forgets that a blob is damaged.
func (s *Store) mark(d cloudcrowd.Digest, damaged bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if damaged {
		s.damaged[d] = true
	} else {
		delete(s.damaged, d)
	}
}

// have reports whether the blob is there, undamaged as far as known, with the announced size.
func (s *Store) have(d cloudcrowd.Digest, size int64) bool {
	info, err := os.Stat(s.path(d))
	if err != nil || size >= 0 && info.Size() != size {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.damaged[d]
}

// corrupt marks a blob as damaged and answers so.
func (s *Store) corrupt(d cloudcrowd.Digest, format string, args ...any) error {
	s.mark(d, true)
	return &blob.CorruptError{Digest: d, Err: fmt.Errorf(format, args...)}
}

// explain turns an error of the file system into one of the contract.
func (s *Store) explain(d cloudcrowd.Digest, err error) error {
	e := &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Err: err}
	switch {
	case errors.Is(err, fs.ErrNotExist) && d != "":
		return blob.NotFound(d)
	case diskFull(err):
		e.Msg, e.Hint = "the disk holding the blobs is full", "free some space there; the server goes on by itself"
	case errors.Is(err, fs.ErrPermission) || readOnly(err):
		e.Msg, e.Hint = "the directory of the blobs cannot be used: "+s.dir, "check that its disk is mounted for writing and that this user may write there"
	case ioFailed(err):
		e.Msg, e.Hint = "the disk holding the blobs failed", "see the system's log for the disk, then restart the server"
	default:
		e.Code, e.Msg = cloudcrowd.Internal, "the blob store failed"
	}
	return e
}

// touch makes a blob that was stored again look new, for whoever deletes old ones nobody needs.
func (s *Store) touch(d cloudcrowd.Digest) { _ = os.Chtimes(s.path(d), time.Time{}, time.Now()) }
