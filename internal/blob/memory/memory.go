// Package memory keeps blobs in memory, for simulations and tests.
package memory

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

// Options tune a store. The zero value is right.
type Options struct {
	Now func() time.Time // the clock of Info.ModTime; nil means time.Now
	// Fail is asked before every call, with the method's name and the digest ("" if none); an error is the call's answer. Nil injects nothing.
	Fail func(method string, d cloudcrowd.Digest) error
}

// Store is a blob store in memory. Its methods are safe for concurrent use.
type Store struct {
	options Options
	mu      sync.RWMutex
	blobs   map[cloudcrowd.Digest]entry
}

type entry struct {
	bytes []byte // never changed
	at    cloudcrowd.Time
}

var _ blob.Store = (*Store)(nil)

// New returns an empty store.
func New(o Options) *Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Store{options: o, blobs: map[cloudcrowd.Digest]entry{}}
}

func (s *Store) begin(ctx context.Context, method string, d cloudcrowd.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if method != "Create" && method != "List" {
		if err := blob.CheckDigest(d); err != nil {
			return err
		}
	}
	if s.options.Fail != nil {
		return s.options.Fail(method, d)
	}
	return nil
}

func (s *Store) find(d cloudcrowd.Digest) (entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e, ok := s.blobs[d]
	if !ok {
		return e, blob.NotFound(d)
	}
	return e, nil
}

func (s *Store) keep(d cloudcrowd.Digest, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blobs[d] = entry{b, cloudcrowd.TimeOf(s.options.Now())}
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error {
	if err := s.begin(ctx, "Put", d); err != nil {
		return err
	}
	if e, err := s.find(d); err == nil && (size < 0 || size == int64(len(e.bytes))) {
		s.keep(d, e.bytes)
		return nil
	}
	limited := r
	if size >= 0 {
		limited = io.LimitReader(r, size+1)
	}
	b, err := io.ReadAll(cancellable{ctx, limited})
	if err != nil {
		return err
	}
	if err := blob.CheckSize(size, int64(len(b))); err != nil {
		return err
	}
	if have := blob.DigestOf(b); have != d {
		return blob.Mismatch(d, have)
	}
	s.keep(d, b)
	return nil
}

// cancellable ends reading with its context.
type cancellable struct {
	ctx context.Context
	r   io.Reader
}

func (c cancellable) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context) (blob.Writer, error) {
	return &writer{s: s}, s.begin(ctx, "Create", "")
}

type writer struct {
	s     *Store
	b     bytes.Buffer
	ended bool
}

func (w *writer) Write(p []byte) (int, error) {
	if w.ended {
		return 0, io.ErrClosedPipe
	}
	return w.b.Write(p)
}

func (w *writer) Size() int64 { return int64(w.b.Len()) }

func (w *writer) Commit() (cloudcrowd.Digest, error) {
	if w.ended {
		return "", io.ErrClosedPipe
	}
	w.ended = true
	d := blob.DigestOf(w.b.Bytes())
	w.s.keep(d, w.b.Bytes())
	return d, nil
}

func (w *writer) Abort() { w.ended = true }

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, d cloudcrowd.Digest, off, length int64) (io.ReadCloser, error) {
	if err := s.begin(ctx, "Open", d); err != nil {
		return nil, err
	}
	e, err := s.find(d)
	if err != nil {
		return nil, err
	}
	end, err := blob.Span(int64(len(e.bytes)), off, length)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(e.bytes[off:end])), nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, d cloudcrowd.Digest) (int64, error) {
	if err := s.begin(ctx, "Stat", d); err != nil {
		return 0, err
	}
	e, err := s.find(d)
	return int64(len(e.bytes)), err
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, fn func(blob.Info) error) error {
	if err := s.begin(ctx, "List", ""); err != nil {
		return err
	}
	s.mu.RLock()
	all := maps.Clone(s.blobs)
	s.mu.RUnlock()
	for _, d := range slices.Sorted(maps.Keys(all)) {
		if err := fn(blob.Info{Digest: d, SizeBytes: int64(len(all[d].bytes)), ModTime: all[d].at}); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, d cloudcrowd.Digest) error {
	if err := s.begin(ctx, "Delete", d); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.blobs[d]; !ok {
		return blob.NotFound(d)
	}
	delete(s.blobs, d)
	return nil
}

// Verify implements blob.Store.
func (s *Store) Verify(ctx context.Context, d cloudcrowd.Digest) error {
	if err := s.begin(ctx, "Verify", d); err != nil {
		return err
	}
	_, err := s.find(d)
	return err
}
