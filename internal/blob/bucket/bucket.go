// Package bucket keeps blobs as objects in a bucket: Amazon S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage, and memory for tests.
//
//	PREFIX/DIGEST      the bytes of the blob, nothing else
//	PREFIX/DIGEST.sum  CRC-32C of each of its 64 KiB blocks, if it has more than one
//
// Bytes are compared with their digest while they are sent; an upload is completed, which makes the object appear whole and durable, only after they
// matched, so that there is no temporary object to copy. Several servers may use a bucket at once, and several installations with different prefixes.
package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	gcblob "gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// Options tune a store. The zero value is right.
type Options struct {
	Spool     string            // folder for blobs whose digest is not known yet; it is emptied at start; "": among the temporary files
	ReadOnly  bool              // write and delete nothing: Put, Create and Delete answer code Forbidden
	Transport http.RoundTripper // how S3 is reached; nil: the network
	Now       func() time.Time  // nil means time.Now
}

const (
	// touchAfter is the age from which a blob that is stored again is made to look new.
	touchAfter = time.Hour
	// reachTimeout bounds the look at the bucket when the store is opened.
	reachTimeout = 30 * time.Second
)

// Store is a blob store in a bucket. Its methods are safe for concurrent use.
type Store struct {
	options Options
	bucket  *gcblob.Bucket
	host    string // the bucket alone
	name    string // for messages: "s3://bucket/blobs/"
	prefix  string
	aborts  bool        // the driver drops an upload whose reader fails, parts already sent included
	known   recent      // sums of blobs that were read lately
	plain   atomic.Bool // the service does not know conditional writes
	unsigns atomic.Bool // the credentials cannot sign addresses

	mu      sync.Mutex
	damaged map[cloudcrowd.Digest]bool // seen damaged by a reader; the next Put writes it anew
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Signer = (*Store)(nil)
)

// Open opens the store at an address (see the package's documentation of addresses at parse), checks that the bucket is there and may be listed, and
// removes what interrupted uploads left. Errors: code Invalid for a wrong address, Unavailable if the bucket cannot be used.
func Open(ctx context.Context, address string, o Options) (*Store, error) {
	a, err := parse(address)
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	b, err := a.open(ctx, o)
	if err != nil {
		return nil, err
	}
	s := &Store{options: o, bucket: b, host: a.url.Host, name: a.name(), prefix: a.prefix, damaged: map[cloudcrowd.Digest]bool{}}
	var client *s3.Client
	s.aborts = b.As(&client)
	limited, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	if _, err := b.List(&gcblob.ListOptions{Prefix: s.prefix}).Next(limited); err != nil && !errors.Is(err, io.EOF) {
		_ = b.Close()
		return nil, s.explain(ctx, "", err)
	}
	if !o.ReadOnly {
		if err := emptySpool(o.Spool); err != nil {
			_ = b.Close()
			return nil, spoolError(err)
		}
		s.abortLeftovers(limited)
	}
	return s, nil
}

// Close frees the connections.
func (s *Store) Close() error { return s.bucket.Close() }

// String names the bucket and the prefix.
func (s *Store) String() string { return s.name }

// key is the name of a valid digest's object.
func (s *Store) key(d cloudcrowd.Digest) string { return s.prefix + string(d) }

func (s *Store) sumsKey(d cloudcrowd.Digest) string { return s.prefix + string(d) + sums.Suffix }

func begin(ctx context.Context, d cloudcrowd.Digest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return blob.CheckDigest(d)
}

func (s *Store) writable() error {
	if s.options.ReadOnly {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "the blobs were opened for reading only")
	}
	return nil
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, d cloudcrowd.Digest) (int64, error) {
	if err := begin(ctx, d); err != nil {
		return 0, err
	}
	a, err := s.bucket.Attributes(ctx, s.key(d))
	if err != nil {
		return 0, s.explain(ctx, d, err)
	}
	return a.Size, nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, fn func(blob.Info) error) error {
	var last *blob.Info
	flush := func() error {
		if last == nil {
			return nil
		}
		i := *last
		last = nil
		return fn(i)
	}
	for list := s.bucket.List(&gcblob.ListOptions{Prefix: s.prefix}); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		o, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return s.explain(ctx, "", err)
		}
		name := o.Key[len(s.prefix):]
		if last != nil && name == string(last.Digest)+sums.Suffix { // written again when the blob is stored again
			last.ModTime = max(last.ModTime, cloudcrowd.TimeOf(o.ModTime))
			continue
		}
		if d := cloudcrowd.Digest(name); d.Valid() {
			if err := flush(); err != nil {
				return err
			}
			last = &blob.Info{Digest: d, SizeBytes: o.Size, ModTime: cloudcrowd.TimeOf(o.ModTime)}
		}
	}
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, d cloudcrowd.Digest) error {
	if err := begin(ctx, d); err != nil {
		return err
	}
	if err := s.writable(); err != nil {
		return err
	}
	if err := s.bucket.Delete(ctx, s.key(d)); err != nil {
		return s.explain(ctx, d, err)
	}
	s.mark(d, false)
	s.known.drop(d)
	if err := s.bucket.Delete(ctx, s.sumsKey(d)); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return s.explain(ctx, d, err)
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

func (s *Store) isDamaged(d cloudcrowd.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.damaged[d]
}

// corrupt marks a blob as damaged and answers so.
func (s *Store) corrupt(d cloudcrowd.Digest, format string, args ...any) error {
	s.mark(d, true)
	s.known.drop(d)
	return &blob.CorruptError{Digest: d, Err: fmt.Errorf(format, args...)}
}

func spoolError(err error) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "a blob cannot be kept on this machine until it is sent to the bucket",
		Hint: "check that the disk with the data folder is not full and that this user may write there", Err: err}
}

// emptySpool makes the folder and removes what an earlier process left.
func emptySpool(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o700)
}
