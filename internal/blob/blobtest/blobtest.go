// Package blobtest is the suite every implementation of blob.Store passes.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
)

// Sizes are the sizes at which implementations change their mind: none, one byte, around a block of 64 KiB, several blocks.
var Sizes = []int{0, 1, 4096, 64<<10 - 1, 64 << 10, 64<<10 + 1, 3 * 64 << 10, 1<<20 + 17}

// Bytes returns n bytes that look random, the same for the same seed.
func Bytes(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(n), byte(n >> 8), byte(n >> 16)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// Run runs the suite. open returns an empty store.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	tests := []struct {
		name string
		fn   func(t *testing.T, s blob.Store)
	}{
		{"RoundTrip", roundTrip},
		{"Create", create},
		{"Refused", refused},
		{"Interrupted", interrupted},
		{"Again", again},
		{"Missing", missing},
		{"NotADigest", notADigest},
		{"BlockBorders", blockBorders},
		{"RandomRanges", randomRanges},
		{"List", list},
		{"Concurrent", concurrent},
		{"ReadAll", readAll},
		{"Cancelled", cancelled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.fn(t, open(t))
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, code cloudcrowd.Code) {
	t.Helper()
	if cloudcrowd.CodeOf(err) != code {
		t.Errorf("error %v has code %q, want %q", err, cloudcrowd.CodeOf(err), code)
	}
}

// put stores bytes and returns their digest.
func put(t testing.TB, s blob.Store, b []byte) cloudcrowd.Digest {
	t.Helper()
	d, err := blob.PutBytes(t.Context(), s, b)
	must(t, err)
	return d
}

// read returns a range of a blob.
func read(ctx context.Context, s blob.Store, d cloudcrowd.Digest, off, length int64) ([]byte, error) {
	r, err := s.Open(ctx, d, off, length)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

// digests lists a store.
func digests(t testing.TB, s blob.Store) (all []cloudcrowd.Digest) {
	t.Helper()
	must(t, s.List(t.Context(), func(i blob.Info) error {
		all = append(all, i.Digest)
		return nil
	}))
	return all
}

// Bytes of every size come back, whatever pieces they arrive in and whether their number is known.
func roundTrip(t *testing.T, s blob.Store) {
	readers := map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "in halves": iotest.HalfReader, "ending with the data": iotest.DataErrReader}
	seed := uint64(0)
	for _, n := range Sizes {
		for name, wrap := range readers {
			for _, announced := range []int64{int64(n), -1} {
				seed++
				b := Bytes(n, seed)
				if err := s.Put(t.Context(), blob.DigestOf(b), announced, wrap(bytes.NewReader(b))); err != nil {
					t.Fatalf("%d bytes, %s, announced %d: %v", n, name, announced, err)
				}
				have, err := read(t.Context(), s, blob.DigestOf(b), 0, -1)
				if err != nil || !bytes.Equal(have, b) {
					t.Fatalf("%d bytes, %s: %d came back, %v", n, name, len(have), err)
				}
				if size, err := s.Stat(t.Context(), blob.DigestOf(b)); err != nil || size != int64(n) {
					t.Errorf("stat says %d, %v, want %d", size, err, n)
				}
				must(t, s.Verify(t.Context(), blob.DigestOf(b)))
			}
		}
	}
}

// A blob of unknown digest gets it at Commit; an aborted one leaves nothing.
func create(t *testing.T, s blob.Store) {
	for i, n := range Sizes {
		b := Bytes(n, uint64(i))
		w, err := s.Create(t.Context())
		must(t, err)
		for rest := b; len(rest) > 0; {
			k := min(len(rest), 10007)
			_, err := w.Write(rest[:k])
			must(t, err)
			rest = rest[k:]
		}
		if w.Size() != int64(n) {
			t.Errorf("size %d, want %d", w.Size(), n)
		}
		if i%3 == 2 {
			w.Abort()
			w.Abort()
			_, err := s.Stat(t.Context(), blob.DigestOf(b))
			wantCode(t, err, cloudcrowd.NotFound)
			if _, err := w.Commit(); err == nil {
				t.Error("an aborted blob was committed")
			}
			continue
		}
		d, err := w.Commit()
		must(t, err)
		w.Abort()
		if d != blob.DigestOf(b) {
			t.Errorf("digest %s, want %s", d, blob.DigestOf(b))
		}
		if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) {
			t.Errorf("%d bytes of %d came back, %v", len(have), n, err)
		}
		if _, err := w.Write([]byte("late")); err == nil {
			t.Error("a committed blob took more bytes")
		}
	}
}

