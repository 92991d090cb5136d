package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// sqlState returns the five characters by which PostgreSQL names an error, or "" for an error that is not the database's.
func sqlState(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// refused reports whether the database itself refused a statement, and with it the transaction, which therefore left nothing. Any other error leaves
// open how far it got.
func refused(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false
	}
	severity := e.SeverityUnlocalized
	if severity == "" {
		severity = e.Severity
	}
	return severity == "ERROR" && e.Code != "40003" && !strings.HasPrefix(e.Code, "08") && !strings.HasPrefix(e.Code, "57P")
}

// collided reports whether a transaction was refused only because others ran at the same time: it may succeed when it is tried again.
func collided(err error) bool {
	if _, ok := errors.AsType[*collision](err); ok {
		return true
	}
	switch sqlState(err) {
	case "40001", "40P01": // serialization failure, deadlock
		return true
	case "23505": // unique: another transaction inserted the same row first; the next try will see it
		return true
	}
	return false
}

// broken reports whether an error is that of a connection that ended or never came to be.
func broken(err error) bool {
	if _, ok := errors.AsType[net.Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// lost reports whether a connection broke, so that another one may still reach the database.
func lost(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return false // there is no server at the moment
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		return false
	}
	switch code := sqlState(err); code {
	case "":
		return broken(err)
	case "57P01", "57P02", "57P05", "25P03":
		return true
	default:
		return strings.HasPrefix(code, "08")
	}
}

// again is the hint for whoever uses a store whose database has gone.
const again = "nothing is lost; the server goes on by itself when the database answers again"

// opening is classify for errors of opening, where nothing goes on by itself.
func opening(err error) error {
	err = classify(err)
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok && e.Hint == again {
		return e.WithHint("check that the database runs, and the host and port of its address")
	}
	return err
}

// classify turns an error of the database into one of the contract. Errors of the contract pass unchanged.
func classify(err error) error {
	if err == nil || errors.Is(err, store.ErrFenced) {
		return err
	}
	if _, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		return err
	}
	if _, ok := errors.AsType[*store.CorruptError](err); ok {
		return err
	}
	if _, ok := errors.AsType[*store.InsufficientError](err); ok {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	unavailable := func(msg, hint string) error {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: msg, Hint: hint, Err: err}
	}
	code := sqlState(err)
	switch {
	case code == "" && !broken(err) && !errors.Is(err, context.DeadlineExceeded):
		return &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the store failed", Err: err}
	case code == "":
		if errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
			return unavailable("the database does not answer", again)
		}
		return unavailable("the database cannot be reached", again)
	case code == "53100":
		return unavailable("the disk of the database is full", "free some space there; the server goes on by itself")
	case code == "53300" || code == "53400":
		return unavailable("the database takes no more connections", "raise its max_connections, or run fewer servers")
	case strings.HasPrefix(code, "53"):
		return unavailable("the database is out of memory", "see its log")
	case code == "58030" || code == "58000":
		return unavailable("the disk of the database failed", "see its log")
	case code == "25006":
		return unavailable("the database can only be read: it is a standby, or its operator made it so", "give the address of the primary, or several hosts and target_session_attrs=read-write")
	case code == "3D000" || strings.HasPrefix(code, "28"):
		return unavailable("the database does not let this server in", "check its name, the user and the password, and the database's pg_hba.conf")
	case code == "42501":
		return unavailable("the user of the database lacks a right", "let it own the schema that it uses")
	case code == "40001" || code == "40P01":
		return unavailable("too many transactions wanted the same rows", again)
	case code == "55P03" || code == "57014":
		return unavailable("the database did not answer in time", again)
	case strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57") || code == "25P03" || code == "40003":
		return unavailable("the database has gone away", again)
	case rotten(err):
		what := "the database"
		if e, ok := errors.AsType[*pgconn.PgError](err); ok {
			what += " (" + e.Message + ")" // "invalid page in block 3 of relation base/5/16412"
		}
		return &store.CorruptError{What: what, Err: err}
	case code == "22021" || code == "22P05":
		return &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "a text holds bytes that are not UTF-8, or a zero byte", Err: err}
	}
	return &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "the store failed", Err: err}
}

// rotten reports whether the database cannot read its own files any more.
func rotten(err error) bool {
	code := sqlState(err)
	return code == "XX001" || code == "XX002"
}

// notFound is the answer for a row that is not there.
func notFound(what, id string) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no %s %q", what, id)
}
