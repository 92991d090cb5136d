package sqlite

import (
	"os"
	"sync"
	"testing"
)

// The WAL stays bounded under steady commits and reading, and nothing that was committed is lost to moving it.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	b := newBookkeeper(t, s)
	done := make(chan struct{})
	var reading sync.WaitGroup
	reading.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := s.Accounts(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	const commits = 8 * checkpointEvery
	for range commits {
		if err := b.commit(); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	reading.Wait()
	s.checkpoint()
	if err := b.commit(); err != nil {
		t.Fatal(err)
	}
	b.check()
	info, err := os.Stat(s.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if written := int64(commits * 20_000); info.Size() > written*3/4 {
		t.Errorf("the WAL has %d bytes after %d were written: it never began anew", info.Size(), written)
	}
}
