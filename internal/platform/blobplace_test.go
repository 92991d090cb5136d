package platform

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// kept keeps the first value it is given for a key, as the store does.
type kept struct {
	mu     sync.Mutex
	values map[string]string
}

func (k *kept) KeepSetting(_ context.Context, key, value string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values == nil {
		k.values = map[string]string{}
	}
	if k.values[key] == "" {
		k.values[key] = value
	}
	return k.values[key], nil
}

// Servers of one store have one place for their blobs: a bucket of the same address, or one directory, wherever it is mounted. Another place is refused, with what to
// do.
func TestSameBlobs(t *testing.T) {
	t.Parallel()
	server := func(t *testing.T) ServerConfig {
		t.Helper()
		c := ServerConfig{DataDir: t.TempDir()}
		if err := os.Mkdir(filepath.Join(c.DataDir, blobFolder), 0o700); err != nil {
			t.Fatal(err)
		}
		return c
	}
	in := func(address string) ServerConfig { return ServerConfig{Blobs: address} }
	refused := func(t *testing.T, err error, names ...string) {
		t.Helper()
		e, ok := err.(*cloudcrowd.Error)
		if !ok || e.Code != cloudcrowd.Invalid || e.Field != "blobs" || e.Hint == "" {
			t.Fatalf("got %v", err)
		}
		for _, name := range names {
			if !strings.Contains(e.Msg, name) {
				t.Errorf("%q does not name %s", e.Msg, name)
			}
		}
	}
	check := func(t *testing.T, k *kept, c ServerConfig) {
		t.Helper()
		if err := sameBlobs(t.Context(), k, c); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("bucket", func(t *testing.T) {
		t.Parallel()
		var k kept
		check(t, &k, in("s3://b?endpoint=https://h&region=r"))
		check(t, &k, in("s3://b?region=other&endpoint=https://h"))
		refused(t, sameBlobs(t.Context(), &k, in("s3://c?endpoint=https://h")), "s3://b/", "s3://c/")
		refused(t, sameBlobs(t.Context(), &k, server(t)), "s3://b/", "directory")
	})
	t.Run("directory", func(t *testing.T) {
		t.Parallel()
		var k kept
		a, b := server(t), ServerConfig{DataDir: t.TempDir()}
		check(t, &k, a)
		check(t, &k, a) // at its next start
		c := server(t)
		refused(t, sameBlobs(t.Context(), &k, c), a.DataDir, c.DataDir)
		refused(t, sameBlobs(t.Context(), &k, in("gs://b")), "gs://b/")
		if runtime.GOOS == "windows" {
			t.Skip("making a symbolic link takes a privilege")
		}
		if err := os.Symlink(filepath.Join(a.DataDir, blobFolder), filepath.Join(b.DataDir, blobFolder)); err != nil {
			t.Fatal(err)
		}
		check(t, &k, b)
	})
	t.Run("at once", func(t *testing.T) {
		t.Parallel()
		var k kept
		c := server(t)
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if err := sameBlobs(t.Context(), &k, c); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if left, err := os.ReadDir(filepath.Join(c.DataDir, blobFolder)); err != nil || len(left) != 1 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		c := server(t)
		if err := os.WriteFile(filepath.Join(c.DataDir, blobFolder, blobIDFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := sameBlobs(t.Context(), &kept{}, c); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("got %v", err)
		}
	})
}
