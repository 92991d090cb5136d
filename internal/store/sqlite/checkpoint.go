package sqlite

// checkpoints decides when the WAL is moved into the database. SQLite would do it inside an unlucky commit and keep an error of the disk to itself.
type checkpoints struct {
	commits int // since the last attempt
}

const (
	checkpointEvery = 500   // commits between attempts
	walPagesBound   = 16384 // pages (64 MiB) from which on a checkpoint waits for readers so that the WAL starts anew
)

// checkpoint moves the WAL into the database now and then. s.turn is held; commits already made are durable whatever happens here.
func (s *Store) checkpoint() {
	if s.room.commits++; s.room.commits < checkpointEvery {
		return
	}
	s.room.commits = 0
	var busy, pages, moved int
	_, err := s.durable.row("PRAGMA wal_checkpoint(PASSIVE)", nil, &busy, &pages, &moved)
	if err == nil && pages > walPagesBound {
		_, err = s.durable.row("PRAGMA wal_checkpoint(RESTART)", nil, &busy, &pages, &moved)
	}
	if err != nil && fatal(err) {
		s.failed = err
	}
}
