package platform

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// RepairReport is what a repair did.
type RepairReport struct {
	Verdict  string    `json:"verdict"`            // Clean, or Faulty: then nothing was changed
	Problems []Problem `json:"problems,omitempty"` // why not
	Jobs     int64     `json:"jobs"`               // in the journal
	Tasks    int64     `json:"tasks"`
	Kept     string    `json:"kept,omitempty"` // where the database is that was replaced; "" with DryRun
}

// Names of a repair in a data directory.
const (
	repairFolder  = "repair"    // the new database while it is made
	damagedSuffix = ".damaged-" // between the old database's name and the time
	damagedTime   = "20060102-150405.000"
)

// Repair makes a new database of what no journal tells, derives the ledger and the readable tables from the journals, checks the result as Fsck does, all but blobs, and
// puts it in the place of the old one, which is kept beside it. Killed at any moment, it leaves the old database in its place or the new one. With dryRun all is done but the
// last step. If what no journal tells cannot be read, or a journal cannot be replayed, the report names it and nothing is changed. Errors: those of Fsck, Conflict
// while a server runs, Unavailable without room for the database once more.
func Repair(ctx context.Context, dataDir string, dryRun bool) (r RepairReport, err error) {
	path := filepath.Join(dataDir, databaseFile)
	if !exists(path) {
		return r, &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "there is no database at " + path, Hint: "give the data folder of a server"}
	}
	lock, err := sqlite.Lock(path)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	work := filepath.Join(dataDir, repairFolder)
	if err := errors.Join(os.RemoveAll(work), forgetLinks(path)); err != nil { // left by one that was killed
		return r, err
	}
	defer os.RemoveAll(work)
	c := newChecker(ctx, FsckOptions{Quick: true})
	fresh := filepath.Join(work, databaseFile)
	if err = sqlite.Salvage(ctx, path, fresh); err == nil {
		err = c.rebuild(fresh)
	}
	if err == nil && len(c.report.Problems) == 0 {
		c.report, err = checkFile(ctx, fresh)
	}
	if err = c.damage(err); err != nil {
		if e, ok := errors.AsType[*cloudcrowd.Error](err); ok && e.Code == cloudcrowd.Unavailable && strings.Contains(e.Msg, "full") {
			e.Hint = "a repair needs room for the database once more; nothing was changed"
		}
		return r, err
	}
	r = RepairReport{Verdict: Clean, Problems: c.report.Problems, Jobs: c.report.Jobs, Tasks: c.report.Tasks}
	if len(r.Problems) > 0 {
		r.Verdict = Faulty
	}
	if r.Verdict == Faulty || dryRun {
		return r, nil
	}
	kept := path + damagedSuffix + time.Now().UTC().Format(damagedTime)
	if err := sqlite.Replace(path, fresh, kept); err != nil {
		return r, err
	}
	r.Kept = kept
	return r, nil
}

// forgetLinks removes second names of the database, which a repair leaves that is killed before it puts the new one in its place.
func forgetLinks(path string) error {
	is, err := os.Stat(path)
	if err != nil {
		return err
	}
	names, err := filepath.Glob(path + damagedSuffix + "*")
	for _, name := range names {
		if info, e := os.Stat(name); e == nil && os.SameFile(is, info) {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// checkFile is Fsck for a database without blobs.
func checkFile(ctx context.Context, path string) (_ FsckReport, err error) {
	c := newChecker(ctx, FsckOptions{Database: Database{file: path}})
	if c.db, err = c.o.Database.openView(ctx, ""); err != nil {
		return FsckReport{}, err
	}
	defer c.db.Close()
	c.rows = taskmanager.New(taskmanager.Config{Store: c.db})
	err = c.damage(c.database())
	return c.report, err
}

// How much of a journal is written to the tables at once.
const (
	rebuildRows  = 512
	rebuildTasks = 8192
)

// rebuild replays all journals of a database that Salvage made and writes what follows from them. What a journal has wrong is in the report.
func (c *checker) rebuild(path string) (err error) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	db, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	c.ctx, c.db, c.rows = ctx, db, taskmanager.New(taskmanager.Config{Store: db})
	var failed error // of writing, which is no fault of a journal's
	waiting, tasks := map[int][]store.Projected{}, map[int]int{}
	write := func(shard int) {
		if list := waiting[shard]; len(list) > 0 && failed == nil {
			failed = db.Project(ctx, taskmanager.Joined(list))
		}
		waiting[shard], tasks[shard] = nil, 0
	}
	c.follow = func(s *shard, row store.Row, transfers []cloudcrowd.Transfer, out *lifecycle.Out) error {
		if failed == nil && len(transfers) > 0 {
			failed = db.AddTransfers(ctx, transfers)
		}
		p := c.rows.Rows(s.state, row, out)
		waiting[s.number], tasks[s.number] = append(waiting[s.number], p), tasks[s.number]+len(p.Tasks)
		if len(waiting[s.number]) >= rebuildRows || tasks[s.number] >= rebuildTasks {
			write(s.number)
		}
		if failed != nil {
			cancel()
		}
		return failed
	}
	err = c.replayAll()
	for _, s := range c.shards {
		write(s.number)
	}
	if failed != nil {
		return failed // it ended the replay, too
	}
	if err != nil || len(c.report.Problems) > 0 {
		return err
	}
	var accounts []cloudcrowd.Account
	for _, id := range slices.Sorted(maps.Keys(c.book.Accounts)) {
		accounts = append(accounts, *c.book.Accounts[id])
	}
	var holds []cloudcrowd.Hold
	for _, job := range slices.SortedFunc(maps.Keys(c.book.Holds), func(a, b cloudcrowd.JobID) int { return strings.Compare(string(a), string(b)) }) {
		holds = append(holds, *c.book.Holds[job])
	}
	return db.PutBook(ctx, accounts, holds)
}
