package file

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, d cloudcrowd.Digest, off, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(d))
	if err != nil {
		return nil, s.explain(d, err)
	}
	r, err := s.reader(d, f, off, length)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return r, nil
}

// reader takes over f unless it answers an error.
func (s *Store) reader(d cloudcrowd.Digest, f *os.File, off, length int64) (io.ReadCloser, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, s.explain(d, err)
	}
	if info.Size() <= blockSize {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, blockSize+1))
		if err != nil {
			return nil, s.unreadable(d, err)
		}
		if have := blob.DigestOf(b); have != d {
			return nil, s.corrupt(d, "its bytes have the digest %s", have)
		}
		end, err := blob.Span(int64(len(b)), off, length)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		return io.NopCloser(bytes.NewReader(b[off:end])), nil
	}
	v, err := s.sumsOf(d, f)
	if err != nil {
		return nil, err
	}
	if v.SizeBytes != info.Size() {
		return nil, s.corrupt(d, "its file has %d bytes instead of %d", info.Size(), v.SizeBytes)
	}
	end, err := blob.Span(v.SizeBytes, off, length)
	if err != nil {
		return nil, err
	}
	return &reader{s: s, d: d, f: f, sums: v, off: off, end: end}, nil
}

// unreadable tells bytes the disk cannot give back from other failures.
func (s *Store) unreadable(d cloudcrowd.Digest, err error) error {
	if ioFailed(err) {
		return s.corrupt(d, "its file cannot be read: %w", err)
	}
	return s.explain(d, err)
}

// reader gives out verified blocks.
type reader struct {
	s        *Store
	d        cloudcrowd.Digest
	f        *os.File
	sums     sums.Sums
	off, end int64
	block    []byte // verified and not given out yet
	buffer   []byte
	err      error // what ended the reading
}

func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.block) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.off >= r.end {
			return 0, io.EOF
		}
		if r.err = r.load(); r.err != nil {
			return 0, r.err
		}
	}
	n := copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

// load reads and verifies the block r.off lies in and keeps the part of it that is wanted.
func (r *reader) load() error {
	if r.buffer == nil {
		r.buffer = make([]byte, blockSize)
	}
	number := r.off / blockSize
	start := number * blockSize
	b := r.buffer[:min(blockSize, r.sums.SizeBytes-start)]
	if _, err := r.f.ReadAt(b, start); err != nil {
		if errors.Is(err, io.EOF) {
			return r.s.corrupt(r.d, "its file ends before byte %d", start+int64(len(b)))
		}
		return r.s.unreadable(r.d, err)
	}
	if sums.Of(b) != r.sums.Blocks[number] {
		return r.s.corrupt(r.d, "bytes %d to %d do not match their checksum", start, start+int64(len(b)))
	}
	r.block = b[r.off-start : min(int64(len(b)), r.end-start)]
	r.off = start + int64(len(b))
	return nil
}

func (r *reader) Close() error {
	r.block, r.err = nil, os.ErrClosed
	return r.f.Close()
}

// Verify implements blob.Store. Damaged sums are made anew.
func (s *Store) Verify(ctx context.Context, d cloudcrowd.Digest) error {
	if err := begin(ctx, d); err != nil {
		return err
	}
	f, err := os.Open(s.path(d))
	if err != nil {
		return s.explain(d, err)
	}
	defer f.Close()
	m := sums.New()
	if _, err := io.CopyBuffer(m, &cancellable{ctx, f}, make([]byte, 256<<10)); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.unreadable(d, err)
	}
	have, v := m.Finish()
	if have != d {
		return s.corrupt(d, "its bytes have the digest %s", have)
	}
	if v.SizeBytes <= blockSize {
		return nil
	}
	if b, err := os.ReadFile(s.path(d) + sums.Suffix); err == nil && bytes.Equal(b, v.Encode(d)) {
		return nil
	}
	if err := s.writeSums(d, v); err != nil {
		return s.explain(d, err)
	}
	return nil
}
