package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"time"

	gcblob "gocloud.dev/blob"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// A body that breaks off is asked for again from there, so often without a byte in between.
const (
	bodyTries  = 4
	firstPause = 50 * time.Millisecond
)

// mostSums is more than the sums of any blob take: they would be those of 4 TiB.
const mostSums = 256 << 20

// Open implements blob.Store.
func (s *Store) Open(ctx context.Context, d cloudcrowd.Digest, off, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, d); err != nil {
		return nil, err
	}
	v, large := s.known.get(d)
	if !large {
		b, size, err := s.small(ctx, d)
		if err != nil {
			return nil, err
		}
		if size <= sums.BlockBytes {
			end, err := blob.Span(size, off, length)
			if err != nil {
				return nil, err
			}
			return io.NopCloser(bytes.NewReader(b[off:end])), nil
		}
		if v, err = s.sumsOf(ctx, d); err != nil {
			return nil, err
		}
		if v.SizeBytes != size {
			return nil, s.corrupt(d, "its object has %d bytes instead of %d", size, v.SizeBytes)
		}
	}
	end, err := blob.Span(v.SizeBytes, off, length)
	if err != nil {
		return nil, err
	}
	r := &reader{s: s, ctx: ctx, d: d, sums: v, off: off, end: end}
	if off == 0 && end == v.SizeBytes {
		r.sha = sha256.New()
	}
	if end > off { // a missing blob is noticed here
		if err := r.load(); err != nil {
			_ = r.Close() // nothing is open that could fail
			return nil, err
		}
	}
	return r, nil
}

// small returns the size of a blob and, if it is a single block, its bytes, compared with the digest.
func (s *Store) small(ctx context.Context, d cloudcrowd.Digest) (b []byte, size int64, err error) {
	for try := 0; ; try++ {
		if b, size, err = s.head(ctx, d); err != nil {
			return nil, 0, err
		}
		if size > sums.BlockBytes || blob.DigestOf(b) == d {
			return b, size, nil
		}
		if try > 0 { // once more, in case it happened on the way
			return nil, 0, s.corrupt(d, "its bytes have the digest %s", blob.DigestOf(b))
		}
	}
}

// head reads the beginning of a blob, as much as a small one has, and its size.
func (s *Store) head(ctx context.Context, d cloudcrowd.Digest) (b []byte, size int64, err error) {
	for try, pause := 1, firstPause; ; try, pause = try+1, 2*pause {
		r, err := s.bucket.NewRangeReader(ctx, s.key(d), 0, sums.BlockBytes, nil)
		if status, _ := answer(err); status == http.StatusRequestedRangeNotSatisfiable { // it is empty
			return nil, 0, nil
		}
		if err != nil {
			return nil, 0, s.explain(ctx, d, err)
		}
		size = r.Size()
		if size <= sums.BlockBytes {
			b = make([]byte, size)
			_, err = io.ReadFull(r, b)
		}
		_ = r.Close() // was only read
		if err == nil {
			return b, size, nil
		}
		if try == bodyTries || !wait(ctx, pause) {
			return nil, 0, s.brokenOff(ctx, d, err)
		}
	}
}

// brokenOff explains an answer whose body ended early.
func (s *Store) brokenOff(ctx context.Context, d cloudcrowd.Digest, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the bucket " + s.name + " sends blob " + d.Short() + " again and again only in part",
			Hint: "check the network between server and bucket; it is tried again by itself", Err: err}
	}
	return s.explain(ctx, d, err)
}

func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// sumsOf returns the sums of a large blob: from memory, from beside it, or from the blob itself if that matches its digest.
func (s *Store) sumsOf(ctx context.Context, d cloudcrowd.Digest) (sums.Sums, error) {
	if v, ok := s.known.get(d); ok {
		return v, nil
	}
	b, err := s.storedSums(ctx, d)
	if err != nil {
		return sums.Sums{}, err
	}
	v, err := sums.Decode(d, b)
	if err != nil {
		if v, err = s.verify(ctx, d); err != nil {
			return v, err
		}
		_ = s.writeSums(ctx, d, v) // without them the next reader reads it all again
	}
	s.known.put(d, v)
	return v, nil
}

// storedSums reads what lies beside a blob, nil if nothing does.
func (s *Store) storedSums(ctx context.Context, d cloudcrowd.Digest) ([]byte, error) {
	r := &body{s: s, ctx: ctx, d: d, key: s.sumsKey(d), end: -1}
	defer r.close()
	b, err := io.ReadAll(io.LimitReader(r, mostSums))
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
		return nil, nil
	}
	return b, err
}

// verify reads a blob whole and compares it with its digest.
func (s *Store) verify(ctx context.Context, d cloudcrowd.Digest) (sums.Sums, error) {
	for try := 0; ; try++ {
		m := sums.New()
		body := &body{s: s, ctx: ctx, d: d, key: s.key(d), end: -1}
		_, err := io.CopyBuffer(m, onlyReader{body}, make([]byte, 256<<10))
		body.close()
		if err != nil {
			return sums.Sums{}, err
		}
		have, v := m.Finish()
		if have == d {
			return v, nil
		}
		if try > 0 { // once more, in case it happened on the way
			return v, s.corrupt(d, "its bytes have the digest %s", have)
		}
	}
}

