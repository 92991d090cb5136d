package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/blobtest"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// A real S3 server over HTTP passes the suite of blob stores.
func TestS3(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store { return newRig(t).open(Options{}) })
}

// A service that refuses conditional writes passes it too: from the first refusal on, writes are plain.
func TestS3WithoutConditions(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.inject(func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("If-None-Match") != "" {
			return status(req, http.StatusNotImplemented, "NotImplemented"), nil
		}
		return nil, nil
	})
	s := r.open(Options{})
	for _, n := range blobtest.Sizes {
		b := blobtest.Bytes(n, 1)
		d := put(t, s, b)
		if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) {
			t.Errorf("%d bytes of %d, %v", len(have), n, err)
		}
	}
	// The first large blob cannot be sent again by the store; whoever sends it may.
	r2 := newRig(t)
	r2.fault.Store(r.fault.Load())
	s = r2.open(Options{})
	big := blobtest.Bytes(200_000, 2)
	if _, err := blob.PutBytes(t.Context(), s, big); err != nil {
		wantUnavailable(t, err)
		put(t, s, big)
	}
	// A merge is sent again by the store itself.
	r3 := newRig(t)
	r3.fault.Store(r.fault.Load())
	w, err := r3.open(Options{}).Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(big); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(); err != nil {
		t.Error(err)
	}
}

// The store over memory passes the suite.
func TestMemory(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store {
		s, err := Open(t.Context(), "mem://", Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

// A blob of many parts comes back; a range of it is read without fetching the whole; its sums are fetched once.
func TestLarge(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	b := blobtest.Bytes(40<<20+3, 1)
	d := blob.DigestOf(b)
	var parts atomic.Int64
	r.inject(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPut && req.URL.Query().Has("partNumber") {
			parts.Add(1)
		}
		return nil, nil
	})
	if err := s.Put(t.Context(), d, int64(len(b)), bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	r.inject(nil)
	if n := parts.Load(); n < 2 {
		t.Errorf("%d parts", n)
	}
	if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) {
		t.Fatalf("%d bytes, %v", len(have), err)
	}
	other := r.open(Options{})
	for i, at := range []int64{0, 20<<20 + 77, 40<<20 - 100} {
		r.received.Store(0)
		if have, err := read(t.Context(), other, d, at, 100); err != nil || !bytes.Equal(have, b[at:at+100]) {
			t.Fatalf("from %d: %d bytes, %v", at, len(have), err)
		}
		most := int64(sums.BlockBytes)
		if i == 0 { // the first time also its beginning, which says how long it is, and its sums
			most = 2*sums.BlockBytes + sums.EncodedBytes(int64(len(b)))
		}
		if have := r.received.Load(); have > most {
			t.Errorf("100 bytes from %d took %d bytes, at most %d are needed", at, have, most)
		}
	}
}

// uploads lists the uploads in parts that are under way.
func uploads(t testing.TB, s *Store) int {
	t.Helper()
	var client *s3.Client
	if !s.bucket.As(&client) {
		t.Fatal("no S3 client")
	}
	out, err := client.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: aws.String(bucketName)})
	if err != nil {
		t.Fatal(err)
	}
	return len(out.Uploads)
}

// keys lists everything in the bucket.
func keys(t testing.TB, s *Store) (all []string) {
	t.Helper()
	for list := s.bucket.List(nil); ; {
		o, err := list.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o.Key)
	}
}

