package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// tries bounds how often a transaction that collided with others, or lost its connection before it was sent, is tried.
const tries = 12

// durability says whether a transaction is on the disk when it has committed.
type durability bool

const (
	durable durability = true
	lazy    durability = false // a crash may take it, with all later ones, but never a part of it
)

// backOff waits a little before the next try: longer each time, and by chance, so that those who collided do not collide again.
func backOff(ctx context.Context, try int) error {
	most := min(time.Millisecond<<try, 200*time.Millisecond)
	t := time.NewTimer(rand.N(most))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// again runs fn, each time for at most the limit, until it neither collides nor loses its connection, within bounds. fn must be harmless to repeat, also when it was done and only the
// answer was lost. The errors of its last try are returned as they are.
func (s *Store) again(ctx context.Context, limit time.Duration, fn func(ctx context.Context) error) error {
	for try := 1; ; try++ {
		err := limited(ctx, limit, fn)
		if err == nil || try == tries || !collided(err) && !lost(err) {
			return err
		}
		if lost(err) {
			if try > 3 {
				return err
			}
			s.refresh()
		}
		if backOff(ctx, try) != nil {
			return err
		}
	}
}

// limited runs fn for at most so long.
func limited(ctx context.Context, limit time.Duration, fn func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := fn(limited)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// refresh drops the connections that are not in use: if one broke, the others probably are broken, too.
func (s *Store) refresh() {
	s.reads.Reset()
	s.writes.Reset()
}

// write runs fn in a transaction, again if it collides with others or its connection breaks before the commit is sent. Any error leaves nothing behind,
// except when the connection breaks in the commit: then the outcome is open, and what is written must be harmless to write again. A transaction that
// was begun is finished, whatever becomes of ctx.
func (s *Store) write(ctx context.Context, d durability, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return s.writeWithin(ctx, s.patience, d, fn)
}

// errorOf is the contract's error for that of a transaction, which may be an openOutcome.
func errorOf(err error) error {
	if open, ok := errors.AsType[openOutcome](err); ok {
		err = open.err
	}
	return classify(err)
}

func (s *Store) writeWithin(ctx context.Context, limit time.Duration, d durability, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return errorOf(s.transact(ctx, limit, d, fn))
}

// transact is writeWithin that answers an openOutcome as such.
func (s *Store) transact(ctx context.Context, limit time.Duration, d durability, fn func(ctx context.Context, tx pgx.Tx) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.moment != nil {
		return frozen()
	}
	committing := false
	return s.again(context.WithoutCancel(ctx), limit, func(ctx context.Context) error {
		committing = false
		err := s.attempt(ctx, d, fn, &committing)
		if committing && err != nil && !refused(err) {
			return openOutcome{err}
		}
		return err
	})
}

// openOutcome hides a broken connection from being tried again.
type openOutcome struct{ err error }

func (o openOutcome) Error() string { return o.err.Error() }

func (s *Store) attempt(ctx context.Context, d durability, fn func(ctx context.Context, tx pgx.Tx) error, committing *bool) error {
	tx, err := s.writes.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return err
	}
	if d == lazy {
		_, err = tx.Exec(ctx, "SET LOCAL synchronous_commit = off")
		if unknown(err) {
			err = nil
		}
	}
	if err == nil {
		err = fn(ctx, tx)
	}
	if err != nil {
		_ = tx.Rollback(ctx)
		return err
	}
	*committing = true
	return tx.Commit(ctx)
}

// drop closes a connection instead of giving it back: what it was doing ends there.
func drop(conn *pgxpool.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Conn().Close(ctx)
	conn.Release()
}