// Bytes that are not what was announced are refused, and nothing is stored.
func refused(t *testing.T, s blob.Store) {
	for _, n := range []int{1, 5000, 64 << 10, 200_000} {
		b := Bytes(n, 1)
		wrong := slices.Clone(b)
		wrong[n/2] ^= 1
		d := blob.DigestOf(b)
		tests := map[string]struct {
			size  int64
			bytes []byte
			code  cloudcrowd.Code
		}{
			"other bytes":                  {int64(n), wrong, cloudcrowd.DigestMismatch},
			"other bytes, unknown number":  {-1, wrong, cloudcrowd.DigestMismatch},
			"too few":                      {int64(n), b[:n-1], cloudcrowd.DigestMismatch},
			"too few, unknown number":      {-1, b[:n-1], cloudcrowd.DigestMismatch},
			"too many":                     {int64(n), append(slices.Clone(b), 0), cloudcrowd.TooLarge},
			"too many, unknown number":     {-1, append(slices.Clone(b), 0), cloudcrowd.DigestMismatch},
			"right bytes, wrong number":    {int64(n) - 1, b, cloudcrowd.TooLarge},
			"nothing":                      {int64(n), nil, cloudcrowd.DigestMismatch},
			"right bytes, too much wanted": {int64(n) + 100_000, b, cloudcrowd.DigestMismatch},
		}
		for name, tt := range tests {
			if err := s.Put(t.Context(), d, tt.size, bytes.NewReader(tt.bytes)); cloudcrowd.CodeOf(err) != tt.code {
				t.Errorf("%d bytes, %s: %v, want code %s", n, name, err, tt.code)
			}
		}
	}
	if all := digests(t, s); len(all) != 0 {
		t.Errorf("refused blobs were stored: %v", all)
	}
}

// A sender that disappears halfway gets its own error, and nothing is stored; a second try succeeds.
func interrupted(t *testing.T, s blob.Store) {
	gone := errors.New("connection reset")
	for _, n := range []int{10, 5000, 300_000} {
		b := Bytes(n, 2)
		for _, announced := range []int64{int64(n), -1} {
			err := s.Put(t.Context(), blob.DigestOf(b), announced, io.MultiReader(bytes.NewReader(b[:n/2]), iotest.ErrReader(gone)))
			if !errors.Is(err, gone) {
				t.Errorf("%v, want the sender's error", err)
			}
		}
		if all := digests(t, s); len(all) != 0 {
			t.Errorf("half a blob was stored: %v", all)
		}
		put(t, s, b)
		must(t, s.Delete(t.Context(), blob.DigestOf(b)))
	}
}

// Storing what is there succeeds, reads nothing wrong, and keeps one copy.
func again(t *testing.T, s blob.Store) {
	for _, n := range []int{0, 100, 200_000} {
		b := Bytes(n, 3)
		d := put(t, s, b)
		put(t, s, b)
		must(t, s.Put(t.Context(), d, -1, bytes.NewReader(b)))
		w, err := s.Create(t.Context())
		must(t, err)
		_, err = w.Write(b)
		must(t, err)
		if have, err := w.Commit(); err != nil || have != d {
			t.Errorf("digest %s, %v, want %s", have, err, d)
		}
		if have, err := read(t.Context(), s, d, 0, -1); err != nil || !bytes.Equal(have, b) {
			t.Errorf("%d bytes came back, %v", len(have), err)
		}
		// A wrong size is still a mistake of the caller.
		if err := s.Put(t.Context(), d, int64(n)+1, bytes.NewReader(b)); err == nil {
			t.Error("a wrong size passed because the blob was there")
		}
	}
	if all := digests(t, s); len(all) != 3 {
		t.Errorf("%d blobs, want 3", len(all))
	}
}

