package file

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/blob/blobtest"
)

// killed names the store's folder in the child process of TestKill.
const killed = "BLOB_KILLED_DIR"

// A process that stores blobs is killed without warning, again and again: each blob it had acknowledged is there and right, and nothing that is
// listed is half written.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killed); dir != "" {
		putUntilKilled(t, open(t, dir))
		return
	}
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(3, 4))
	acknowledged := map[cloudcrowd.Digest]bool{}
	for round := range rounds {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$", "-test.count=1")
		child.Env = append(os.Environ(), fmt.Sprintf("%s=%s", killed, dir), fmt.Sprintf("BLOB_KILLED_ROUND=%d", round))
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		after, later := rng.IntN(60), time.Duration(rng.IntN(3000))*time.Microsecond
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			d := cloudcrowd.Digest(lines.Text())
			if !d.Valid() {
				t.Fatalf("the child says %q", d)
			}
			acknowledged[d] = true
			if n == after {
				time.AfterFunc(later, func() { _ = child.Process.Kill() })
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		s := open(t, dir)
		for d := range acknowledged {
			if err := s.Verify(t.Context(), d); err != nil {
				t.Errorf("round %d: %v", round, err)
			}
		}
		if err := s.List(t.Context(), func(i blob.Info) error { return s.Verify(t.Context(), i.Digest) }); err != nil {
			t.Errorf("round %d: listed: %v", round, err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, "tmp")); err != nil || len(left) != 0 {
			t.Errorf("round %d: %d files left in tmp, %v", round, len(left), err)
		}
	}
}

// putUntilKilled is the child: four goroutines print each digest once it was acknowledged.
func putUntilKilled(t *testing.T, s *Store) {
	var round uint64
	if _, err := fmt.Sscan(os.Getenv("BLOB_KILLED_ROUND"), &round); err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for g := range uint64(4) {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(round, g))
			for {
				d, err := blob.PutBytes(t.Context(), s, blobtest.Bytes(r.IntN(150_000), r.Uint64()))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stdout.WriteString(string(d) + "\n"); err != nil {
					return
				}
			}
		})
	}
	wait.Wait()
}

// wantFull checks the answer of a full disk.
func wantFull(t *testing.T, err error) {
	t.Helper()
	if e, ok := errors.AsType[*cloudcrowd.Error](err); !ok || e.Code != cloudcrowd.Unavailable || e.Msg != "the disk holding the blobs is full" || e.Hint == "" {
		t.Errorf("%v, want code unavailable that speaks of a full disk", err)
	}
}

// On a full disk Put and Create answer Unavailable and leave nothing, what is there still reads, and with room again storing works.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := smallDisk(t, 4<<20)
	s := open(t, disk)
	kept := blobtest.Bytes(200_000, 1)
	d, err := blob.PutBytes(t.Context(), s, kept)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, rand.NewChaCha8([32]byte{})); err == nil {
		t.Fatal("the disk is endless")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{5000, 300_000} {
		_, err := blob.PutBytes(t.Context(), s, blobtest.Bytes(n, 2))
		wantFull(t, err)
		wantFull(t, s.Put(t.Context(), blob.DigestOf(blobtest.Bytes(n, 2)), -1, bytes.NewReader(blobtest.Bytes(n, 2))))
	}
	w, err := s.Create(t.Context())
	if err == nil {
		_, err = w.Write(blobtest.Bytes(300_000, 3))
		if _, again := w.Commit(); again == nil {
			t.Error("a blob that was not written whole was committed")
		}
	}
	wantFull(t, err)
	if left, err := os.ReadDir(filepath.Join(disk, "tmp")); err != nil || len(left) != 0 {
		t.Errorf("%d files left in tmp, %v", len(left), err)
	}
	if have, err := readAll(t, s, d, 0); err != nil || !bytes.Equal(have, kept) {
		t.Errorf("%d bytes, %v", len(have), err)
	}
	if _, err := blob.PutBytes(t.Context(), s, kept); err != nil {
		t.Errorf("storing what is there: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{5000, 300_000} {
		if _, err := blob.PutBytes(t.Context(), s, blobtest.Bytes(n, 2)); err != nil {
			t.Errorf("with room again: %v", err)
		}
	}
}

// After a failed sync nothing is stored until the store is opened anew; reading goes on.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	d, err := blob.PutBytes(t.Context(), s, []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	s.syncFailed(errors.New("fsync: input/output error"))
	if _, err := blob.PutBytes(t.Context(), s, []byte("new")); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	if _, err := s.Create(t.Context()); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	if have, err := readAll(t, s, d, 0); err != nil || string(have) != "kept" {
		t.Errorf("%q, %v", have, err)
	}
	if _, err := blob.PutBytes(t.Context(), open(t, s.dir), []byte("new")); err != nil {
		t.Error(err)
	}
}

// Callers that sync a folder at once share syncs, and none returns before its own rename is covered.
func TestFolder(t *testing.T) {
	t.Parallel()
	f := &folder{path: t.TempDir()}
	f.idle = sync.NewCond(&f.mu)
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			for range 20 {
				f.renamed()
				f.mu.Lock()
				mine := f.renames
				f.mu.Unlock()
				if err := f.sync(); err != nil {
					t.Error(err)
				}
				f.mu.Lock()
				if f.synced < mine {
					t.Errorf("returned with %d of %d renames synced", f.synced, mine)
				}
				f.mu.Unlock()
			}
		})
	}
	wait.Wait()
	if f.synced != 400 {
		t.Errorf("%d renames synced, want 400", f.synced)
	}
}
