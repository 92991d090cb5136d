package platform

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/file"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
)

// maxManifest bounds what is read of a manifest.
const maxManifest = 64 << 20

// VerifyReport is what a look at a backup found.
type VerifyReport struct {
	Verdict  string    `json:"verdict"` // Clean or Faulty
	Problems []Problem `json:"problems,omitempty"`
	Omitted  int64     `json:"omitted,omitempty"` // problems beyond MaxProblems
	Manifest *Manifest `json:"manifest,omitempty"`
}

// RestoreReport is what a restore did.
type RestoreReport struct {
	VerifyReport
	Fsck *FsckReport `json:"fsck,omitempty"`
	Data string      `json:"data"`
}

// reader goes through a backup once: every part and blob is compared with its digest and, if to is set, put to its place.
type reader struct {
	ctx      context.Context
	report   VerifyReport
	m        *Manifest
	expected map[string]Part // parts and blobs that were not seen yet, by name
	to       string          // data directory; "" to look only
	root     *os.Root
	blobs    *file.Store
	scratch  string // where the database is put to be looked at
}

// VerifyBackup reads a backup whole and names what is damaged or missing. The error says only that it could not be read at all.
func VerifyBackup(ctx context.Context, backup string) (VerifyReport, error) {
	scratch, err := os.MkdirTemp("", "cloudcrowd-verify-")
	if err != nil {
		return VerifyReport{}, err
	}
	defer os.RemoveAll(scratch)
	r := &reader{ctx: ctx, scratch: scratch}
	if err := r.run(backup); err != nil {
		return VerifyReport{}, err
	}
	return r.report, nil
}

// Restore makes the data directory of a backup. The directory must be empty or not be there. The database comes to its place last, so no server
// starts on half of it; if the backup is damaged everything is removed again and the report names what is wrong. Then everything is recomputed, as
// Fsck does.
func Restore(ctx context.Context, backup, dataDir string) (RestoreReport, error) {
	if entries, err := os.ReadDir(dataDir); err == nil && len(entries) > 0 {
		return RestoreReport{}, cloudcrowd.Errorf(cloudcrowd.Conflict, "%s is not empty", dataDir).WithHint("give a folder that is empty or not there; nothing is ever restored over a server's data")
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		return RestoreReport{}, err
	}
	if _, err := os.Stat(backup); err != nil {
		return RestoreReport{}, err
	}
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return RestoreReport{}, err
	}
	root, err := os.OpenRoot(dataDir)
	if err != nil {
		return RestoreReport{}, err
	}
	defer root.Close()
	r := &reader{ctx: ctx, to: dataDir, root: root, scratch: dataDir}
	if r.blobs, err = file.Open(filepath.Join(dataDir, blobFolder)); err == nil {
		err = r.run(backup)
	}
	if err != nil || r.report.Verdict != Clean {
		return RestoreReport{VerifyReport: r.report, Data: dataDir}, errors.Join(err, empty(dataDir))
	}
	err = errors.Join(os.Rename(r.database(), filepath.Join(dataDir, databaseFile)), syncFolder(dataDir))
	if err != nil {
		return RestoreReport{}, err
	}
	check, err := Fsck(ctx, dataDir, FsckOptions{Quick: true}) // every blob was compared with its digest on its way here
	return RestoreReport{VerifyReport: r.report, Fsck: &check, Data: dataDir}, err
}

// empty removes what is in a folder.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// database is where the database is while the rest is read.
func (r *reader) database() string { return filepath.Join(r.scratch, databaseFile+".restored") }

func (r *reader) fault(subject, format string, args ...any) {
	if len(r.report.Problems) >= MaxProblems {
		r.report.Omitted++
		return
	}
	r.report.Problems = append(r.report.Problems, Problem{subject, fmt.Sprintf(format, args...)})
}

func (r *reader) run(backup string) error {
	info, err := os.Stat(backup)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		err = r.folder(backup)
	default:
		err = r.archive(backup)
	}
	if err != nil {
		return err
	}
	missing := 0
	for name := range r.expected {
		if missing++; missing <= 10 {
			r.fault(name, "it is missing")
		}
	}
	if missing > 10 {
		r.fault("the backup", "%d files are missing in all", missing)
	}
	if r.m != nil && exists(r.database()) {
		if err := r.lookAtDatabase(); err != nil {
			return err
		}
	}
	r.report.Verdict = Clean
	if len(r.report.Problems) > 0 || r.m == nil {
		r.report.Verdict = Faulty
	}
	return nil
}