// What is not there is not found; a deleted blob is gone.
func missing(t *testing.T, s blob.Store) {
	for _, n := range []int{100, 200_000} {
		d := put(t, s, Bytes(n, 4))
		must(t, s.Delete(t.Context(), d))
		_, err := s.Open(t.Context(), d, 0, -1)
		wantCode(t, err, cloudcrowd.NotFound)
		_, err = s.Stat(t.Context(), d)
		wantCode(t, err, cloudcrowd.NotFound)
		wantCode(t, s.Delete(t.Context(), d), cloudcrowd.NotFound)
		wantCode(t, s.Verify(t.Context(), d), cloudcrowd.NotFound)
	}
	if all := digests(t, s); len(all) != 0 {
		t.Errorf("left: %v", all)
	}
}

// What is no digest never reaches the disk.
func notADigest(t *testing.T, s blob.Store) {
	for _, d := range []cloudcrowd.Digest{"", "x", "../../../etc/passwd", cloudcrowd.Digest(strings.Repeat("A", 64)), cloudcrowd.Digest(strings.Repeat("/", 64)), cloudcrowd.Digest(strings.Repeat("a", 65))} {
		_, err := s.Open(t.Context(), d, 0, -1)
		wantCode(t, err, cloudcrowd.Invalid)
		_, err = s.Stat(t.Context(), d)
		wantCode(t, err, cloudcrowd.Invalid)
		wantCode(t, s.Put(t.Context(), d, 1, strings.NewReader("x")), cloudcrowd.Invalid)
		wantCode(t, s.Delete(t.Context(), d), cloudcrowd.Invalid)
		wantCode(t, s.Verify(t.Context(), d), cloudcrowd.Invalid)
	}
}

// Ranges that begin or end at, before or behind a block's border.
func blockBorders(t *testing.T, s blob.Store) {
	const block = 64 << 10
	for _, n := range Sizes {
		b := Bytes(n, 5)
		d := put(t, s, b)
		var edges []int64
		for _, e := range []int64{0, 1, block - 1, block, block + 1, 2*block - 1, 2 * block, 3*block - 1, 3 * block, int64(n) - 1, int64(n)} {
			if e >= 0 && e <= int64(n) {
				edges = append(edges, e)
			}
		}
		for _, from := range edges {
			for _, to := range edges {
				if to < from {
					continue
				}
				if have, err := read(t.Context(), s, d, from, to-from); err != nil || !bytes.Equal(have, b[from:to]) {
					t.Fatalf("bytes %d to %d of %d: %d came back, %v", from, to, n, len(have), err)
				}
			}
			if have, err := read(t.Context(), s, d, from, -1); err != nil || !bytes.Equal(have, b[from:]) {
				t.Fatalf("bytes from %d of %d: %d came back, %v", from, n, len(have), err)
			}
		}
		for _, span := range [][2]int64{{-1, 1}, {int64(n) + 1, -1}, {int64(n), 1}, {0, int64(n) + 1}, {1 << 62, 1 << 62}} {
			_, err := s.Open(t.Context(), d, span[0], span[1])
			wantCode(t, err, cloudcrowd.Invalid)
		}
	}
}

