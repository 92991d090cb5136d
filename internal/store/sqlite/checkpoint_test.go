package sqlite

import (
	"os"
	"sync"
	"testing"
)

// The WAL stays bounded under steady commits and reading, and nothing that was committed is lost to moving it.
func TestCheckpoints(t *testing.T) {
	t.Parallel()
	s := open(t, quickDir(t))
	s.turn.Lock()
	s.room.every, s.room.bound = 10, 100
	s.turn.Unlock()
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
	const commits = 300
	for i := range commits {
		if err := b.commit(); err != nil {
			t.Fatal(err)
		}
		if i%25 == 0 {
			s.checkpoint() // beside those the store makes by itself, whose time nobody knows
		}
	}
	close(done)
	reading.Wait()
	b.check()
	info, err := os.Stat(s.path + "-wal")
	if err != nil {
		t.Fatal(err)
	}
	if written := int64(commits * 20_000); info.Size() > written/2 {
		t.Errorf("the WAL has %d bytes after %d were written: it never began anew", info.Size(), written)
	}
}
