// Package postgres keeps CloudCrowd's durable state in a PostgreSQL database, or one that speaks its language: the store of several servers that
// share it. It asks nothing that only PostgreSQL itself has: no advisory locks, no notifications, no sequences, no triggers, no extensions.
//
// A commit is one transaction in two round trips. The first moves the shard's head, which is the fencing token, and reads under lock what the batch
// depends on; the second writes what store.Apply made of it, and commits. An account is kept in parts, one for each shard, so that the many shards
// that pay the same owners and the same fees do not wait for each other's disk; only spending locks an account. docs/durability.md says what
// survives which failure, docs/operations.md how to run it.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// Options tune a store. The zero value is right for a server.
type Options struct {
	Readers      int           // connections that read at once; 0 means 8
	Writers      int           // connections that write at once; 0 means 8
	Patience     time.Duration // how long one transaction may take, waiting included, before the database counts as gone; 0 means 15 s
	PasswordFile string        // file that holds the password, instead of the address
}

// Store is a store in a PostgreSQL database. Its methods are safe for concurrent use, and so are several stores on one database.
type Store struct {
	name      string // of the database, for people
	patience  time.Duration
	writes    *pgxpool.Pool
	reads     *pgxpool.Pool
	moment    *moment // of a store that was opened for reading only: what everything is read in; nil for others
	known     known
	open      unsettled
	history   *history.Reader
	merges    merges
	stretches stretches

	life    sync.Mutex
	idle    *sync.Cond // on life: running became 0
	serving bool
	calls   int
	closed  chan struct{} // closed when everything has been released
}

var _ store.Store = (*Store)(nil)

// Open opens the database at an address like postgres://user@host/database and makes its tables, or brings them up to date; several servers may do so
// at once. Errors: code Invalid for a wrong address, Unavailable if the database does not answer or let it in, Conflict if a newer version of
// CloudCrowd wrote it, or if it does not sync what it commits.
func Open(ctx context.Context, address string, o Options) (*Store, error) {
	s, err := dial(ctx, address, o)
	if err != nil {
		return nil, err
	}
	err = s.mustBeSafe(ctx)
	if err == nil {
		err = s.migrate(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, opening(err)
	}
	return s, nil
}

// dial makes the pools. It does not connect yet.
func dial(ctx context.Context, address string, o Options) (*Store, error) {
	config, err := parse(address, o.PasswordFile)
	if err != nil {
		return nil, err
	}
	if o.Readers <= 0 {
		o.Readers = 8
	}
	if o.Writers <= 0 {
		o.Writers = 8
	}
	if o.Patience <= 0 {
		o.Patience = 15 * time.Second
	}
	s := &Store{name: nameOf(&config.ConnConfig.Config), patience: o.Patience, serving: true, closed: make(chan struct{})}
	s.idle = sync.NewCond(&s.life)
	s.history = history.NewReader(source{s})
	pool := func(most int, settings []string) *pgxpool.Pool {
		c := config.Copy()
		c.MaxConns, c.MinConns = int32(most), 0
		c.PingTimeout = connectLimit
		c.AfterConnect = prepare(settings)
		p, errPool := pgxpool.NewWithConfig(context.WithoutCancel(ctx), c)
		err = errors.Join(err, errPool)
		return p
	}
	s.reads, s.writes = pool(o.Readers, always), pool(o.Writers, whenWriting)
	if err != nil {
		return nil, fmt.Errorf("open the %s: %w", s.name, err)
	}
	return s, nil
}

// mustBeSafe refuses a database that forgets what it acknowledged when its machine loses power.
func (s *Store) mustBeSafe(ctx context.Context) error {
	for _, setting := range []string{"fsync", "full_page_writes"} {
		var v string
		_, err := s.one(ctx, "SHOW "+setting, nil, &v)
		switch {
		case v == "off":
			return &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: fmt.Sprintf("the %s runs with %s = off: what it acknowledges does not survive a loss of power", s.name, setting),
				Hint: "set " + setting + " = on in its configuration"}
		case err != nil && !unknown(errors.Unwrap(err)) && !unknown(err):
			return err
		}
	}
	return nil
}

// Unsummed reports whether the database does not compare pages with checksums, so that it may answer from what its disk changed. Of one that knows no such setting it
// says no: that is none of PostgreSQL's, and has means of its own.
func (s *Store) Unsummed(ctx context.Context) (bool, error) {
	for _, setting := range []struct{ name, bad string }{{"data_checksums", "off"}, {"ignore_checksum_failure", "on"}} {
		var v string
		_, err := s.one(ctx, "SHOW "+setting.name, nil, &v)
		if err != nil && !unknown(errors.Unwrap(err)) && !unknown(err) {
			return false, err
		}
		if v == setting.bad {
			return true, nil
		}
	}
	return false, nil
}

// Unsummed asks the database at an address, whatever is in it; see Store.Unsummed.
func Unsummed(ctx context.Context, address string, o Options) (bool, error) {
	s, err := dial(ctx, address, o)
	if err != nil {
		return false, err
	}
	defer s.Close()
	is, err := s.Unsummed(ctx)
	return is, opening(err)
}

// enter counts a call in; the answer must be called when it ends.
func (s *Store) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.life.Lock()
	defer s.life.Unlock()
	if !s.serving {
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

// Close waits for running calls and gives all connections back. Safe to call twice; both calls return when it is done.
func (s *Store) Close() error {
	s.life.Lock()
	if !s.serving {
		s.life.Unlock()
		<-s.closed
		return nil
	}
	s.serving = false
	for s.calls > 0 {
		s.idle.Wait()
	}
	s.life.Unlock()
	defer close(s.closed)
	if s.moment != nil {
		s.moment.release()
	}
	s.reads.Close()
	s.writes.Close()
	return nil
}

// known are accounts that have a row in spenders. None is ever deleted, so that most commits need not ask.
type known struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

const knownAtMost = 1 << 17

func (k *known) add(ids []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ids == nil || len(k.ids)+len(ids) > knownAtMost {
		k.ids = make(map[string]struct{}, len(ids))
	}
	for _, id := range ids {
		k.ids[id] = struct{}{}
	}
}

// lacking are those of ids that are not known.
func (k *known) lacking(ids []string) (list []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		if _, ok := k.ids[id]; !ok {
			list = append(list, id)
		}
	}
	return list
}

func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ids = nil
}
