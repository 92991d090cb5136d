package sqlite

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A copy made beside a store that goes on committing holds everything committed before it, whole, and can be opened as a store. The original is left as it was.
func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "cloudcrowd.db")
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	head, err := s.Claim(t.Context(), 0, "server", 0)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(seq int64) error {
		return s.Commit(t.Context(), store.Batch{Epoch: head.Epoch, Seq: seq, At: cloudcrowd.Time(seq), Count: 1, Events: []byte(strings.Repeat("x", 3000))})
	}
	for seq := int64(1); seq <= 50; seq++ {
		if err := commit(seq); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.PutSetting(t.Context(), "secret", "SEVENTEEN-HORSES"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutServer(t.Context(), store.Server{ID: "server", Beat: 1}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for seq := int64(51); seq <= 150; seq++ {
			if err := commit(seq); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	to := filepath.Join(dir, "copy.db")
	if err := Copy(t.Context(), path, to); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), path, to); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("onto a file that is there: %v", err)
	}
	if err := Copy(t.Context(), filepath.Join(dir, "nowhere.db"), filepath.Join(dir, "other.db")); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("of nothing: %v", err)
	}
	if info, err := os.Stat(to); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the copy's mode is %v, %v", info.Mode(), err)
	}
	if err := ForgetSetting(t.Context(), to, "secret"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || strings.Contains(string(b), "SEVENTEEN-HORSES") {
		t.Errorf("the forgotten setting is in the file (%v)", err)
	}
	c, err := Open(t.Context(), to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	heads, err := c.ShardList(t.Context())
	if err != nil || heads[0].Seq < 50 || heads[0].Epoch != head.Epoch || heads[0].Owner != "" {
		t.Fatalf("%+v, %v, want row 50 or later, and no owner", heads, err)
	}
	if list, err := c.Servers(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("the copy is served by %+v (%v)", list, err)
	}
	if heads, err := s.ShardList(t.Context()); err != nil || heads[0].Owner != "server" {
		t.Errorf("the original's shard is at %+v, %v", heads[0], err)
	}
	n := int64(0)
	if err := c.Rows(t.Context(), 0, 0, func(r store.Row) error { n++; return nil }); err != nil || n != heads[0].Seq {
		t.Errorf("%d rows, the head says %d, %v", n, heads[0].Seq, err)
	}
	if bad, err := c.Integrity(t.Context(), false); err != nil || len(bad) > 0 {
		t.Errorf("%q, %v", bad, err)
	}
}