// lookAtDatabase brings what an earlier version wrote up to date, as a server does at its start, and lets SQLite check its own structures.
func (r *reader) lookAtDatabase() error {
	db, err := sqlite.OpenSnapshot(r.ctx, r.database())
	if cloudcrowd.CodeOf(err) == cloudcrowd.Conflict { // of another schema: a newer one is refused again
		if err = r.upgrade(); err == nil {
			db, err = sqlite.OpenSnapshot(r.ctx, r.database())
		} else if code := cloudcrowd.CodeOf(err); code == cloudcrowd.Unavailable {
			return err // no room for it, or a disk that fails: no fault of the backup's
		}
	}
	if err != nil {
		r.fault(databaseFile, "%v", err)
		return nil
	}
	defer func() {
		for _, suffix := range []string{"-wal", "-shm"} {
			_ = os.Remove(r.database() + suffix) // empty, left by looking at it
		}
	}()
	bad, err := db.Integrity(r.ctx, false)
	for _, line := range bad {
		r.fault(databaseFile, "%s", line)
	}
	if _, corrupt := errors.AsType[*store.CorruptError](err); corrupt { // so damaged that the check itself breaks off
		r.fault(databaseFile, "%v", err)
		err = nil
	}
	return errors.Join(err, db.Close())
}

// upgrade brings the copy of the database up to date and removes the files that belong to an open one.
func (r *reader) upgrade() error {
	db, err := sqlite.Open(r.ctx, r.database(), sqlite.Options{})
	if err == nil {
		err = db.Close()
	}
	for _, suffix := range []string{".lock", ".head"} {
		_ = os.Remove(r.database() + suffix)
	}
	return err
}

// begin takes the manifest.
func (r *reader) begin(b []byte) error {
	m, err := decodeManifest(b)
	if cloudcrowd.CodeOf(err) == cloudcrowd.DigestMismatch {
		r.fault(manifestFile, "%v", err)
		return nil
	}
	if err != nil {
		return err
	}
	r.m, r.report.Manifest = m, m
	r.expected = map[string]Part{}
	for _, p := range append([]Part{m.Database, m.BlobList}, m.Secrets...) {
		if !filepath.IsLocal(filepath.FromSlash(p.Name)) || p.Name != m.Database.Name && p.Name != m.BlobList.Name && !strings.HasPrefix(p.Name, secretsFolder+"/") {
			r.fault(manifestFile, "it names %q", p.Name)
			continue
		}
		r.expected[p.Name] = p
	}
	return nil
}

// part takes a file the manifest names.
func (r *reader) part(name string, in io.Reader) error {
	p, ok := r.expected[name]
	if !ok {
		r.fault(name, "the manifest does not know it")
		_, err := io.Copy(io.Discard, in)
		return err
	}
	delete(r.expected, name)
	sum := sha256.New()
	var list bytes.Buffer
	var err error
	var n int64
	switch inner, secret := strings.CutPrefix(name, secretsFolder+"/"); {
	case name == r.m.Database.Name:
		n, err = r.put(r.database(), io.TeeReader(in, sum))
	case name == r.m.BlobList.Name:
		n, err = io.Copy(io.MultiWriter(&list, sum), in)
	case secret && r.to != "":
		n, err = r.putSecret(inner, io.TeeReader(in, sum))
	default:
		n, err = io.Copy(sum, in)
	}
	if err != nil {
		return err
	}
	if !r.same(name, p, n, sum) {
		return nil
	}
	if name == r.m.BlobList.Name {
		r.expectBlobs(&list)
	}
	return nil
}

func (r *reader) same(name string, p Part, n int64, sum hash.Hash) bool {
	have := cloudcrowd.Digest(hex.EncodeToString(sum.Sum(nil)))
	if n != p.Size {
		r.fault(name, "it has %d bytes instead of %d", n, p.Size)
	} else if have != p.Digest {
		r.fault(name, "it is damaged: its SHA-256 is %s instead of %s", have.Short(), p.Digest.Short())
	}
	return n == p.Size && have == p.Digest
}

func (r *reader) put(to string, in io.Reader) (int64, error) {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, in)
	return n, errors.Join(err, f.Sync(), f.Close())
}

