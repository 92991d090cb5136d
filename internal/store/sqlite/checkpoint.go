package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// checkpoints moves the WAL into the database beside the writers. SQLite would do it inside an unlucky commit, and keep an error of the disk to
// itself. Commits are durable before and after; this only bounds the WAL.
type checkpoints struct {
	mu      sync.Mutex    // held by a running one
	w       *writer       // used under mu
	every   int           // commits between two wishes
	bound   int           // pages of the WAL from which on it waits for readers, so that the WAL begins anew
	later   int           // pages before which it does not wait for readers again, because one kept it waiting; used under mu
	commits int           // since the last wish, guarded by Store.turn
	wish    chan struct{} // of length 1
	stop    chan struct{}
	done    sync.WaitGroup
}

const (
	checkpointEvery = 250  // commits
	walPagesBound   = 4096 // pages: 16 MiB
	patience        = 100  // milliseconds that commits wait for readers, so that the WAL begins anew
)

func (s *Store) startCheckpoints(ctx context.Context) error {
	w, err := newWriter(ctx, s.writers, s.path, "FULL")
	if err != nil {
		return err
	}
	if _, err := w.exec(fmt.Sprintf("PRAGMA busy_timeout=%d", patience)); err != nil {
		return errors.Join(err, w.close())
	}
	s.room.every, s.room.bound = checkpointEvery, walPagesBound
	s.room.w, s.room.wish, s.room.stop = w, make(chan struct{}, 1), make(chan struct{})
	s.room.done.Go(func() {
		for {
			select {
			case <-s.room.stop:
				return
			case <-s.room.wish:
				s.checkpoint()
			}
		}
	})
	return nil
}

// stopCheckpoints waits for a running one.
func (s *Store) stopCheckpoints() error {
	if s.room.w == nil {
		return nil
	}
	close(s.room.stop)
	s.room.done.Wait()
	return s.room.w.close()
}

// committed counts a transaction. s.turn is held.
func (s *Store) committed() {
	if s.room.commits++; s.room.commits < s.room.every {
		return
	}
	s.room.commits = 0
	select {
	case s.room.wish <- struct{}{}:
	default: // one is waiting already
	}
}

// checkpoint moves what is there while commits go on, then the little that came meanwhile while they wait: only a WAL that was moved whole is
// used again from its beginning.
func (s *Store) checkpoint() {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	pages, _, err := s.move("PRAGMA wal_checkpoint(PASSIVE)")
	s.turn.Lock()
	defer s.turn.Unlock()
	if err == nil {
		if pages > max(s.room.bound, s.room.later) {
			var kept bool
			_, kept, err = s.move("PRAGMA wal_checkpoint(RESTART)")
			if s.room.later = 0; kept { // somebody reads for long, as fsck does: ask again when the WAL has doubled
				s.room.later = 2 * pages
			}
		} else {
			_, _, err = s.move("PRAGMA wal_checkpoint(PASSIVE)")
		}
	}
	if err != nil && fatal(err) && s.failed == nil {
		s.failed = err
	}
}

// move runs a checkpoint and returns the pages the WAL had, and whether a reader kept it from its end.
func (s *Store) move(statement string) (pages int, kept bool, err error) {
	var busy, moved int
	_, err = s.room.w.row(statement, nil, &busy, &pages, &moved)
	return pages, busy != 0, err
}