// Any range, read in any pieces, equals that of the bytes.
func randomRanges(t *testing.T, s blob.Store) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(0, 300_000).Draw(rt, "size")
		b := Bytes(n, 6)
		d, err := blob.PutBytes(t.Context(), s, b)
		if err != nil {
			rt.Fatal(err)
		}
		for range 8 {
			from := rapid.IntRange(0, n).Draw(rt, "from")
			length := rapid.IntRange(-1, n-from).Draw(rt, "length")
			want := b[from:]
			if length >= 0 {
				want = want[:length]
			}
			r, err := s.Open(t.Context(), d, int64(from), int64(length))
			if err != nil {
				rt.Fatal(err)
			}
			piece := make([]byte, rapid.IntRange(1, 100_000).Draw(rt, "piece"))
			var have []byte
			for {
				k, err := r.Read(piece)
				have = append(have, piece[:k]...)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					rt.Fatal(err)
				}
			}
			if err := r.Close(); err != nil || !bytes.Equal(have, want) {
				rt.Fatalf("%d bytes from %d of %d: %d came back, %v", length, from, n, len(have), err)
			}
		}
	})
}

// List names every blob once, in order, with its size, and stops with fn's error.
func list(t *testing.T, s blob.Store) {
	want := map[cloudcrowd.Digest]int64{}
	for i := range 50 {
		n := i * 2500
		want[put(t, s, Bytes(n, 7))] = int64(n)
	}
	var order []cloudcrowd.Digest
	must(t, s.List(t.Context(), func(i blob.Info) error {
		if want[i.Digest] != i.SizeBytes || i.ModTime <= 0 {
			t.Errorf("%+v, want size %d", i, want[i.Digest])
		}
		order = append(order, i.Digest)
		return nil
	}))
	if len(order) != len(want) || !slices.IsSorted(order) {
		t.Errorf("%d blobs, sorted %v, want %d in order", len(order), slices.IsSorted(order), len(want))
	}
	enough := errors.New("enough")
	if err := s.List(t.Context(), func(blob.Info) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("%v, want fn's error", err)
	}
}

// Many goroutines store, read and delete the same few blobs: whoever reads gets the right bytes or none.
func concurrent(t *testing.T, s blob.Store) {
	blobs := [][]byte{Bytes(10, 8), Bytes(70_000, 8), Bytes(300_000, 8)}
	var wait sync.WaitGroup
	for g := range 12 {
		wait.Go(func() {
			for i := range 20 {
				b := blobs[(g+i)%len(blobs)]
				d := blob.DigestOf(b)
				var err error
				switch (g + i) % 4 {
				case 0, 1:
					err = s.Put(t.Context(), d, int64(len(b)), bytes.NewReader(b))
				case 2:
					var have []byte
					have, err = read(t.Context(), s, d, 0, -1)
					if err == nil && !bytes.Equal(have, b) {
						err = fmt.Errorf("%d wrong bytes", len(have))
					}
				case 3:
					if g == 0 {
						err = s.Delete(t.Context(), d)
					}
				}
				if err != nil && cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
					t.Errorf("goroutine %d: %v", g, err)
				}
			}
		})
	}
	wait.Wait()
	for _, b := range blobs {
		put(t, s, b)
		must(t, s.Verify(t.Context(), blob.DigestOf(b)))
	}
}

// ReadAll keeps its bound.
func readAll(t *testing.T, s blob.Store) {
	b := Bytes(100_000, 9)
	d := put(t, s, b)
	if have, err := blob.ReadAll(t.Context(), s, d, 100_000); err != nil || !bytes.Equal(have, b) {
		t.Errorf("%d bytes, %v", len(have), err)
	}
	_, err := blob.ReadAll(t.Context(), s, d, 99_999)
	wantCode(t, err, cloudcrowd.TooLarge)
	_, err = blob.ReadAll(t.Context(), s, blob.DigestOf([]byte("none")), 10)
	wantCode(t, err, cloudcrowd.NotFound)
}

// An ended context ends a call; one that ends while bytes come stores nothing.
func cancelled(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	b := Bytes(300_000, 10)
	sender := io.MultiReader(bytes.NewReader(b[:100_000]), readerFunc(func([]byte) (int, error) { cancel(); return 0, io.EOF }), bytes.NewReader(b[100_000:]))
	if err := s.Put(ctx, blob.DigestOf(b), -1, sender); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if _, err := s.Stat(ctx, blob.DigestOf(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	if all := digests(t, s); len(all) != 0 {
		t.Errorf("stored: %v", all)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
