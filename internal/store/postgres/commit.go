package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Commit implements store.Shards. It is tried again when it collides with another or when its connection breaks before the outcome could be open.
func (s *Store) Commit(ctx context.Context, b store.Batch) error {
	if err := checkShard(b.Shard); err != nil {
		return err
	}
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.moment != nil {
		return frozen()
	}
	c := newCommit(b)
	// Nobody may learn less than the outcome: the caller's context ends only the waiting before it begins.
	err = s.again(context.WithoutCancel(ctx), s.patience, func(ctx context.Context) error {
		if err := s.settle(ctx, b.Shard); err != nil {
			return err
		}
		err := s.commit(ctx, c)
		if open, ok := errors.AsType[openOutcome](err); ok {
			return s.decided(ctx, c, open.err)
		}
		return err
	})
	if err == nil {
		s.known.add(c.spenders)
	}
	return classify(err)
}

// commit is what one try of a commit needs.
type commit struct {
	batch    store.Batch
	row      store.Row
	sum      uint32   // of row, once Seen is known
	jobs     []string // whose holds it touches, sorted
	spenders []string // accounts whose credits must suffice, sorted
}

func newCommit(b store.Batch) *commit {
	c := &commit{batch: b, row: store.Row{Seq: b.Seq, Epoch: b.Epoch, At: b.At, Count: b.Count, Events: b.Events}}
	if c.row.Events == nil {
		c.row.Events = []byte{}
	}
	for _, h := range b.Place {
		c.jobs = append(c.jobs, string(h.Job))
	}
	for _, t := range b.Transfers {
		if t.Kind == cloudcrowd.TransferPost {
			c.jobs = append(c.jobs, string(t.Job))
		}
	}
	for _, e := range b.End {
		c.jobs = append(c.jobs, string(e.Job))
	}
	slices.Sort(c.jobs)
	c.jobs = slices.Compact(c.jobs)
	for _, id := range store.Spenders(b) {
		c.spenders = append(c.spenders, string(id))
	}
	return c
}

// errVanished says that an account's lock which was there is not: somebody has put an older database in place.
var errVanished = errors.New("the lock of an account has gone")

// commit makes one try. An openOutcome is answered when the connection broke so late that the commit may have been done.
func (s *Store) commit(ctx context.Context, c *commit) error {
	conn, err := s.writes.Acquire(ctx)
	if err != nil {
		return err
	}
	err = s.commitOn(ctx, conn, c)
	switch {
	case err == nil:
		conn.Release()
	case conn.Conn().PgConn().IsClosed():
		conn.Release()
	default:
		if _, open := errors.AsType[openOutcome](err); open {
			drop(conn)
		} else if _, rollback := conn.Exec(ctx, "ROLLBACK"); rollback != nil {
			drop(conn)
		} else {
			conn.Release()
		}
	}
	if errors.Is(err, errVanished) {
		s.known.forget()
		return &collision{err}
	}
	return err
}

func (s *Store) commitOn(ctx context.Context, conn *pgxpool.Conn, c *commit) error {
	books, err := s.lock(ctx, conn, c)
	if err != nil {
		return err
	}
	changes, err := store.Apply(c.batch, books)
	if err != nil {
		return err
	}
	c.row.Seen = books.seen
	c.sum = c.row.Sum(c.batch.Shard)
	return writeBack(ctx, conn, c, books, changes)
}

