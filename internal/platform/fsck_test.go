package platform

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// A history with jobs of every fate, a crash and a snapshot is clean, stopped or not, at every step.
func TestFsckClean(t *testing.T) {
	t.Parallel()
	h := newHistory(t, quickDir(t), 1)
	h.live(func() { mustBeClean(t, check(t, h.dir, FsckOptions{Quick: true})) })
	list, _, err := h.db.Jobs(t.Context(), store.JobFilter{}, store.Page{})
	if err != nil {
		t.Fatal(err)
	}
	states := map[cloudcrowd.JobState]int{}
	refused := int64(0)
	for _, j := range list {
		states[j.Summary.State]++
		refused += j.Summary.Refused
	}
	if states[cloudcrowd.JobDone] == 0 || states[cloudcrowd.JobFailed] == 0 || states[cloudcrowd.JobCancelled] == 0 || states[cloudcrowd.JobRunning] == 0 || refused == 0 {
		t.Errorf("the history is poor: %v, %d refused", states, refused)
	}
	if seq, _, err := h.db.Snapshot(t.Context(), 0); err != nil || seq == 0 {
		t.Errorf("snapshot %d, %v, want one", seq, err)
	}
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	r := check(t, h.dir, FsckOptions{})
	mustBeClean(t, r)
	if r.Jobs != 5 || r.Tasks == 0 || r.Transfers == 0 || r.Blobs == 0 {
		t.Errorf("%+v", r)
	}
}

// Beside a server that works as fast as it can, every check is of one moment, and finds nothing.
func TestFsckBesideServer(t *testing.T) {
	t.Parallel()
	dir := quickDir(t)
	done := make(chan error, 1)
	go func() {
		_, err := Bench(t.Context(), BenchConfig{Tasks: 2000, Workers: 2, Samples: 5, DataDir: dir})
		done <- err
	}()
	for !exists(filepath.Join(dir, "server", secretsFile)) && len(done) == 0 { // the first start
		runtime.Gosched()
	}
	var last FsckReport
	for checks := 0; ; checks++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			final := check(t, filepath.Join(dir, "server"), FsckOptions{})
			mustBeClean(t, final)
			t.Logf("%d checks, the last one beside the server saw %+v, after it %+v", checks, last, final)
			if final.Tasks < 2005 || checks == 0 {
				t.Errorf("%d tasks after %d checks, want 2005 at least, after some", final.Tasks, checks)
			}
			return
		default:
		}
		last = check(t, filepath.Join(dir, "server"), FsckOptions{Quick: true})
		mustBeClean(t, last)
	}
}

// Names of workers, and what tasks cover in words, are as they were when a row was written: others later are no fault.
func TestFsckNames(t *testing.T) {
	t.Parallel()
	dir, db := aHistory(t)
	if _, err := db.Exec("UPDATE workers SET name = 'renamed ' || id"); err != nil {
		t.Fatal(err)
	}
	eachTask(func(v *cloudcrowd.Task) { v.Label = `in "other" words: ` + v.Label })(t, dir, db)
	mustBeClean(t, check(t, dir, FsckOptions{}))
}

// Tables that lag behind the journal, and tables that were filled ahead of what they say, are no faults where no snapshot covers the gap.
func TestFsckProjectionBehind(t *testing.T) {
	t.Parallel()
	dir, db := aHistory(t)
	for _, text := range []string{"DELETE FROM snapshots", "UPDATE shards SET projected = projected / 2"} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	mustBeClean(t, check(t, dir, FsckOptions{}))
	for _, text := range []string{"UPDATE shards SET projected = 0", "DELETE FROM jobs"} {
		if _, err := db.Exec(text); err != nil {
			t.Fatal(err)
		}
	}
	alterSegments(func(s *history.Segment) {
		s.Tasks = nil
		s.Attempts = slices.DeleteFunc(s.Attempts, func(a cloudcrowd.Attempt) bool { return a.ID.N == 1 })
	})(t, dir, db)
	mustBeClean(t, check(t, dir, FsckOptions{}))
}

