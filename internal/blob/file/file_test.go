package file

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/blobtest"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return open(t, quickDir(t)) })
}

// quickDir is a folder for tests that store thousands of blobs and ask nothing of the disk: in memory where the system offers that.
func quickDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "cloudcrowd-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// flip changes one bit of a file.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[at] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// readAll reads a blob to its end or to the first error.
func readAll(t testing.TB, s *Store, d cloudcrowd.Digest, off int64) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), d, off, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func isCorrupt(err error, d cloudcrowd.Digest) bool {
	e, ok := errors.AsType[*blob.CorruptError](err)
	return ok && e.Digest == d
}

// A flipped bit anywhere in a blob never reaches a reader: he gets the right bytes before it, then an error that names the blob; ranges elsewhere
// still read. Storing the blob again repairs it.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 1000, 64 << 10, 64<<10 + 1, 300_000} {
		for _, at := range []int64{0, int64(n) / 2, int64(n) - 1} {
			s := open(t, quickDir(t))
			b := blobtest.Bytes(n, 1)
			d, err := blob.PutBytes(t.Context(), s, b)
			if err != nil {
				t.Fatal(err)
			}
			flip(t, s.path(d), at)
			have, err := readAll(t, s, d, 0)
			if !isCorrupt(err, d) || !bytes.Equal(have, b[:len(have)]) || int64(len(have)) > at {
				t.Errorf("%d bytes with a flipped bit in %d: %d bytes came, %v", n, at, len(have), err)
			}
			if block := at / blockSize; n > blockSize && (block+1)*blockSize < int64(n) {
				rest, err := readAll(t, s, d, (block+1)*blockSize)
				if err != nil || !bytes.Equal(rest, b[(block+1)*blockSize:]) {
					t.Errorf("behind the damaged block: %d bytes, %v", len(rest), err)
				}
			}
			if err := s.Verify(t.Context(), d); !isCorrupt(err, d) {
				t.Errorf("verify: %v, want a CorruptError", err)
			}
			if _, err := blob.PutBytes(t.Context(), s, b); err != nil {
				t.Fatal(err)
			}
			if have, err := readAll(t, s, d, 0); err != nil || !bytes.Equal(have, b) {
				t.Errorf("stored again: %d bytes, %v", len(have), err)
			}
		}
	}
}

// A blob that lost or gained bytes is damaged; Stat-sized Puts repair it even if nobody has read it.
func TestTruncated(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1000, 300_000} {
		for _, size := range []int64{0, int64(n) - 1, int64(n) + 1, 100_000} {
			s := open(t, quickDir(t))
			b := blobtest.Bytes(n, 2)
			d, err := blob.PutBytes(t.Context(), s, b)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(s.path(d), size); err != nil {
				t.Fatal(err)
			}
			if _, err := readAll(t, s, d, 0); !isCorrupt(err, d) {
				t.Errorf("%d bytes cut to %d: %v, want a CorruptError", n, size, err)
			}
			s = open(t, s.dir) // forgets what readers saw
			if _, err := blob.PutBytes(t.Context(), s, b); err != nil {
				t.Fatal(err)
			}
			if have, err := readAll(t, s, d, 0); err != nil || !bytes.Equal(have, b) {
				t.Errorf("stored again: %d bytes, %v", len(have), err)
			}
		}
	}
}

// Sums that are missing or damaged are made anew from a good blob and never excuse a bad one.
func TestSums(t *testing.T) {
	t.Parallel()
	b := blobtest.Bytes(200_000, 3)
	damages := map[string]func(path string) error{
		"missing": os.Remove,
		"empty":   func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 90) },
		"flipped": func(path string) error { flip(t, path, 85); return nil },
	}
	for name, damage := range damages {
		s := open(t, quickDir(t))
		d, err := blob.PutBytes(t.Context(), s, b)
		if err != nil {
			t.Fatal(err)
		}
		path := s.path(d) + sums.Suffix
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, use := range []func() error{func() error { _, err := readAll(t, s, d, 0); return err }, func() error { return s.Verify(t.Context(), d) }} {
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
			if err := use(); err != nil {
				t.Errorf("sums %s: %v", name, err)
			}
			if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, want) {
				t.Errorf("sums %s were not made anew: %v", name, err)
			}
		}
		if err := damage(path); err != nil {
			t.Fatal(err)
		}
		flip(t, s.path(d), 100)
		if have, err := readAll(t, s, d, 0); !isCorrupt(err, d) || len(have) > 0 {
			t.Errorf("sums %s and a bit flipped: %d bytes, %v", name, len(have), err)
		}
	}
}

// What an interrupted write left is removed at the next Open and was never listed; files are for their owner alone.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(blobtest.Bytes(1000, 4)); err != nil {
		t.Fatal(err)
	}
	d, err := blob.PutBytes(t.Context(), s, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.path(d)); err != nil || info.Mode().Perm()&0o077 != 0 && os.PathSeparator == '/' {
		t.Errorf("mode %v, %v, want nothing for others", info.Mode(), err)
	}
	again := open(t, dir)
	left, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	if have, err := readAll(t, again, d, 0); err != nil || string(have) != "kept" {
		t.Errorf("%q, %v", have, err)
	}
	n := 0
	if err := again.List(t.Context(), func(blob.Info) error { n++; return nil }); err != nil || n != 1 {
		t.Errorf("%d blobs, %v, want 1", n, err)
	}
}

// A directory that cannot be made is refused at Open with its name.
func TestUnusable(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(filepath.Join(path, "blobs"))
	if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), path) {
		t.Errorf("%v, want code unavailable and the path", err)
	}
}
