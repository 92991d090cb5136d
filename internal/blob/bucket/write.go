package bucket

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"

	gcblob "gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

const (
	contentType = "application/octet-stream"
	partBytes   = 8 << 20 // of an upload in parts
	maxParts    = 9000    // S3 takes 10,000
	partsAtOnce = 2       // so that many uploads at once keep within memory
	memorySpool = 1 << 20 // what Create keeps in memory before it uses a file
)

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error {
	if err := begin(ctx, d); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	r = &cancellable{ctx, r}
	if size >= 0 {
		r = io.LimitReader(r, size+1)
	}
	if size <= sums.BlockBytes {
		head := make([]byte, sums.BlockBytes+1)
		if size >= 0 {
			head = make([]byte, size+1)
		}
		n, err := io.ReadFull(r, head)
		if err == nil && size < 0 {
			return s.putLarge(ctx, d, size, io.MultiReader(bytes.NewReader(head), r))
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if err := blob.CheckSize(size, int64(n)); err != nil {
			return err
		}
		if have := blob.DigestOf(head[:n]); have != d {
			return blob.Mismatch(d, have)
		}
		return s.putSmall(ctx, d, head[:n])
	}
	return s.putLarge(ctx, d, size, r)
}

// putSmall stores bytes that match their digest: one request if they are new.
func (s *Store) putSmall(ctx context.Context, d cloudcrowd.Digest, b []byte) error {
	fresh := !s.isDamaged(d)
	err := s.upload(ctx, s.key(d), b, fresh)
	if fresh && taken(err) {
		a, statErr := s.bucket.Attributes(ctx, s.key(d))
		switch {
		case statErr == nil && a.Size == int64(len(b)) && s.options.Now().Sub(a.ModTime) < touchAfter:
			return nil
		case statErr != nil && gcerrors.Code(statErr) != gcerrors.NotFound:
			return s.explain(ctx, d, statErr)
		}
		err = s.upload(ctx, s.key(d), b, false) // damaged, deleted meanwhile, or old
	}
	if err != nil {
		return s.explain(ctx, "", err)
	}
	s.mark(d, false)
	return nil
}

// upload stores an object whose bytes are in memory. fresh refuses to replace one; where the service does not know that, it replaces it, which changes
// nothing but the time.
func (s *Store) upload(ctx context.Context, key string, b []byte, fresh bool) error {
	conditional := fresh && !s.plain.Load()
	err := s.bucket.Upload(ctx, key, bytes.NewReader(b), &gcblob.WriterOptions{ContentType: contentType, IfNotExist: conditional})
	if conditional && unknown(err) {
		s.plain.Store(true)
		return s.upload(ctx, key, b, false)
	}
	return err
}

// taken reports whether a conditional write found the object there, or somebody else writing it.
func taken(err error) bool {
	if err == nil {
		return false
	}
	_, word := answer(err)
	return gcerrors.Code(err) == gcerrors.FailedPrecondition || word == "ConditionalRequestConflict"
}

// unknown reports whether the service does not know conditional writes.
func unknown(err error) bool {
	if err == nil {
		return false
	}
	status, word := answer(err)
	return status == http.StatusNotImplemented || word == "NotImplemented" || gcerrors.Code(err) == gcerrors.Unimplemented
}

// putLarge sends bytes as they come.
func (s *Store) putLarge(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error {
	a, err := s.bucket.Attributes(ctx, s.key(d))
	missing := gcerrors.Code(err) == gcerrors.NotFound
	switch {
	case err == nil && !s.isDamaged(d) && (size < 0 || size == a.Size):
		if s.options.Now().Sub(a.ModTime) >= touchAfter {
			s.touch(ctx, d)
		}
		return nil
	case err != nil && !missing:
		return s.explain(ctx, d, err)
	}
	conditional := missing && !s.plain.Load()
	err = s.stream(ctx, d, size, r, conditional)
	switch {
	case conditional && taken(err): // somebody else was faster
		have, statErr := s.Stat(ctx, d)
		switch {
		case statErr == nil && (size < 0 || have == size):
			return nil
		case cloudcrowd.CodeOf(statErr) == cloudcrowd.NotFound && gcerrors.Code(err) == gcerrors.FailedPrecondition:
			return nil // it was there, and was deleted since
		case statErr != nil && cloudcrowd.CodeOf(statErr) != cloudcrowd.NotFound:
			return statErr
		}
		return err
	case conditional && unknown(err): // r is spent: the next try will know
		s.plain.Store(true)
		return err
	case err != nil:
		return err
	}
	s.mark(d, false)
	return nil
}

// stream is the upload of a large blob. The object appears when the reader says that it has ended, which it does only after the bytes matched.
func (s *Store) stream(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader, conditional bool) error {
	// The caller's end ends the reader alone, so that what was begun can still be aborted.
	sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	v := &verifying{r: r, sum: sums.New()}
	if !s.aborts {
		v.failed = cancel // or the driver would take an error for the end
	}
	var have sums.Sums
	v.ended = func() error {
		if err := blob.CheckSize(size, v.sum.Size()); err != nil {
			return err
		}
		var digest cloudcrowd.Digest
		if digest, have = v.sum.Finish(); digest != d {
			return blob.Mismatch(d, digest)
		}
		if err := s.writeSums(ctx, d, have); err != nil { // they come first: whoever sees the blob finds them
			return s.explain(ctx, "", err)
		}
		return nil
	}
	err := s.bucket.Upload(sending, s.key(d), v, &gcblob.WriterOptions{ContentType: contentType, IfNotExist: conditional, MaxConcurrency: partsAtOnce,
		BufferSize: int(max(partBytes, size/maxParts+1))})
	if v.err != nil {
		return v.err
	}
	if err != nil {
		s.dropSums(context.WithoutCancel(ctx), d)
		return s.explain(ctx, "", err)
	}
	s.known.put(d, have)
	return nil
}

// verifying is a reader that says io.EOF only if ended finds nothing wrong with all that was read.
type verifying struct {
	r      io.Reader
	sum    *sums.Summer
	ended  func() error
	failed func() // called once before an error is answered; may be nil
	err    error  // what was answered, other than io.EOF
	done   bool
}

func (v *verifying) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	if v.done {
		return 0, io.EOF
	}
	n, err := v.r.Read(p)
	_, _ = v.sum.Write(p[:n])
	if errors.Is(err, io.EOF) {
		v.done = true
		if v.err = v.ended(); v.err == nil {
			return n, io.EOF
		}
	} else {
		v.err = err
	}
	if v.err != nil && v.failed != nil {
		v.failed()
	}
	return n, v.err
}

// dropSums removes the sums of a blob that did not come to be. Where it is there after all, readers make them anew.
func (s *Store) dropSums(ctx context.Context, d cloudcrowd.Digest) {
	if _, err := s.bucket.Attributes(ctx, s.key(d)); gcerrors.Code(err) == gcerrors.NotFound {
		_ = s.bucket.Delete(ctx, s.sumsKey(d))
	}
}

// writeSums puts a blob's sums beside it.
func (s *Store) writeSums(ctx context.Context, d cloudcrowd.Digest, v sums.Sums) error {
	if s.options.ReadOnly || v.SizeBytes <= sums.BlockBytes {
		return nil
	}
	return s.upload(ctx, s.sumsKey(d), v.Encode(d), false)
}

// touch makes a large blob that was stored again look new, by its sums, for whoever deletes old ones nobody needs.
func (s *Store) touch(ctx context.Context, d cloudcrowd.Digest) {
	if v, err := s.sumsOf(ctx, d); err == nil {
		_ = s.writeSums(ctx, d, v)
	}
}

// Create implements blob.Store. The bytes stay on this machine until their digest is known.
func (s *Store) Create(ctx context.Context) (blob.Writer, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := s.writable(); err != nil {
		return nil, err
	}
	return &writer{s: s, ctx: ctx, sum: sums.New()}, nil
}

// writer keeps a blob of unknown digest, first in memory, then in a file.
type writer struct {
	s      *Store
	ctx    context.Context // of the whole blob; Commit sends under it
	memory bytes.Buffer
	file   *os.File
	sum    *sums.Summer
	ended  bool
	broken error
}

func (w *writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, os.ErrClosed
	}
	if w.broken != nil {
		return 0, w.broken
	}
	_, _ = w.sum.Write(p)
	if w.file == nil && w.memory.Len()+len(p) <= memorySpool {
		return w.memory.Write(p)
	}
	if err := w.spill(p); err != nil {
		w.broken = spoolError(err)
		return 0, w.broken
	}
	return len(p), nil
}

func (w *writer) spill(p []byte) (err error) {
	if w.file == nil {
		if w.file, err = os.CreateTemp(w.s.options.Spool, "cloudcrowd-blob-*"); err != nil {
			return err
		}
		if _, err := w.file.Write(w.memory.Bytes()); err != nil {
			return err
		}
		w.memory = bytes.Buffer{}
	}
	_, err = w.file.Write(p)
	return err
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
	size := w.sum.Size()
	d, _ := w.sum.Finish()
	for {
		r := io.Reader(bytes.NewReader(w.memory.Bytes()))
		if w.file != nil {
			r = io.NewSectionReader(w.file, 0, size)
		}
		known := w.s.plain.Load()
		err := w.s.Put(w.ctx, d, size, r) // compares the digest again, also with what the disk gives back
		if err != nil && !known && w.s.plain.Load() {
			continue // the service has just said that it does not know conditional writes
		}
		return d, err
	}
}

func (w *writer) Abort() {
	if w.ended {
		return
	}
	w.ended = true
	if w.file != nil {
		_ = w.file.Close()
		_ = os.Remove(w.file.Name()) // or the next start does
	}
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
