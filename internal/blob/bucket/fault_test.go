package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/blobtest"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

func wantCorrupt(t testing.TB, err error, d cloudcrowd.Digest) {
	t.Helper()
	if e, ok := errors.AsType[*blob.CorruptError](err); !ok || e.Digest != d {
		t.Errorf("%v, want that blob %s is damaged", err, d.Short())
	}
}

// A bit that flips in the bucket is named, never given out: bytes before its block are right, ranges elsewhere still read, and storing the blob again
// repairs it.
func TestDamage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	for _, n := range []int{1, 5000, sums.BlockBytes, 4*sums.BlockBytes + 9} {
		b := blobtest.Bytes(n, 1)
		d := put(t, s, b)
		for _, at := range []int{0, n / 2, n - 1} {
			bad := slices.Clone(b)
			bad[at] ^= 4
			r.replace(s.key(d), bad)
			for _, s := range []*Store{s, r.open(Options{})} {
				have, err := read(t.Context(), s, d, 0, -1)
				wantCorrupt(t, err, d)
				if !bytes.HasPrefix(b, have) || len(have) > at {
					t.Errorf("%d bytes, damaged at %d: %d were given out", n, at, len(have))
				}
				wantCorrupt(t, s.Verify(t.Context(), d), d)
				if block := at / sums.BlockBytes * sums.BlockBytes; n > sums.BlockBytes && block > 0 {
					if have, err := read(t.Context(), s, d, 0, int64(block)); err != nil || !bytes.Equal(have, b[:block]) {
						t.Errorf("the range before: %d bytes, %v", len(have), err)
					}
				}
			}
			put(t, s, b)
			if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) {
				t.Errorf("after it was stored again: %d bytes, %v", len(have), err)
			}
		}
	}
}

