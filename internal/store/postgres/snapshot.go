package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"cloudcrowd.dev/cloudcrowd"
)

// moment is one transaction that everything is read in.
type moment struct {
	mu   sync.Mutex // a connection answers one question at a time
	conn *pgxpool.Conn
	tx   pgx.Tx
}

// Why OpenSnapshot refuses a database that a server may be started on.
var (
	ErrEmpty = errors.New("postgres: nothing of CloudCrowd is here yet")
	ErrOlder = errors.New("postgres: the schema is of an earlier version")
)

// OpenSnapshot opens an existing database for reading only: everything it answers is of the one moment of the opening, also while servers go on
// committing. Every method that writes answers code Forbidden. All reading shares one connection, so reads that run at once wait for each other; a
// callback of Rows may call the store all the same. The longer it stays open, the longer the database keeps rows that were replaced meanwhile. Errors:
// code NotFound if there are no tables of CloudCrowd, Conflict if its schema is not the one this program knows, Unavailable if the database does not
// answer.
func OpenSnapshot(ctx context.Context, address string, o Options) (*Store, error) {
	s, err := dial(ctx, address, o)
	if err != nil {
		return nil, err
	}
	m := &moment{}
	if m.conn, err = s.reads.Acquire(ctx); err == nil {
		// The transaction outlives the call that opens it, and no limit of ours ends it.
		_, err = m.conn.Exec(ctx, "SET idle_in_transaction_session_timeout = 0")
		if err == nil || unknown(err) {
			m.tx, err = m.conn.BeginTx(context.WithoutCancel(ctx), pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		}
	}
	s.moment = m
	if err == nil {
		err = s.checkSchema(ctx)
	}
	if err != nil {
		_ = s.Close()
		return nil, opening(err)
	}
	return s, nil
}

// checkSchema refuses a schema other than this program's. Its query is the first of the transaction: what it sees, all later ones see.
func (s *Store) checkSchema(ctx context.Context) error {
	list, err := steps()
	if err != nil {
		return err
	}
	known := int64(len(list))
	found, err := s.schema(ctx)
	switch {
	case err != nil:
		return err
	case found <= 0:
		return &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "the " + s.name + " holds nothing of CloudCrowd: no server has finished its first start on it", Hint: "start a server on it", Err: ErrEmpty}
	case found > known:
		return newer(s.name, found, known)
	case found < known:
		return &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: fmt.Sprintf("the schema of the %s is %d, this program reads %d", s.name, found, known),
			Hint: "start this version's server on it once, which brings it up to date, or use the version that wrote it", Err: ErrOlder}
	}
	return nil
}

// each is Store.each inside of the transaction.
func (m *moment) each(ctx context.Context, text string, args []any, fn func(scanner) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	rows, err := m.tx.Query(ctx, text, args...)
	if err != nil {
		return err
	}
	return walk(rows, fn)
}

func (m *moment) release() {
	if m.conn == nil {
		return
	}
	drop(m.conn) // which ends the transaction
}

// frozen is the answer to whoever wants to write.
func frozen() error {
	return cloudcrowd.Errorf(cloudcrowd.Forbidden, "the database was opened for reading only")
}

// Snapshot returns a shard's stored snapshot, its checksum verified; nil and 0 if there is none. A damaged one answers *store.CorruptError with
// its seq.
func (s *Store) Snapshot(ctx context.Context, shard int) (seq int64, state []byte, err error) {
	if err := checkShard(shard); err != nil {
		return 0, nil, err
	}
	var p parts
	err = s.each(ctx, snapshotParts, []any{shard}, p.read)
	if err != nil {
		return 0, nil, err
	}
	return p.join(shard)
}

// JournalEnds returns the seq of the last journal row of every shard that has rows, whatever the shards' heads say.
func (s *Store) JournalEnds(ctx context.Context) (map[int]int64, error) {
	ends := map[int]int64{}
	err := s.each(ctx, "SELECT shard, max(seq) FROM journal GROUP BY shard", nil, func(scan scanner) error {
		var shard int
		var seq int64
		err := scan(&shard, &seq)
		ends[shard] = seq
		return err
	})
	return ends, err
}