// lock begins the transaction, moves the head, and reads what the batch depends on: one round trip. Rows that others want, too, are locked in the order of
// their keys, and those that do not exist yet are made before any is locked, so that two commits never wait for each other. Most batches pay for
// work out of holds that were placed earlier; they lock nothing that belongs to another shard.
func (s *Store) lock(ctx context.Context, conn *pgxpool.Conn, c *commit) (*books, error) {
	b := c.batch
	out := &books{accounts: map[cloudcrowd.AccountID]cloudcrowd.Account{}, holds: map[cloudcrowd.JobID]cloudcrowd.Hold{}, seen: store.Seen{}}
	fenced, locked := false, int64(0)
	var batch pgx.Batch
	batch.Queue("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
	batch.Queue("UPDATE shards SET head = $1 WHERE shard = $2 AND epoch = $3 AND head = $4", b.Seq, b.Shard, b.Epoch, b.Seq-1).Exec(func(tag pgconn.CommandTag) error {
		fenced = tag.RowsAffected() != 1
		return nil
	})
	if len(c.spenders) > 0 {
		if fresh := s.known.lacking(c.spenders); len(fresh) > 0 {
			batch.Queue("INSERT INTO spenders (id) SELECT id FROM unnest($1::text[]) AS u (id) ON CONFLICT (id) DO NOTHING", fresh)
		}
		batch.Queue("SELECT id FROM spenders WHERE id = ANY($1) ORDER BY id FOR UPDATE", c.spenders).Exec(func(tag pgconn.CommandTag) error {
			locked = tag.RowsAffected()
			return nil
		})
		// What others do meanwhile without that lock can only add to what is available: they pay in, or end holds. What they post was held.
		// In the same statement, and so of the same moment, how far the other shards have come.
		batch.Queue(`SELECT id, sum(balance)::BIGINT, sum(held)::BIGINT, 0, 0::BIGINT FROM accounts WHERE id = ANY($1) GROUP BY id
			UNION ALL SELECT '', 0, 0, shard, head FROM shards WHERE shard <> $2 AND head > 0`, c.spenders, b.Shard).Query(func(rows pgx.Rows) error {
			return walk(rows, func(scan scanner) error {
				var a cloudcrowd.Account
				var shard int
				var head int64
				err := scan(&a.ID, &a.Balance, &a.Held, &shard, &head)
				if a.ID != "" {
					out.accounts[a.ID] = a
				} else {
					out.seen[shard] = head
				}
				return err
			})
		})
	}
	if len(c.jobs) > 0 {
		batch.Queue(holdColumns+" WHERE job = ANY($1) ORDER BY job FOR UPDATE", c.jobs).Query(func(rows pgx.Rows) error {
			return walk(rows, func(scan scanner) error {
				h, err := scanHold(scan)
				out.holds[h.Job] = h
				return err
			})
		})
	}
	if err := conn.SendBatch(ctx, &batch).Close(); err != nil {
		return nil, err
	}
	if fenced {
		return nil, store.ErrFenced
	}
	if locked != int64(len(c.spenders)) {
		return nil, errVanished
	}
	return out, nil
}

// writeBack writes the batch and commits: one round trip.
func writeBack(ctx context.Context, conn *pgxpool.Conn, c *commit, before *books, changes store.Changes) error {
	var batch pgx.Batch
	batch.Queue("INSERT INTO journal (shard, seq, epoch, at, count, sum, events, seen) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
		c.batch.Shard, c.row.Seq, c.row.Epoch, int64(c.row.At), c.row.Count, int64(c.sum), c.row.Events, c.row.Seen.String())
	queueTransfers(&batch, c.batch, changes.Numbers)
	queueAccounts(&batch, c.batch.Shard, before, changes.Accounts)
	queueHolds(&batch, before, changes.Holds)
	batch.Queue("COMMIT")
	results := conn.SendBatch(ctx, &batch)
	for i := range batch.Len() {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close()
			if refused(err) {
				return err
			}
			return openOutcome{err}
		}
		if i == batch.Len()-1 && tag.String() != "COMMIT" {
			_ = results.Close()
			return openOutcome{errors.New("COMMIT was answered with " + tag.String())}
		}
	}
	// The answer to COMMIT has been read: whatever happens to the connection now, it is done.
	_ = results.Close()
	return nil
}

