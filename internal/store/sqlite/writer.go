package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"cloudcrowd.dev/cloudcrowd"
)

// writer is a connection with its prepared statements. It is used by whoever holds Store.turn.
type writer struct {
	path  string // of the database
	conn  *sql.Conn
	stmts map[string]*sql.Stmt
}

// newWriter opens a connection that waits for the disk at every commit (synchronous FULL) or only at checkpoints (NORMAL).
func newWriter(ctx context.Context, db *sql.DB, path, synchronous string) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	w := &writer{path: path, conn: conn, stmts: map[string]*sql.Stmt{}}
	if _, err := conn.ExecContext(ctx, "PRAGMA synchronous="+synchronous); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *writer) close() error {
	for _, s := range w.stmts {
		_ = s.Close()
	}
	return w.conn.Close()
}

// stmt returns the prepared statement of a constant text. Statements run without the caller's context: a transaction that was begun is
// finished, so its outcome is always known.
func (w *writer) stmt(text string) (*sql.Stmt, error) {
	if s := w.stmts[text]; s != nil {
		return s, nil
	}
	s, err := w.conn.PrepareContext(context.Background(), text)
	if err == nil {
		w.stmts[text] = s
	}
	return s, located(w.path, text, err)
}

// exec runs a statement and returns how many rows it changed.
func (w *writer) exec(text string, args ...any) (int64, error) {
	s, err := w.stmt(text)
	if err != nil {
		return 0, err
	}
	r, err := s.Exec(args...)
	if err != nil {
		return 0, located(w.path, text, err)
	}
	return r.RowsAffected()
}

// row reads one row into dst and reports whether there was one.
func (w *writer) row(text string, args []any, dst ...any) (bool, error) {
	s, err := w.stmt(text)
	if err != nil {
		return false, err
	}
	err = s.QueryRow(args...).Scan(dst...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, located(w.path, text, err)
}

// write runs fn in a transaction that is on the disk when write returns nil. Any error leaves nothing behind.
func (s *Store) write(ctx context.Context, fn func(w *writer) error) error {
	return s.transact(ctx, s.durable, fn)
}

// writeLazily is write without waiting for the disk: a crash may take the transaction, with all later ones, but never a part of it.
func (s *Store) writeLazily(ctx context.Context, fn func(w *writer) error) error {
	return s.transact(ctx, s.lazy, fn)
}

func (s *Store) transact(ctx context.Context, w *writer, fn func(w *writer) error) error {
	leave, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if s.moment != nil {
		return frozen()
	}
	if w == s.durable {
		s.waiting.Add(1)
	}
	s.turn.Lock()
	defer s.turn.Unlock()
	if w == s.durable {
		s.waiting.Add(-1)
	}
	if s.failed != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the disk of the data directory failed earlier; nothing is written until the server is restarted",
			Hint: "see the system's log for the disk, then restart the server", Err: s.failed}
	}
	err = s.attempt(w, fn)
	if err == nil {
		s.committed()
		return nil
	}
	if fatal(err) {
		s.failed = err
	}
	return classify(err)
}

// attempt runs one transaction. s.turn is held.
func (s *Store) attempt(w *writer, fn func(w *writer) error) error {
	if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := fn(w)
	if err == nil {
		_, err = w.exec("COMMIT")
	}
	if err != nil {
		s.rollback(w)
	}
	return err
}

// rollback ends a failed transaction. Some errors make SQLite end it by itself, so the answer says nothing; a read shows whether it is over.
func (s *Store) rollback(w *writer) {
	_, _ = w.exec("ROLLBACK")
	if _, err := w.exec("BEGIN"); err != nil {
		s.failed = err // still inside the transaction: this connection cannot be trusted any more
		return
	}
	_, _ = w.exec("ROLLBACK")
}