// putSecret stores one of the operator's files below the data directory, and nowhere else.
func (r *reader) putSecret(name string, in io.Reader) (int64, error) {
	name = filepath.FromSlash(name)
	if dir := filepath.Dir(name); dir != "." {
		if err := r.root.MkdirAll(dir, 0o700); err != nil {
			return 0, err
		}
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(f, in)
	return n, errors.Join(err, f.Sync(), f.Close())
}

func (r *reader) expectBlobs(list io.Reader) {
	lines := bufio.NewScanner(list)
	for lines.Scan() {
		var d string
		var size int64
		if _, err := fmt.Sscanf(lines.Text(), "%64s %d", &d, &size); err != nil || !cloudcrowd.Digest(d).Valid() {
			r.fault(r.m.BlobList.Name, "a line cannot be read: %q", short(lines.Text()))
			continue
		}
		r.expected[path.Join(blobFolder, d)] = Part{Name: path.Join(blobFolder, d), Size: size, Digest: cloudcrowd.Digest(d)}
	}
}

// blob takes one blob. in may fail with *blob.CorruptError.
func (r *reader) blob(name string, size int64, in io.Reader) error {
	p, ok := r.expected[name]
	if !ok {
		r.fault(name, "the list of blobs does not know it")
		_, err := io.Copy(io.Discard, in)
		return err
	}
	delete(r.expected, name)
	if size != p.Size {
		r.fault(name, "it has %d bytes instead of %d", size, p.Size)
		_, err := io.Copy(io.Discard, in)
		return err
	}
	sum := sha256.New()
	body := io.TeeReader(in, sum)
	var err error
	if r.to != "" {
		if err = r.blobs.Put(r.ctx, p.Digest, p.Size, body); cloudcrowd.CodeOf(err) == cloudcrowd.DigestMismatch {
			err = nil // told below
		}
	}
	if err == nil {
		_, err = io.Copy(io.Discard, body)
	}
	if rotten, ok := errors.AsType[*blob.CorruptError](err); ok {
		r.fault(name, "it is damaged: %v", rotten.Err)
		return nil
	}
	if err == nil && cloudcrowd.Digest(hex.EncodeToString(sum.Sum(nil))) != p.Digest {
		r.fault(name, "it is damaged: its bytes do not match its name")
	}
	return err
}

func (r *reader) folder(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, os.ErrNotExist) {
		return cloudcrowd.Errorf(cloudcrowd.NotFound, "%s is no backup, or one that was never finished: there is no %s", dir, manifestFile)
	}
	if err != nil {
		return err
	}
	if err := r.begin(b); err != nil || r.m == nil {
		return err
	}
	for _, p := range append([]Part{r.m.Database, r.m.BlobList}, r.m.Secrets...) {
		f, err := os.Open(filepath.Join(dir, r.m.Set, filepath.FromSlash(p.Name)))
		if errors.Is(err, os.ErrNotExist) {
			continue // told as missing
		}
		if err == nil {
			err = errors.Join(r.part(p.Name, f), f.Close())
		}
		if err != nil {
			return err
		}
	}
	names := make([]string, 0, len(r.expected))
	for name := range r.expected {
		if strings.HasPrefix(name, blobFolder+"/") {
			names = append(names, name)
		}
	}
	for _, name := range names {
		d := path.Base(name)
		f, err := os.Open(filepath.Join(dir, blobFolder, d[:2], d[2:])) // not by the store: it would hide what is damaged behind its own errors
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			err = r.blob(name, info.Size(), f)
		}
		if err = errors.Join(err, f.Close(), r.ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) archive(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	unpacked, err := zstd.NewReader(f, zstd.WithDecoderMaxWindow(128<<20))
	if err != nil {
		return err
	}
	defer unpacked.Close()
	in := tar.NewReader(unpacked)
	last := "its beginning"
	// What cannot be unpacked ends the reading: the report says where, and what comes after is missing.
	broken := func(err error) error {
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		r.fault(filepath.Base(name), "it cannot be read beyond %s: %v", last, err)
		return nil
	}
	for first := true; ; first = false {
		h, err := in.Next()
		if err == io.EOF {
			if first {
				return broken(io.ErrUnexpectedEOF)
			}
			if _, err := io.Copy(io.Discard, unpacked); err != nil { // the checksum of all of it comes last
				return broken(err)
			}
			return nil
		}
		if err != nil {
			return broken(err)
		}
		source := &spoiled{r: in}
		switch {
		case first:
			if h.Name != manifestFile {
				return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s is no backup: it begins with %q", name, h.Name)
			}
			b, rerr := io.ReadAll(io.LimitReader(source, maxManifest))
			if rerr == nil {
				rerr = r.begin(b)
			}
			if err = rerr; err == nil && r.m == nil {
				return nil
			}
		case strings.HasPrefix(h.Name, blobFolder+"/"):
			err = r.blob(h.Name, h.Size, source)
		default:
			err = r.part(h.Name, source)
		}
		if source.err != nil {
			return broken(source.err)
		}
		if err != nil {
			return err
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
		last = h.Name
	}
}

// spoiled remembers that reading failed, which tells a broken archive from a full disk.
type spoiled struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *spoiled) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
