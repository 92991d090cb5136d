package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/ledger"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// FsckOptions tune a check. The zero value checks everything.
type FsckOptions struct {
	Database Database
	Blobs    string // address of the bucket that holds the blobs; "": where the server last kept them
	Quick    bool   // do not read every blob again, nor the database's indexes: only whether what is referenced is there
}

// Verdicts of a check.
const (
	Clean  = "clean"
	Faulty = "faulty"
)

// Problem is one thing that disagrees.
type Problem struct {
	Subject string `json:"subject"` // what it is about: "journal row 0/17", "account anna", "task j…-0-3", "blob ab12…"
	Text    string `json:"text"`    // both values
}

// FsckReport is what a check found.
type FsckReport struct {
	Verdict   string    `json:"verdict"` // Clean or Faulty
	Problems  []Problem `json:"problems,omitempty"`
	Omitted   int64     `json:"omitted,omitempty"` // problems beyond MaxProblems
	Notes     []Problem `json:"notes,omitempty"`   // worth knowing, not wrong
	Jobs      int64     `json:"jobs"`              // in the journal
	Tasks     int64     `json:"tasks"`
	Transfers int64     `json:"transfers"`
	Blobs     int64     `json:"blobs"` // in the store
}

// MaxProblems is how many problems, and how many notes, a report lists.
const MaxProblems = 1000

// Fsck recomputes what a server's data directory says: it replays every shard's journal from its first row and compares balances, holds and
// transfers, leases, the states of jobs and tasks, snapshots, the readable tables, and the digests of all blobs. It reads only. Beside a running
// server it judges the one moment at which it began. Whatever disagrees is a Problem; the error says only that the check itself could not be
// made: code NotFound if there is no database, Conflict if another version wrote it, Unavailable if it cannot be read.
func Fsck(ctx context.Context, dataDir string, o FsckOptions) (FsckReport, error) {
	c := newChecker(ctx, o)
	if err := c.run(dataDir); err != nil {
		return FsckReport{}, err
	}
	c.report.Verdict = Clean
	if len(c.report.Problems) > 0 {
		c.report.Verdict = Faulty
	}
	return c.report, nil
}

func newChecker(ctx context.Context, o FsckOptions) *checker {
	return &checker{ctx: ctx, o: o, book: ledger.NewBook(), seen: map[int]int64{}, tables: newExpected(), transfers: newExpected(), needed: map[[32]byte]struct{}{}}
}

// checker is one check under way.
type checker struct {
	ctx     context.Context
	o       FsckOptions
	db      view
	blobs   blob.Store           // nil if there is none
	rows    *taskmanager.Manager // never started; derives what the tables should hold
	report  FsckReport
	shards  []*shard
	workers map[cloudcrowd.WorkerID]cloudcrowd.Worker // registered

	book      *ledger.Book  // of all journals
	among     int           // shards that jobs are distributed among
	seen      map[int]int64 // the last row of each journal that a row of another has seen
	balanced  bool          // book could be kept to the end
	tables    *expected     // rows of the readable tables
	transfers *expected

	follow func(s *shard, row store.Row, transfers []cloudcrowd.Transfer, out *lifecycle.Out) error // is given every row in place of the collections; nil in a check

	needed map[[32]byte]struct{} // digests whose blobs were looked for
}

func (c *checker) run(dataDir string) (err error) {
	var noBlobs error
	switch c.blobs, noBlobs = openBlobsReadOnly(c.ctx, dataDir, c.o.Blobs); {
	case noBlobs == nil:
		defer closeBlobs(c.blobs)
	case cloudcrowd.CodeOf(noBlobs) != cloudcrowd.NotFound:
		return noBlobs // a bucket that cannot be reached is no damage
	}
	switch c.db, err = c.o.Database.openView(c.ctx, dataDir); {
	case err == nil:
		defer c.db.Close()
		c.rows = taskmanager.New(taskmanager.Config{Store: c.db})
		err = c.database()
	case cloudcrowd.CodeOf(err) == cloudcrowd.NotFound && exists(filepath.Join(dataDir, secretsFile)):
		c.fault("the database", "%v, though a server has run here", err)
		err = nil
	}
	if err := c.damage(err); err != nil {
		return err
	}
	if noBlobs != nil && c.report.Jobs > 0 { // a server that was killed at its first start may not have made it yet
		c.fault("blobs", "%v", noBlobs)
	}
	return c.damage(c.checkBlobs())
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// database checks everything but the bytes of blobs.
func (c *checker) database() error {
	if db, ok := c.db.(selfChecked); ok {
		bad, err := db.Integrity(c.ctx, c.o.Quick)
		if err := c.damage(err); err != nil {
			return err
		}
		for _, line := range bad {
			c.fault("the database file", "%s", line)
		}
	}
	list, err := c.db.Workers(c.ctx)
	if err := c.damage(err); err != nil {
		return err
	}
	c.workers = map[cloudcrowd.WorkerID]cloudcrowd.Worker{}
	for _, w := range list {
		c.workers[w.ID] = w.Worker
	}
	for _, step := range []func() error{c.replayAll, c.checkOpenJobs, c.checkLedger, c.checkTables, c.checkSnapshots} {
		if err := c.damage(step()); err != nil {
			return err
		}
	}
	return nil
}

// fault notes a problem.
func (c *checker) fault(subject, format string, args ...any) {
	if len(c.report.Problems) >= MaxProblems {
		c.report.Omitted++
		return
	}
	c.report.Problems = append(c.report.Problems, Problem{subject, fmt.Sprintf(format, args...)})
}

// note notes what is no problem.
func (c *checker) note(subject, format string, args ...any) {
	if len(c.report.Notes) < MaxProblems {
		c.report.Notes = append(c.report.Notes, Problem{subject, fmt.Sprintf(format, args...)})
	}
}

// damage turns stored bytes that cannot be read into a problem, once, and passes other errors on.
func (c *checker) damage(err error) error {
	p := Problem{}
	if rotten, ok := errors.AsType[*store.CorruptError](err); ok {
		p = Problem{rotten.What, rotten.Err.Error()}
	} else if rotten, ok := errors.AsType[*blob.CorruptError](err); ok {
		p = Problem{"blob " + string(rotten.Digest), rotten.Err.Error()}
	} else {
		return err
	}
	if !slices.Contains(c.report.Problems, p) {
		c.fault(p.Subject, "%s", p.Text)
	}
	return nil
}

// short cuts a value that is put into a sentence.
func short(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
