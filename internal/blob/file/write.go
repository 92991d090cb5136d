package file

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// writable refuses writes to a store opened for reading only, and after a failed sync: the system may have dropped the bytes and would not say so a second time.
func (s *Store) writable() error {
	if err := s.forbidden(); err != nil {
		return err
	}
	if err := s.failed.Load(); err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the disk holding the blobs failed earlier; nothing is stored until the server is restarted",
			Hint: "see the system's log for the disk, then restart the server", Err: *err}
	}
	return nil
}

// syncFailed notes that a sync failed, unless for want of space, which leaves nothing in doubt.
func (s *Store) syncFailed(err error) {
	if !diskFull(err) {
		s.failed.CompareAndSwap(nil, &err)
	}
}

func (s *Store) temporary() (*os.File, error) {
	return os.CreateTemp(filepath.Join(s.dir, "tmp"), "blob-*") // mode 0600
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error {
	if err := begin(ctx, d); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	if s.have(d, size) {
		return s.again(d)
	}
	r = &cancellable{ctx, r}
	if size >= 0 && size <= blockSize {
		return s.putSmall(d, size, r)
	}
	if size >= 0 {
		r = io.LimitReader(r, size+1)
	}
	w, err := s.create()
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.CopyBuffer(w, r, make([]byte, 256<<10)); err != nil {
		return err
	}
	if err := blob.CheckSize(size, w.Size()); err != nil {
		return err
	}
	return w.keep(d)
}

// putSmall looks at the bytes before it touches the disk.
func (s *Store) putSmall(d cloudcrowd.Digest, size int64, r io.Reader) error {
	b := make([]byte, size+1)
	n, err := io.ReadFull(r, b)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if err := blob.CheckSize(size, int64(n)); err != nil {
		return err
	}
	b = b[:n]
	if have := blob.DigestOf(b); have != d {
		return blob.Mismatch(d, have)
	}
	w, err := s.create()
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.f.Write(b); err != nil {
		return s.explain("", err)
	}
	return w.place(d, size)
}

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context) (blob.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	w, err := s.create()
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (s *Store) create() (*writer, error) {
	f, err := s.temporary()
	if err != nil {
		return nil, s.explain("", err)
	}
	return &writer{s: s, f: f, sum: sums.New()}, nil
}

// writer is a blob in tmp.
type writer struct {
	s      *Store
	f      *os.File
	sum    *sums.Summer
	ended  bool
	broken error // a write failed: the blob cannot be committed any more
}

func (w *writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, os.ErrClosed
	}
	n, err := w.f.Write(p)
	_, _ = w.sum.Write(p[:n])
	if err != nil {
		w.broken = w.s.explain("", err)
		return n, w.broken
	}
	return n, nil
}

func (w *writer) Size() int64 { return w.sum.Size() }

func (w *writer) Commit() (cloudcrowd.Digest, error) {
	if w.ended {
		return "", os.ErrClosed
	}
	defer w.Abort()
	if w.broken != nil {
		return "", w.broken
	}
	d, v := w.sum.Finish()
	return d, w.store(d, v)
}

// keep is Commit for bytes that must have a digest.
func (w *writer) keep(d cloudcrowd.Digest) error {
	have, v := w.sum.Finish()
	if have != d {
		return blob.Mismatch(d, have)
	}
	return w.store(d, v)
}

// store puts the sums and the blob in their place. The sums come first: whoever sees the blob finds them.
func (w *writer) store(d cloudcrowd.Digest, v sums.Sums) error {
	if w.s.have(d, v.SizeBytes) {
		return w.s.again(d)
	}
	if v.SizeBytes > blockSize {
		if err := w.s.writeSums(d, v); err != nil {
			return w.s.explain("", err)
		}
	}
	return w.place(d, v.SizeBytes)
}

// place makes the written bytes the blob d: durable, then visible, then durably visible.
func (w *writer) place(d cloudcrowd.Digest, size int64) error {
	s := w.s
	if err := s.writable(); err != nil {
		return err
	}
	if err := w.f.Sync(); err != nil {
		s.syncFailed(err)
		return s.explain("", err)
	}
	if err := w.f.Close(); err != nil {
		return s.explain("", err)
	}
	if err := os.Rename(w.f.Name(), s.path(d)); err != nil {
		// On Windows a blob that is being read cannot be replaced; it holds the same bytes.
		if info, statErr := os.Stat(s.path(d)); statErr != nil || info.Size() != size {
			return s.explain("", err)
		}
		return s.settle(d)
	}
	w.ended = true
	s.mark(d, false)
	s.folder(d).renamed()
	return s.settle(d)
}

// again is storing a blob that is there.
func (s *Store) again(d cloudcrowd.Digest) error {
	s.touch(d)
	if s.shared { // whoever renamed it has perhaps not synced the folder yet
		s.folder(d).renamed()
	}
	return s.settle(d)
}

// settle returns when the name of a blob that is there is durable.
func (s *Store) settle(d cloudcrowd.Digest) error {
	if err := s.folder(d).sync(); err != nil {
		s.syncFailed(err)
		return s.explain("", err)
	}
	return nil
}

func (w *writer) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	_ = w.f.Close()
	_ = os.Remove(w.f.Name())
}

// cancellable ends reading with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
