package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// OpenSnapshot opens an existing database for reading only: everything it answers is of the one moment of the opening, also while a server goes
// on committing. It takes no lock and changes no schema; where no server runs, SQLite may leave an empty WAL and its index beside the database. Every method that writes answers code Forbidden. All reading shares one connection, so
// reads that run at once wait for each other; a callback of Rows may call the store all the same. The longer it stays open beside a server, the
// longer that server's WAL grows. Errors: code NotFound if there is no database
// or an empty one, Conflict if its schema is not the one this program knows,
// Unavailable if the disk does not allow it, *store.CorruptError if the file is no database of CloudCrowd.
func OpenSnapshot(ctx context.Context, path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "there is no database at " + path, Hint: "give the data folder of a server"}
	case err != nil:
		return nil, unusable(path, err)
	case info.IsDir():
		return nil, &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: path + " is a folder, not a database", Hint: "give the data folder of a server"}
	}
	s, err := openView(ctx, path, "")
	if codeOf(err) != 0 && cloudcrowd.CodeOf(classify(err)) == cloudcrowd.Unavailable && quiet(path) {
		// On a disk that cannot be written, SQLite cannot make the files it shares between processes. Nobody else can write there either.
		s, err = openView(ctx, path, "1")
	}
	return s, classify(located(path, "", err))
}

// quiet reports whether nothing waits in the WAL, so that the database file alone tells everything.
func quiet(path string) bool {
	info, err := os.Stat(path + "-wal")
	return errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0
}

// openView opens the database and begins the transaction that everything is read in. Its errors are not classified yet.
func openView(ctx context.Context, path, immutable string) (*Store, error) {
	s := newStore(path)
	err := s.view(ctx, immutable)
	if err == nil {
		err = checkSchema(ctx, s.moment, path)
	}
	if err != nil {
		_ = s.release()
		return nil, err
	}
	return s, nil
}

func (s *Store) view(ctx context.Context, immutable string) (err error) {
	if s.said, err = readWitness(s.path); err != nil { // before the moment, so that it says no more than is there
		return unusable(s.path, err)
	}
	address, err := url.Parse(address(s.path, ""))
	if err != nil {
		return err
	}
	q := url.Values{"_pragma": {"busy_timeout(10000)", "query_only(ON)"}, "_dqs": {"0"}, "mode": {"ro"}}
	if form, err := formOf(s.path); err != nil {
		return err
	} else if form != plain { // else its schema is an older one
		q.Set("vfs", pagesum.VFS())
	}
	if immutable != "" {
		q.Set("immutable", immutable)
	}
	address.RawQuery = q.Encode()
	if s.readers, err = sql.Open("sqlite", address.String()); err != nil {
		return err
	}
	// The transaction outlives the call that opens it.
	s.moment, err = s.readers.BeginTx(context.WithoutCancel(ctx), &sql.TxOptions{ReadOnly: true})
	return err
}

// checkSchema refuses a schema other than this program's. Its query is the first of the transaction: what it sees, all later ones see.
func checkSchema(ctx context.Context, tx *sql.Tx, path string) error {
	known, err := newestSchema()
	if err != nil {
		return err
	}
	foreign := &store.CorruptError{What: "the database " + path, Err: errors.New("it is not one of CloudCrowd's")}
	var tables, versions, ours, found int64
	err = tx.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE name = 'goose_db_version'), count(*) FILTER (WHERE name IN ('shards', 'journal'))
		FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'`).Scan(&tables, &versions, &ours)
	switch {
	case err != nil:
		return err
	case versions == 0 && tables > 0:
		return foreign
	case versions == 1:
		if err := tx.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&found); err != nil {
			return err
		}
	}
	if found == 0 && ours == 0 {
		return &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "the database " + path + " is empty: no server has finished its first start on it", Hint: "start a server on it"}
	}
	if ours != 2 {
		return foreign
	}
	if found == known {
		return nil
	}
	e := &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: fmt.Sprintf("the schema of %s is %d, this program reads %d", path, found, known),
		Hint: "use the version of CloudCrowd that wrote it"}
	if found < known {
		e.Hint = "start this version's server on it once, which brings it up to date, or use the version that wrote it"
	}
	return e
}

// newestSchema is the version the embedded steps lead to.
func newestSchema() (newest int64, err error) {
	steps, err := fs.ReadDir(migrations, "migrations")
	for _, step := range steps {
		number, _, _ := strings.Cut(step.Name(), "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			newest = max(newest, n)
		}
	}
	return newest, err
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
	var sum uint32
	found, err := s.one(ctx, "SELECT seq, sum, state FROM snapshots WHERE shard = ? ORDER BY seq DESC LIMIT 1", []any{shard}, &seq, &sum, &state)
	if err == nil && found && sum != store.SnapshotSum(shard, seq, state) {
		return seq, nil, &store.CorruptError{What: fmt.Sprintf("snapshot %d/%d", shard, seq), Err: errChecksum}
	}
	return seq, state, err
}

// JournalEnds returns the seq of the last journal row of every shard that has rows, whatever the shards' heads say.
func (s *Store) JournalEnds(ctx context.Context) (map[int]int64, error) {
	ends := map[int]int64{}
	for before := int64(-1); ; {
		var last sql.NullInt64
		text, args := "SELECT max(key) FROM journal", []any(nil)
		if before >= 0 {
			text, args = text+" WHERE key < ?", []any{before}
		}
		if _, err := s.one(ctx, text, args, &last); err != nil {
			return nil, err
		}
		if !last.Valid {
			return ends, nil
		}
		shard := int(last.Int64 >> seqBits)
		ends[shard] = last.Int64 & (1<<seqBits - 1)
		before = journalKey(shard, 0)
	}
}

// Integrity asks SQLite to check its own structures, indexes included unless quick, and returns what it finds wrong, at most 100 sentences. It reads every page in
// use, so it meets every one that does not match its checksum; where the check cannot go on behind it, the error says so, too.
func (s *Store) Integrity(ctx context.Context, quick bool) (bad []string, err error) {
	text := "PRAGMA integrity_check(100)"
	if quick {
		text = "PRAGMA quick_check(100)"
	}
	err = s.each(ctx, text, nil, func(scan scanner) error {
		var line string
		if err := scan(&line); err != nil {
			return err
		}
		if line != "ok" {
			bad = append(bad, line)
		}
		return nil
	})
	if len(bad) == 0 {
		return nil, err
	}
	roots := map[string]string{} // what begins at a page
	again := s.each(ctx, "SELECT type, name, tbl_name, rootpage FROM sqlite_schema WHERE rootpage > 0", nil, func(scan scanner) error {
		var kind, name, table, root string
		err := scan(&kind, &name, &table, &root)
		if roots[root] = kind + " " + name; kind == "index" && !strings.HasPrefix(name, table) {
			roots[root] += " of " + table
		}
		return err
	})
	if err == nil {
		err = again
	}
	for i, line := range bad {
		bad[i] = tree.ReplaceAllStringFunc(line, func(tree string) string {
			if name := roots[strings.TrimPrefix(tree, "Tree ")]; name != "" {
				return strings.ToUpper(name[:1]) + name[1:]
			}
			return tree
		})
		bad[i] = strings.ReplaceAll(bad[i], fmt.Sprintf("error code=%d", pagesum.Mismatch), "it does not match its checksum")
	}
	return bad, err
}

// tree is how SQLite's check names a table or an index: by the page at which it begins.
var tree = regexp.MustCompile(`Tree \d+`)