// Every kind of damage is found and named.
func TestFsckFindsDamage(t *testing.T) {
	t.Parallel()
	run := func(text string, args ...any) func(*testing.T, string, *sql.DB) {
		return func(t *testing.T, _ string, db *sql.DB) {
			r, err := db.Exec(text, args...)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := r.RowsAffected(); err != nil || n == 0 {
				t.Fatalf("%s changed %d rows (%v)", text, n, err)
			}
		}
	}
	value := func(t *testing.T, db *sql.DB, text string, dst ...any) {
		t.Helper()
		if err := db.QueryRow(text).Scan(dst...); err != nil {
			t.Fatal(err)
		}
	}
	aBlob := func(t *testing.T, dir string, db *sql.DB) string {
		task := openSegments(t, db)[0].Tasks[0]
		if len(task.Outputs) == 0 {
			t.Fatal(task)
		}
		d := string(task.Outputs[0].Digest)
		return filepath.Join(dir, blobFolder, d[:2], d[2:])
	}
	for name, c := range map[string]struct {
		damage  func(*testing.T, string, *sql.DB)
		subject string // of one problem, a prefix
		text    string // part of its text
	}{
		"journal byte": {func(t *testing.T, _ string, db *sql.DB) {
			var b []byte
			value(t, db, "SELECT events FROM journal WHERE key = 5", &b)
			b[len(b)/2] ^= 1
			run("UPDATE journal SET events = ? WHERE key = 5", b)(t, "", db)
		}, "journal row 0/5", "checksum"},
		"journal row missing": {run("DELETE FROM journal WHERE key = 4"), "journal row 0/4", "missing"},
		"journal end missing": {run("DELETE FROM journal WHERE key = (SELECT max(key) FROM journal)"), "journal row 0/", "missing"},
		"journal head back":   {run("UPDATE shards SET head = head - 1"), "journal of shard 0", "its head says"},
		"journal of nobody":   {run("INSERT INTO journal SELECT key + (3 << 44), epoch, at, count, sum, events, seen FROM journal WHERE key = 1"), "journal of shard 3", "no such shard"},
		"journal row repeated": {func(t *testing.T, _ string, db *sql.DB) {
			r := store.Row{Seq: 3}
			value(t, db, "SELECT epoch, at, count, events FROM journal WHERE key = 2", &r.Epoch, &r.At, &r.Count, &r.Events)
			run("UPDATE journal SET epoch = ?, at = ?, count = ?, events = ?, sum = ? WHERE key = 3", r.Epoch, r.At, r.Count, r.Events, r.Sum(0))(t, "", db)
		}, "journal row 0/3", "twice"},
		"balance":           {run("UPDATE accounts SET balance = balance + 5 WHERE id = 'anna'"), "account anna", "its transfers make"},
		"sum":               {run("UPDATE accounts SET balance = balance + 5 WHERE id = 'anna'"), "the ledger", "make 5"},
		"below zero":        {run("UPDATE accounts SET balance = -1 WHERE id = 'fee'"), "account fee", "below zero"},
		"held":              {run("UPDATE accounts SET held = held + 1 WHERE id = 'anna'"), "account anna", "its holds make"},
		"account gone":      {run("DELETE FROM accounts WHERE id = 'owner0'"), "account owner0", "its balance is 0"},
		"account invented":  {run("INSERT INTO accounts VALUES ('mallory', 7, 0)"), "account mallory", "its balance is 7, its transfers make 0"},
		"transfer gone":     {run("DELETE FROM transfers WHERE seq = 1"), "transfer 0-1-0", "missing"},
		"transfer altered":  {run("UPDATE transfers SET amount = amount + 1 WHERE seq = 1"), "transfer 0-1-0", "its amount_microcredits is 10000001, the journal says 10000000"},
		"transfer invented": {run("INSERT INTO transfers VALUES (0, 1, 9, 'issue', 'issuer', 'mallory', 5, '', 1, '')"), "transfer 0-1-9", "does not know"},
		"hold gone":         {run("DELETE FROM holds WHERE state = 'pending'"), "hold of job", "missing"},
		"hold altered":      {run("UPDATE holds SET posted = posted + 1 WHERE state = 'voided' AND posted > 0"), "hold of job", "the journal says"},
		"task gone":         {withoutTask(1, true, false, false), "task j", "missing"},
		"task altered":      {eachTask(func(v *cloudcrowd.Task) { v.State = "failed" }), "task j", `its state is "failed", the journal says "done"`},
		"task moved": {alterSegments(func(s *history.Segment) {
			if len(s.Tasks) > 1 {
				s.Tasks[1].ID.Index = 77
			}
		}), "task j", "does not know"},
		"charge gone":    {withoutTask(1, false, false, true), "charge of attempt j", "missing"},
		"charge altered": {eachCharge(func(v *cloudcrowd.Charge) { v.Gross++ }), "charge of attempt j", "its gross is"},
		"charge doubled": {alterSegments(func(s *history.Segment) {
			for _, v := range s.Charges {
				v.Attempt.N += 50
				s.Charges = append(s.Charges, v)
			}
		}), "charge of attempt j", "does not know"},
		"attempt gone":                     {withoutTask(1, false, true, false), "attempt j", "missing"},
		"attempt of another":               {eachAttempt(func(v *cloudcrowd.Attempt) { v.Worker = "UX" }), "attempt j", `its worker is "UX"`},
		"attempt's result":                 {eachAttempt(func(v *cloudcrowd.Attempt) { v.Result = nil }), "attempt j", "its result is nothing, the journal says {"},
		"attempts of another shard":        {alterSegments(func(s *history.Segment) { s.Shard = 4 }), "attempt j", "its shard is 4, the journal says 0"},
		"segment gone":                     {run("DELETE FROM segments WHERE seq = (SELECT min(seq) FROM segments)"), "task j", "missing"},
		"segment gone, its listings there": {run("DELETE FROM segments WHERE seq = (SELECT min(seq) FROM segments)"), "attempts of worker UA: segment of tasks j", "holds nothing of it"},
		"segment byte": {func(t *testing.T, _ string, db *sql.DB) {
			var b []byte
			value(t, db, "SELECT bytes FROM segments LIMIT 1", &b)
			b[len(b)/2] ^= 1
			run("UPDATE segments SET bytes = ? WHERE (job, stage, block, seq, part) = (SELECT job, stage, block, seq, part FROM segments LIMIT 1)", b)(t, "", db)
		}, "segment of tasks j", "checksum"},
		"segment byte names what is lost": {func(t *testing.T, _ string, db *sql.DB) {
			run("UPDATE segments SET bytes = x'00' WHERE (job, stage, block, seq, part) = (SELECT job, stage, block, seq, part FROM segments LIMIT 1)")(t, "", db)
		}, "task j", "missing"},
		"segment moved":         {run("UPDATE segments SET block = block + 1"), "segment of tasks j", "checksum"},
		"segment renamed":       {run("UPDATE segments SET seq = seq + 1000"), "segment of tasks j", "checksum"},
		"listing gone":          {run("DELETE FROM listings WHERE kind = 5 AND id = 'UA'"), "attempts of worker UA: segment of tasks j", "not listed"},
		"listing invented":      {run("INSERT INTO listings SELECT kind, 'UX', level, latest, job, stage, block, seq, part, earliest, shard FROM listings WHERE kind = 5 LIMIT 1"), "attempts of worker UX: segment", "holds nothing"},
		"listing altered":       {run("UPDATE listings SET latest = latest - 1 WHERE kind = 0"), "all charges: segment", "not listed"},
		"listing's level":       {run("UPDATE listings SET level = level + 1 WHERE kind = 3"), "charges for account owner", "not listed"},
		"job gone":              {run("DELETE FROM jobs"), "job j", "missing"},
		"job altered":           {run("UPDATE jobs SET state = 'done' WHERE state = 'cancelled'"), "job j", `its state is "done", the journal says "cancelled"`},
		"job of another":        {run("UPDATE jobs SET account = 'mallory'"), "job j", "mallory"},
		"record altered":        {run(`UPDATE records SET doc = replace(doc, '"invalid":', '"invalid":1') WHERE worker = 'UD'`), "record of worker UD", "its invalid is"},
		"projected too far":     {run("UPDATE shards SET projected = head + 1"), "tables of shard 0", "its head says"},
		"tables behind it":      {run("UPDATE shards SET projected = 1"), "snapshot 0/", "up to row 1 only"},
		"snapshot byte":         {run("UPDATE snapshots SET state = x'00'"), "snapshot 0/", "checksum"},
		"snapshot of elsewhere": {alterSnapshot(func(st *lifecycle.State) { delete(st.Records, "UD") }), "snapshot 0/", "records of workers"},
		"snapshot lacks a job": {alterSnapshot(func(st *lifecycle.State) {
			for id, j := range st.Jobs {
				if !j.State.Ended() {
					delete(st.Jobs, id)
				}
			}
		}), "snapshot 0/", ""},
		"snapshot with another budget": {alterSnapshot(func(st *lifecycle.State) {
			for _, j := range st.Jobs {
				j.Budget++
			}
		}), "snapshot 0/", "its Budget is"},
		"snapshot without sense": {func(t *testing.T, _ string, db *sql.DB) {
			var seq int64
			value(t, db, "SELECT seq FROM snapshots", &seq)
			b := []byte("\xa1\x03\xa1\x61j\xf6") // a job that is nothing
			run("UPDATE snapshots SET state = ?, sum = ?", b, store.SnapshotSum(0, seq, b))(t, "", db)
		}, "snapshot 0/", "cannot be decoded"},
		"journal pays more": {func(t *testing.T, _ string, db *sql.DB) {
			rows, err := db.Query("SELECT key, epoch, at, count, events FROM journal ORDER BY key")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var r store.Row
				if err := rows.Scan(&r.Seq, &r.Epoch, &r.At, &r.Count, &r.Events); err != nil {
					t.Fatal(err)
				}
				events, err := lifecycle.DecodeEvents(r.Events)
				if err != nil {
					t.Fatal(err)
				}
				i := slices.IndexFunc(events, func(ev lifecycle.Event) bool { return ev.TaskDone != nil && len(ev.TaskDone.Paid) > 0 })
				if i < 0 {
					continue
				}
				events[i].TaskDone.Paid[0].Gross++
				if r.Events, err = lifecycle.EncodeEvents(events); err != nil {
					t.Fatal(err)
				}
				_ = rows.Close()
				run("UPDATE journal SET events = ?, sum = ? WHERE key = ?", r.Events, r.Sum(0), r.Seq)(t, "", db)
				return
			}
			t.Fatal("nothing was paid")
		}, "account anna", "its transfers make"},
		"index damaged": {func(t *testing.T, dir string, db *sql.DB) {
			_ = db.Close()
			var kind, name, table, text string
			var root int64
			for _, step := range []func(*sql.DB){
				func(db *sql.DB) { run("UPDATE jobs SET state = 'x-' || state")(t, "", db) },
				func(db *sql.DB) { // the index is hidden
					value(t, db, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE name = 'jobs_state'", &kind, &name, &table, &root, &text)
					run("DELETE FROM sqlite_schema WHERE name = 'jobs_state'")(t, "", db)
				},
				func(db *sql.DB) { run("UPDATE jobs SET state = substr(state, 3)")(t, "", db) },
				func(db *sql.DB) {
					run("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", kind, name, table, root, text)(t, "", db)
				},
			} {
				db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, databaseFile)+"?_pragma=writable_schema(ON)&vfs="+pagesum.VFS())
				if err != nil {
					t.Fatal(err)
				}
				step(db)
				_ = db.Close()
			}
		}, "the database file", "jobs_state"},
		"worker gone":      {run("DELETE FROM workers"), "lease of attempt j", "not registered"},
		"worker of others": {run("UPDATE workers SET owner = 'mallory'"), "lease of attempt j", "mallory"},
		"database damaged": {func(t *testing.T, dir string, db *sql.DB) {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, databaseFile), bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "the database file", "not a database"},
		"blob byte": {func(t *testing.T, dir string, db *sql.DB) {
			path := aBlob(t, dir, db)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "blob ", "its bytes have the digest"},
		"blob gone": {func(t *testing.T, dir string, db *sql.DB) {
			if err := os.Remove(aBlob(t, dir, db)); err != nil {
				t.Fatal(err)
			}
		}, "blob ", "it is missing; it is out.txt of task j"},
		"blob short": {func(t *testing.T, dir string, db *sql.DB) {
			if err := os.Truncate(aBlob(t, dir, db), 1); err != nil {
				t.Fatal(err)
			}
		}, "blob ", "it has 1 bytes instead of"},
		"blobs gone": {func(t *testing.T, dir string, _ *sql.DB) {
			if err := os.RemoveAll(filepath.Join(dir, blobFolder)); err != nil {
				t.Fatal(err)
			}
		}, "blobs", "no directory"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, db := aHistory(t)
			c.damage(t, dir, db)
			_ = db.Close()
			r := check(t, dir, FsckOptions{})
			if r.Verdict != Faulty {
				t.Fatal("it was not found")
			}
			if !slices.ContainsFunc(r.Problems, func(p Problem) bool {
				return strings.HasPrefix(p.Subject, c.subject) && strings.Contains(p.Text, c.text)
			}) {
				b, _ := json.MarshalIndent(r.Problems, "", " ")
				t.Errorf("want %q: … %q …, have\n%s", c.subject, c.text, b)
			}
		})
	}
}

