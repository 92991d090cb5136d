// Package blob is the contract of blob storage: bytes named by their SHA-256 digest, written once, never changed. blobtest is its suite; memory
// and file implement it.
//
// A blob becomes visible whole and durable or not at all: when Put or Commit returns, it survives the death of the process and of the machine.
// Readers never get bytes other than those that were stored. Calls may run concurrently, also on the same digest.
package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"cloudcrowd.dev/cloudcrowd"
)

// Store holds blobs. When the disk is full or gone, writes return an Error with code Unavailable and leave nothing behind.
type Store interface {
	// Put stores the bytes of r under their digest d. size is their number, negative if unknown. Bytes of another digest answer code
	// DigestMismatch, more bytes than size code TooLarge, fewer code DigestMismatch, an error of r that error; nothing is stored then. A blob
	// that is there already is not written again; r is read only as far as that takes.
	Put(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error
	// Create begins a blob whose digest is not known yet.
	Create(ctx context.Context) (Writer, error)
	// Open returns a reader of length bytes from off; a negative length reads to the end. A span outside the blob answers code Invalid, a missing
	// blob NotFound. Every byte the reader gives was verified; where the stored bytes are damaged it answers *CorruptError instead.
	Open(ctx context.Context, d cloudcrowd.Digest, off, length int64) (io.ReadCloser, error)
	// Stat returns the size in bytes; code NotFound.
	Stat(ctx context.Context, d cloudcrowd.Digest) (size int64, err error)
	// List calls fn for every blob, in the order of their digests, until fn returns an error. Blobs stored or deleted meanwhile may be missing.
	List(ctx context.Context, fn func(Info) error) error
	// Delete removes a blob; code NotFound. Readers that have it open may finish or fail.
	Delete(ctx context.Context, d cloudcrowd.Digest) error
	// Verify reads a blob whole and compares it with its digest: nil, code NotFound or *CorruptError.
	Verify(ctx context.Context, d cloudcrowd.Digest) error
}

// Info is one blob of a list.
type Info struct {
	Digest    cloudcrowd.Digest
	SizeBytes int64
	ModTime   cloudcrowd.Time // when it was stored, or last stored again
}

// Writer receives a blob's bytes. It is used by one goroutine and ends with Commit or Abort; Abort after either does nothing.
type Writer interface {
	io.Writer
	// Size is the number of bytes written so far.
	Size() int64
	// Commit makes the blob durable and visible and returns its digest.
	Commit() (cloudcrowd.Digest, error)
	// Abort drops what was written.
	Abort()
}

// CorruptError names a blob whose stored bytes do not match its digest or checksums.
type CorruptError struct {
	Digest cloudcrowd.Digest
	Err    error // what does not match
}

func (e *CorruptError) Error() string { return fmt.Sprintf("blob %s is damaged: %v", e.Digest, e.Err) }

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// DigestOf returns the digest of b.
func DigestOf(b []byte) cloudcrowd.Digest {
	sum := sha256.Sum256(b)
	return cloudcrowd.Digest(hex.EncodeToString(sum[:]))
}

// PutBytes stores b and returns its digest.
func PutBytes(ctx context.Context, s Store, b []byte) (cloudcrowd.Digest, error) {
	d := DigestOf(b)
	return d, s.Put(ctx, d, int64(len(b)), bytes.NewReader(b))
}

// ReadAll returns a whole blob; one of more than max bytes answers code TooLarge.
func ReadAll(ctx context.Context, s Store, d cloudcrowd.Digest, max int64) ([]byte, error) {
	size, err := s.Stat(ctx, d)
	if err != nil {
		return nil, err
	}
	if size > max {
		return nil, cloudcrowd.Errorf(cloudcrowd.TooLarge, "blob %s has %s, at most %s are allowed here", d.Short(), cloudcrowd.Bytes(size), cloudcrowd.Bytes(max))
	}
	r, err := s.Open(ctx, d, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	return b, nil
}
