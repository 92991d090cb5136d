package postgres

import (
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
)

// When the database's disk is full, commits are refused as unavailable and leave nothing; with room again they work, without another store.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	server, disk := postgrestest.StartOnSmallDisk(t, 160<<20)
	s := openAt(t, server.Address(t))
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	seq := int64(0)
	commit := func(size int) error {
		b := batchOf(0, h.Epoch, seq+1, "anna")
		b.Events = make([]byte, size)
		for i := range b.Events {
			b.Events[i] = byte(i * i >> 3 * 7) // does not compress well
		}
		err := s.Commit(t.Context(), b)
		if err == nil {
			seq++
		}
		return err
	}
	if err := commit(10); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	for err = nil; err == nil; {
		err = commit(1 << 20)
	}
	if cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("%v, want code unavailable", err)
	}
	t.Logf("after %d commits: %v", seq, err)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	server.Revive(t) // where the log of the database itself found no room, it has ended
	heads, err := s.ShardList(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	seq = heads[0].Seq
	if err := commit(1 << 20); err != nil {
		t.Fatal(err)
	}
	wantRows(t, s, int(seq))
}

// fill writes a file until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 1<<12; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}