type onlyReader struct{ io.Reader }

// Verify implements blob.Store. Damaged sums are made anew.
func (s *Store) Verify(ctx context.Context, d cloudcrowd.Digest) error {
	if err := begin(ctx, d); err != nil {
		return err
	}
	v, err := s.verify(ctx, d)
	if err != nil || v.SizeBytes <= sums.BlockBytes || s.options.ReadOnly {
		return err
	}
	b, err := s.storedSums(ctx, d)
	if err != nil || bytes.Equal(b, v.Encode(d)) {
		return err
	}
	s.known.drop(d)
	if err := s.writeSums(ctx, d, v); err != nil {
		return s.explain(ctx, "", err)
	}
	return nil
}

// body is a span of an object as a stream that goes on where it broke off.
type body struct {
	s       *Store
	ctx     context.Context
	d       cloudcrowd.Digest
	key     string
	at, end int64 // end -1: to its end
	size    int64 // of the object; known once something was asked for
	r       *gcblob.Reader
	tries   int // without a byte
}

func (b *body) open() (err error) {
	length := int64(-1)
	if b.end >= 0 {
		length = b.end - b.at
	}
	if b.r, err = b.s.bucket.NewRangeReader(b.ctx, b.key, b.at, length, nil); err != nil {
		return err
	}
	b.size = b.r.Size()
	if b.end < 0 {
		b.end = b.size
	}
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	for pause := firstPause; ; pause *= 2 {
		if b.end >= 0 && b.at >= b.end {
			return 0, io.EOF
		}
		if b.r == nil {
			err := b.open()
			if status, _ := answer(err); status == http.StatusRequestedRangeNotSatisfiable {
				return 0, io.EOF // the object ends before; who asked knows where it should
			}
			if err != nil { // the driver has tried again itself
				return 0, b.s.explain(b.ctx, b.d, err)
			}
			continue
		}
		n, err := b.r.Read(p)
		b.at += int64(n)
		if n > 0 {
			b.tries = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, io.EOF) && b.at >= min(b.end, b.size) {
			return 0, io.EOF
		}
		b.close()
		if b.tries++; b.tries == bodyTries || !wait(b.ctx, pause) {
			return 0, b.s.brokenOff(b.ctx, b.d, err)
		}
	}
}

func (b *body) close() {
	if b.r != nil {
		_ = b.r.Close() // was only read
		b.r = nil
	}
}

// reader gives out verified blocks. One that reads all keeps the last block back until all of it matched the digest.
type reader struct {
	s        *Store
	ctx      context.Context
	d        cloudcrowd.Digest
	sums     sums.Sums
	off, end int64
	body     *body // stands at the block of off; nil: to be opened
	sha      hash.Hash
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
		r.buffer = make([]byte, min(sums.BlockBytes, r.sums.SizeBytes))
	}
	number := r.off / sums.BlockBytes
	start := number * sums.BlockBytes
	b := r.buffer[:min(sums.BlockBytes, r.sums.SizeBytes-start)]
	for try := 0; ; try++ {
		if r.body == nil {
			upTo := min((r.end+sums.BlockBytes-1)/sums.BlockBytes*sums.BlockBytes, r.sums.SizeBytes)
			r.body = &body{s: r.s, ctx: r.ctx, d: r.d, key: r.s.key(r.d), at: start, end: upTo}
		}
		_, err := io.ReadFull(r.body, b)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return r.s.corrupt(r.d, "its object ends before byte %d", start+int64(len(b)))
		}
		if err != nil {
			return err
		}
		if r.body.size != r.sums.SizeBytes {
			return r.s.corrupt(r.d, "its object has %d bytes instead of %d", r.body.size, r.sums.SizeBytes)
		}
		if sums.Of(b) == r.sums.Blocks[number] {
			break
		}
		r.body.close()
		r.body = nil
		if try > 0 { // once more, in case it happened on the way
			return r.s.corrupt(r.d, "bytes %d to %d do not match their checksum", start, start+int64(len(b)))
		}
	}
	if r.sha != nil {
		r.sha.Write(b)
		if start+int64(len(b)) == r.sums.SizeBytes {
			if have := hex.EncodeToString(r.sha.Sum(nil)); have != string(r.d) {
				return r.s.corrupt(r.d, "its bytes have the digest %s", have)
			}
		}
	}
	r.block = b[r.off-start : min(int64(len(b)), r.end-start)]
	r.off = start + int64(len(b))
	return nil
}

func (r *reader) Close() error {
	r.block, r.err = nil, os.ErrClosed
	if r.body != nil {
		r.body.close()
		r.body = nil
	}
	return nil
}