// Bytes that turn out wrong after parts of them were sent leave nothing in the bucket: no object, no sums, no parts.
func TestRefusedInParts(t *testing.T) {
	t.Parallel()
	s := newRig(t).open(Options{})
	b := blobtest.Bytes(20<<20, 2)
	d := blob.DigestOf(b)
	wrong := slices.Clone(b)
	wrong[len(b)-1] ^= 1
	if err := s.Put(t.Context(), d, int64(len(b)), bytes.NewReader(wrong)); cloudcrowd.CodeOf(err) != cloudcrowd.DigestMismatch {
		t.Errorf("%v, want code digest-mismatch", err)
	}
	gone := errors.New("connection reset")
	broken := io.MultiReader(bytes.NewReader(b[:18<<20]), failing{gone})
	if err := s.Put(t.Context(), d, int64(len(b)), broken); !errors.Is(err, gone) {
		t.Errorf("%v, want the sender's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cut := io.MultiReader(bytes.NewReader(b[:18<<20]), calling(cancel), bytes.NewReader(b[18<<20:]))
	if err := s.Put(ctx, d, int64(len(b)), cut); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if left := keys(t, s); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if n := uploads(t, s); n != 0 {
		t.Errorf("%d uploads were not aborted", n)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type calling func()

func (f calling) Read([]byte) (int, error) { f(); return 0, io.EOF }

// At start, uploads in parts that are older than a day are aborted, younger ones and those of others are not, and the spool is emptied.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{})
	var client *s3.Client
	s.bucket.As(&client)
	for _, key := range []string{s.prefix + "left", "others/left"} {
		if _, err := client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketName), Key: aws.String(key)}); err != nil {
			t.Fatal(err)
		}
	}
	spool := t.TempDir()
	if err := os.WriteFile(filepath.Join(spool, "cloudcrowd-blob-1"), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.open(Options{Spool: spool})
	if n := uploads(t, s); n != 2 {
		t.Errorf("%d uploads, want 2: they are young", n)
	}
	if left, err := os.ReadDir(spool); err != nil || len(left) != 0 {
		t.Errorf("%d files in the spool, %v", len(left), err)
	}
	later := func() time.Time { return time.Now().Add(leftoverAge + time.Minute) }
	r.open(Options{Now: later, ReadOnly: true})
	if n := uploads(t, s); n != 2 {
		t.Errorf("%d uploads, want 2: who only reads aborts nothing", n)
	}
	r.open(Options{Now: later})
	if n := uploads(t, s); n != 1 {
		t.Errorf("%d uploads, want 1, that of others", n)
	}
}

// A blob of unknown digest that does not fit into memory goes through a file, which is gone afterwards.
func TestSpool(t *testing.T) {
	t.Parallel()
	spool := t.TempDir()
	s := newRig(t).open(Options{Spool: spool})
	b := blobtest.Bytes(3*memorySpool, 3)
	for _, commit := range []bool{true, false} {
		w, err := s.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for piece := range slices.Chunk(b, 100_000) {
			if _, err := w.Write(piece); err != nil {
				t.Fatal(err)
			}
		}
		if files, err := os.ReadDir(spool); err != nil || len(files) != 1 {
			t.Errorf("%d files in the spool, %v", len(files), err)
		}
		if commit {
			d, err := w.Commit()
			if err != nil {
				t.Fatal(err)
			}
			if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) {
				t.Errorf("%d bytes, %v", len(have), err)
			}
		}
		w.Abort()
		if files, err := os.ReadDir(spool); err != nil || len(files) != 0 {
			t.Errorf("%d files left in the spool, %v", len(files), err)
		}
	}
	// Without a place for it, the blob is refused with the reason.
	if err := os.RemoveAll(spool); err != nil {
		t.Fatal(err)
	}
	w, err := s.Create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(b)
	wantUnavailable(t, err)
	if _, again := w.Commit(); again == nil {
		t.Error("a blob that was not written whole was committed")
	}
}