// An object that was cut or grew is named, also by readers that know its sums.
func TestTruncated(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	b := blobtest.Bytes(3*sums.BlockBytes, 2)
	d := put(t, s, b)
	for _, n := range []int{0, 10, sums.BlockBytes, 3*sums.BlockBytes - 1, 3*sums.BlockBytes + 1} {
		changed := append(slices.Clone(b), 0)[:n]
		r.replace(s.key(d), changed)
		for name, s := range map[string]*Store{"known": s, "new": r.open(Options{})} {
			_, err := read(t.Context(), s, d, 0, -1)
			if t.Run(fmt.Sprint(name, n), func(t *testing.T) { wantCorrupt(t, err, d) }); n < len(b) {
				_, err = read(t.Context(), s, d, 2*sums.BlockBytes, 100)
				wantCorrupt(t, err, d)
			}
			wantCorrupt(t, s.Verify(t.Context(), d), d)
		}
		put(t, s, b)
		if err := s.Verify(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
}

// Sums that are lost or damaged are made anew from a blob that matches its digest, and never excuse one that does not.
func TestSums(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	owner := r.open(Options{})
	b := blobtest.Bytes(200_000, 3)
	d := put(t, owner, b)
	good := r.stored(owner.sumsKey(d))
	bad := slices.Clone(b)
	bad[150_000] ^= 1
	m := sums.New()
	_, _ = m.Write(bad)
	_, lying := m.Finish()
	for name, change := range map[string]func(){
		"lost":    func() { _ = owner.bucket.Delete(t.Context(), owner.sumsKey(d)) },
		"cut":     func() { r.replace(owner.sumsKey(d), good[:40]) },
		"empty":   func() { r.replace(owner.sumsKey(d), nil) },
		"garbage": func() { r.replace(owner.sumsKey(d), bytes.Repeat([]byte{7}, len(good))) },
	} {
		change()
		if have, err := read(t.Context(), r.open(Options{}), d, 100_000, 10); err != nil || !bytes.Equal(have, b[100_000:100_010]) {
			t.Errorf("sums %s: %d bytes, %v", name, len(have), err)
		}
		if !bytes.Equal(r.stored(owner.sumsKey(d)), good) {
			t.Errorf("sums %s: they were not made anew", name)
		}
		change()
		r.replace(owner.key(d), bad)
		_, err := read(t.Context(), r.open(Options{}), d, 0, 10)
		wantCorrupt(t, err, d)
		r.replace(owner.key(d), b)
		if err := r.open(Options{}).Verify(t.Context(), d); err != nil || !bytes.Equal(r.stored(owner.sumsKey(d)), good) {
			t.Errorf("sums %s: verify did not make them anew: %v", name, err)
		}
	}
	// Blob and sums changed together deceive the sums, but not who reads the whole.
	r.replace(owner.key(d), bad)
	r.replace(owner.sumsKey(d), lying.Encode(d))
	have, err := read(t.Context(), r.open(Options{}), d, 0, -1)
	wantCorrupt(t, err, d)
	if len(have) == len(bad) {
		t.Error("a whole damaged blob was given out")
	}
}

// chance injects a fault into a share of the requests and answers; what cannot be done is code unavailable and can be tried again, and at the end every
// acknowledged blob is there, whole and right.
func TestChaos(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	rng := rand.New(rand.NewPCG(7, 8))
	draws := make(chan int)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for {
			select {
			case draws <- rng.IntN(100):
			case <-ctx.Done():
				return
			}
		}
	}()
	var faults, cuts atomic.Int64
	r.inject(func(req *http.Request) (*http.Response, error) {
		switch n := <-draws; {
		case n < 5:
			faults.Add(1)
			return nil, syscall.ECONNRESET
		case n < 10:
			faults.Add(1)
			return status(req, http.StatusInternalServerError, "InternalError"), nil
		case n < 13:
			faults.Add(1)
			return status(req, http.StatusServiceUnavailable, "SlowDown"), nil
		}
		return nil, nil
	})
	alter := func(resp *http.Response) {
		if resp.StatusCode/100 != 2 || resp.Request.Method != http.MethodGet || resp.ContentLength < 2 {
			return
		}
		if <-draws < 20 {
			cuts.Add(1)
			resp.Body = &truncated{resp.Body, resp.ContentLength / 2}
		}
	}
	r.alter.Store(&alter)
	stored := map[cloudcrowd.Digest][]byte{}
	refusals := 0
	for i, n := range []int{0, 100, 5000, 70_000, 300_000, 70_001, 1 << 20, 101, 300_001, 9 << 20} {
		b := blobtest.Bytes(n, uint64(i))
		d := blob.DigestOf(b)
		for {
			err := s.Put(t.Context(), d, int64(n), bytes.NewReader(b))
			if err == nil {
				break
			}
			refusals++
			wantUnavailable(t, err)
		}
		stored[d] = b
	}
	for d, b := range stored {
		for range 4 {
			have, err := read(t.Context(), s, d, 0, -1)
			if err != nil {
				refusals++
				wantUnavailable(t, err)
			}
			if !bytes.HasPrefix(b, have) || err == nil && len(have) != len(b) {
				t.Errorf("%d wrong bytes of %d, %v", len(have), len(b), err)
			}
		}
	}
	r.inject(nil)
	r.alter.Store(nil)
	for d := range stored {
		if err := s.Verify(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d faults, %d answers cut, %d calls refused", faults.Load(), cuts.Load(), refusals)
	if faults.Load() == 0 || cuts.Load() == 0 {
		t.Error("nothing was injected")
	}
}

// truncated is a body that ends early, as on a connection that broke.
type truncated struct {
	io.ReadCloser
	left int64
}

func (b *truncated) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// A body that changes on the way is asked for once more instead of calling the blob damaged.
func TestChangedOnTheWay(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	for _, n := range []int{100, 200_000} {
		b := blobtest.Bytes(n, 4)
		d := put(t, s, b)
		var once atomic.Bool
		alter := func(resp *http.Response) {
			if resp.Request.Method == http.MethodGet && strings.HasSuffix(resp.Request.URL.Path, string(d)) && once.CompareAndSwap(false, true) {
				resp.Header.Del("x-amz-checksum-crc32") // the client would notice by itself
				all, _ := io.ReadAll(resp.Body)
				all[len(all)/2] ^= 1
				resp.Body = io.NopCloser(bytes.NewReader(all))
			}
		}
		r.alter.Store(&alter)
		if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) || !once.Load() {
			t.Errorf("%d bytes of %d, %v", len(have), n, err)
		}
		r.alter.Store(nil)
	}
}

// What is wrong with the bucket is said with what to do, and it never looks as if a blob were missing.
func TestExplained(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	b := blobtest.Bytes(100, 5)
	d := put(t, s, b)
	for _, tt := range []struct {
		code int
		word string
		says string
	}{
		{http.StatusForbidden, "AccessDenied", "denied"},
		{http.StatusForbidden, "InvalidAccessKeyId", "denied"},
		{http.StatusNotFound, "NoSuchBucket", "no bucket"},
		{http.StatusMovedPermanently, "PermanentRedirect", "another region"},
		{http.StatusBadRequest, "InvalidRequest", "refused"},
	} {
		r.inject(func(req *http.Request) (*http.Response, error) { return status(req, tt.code, tt.word), nil })
		_, err := s.Open(t.Context(), d, 0, -1)
		for _, err := range []error{err, s.Put(t.Context(), d, int64(len(b)), bytes.NewReader(b)), s.List(t.Context(), func(blob.Info) error { return nil })} {
			wantUnavailable(t, err)
			if err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%s: %v does not say %q", tt.word, err, tt.says)
			}
		}
	}
}

// A server does not start on a bucket that is not there, denies access or cannot be reached, or on an address that cannot be right; secrets have no
// place in one and are not repeated.
func TestOpenRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	for address, says := range map[string]string{
		strings.Replace(r.address(""), bucketName, "nothing-here", 1): "there is no bucket s3://nothing-here/",
		"s3://" + bucketName + "?endpoint=" + closed.URL:              "cannot be reached",
	} {
		_, err := Open(t.Context(), address, Options{})
		wantUnavailable(t, err)
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v does not say %q", address, err, says)
		}
	}
	for address, says := range map[string]string{
		"":                                   "no kind of bucket",
		"bucket":                             "no kind of bucket",
		"file:///tmp":                        "no kind of bucket",
		"s3://":                              "names no bucket",
		"s3://bucket/with/path?region=x":     "more than a bucket's name",
		"s3://bucket":                        "region",
		"s3://key:hunter2@bucket?region=x":   "no user or password",
		"s3://bucket?region=x&secret=a":      "does not belong",
		"azblob://box?sig=hunter2":           "does not belong",
		"azblob://box?wrong=1":               "unknown query parameter",
		"s3://bucket?region=x&wrong=1":       "unknown query parameter",
		"s3://bucket?use_path_style=perhaps": "true or false",
		"s3://hunter2:\x7f@bucket":           "cannot be read",
	} {
		_, err := Open(t.Context(), address, Options{})
		e, ok := errors.AsType[*cloudcrowd.Error](err)
		if !ok || e.Code != cloudcrowd.Invalid || e.Field != "blobs" || !strings.Contains(e.Error(), says) {
			t.Errorf("%q: %v, want code invalid that says %q", address, err, says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the secret was repeated: %v", address, err)
		}
	}
}