// alterSnapshot changes the stored snapshot and its checksum with it.
func alterSnapshot(change func(*lifecycle.State)) func(*testing.T, string, *sql.DB) {
	return func(t *testing.T, _ string, db *sql.DB) {
		var seq int64
		var b []byte
		if err := db.QueryRow("SELECT seq, state FROM snapshots").Scan(&seq, &b); err != nil {
			t.Fatal(err)
		}
		st, err := lifecycle.DecodeState(b)
		if err != nil {
			t.Fatal(err)
		}
		change(st)
		if b, err = st.Encode(); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("UPDATE snapshots SET state = ?, sum = ?", b, store.SnapshotSum(0, seq, b)); err != nil {
			t.Fatal(err)
		}
	}
}

// A missing log is worth a note, no more; quick checks do not read blobs.
func TestFsckNotes(t *testing.T) {
	t.Parallel()
	dir, db := aHistory(t)
	list := openSegments(t, db)[0].Attempts
	i := slices.IndexFunc(list, func(a cloudcrowd.Attempt) bool { return a.Result != nil && a.Result.Log != "" })
	if i < 0 {
		t.Fatal("no attempt has a log")
	}
	a := list[i]
	path := func(d cloudcrowd.Digest) string { return filepath.Join(dir, blobFolder, string(d[:2]), string(d[2:])) }
	if err := os.Remove(path(a.Result.Log)); err != nil {
		t.Fatal(err)
	}
	r := check(t, dir, FsckOptions{})
	mustBeClean(t, r)
	if len(r.Notes) == 0 || !strings.HasPrefix(r.Notes[0].Subject, "log of attempt ") {
		t.Errorf("notes %+v, want one on the log", r.Notes)
	}
	b, err := os.ReadFile(path(a.Result.Outputs[0].Digest))
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if err := os.WriteFile(path(a.Result.Outputs[0].Digest), b, 0o600); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, check(t, dir, FsckOptions{Quick: true}))
}