// What is stored again after a while looks new in the list, small or large; soon after, it is left alone.
func TestTouch(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.open(Options{Now: func() time.Time { return time.Now().Add(2 * touchAfter) }})
	times := func() (all []cloudcrowd.Time) {
		if err := s.List(t.Context(), func(i blob.Info) error { all = append(all, i.ModTime); return nil }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	blobs := [][]byte{blobtest.Bytes(100, 4), blobtest.Bytes(200_000, 4)}
	for _, b := range blobs {
		put(t, s, b)
	}
	before := times()
	writes := 0
	r.inject(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPut && req.Header.Get("If-None-Match") == "" {
			writes++
		}
		return nil, nil
	})
	for _, b := range blobs {
		put(t, s, b)
	}
	if after := times(); len(after) != 2 || after[0] < before[0] || after[1] < before[1] || writes != 2 {
		t.Errorf("%v, before %v, after %d writes, want 2", after, before, writes)
	}
	young := r.open(Options{})
	for _, b := range blobs {
		put(t, young, b)
	}
	if writes != 2 {
		t.Errorf("%d writes: young blobs were written again", writes-2)
	}
}

// Who opened a store for reading changes nothing.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	owner := r.open(Options{})
	b := blobtest.Bytes(200_000, 5)
	d := put(t, owner, b)
	r.replace(owner.sumsKey(d), []byte("damaged"))
	s := r.open(Options{ReadOnly: true})
	if err := s.Verify(t.Context(), d); err != nil {
		t.Error(err)
	}
	if have, err := read(t.Context(), s, d, 70_000, 10); err != nil || !bytes.Equal(have, b[70_000:70_010]) {
		t.Errorf("%d bytes, %v", len(have), err)
	}
	_, err := s.Create(t.Context())
	for _, err := range []error{err, s.Put(t.Context(), d, -1, bytes.NewReader(b)), s.Delete(t.Context(), d)} {
		if cloudcrowd.CodeOf(err) != cloudcrowd.Forbidden {
			t.Errorf("%v, want code forbidden", err)
		}
	}
	if have := r.stored(owner.sumsKey(d)); string(have) != "damaged" {
		t.Errorf("the sums became %q", have)
	}
}

// A signed address gives whoever holds it exactly that blob, whole or in part, and the sums it comes with are those of the blocks touched.
func TestSign(t *testing.T) {
	t.Parallel()
	s := newRig(t).open(Options{})
	b := blobtest.Bytes(5*sums.BlockBytes+100, 6)
	d := put(t, s, b)
	small := put(t, s, b[:100])
	get := func(url, span string) []byte {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if span != "" {
			req.Header.Set("Range", "bytes="+span)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode/100 != 2 {
			t.Fatalf("status %s, %v", resp.Status, err)
		}
		return body
	}
	whole, err := s.Sign(t.Context(), d, 0, -1, time.Minute)
	if err != nil || !bytes.Equal(get(whole.URL, ""), b) {
		t.Errorf("%+v, %v", whole, err)
	}
	if !strings.Contains(whole.URL, "X-Amz-Expires=60") || !strings.Contains(whole.URL, "X-Amz-Signature=") || strings.Contains(whole.URL, "test-secret") {
		t.Errorf("the address is %s", whole.URL)
	}
	part, err := s.Sign(t.Context(), d, sums.BlockBytes+5, 2*sums.BlockBytes, time.Minute)
	if err != nil || len(part.Blocks) != 3 || part.SizeBytes != int64(len(b)) || part.BlockBytes != sums.BlockBytes {
		t.Fatalf("%+v, %v", part, err)
	}
	blocks := get(part.URL, fmt.Sprintf("%d-%d", sums.BlockBytes, 4*sums.BlockBytes-1))
	n := 0
	for block := range slices.Chunk(blocks, sums.BlockBytes) {
		if sums.Of(block) != part.Blocks[n] {
			t.Errorf("block %d does not match its sum", n)
		}
		n++
	}
	if direct, err := s.Sign(t.Context(), small, 10, 20, time.Minute); err != nil || direct.URL != "" {
		t.Errorf("a range of a small blob got %q, %v", direct.URL, err)
	}
	if _, err := s.Sign(t.Context(), d, 0, int64(len(b))+1, time.Minute); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
		t.Errorf("%v, want code invalid", err)
	}
	memory, err := Open(t.Context(), "mem://", Options{})
	if err != nil {
		t.Fatal(err)
	}
	put(t, memory, b)
	if direct, err := memory.Sign(t.Context(), d, 0, -1, time.Minute); err != nil || direct.URL != "" {
		t.Errorf("memory got %q, %v", direct.URL, err)
	}
}
