package postgres

import (
	"context"
	"errors"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
)

// unsettled are the shards that have a commit whose connection broke after COMMIT was sent, and whose outcome could not be read back yet. Nothing is
// told about such a shard before it is settled.
type unsettled struct {
	mu     sync.Mutex
	shards map[int]struct{}
}

func (u *unsettled) add(shard int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.shards == nil {
		u.shards = map[int]struct{}{}
	}
	u.shards[shard] = struct{}{}
}

func (u *unsettled) forget(shard int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.shards, shard)
}

func (u *unsettled) list() (list []int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for shard := range u.shards {
		list = append(list, shard)
	}
	return list
}

func (u *unsettled) has(shard int) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.shards[shard]
	return ok
}

// settleTries bounds how often a lost answer is asked for again before the caller is told that it is open.
const settleTries = 5

// decided finds out how a commit ended whose answer was lost: nil if it is in the database, errNotDone if it is not and never will be. Otherwise the
// outcome stays open, the error says so, and the shard is settled before anything else is told about it.
func (s *Store) decided(ctx context.Context, c *commit, cause error) error {
	s.refresh()
	s.open.add(c.batch.Shard)
	var err error
	for try := 1; try <= settleTries; try++ {
		var done bool
		if done, err = s.outcome(ctx, c); err == nil {
			s.open.forget(c.batch.Shard)
			if done {
				return nil
			}
			return &collision{cause} // it left nothing, so it can be tried again
		}
		if backOff(ctx, 5+try) != nil {
			break
		}
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the database went away in the middle of a commit, whose outcome is not known yet",
		Hint: "the server reads it back by itself when the database answers again", Err: errors.Join(cause, err)}
}

// collision marks an error after which the transaction can be tried again.
type collision struct{ err error }

func (c *collision) Error() string { return c.err.Error() }
func (c *collision) Unwrap() error { return c.err }

// outcome reads back whether a commit is in the database.
func (s *Store) outcome(ctx context.Context, c *commit) (bool, error) {
	if err := s.waitFor(ctx, c.batch.Shard); err != nil {
		return false, err
	}
	var epoch, sum int64
	found, err := row(ctx, s.writes, "SELECT epoch, sum FROM journal WHERE shard = $1 AND seq = $2", []any{c.batch.Shard, c.row.Seq}, &epoch, &sum)
	return found && epoch == c.row.Epoch && sum == int64(c.sum), err
}

// waitFor returns when the last commit of a shard has ended, one way or the other. A commit moves the head before its client hears anything, and keeps
// the row locked until it ends; one that has not got so far when its connection breaks cannot commit any more, because COMMIT is sent later.
func (s *Store) waitFor(ctx context.Context, shard int) error {
	_, err := row(ctx, s.writes, "SELECT 1 FROM shards WHERE shard = $1 FOR UPDATE", []any{shard}, new(int))
	return err
}

// settle waits for the shard's lost commit, if there is one.
func (s *Store) settle(ctx context.Context, shard int) error {
	if !s.open.has(shard) {
		return nil
	}
	err := s.waitFor(ctx, shard)
	if err == nil {
		s.open.forget(shard)
	}
	return err
}

// settleAll settles all shards.
func (s *Store) settleAll(ctx context.Context) error {
	shards := s.open.list()
	if len(shards) == 0 {
		return nil
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	for _, shard := range shards {
		if err := s.again(ctx, s.patience, func(ctx context.Context) error { return s.settle(ctx, shard) }); err != nil {
			return classify(err)
		}
	}
	return nil
}