// Many faults are counted, not all listed.
func TestFsckManyFaults(t *testing.T) {
	t.Parallel()
	dir, db := aHistory(t)
	if _, err := db.Exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO records SELECT 'U' || i, 0, '{}' FROM n"); err != nil {
		t.Fatal(err)
	}
	_ = db.Close()
	if r := check(t, dir, FsckOptions{}); r.Verdict != Faulty || len(r.Problems) != MaxProblems || r.Omitted != 2000 {
		t.Errorf("%s, %d problems and %d more", r.Verdict, len(r.Problems), r.Omitted)
	}
}

// What is no data directory is an error, not a verdict; one whose database is gone is faulty; one of a server that was killed at its first start
// is neither.
func TestFsckOfNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mustBeNothing := func() {
		t.Helper()
		if r, err := Fsck(t.Context(), dir, FsckOptions{}); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
			t.Errorf("%+v, %v, want code not found", r, err)
		}
	}
	mustBeNothing()
	if err := os.WriteFile(filepath.Join(dir, databaseFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustBeNothing()
	if err := os.WriteFile(filepath.Join(dir, secretsFile), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := check(t, dir, FsckOptions{}); r.Verdict != Faulty {
		t.Errorf("%+v, want a faulty one", r)
	}
	id := filepath.Join(dir, serverIDFile)
	if err := errors.Join(os.WriteFile(id, []byte("one"), 0o600), os.Remove(filepath.Join(dir, databaseFile))); err != nil {
		t.Fatal(err)
	}
	if r, err := Fsck(t.Context(), dir, FsckOptions{}); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid || !strings.Contains(err.Error(), "PostgreSQL") {
		t.Errorf("a folder whose database is elsewhere: %+v, %v, want code invalid", r, err)
	}
	if err := os.Remove(id); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, databaseFile), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	mustBeClean(t, check(t, dir, FsckOptions{}))
}
