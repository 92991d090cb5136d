// Package sqlite keeps CloudCrowd's durable state in one SQLite database: the store of a server that runs on one machine.
//
// The database is in WAL mode with synchronous=FULL: a commit is on the disk when Commit returns. One connection writes what must be
// durable, a second one writes projections without waiting for the disk (what a crash takes from them is projected again), and a pool reads;
// the two writers take turns, so neither ever waits for a lock of the other inside SQLite. docs/durability.md says what survives which failure.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	_ "modernc.org/sqlite" // the database driver "sqlite"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// Options tune a store. The zero value is right for a server.
type Options struct {
	Readers       int // connections that read at once; 0 means 4
	ProjectedRows int // rows of one transaction of Project, which delays commits that arrive meanwhile; 0 means 256
}

// Store is a store in a SQLite database. Its methods are safe for concurrent use.
type Store struct {
	path    string
	options Options
	lock    *filelock.Lock
	writers *sql.DB
	readers *sql.DB
	moment  *sql.Tx      // of a store that was opened for reading only: what everything is read in; nil for others
	turn    sync.Mutex   // held by whoever writes
	waiting atomic.Int32 // durable transactions that wait for their turn
	durable *writer      // synced
	lazy    *writer      // not synced
	failed  error        // guarded by turn: why every further write is refused
	room    checkpoints
	history *history.Reader
	merges  merges
	witness witness
	said    map[int]int64                 // what the witness said; of a store that was opened for reading only
	observe func(text string, args []any) // is shown every statement that reads; nil except in a test

	life   sync.Mutex
	idle   *sync.Cond // on life: running became 0
	open   bool
	calls  int
	closed chan struct{} // closed when everything has been released
}

var _ store.Store = (*Store)(nil)

// Open opens the database at path and creates it, with its folder, if there is none; the file can be read by its owner alone. It brings an
// older schema up to date. Errors: code Conflict if another process has it open or if a newer version of CloudCrowd wrote it, code
// Unavailable if the disk does not allow it, *store.CorruptError if the file is no database.
func Open(ctx context.Context, path string, o Options) (*Store, error) {
	if o.Readers <= 0 {
		o.Readers = 4
	}
	if o.ProjectedRows <= 0 {
		o.ProjectedRows = 256
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, unusable(path, err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	s := newStore(path)
	s.options, s.lock = o, lock
	if err := s.start(ctx); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func newStore(path string) *Store {
	s := &Store{path: path, open: true, closed: make(chan struct{})}
	s.idle = sync.NewCond(&s.life)
	s.history = history.NewReader(source{s})
	return s
}

func (s *Store) start(ctx context.Context) error {
	err := prepareFile(ctx, s.path)
	if err != nil {
		return err
	}
	if s.witness, err = openWitness(s.path); err != nil {
		return unusable(s.path, err)
	}
	if s.writers, err = sql.Open("sqlite", address(s.path, "")); err != nil {
		return err
	}
	if s.readers, err = sql.Open("sqlite", address(s.path, "query_only(ON)")); err != nil {
		return err
	}
	s.readers.SetMaxOpenConns(s.options.Readers)
	s.readers.SetMaxIdleConns(s.options.Readers)
	if err := migrate(ctx, s.writers, s.path); err != nil {
		return classify(located(s.path, "", err))
	}
	if s.durable, err = newWriter(ctx, s.writers, s.path, "FULL"); err != nil {
		return classify(err)
	}
	if s.lazy, err = newWriter(ctx, s.writers, s.path, "NORMAL"); err != nil {
		return classify(err)
	}
	if err := s.startCheckpoints(ctx); err != nil {
		return classify(err)
	}
	s.checkpoint() // what SQLite has just verified in the WAL that was left gets the sums of the database
	return nil
}

// unusable explains an error of the file system at opening.
func unusable(path string, err error) error {
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the data directory cannot be used: " + path, Hint: "check that it exists, that its disk is not full, and that this user may write to it", Err: err}
}

// address is the driver's name of the database with the settings every connection has.
func address(path, pragma string) string {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // C:/data becomes file:///C:/data
	}
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)", "wal_autocheckpoint(0)"}, "_dqs": {"0"}}
	q.Set("vfs", pagesum.VFS())
	if pragma != "" {
		q["_pragma"] = append(q["_pragma"], pragma)
	}
	return (&url.URL{Scheme: "file", Path: slashed, RawQuery: q.Encode()}).String()
}

// enter counts a call in; the answer must be called when it ends.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.life.Lock()
	defer s.life.Unlock()
	if !s.open {
		return nil, cloudcrowd.Errorf(cloudcrowd.Unavailable, "the store is closed")
	}
	s.calls++
	return s.leave, nil
}

func (s *Store) leave() {
	s.life.Lock()
	defer s.life.Unlock()
	if s.calls--; s.calls == 0 {
		s.idle.Broadcast()
	}
}

// Close waits for running calls and releases the database and its lock. Safe to call twice; both calls return when it is done.
func (s *Store) Close() error {
	s.life.Lock()
	if !s.open {
		s.life.Unlock()
		<-s.closed
		return nil
	}
	s.open = false
	for s.calls > 0 {
		s.idle.Wait()
	}
	s.life.Unlock()
	defer close(s.closed)
	return s.release()
}

func (s *Store) release() error {
	errs := []error{s.stopCheckpoints()}
	for _, w := range []*writer{s.durable, s.lazy} {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	if s.moment != nil {
		errs = append(errs, s.moment.Rollback())
	}
	if s.readers != nil {
		errs = append(errs, s.readers.Close())
	}
	if s.writers != nil {
		errs = append(errs, s.writers.Close()) // the last connection moves the WAL into the database
	}
	errs = append(errs, s.witness.close(), s.lock.Release())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close %s: %w", s.path, err)
	}
	return nil
}