func queueTransfers(batch *pgx.Batch, b store.Batch, numbers []int64) {
	n := len(b.Transfers)
	if n == 0 {
		return
	}
	kinds, debits, credits, jobs := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	amounts, ats, notes := make([]int64, n), make([]int64, n), make([][]byte, n)
	for i, t := range b.Transfers {
		kinds[i], debits[i], credits[i], jobs[i] = string(t.Kind), string(t.Debit), string(t.Credit), string(t.Job)
		amounts[i], ats[i], notes[i] = int64(t.Amount), int64(t.At), []byte(t.Note)
	}
	batch.Queue(`INSERT INTO transfers (shard, seq, n, kind, debit, credit, amount, job, at, note)
		SELECT $1, $2, u.* FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::bigint[], $10::bytea[]) AS u`,
		b.Shard, b.Seq, numbers, kinds, debits, credits, amounts, jobs, ats, notes)
}

// queueAccounts adds what has changed to the shard's own part of each account, which no other shard writes.
func queueAccounts(batch *pgx.Batch, shard int, before *books, accounts []cloudcrowd.Account) {
	ids, balances, helds := make([]string, 0, len(accounts)), make([]int64, 0, len(accounts)), make([]int64, 0, len(accounts))
	for _, a := range accounts {
		if old := before.accounts[a.ID]; a.Balance != old.Balance || a.Held != old.Held {
			ids, balances, helds = append(ids, string(a.ID)), append(balances, int64(a.Balance-old.Balance)), append(helds, int64(a.Held-old.Held))
		}
	}
	if len(ids) > 0 {
		batch.Queue(`INSERT INTO accounts (shard, id, balance, held) SELECT $1, u.* FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS u
			ON CONFLICT (id, shard) DO UPDATE SET balance = accounts.balance + excluded.balance, held = accounts.held + excluded.held`, shard, ids, balances, helds)
	}
}

func queueHolds(batch *pgx.Batch, before *books, holds []cloudcrowd.Hold) {
	var fresh, changed []cloudcrowd.Hold
	for _, h := range holds {
		switch old, ok := before.holds[h.Job]; {
		case !ok:
			fresh = append(fresh, h)
		case old != h:
			changed = append(changed, h)
		}
	}
	if n := len(fresh); n > 0 {
		jobs, accounts, states := make([]string, n), make([]string, n), make([]string, n)
		amounts, posted, ats := make([]int64, n), make([]int64, n), make([]int64, n)
		for i, h := range fresh {
			jobs[i], accounts[i], states[i] = string(h.Job), string(h.Account), string(h.State)
			amounts[i], posted[i], ats[i] = int64(h.Amount), int64(h.Posted), int64(h.At)
		}
		batch.Queue(`INSERT INTO holds (job, account, amount, posted, state, at)
			SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[])`, jobs, accounts, amounts, posted, states, ats)
	}
	if n := len(changed); n > 0 {
		jobs, posted, states := make([]string, n), make([]int64, n), make([]string, n)
		for i, h := range changed {
			jobs[i], posted[i], states[i] = string(h.Job), int64(h.Posted), string(h.State)
		}
		batch.Queue(`UPDATE holds h SET posted = u.posted, state = u.state
			FROM unnest($1::text[], $2::bigint[], $3::text[]) AS u (job, posted, state) WHERE h.job = u.job`, jobs, posted, states)
	}
}

// books are what Apply needs to know: the spenders as they stand, all other accounts as if they were empty, and all holds that the batch names.
type books struct {
	accounts map[cloudcrowd.AccountID]cloudcrowd.Account
	holds    map[cloudcrowd.JobID]cloudcrowd.Hold
	seen     store.Seen // of what moment accounts are
}

func (b *books) Account(id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	return b.accounts[id], nil
}

func (b *books) Hold(job cloudcrowd.JobID) (cloudcrowd.Hold, bool, error) {
	h, ok := b.holds[job]
	return h, ok, nil
}

var _ store.Books = (*books)(nil)
