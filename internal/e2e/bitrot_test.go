package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// flipsSetting is how many bits TestDatabaseBitFlips flips.
const flipsSetting = "CLOUDCROWD_FLIPS"

// flip changes one bit of a file.
func flip(t testing.TB, path string, at int64, bit int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

// rest stops the server in order, so that all it knows is in its files.
func (c *crowd) rest() {
	c.t.Helper()
	c.server.interrupt(c.t)
	until(c.t, "the server stops", c.server.gone)
}

// readings are answers of a server to questions about what is over, by question, and why it refuses others.
func (c *crowd) readings(jobs []cloudcrowd.JobID) (list map[string]string, refused map[string]error) {
	c.t.Helper()
	op := c.once(c.serving.AdminToken)
	ctx, cancel := context.WithTimeout(c.t.Context(), patience)
	defer cancel()
	list, refused = map[string]string{}, map[string]error{}
	note := func(question string, answer any, err error) {
		if err != nil {
			refused[question] = err
			return
		}
		b, err := json.Marshal(answer)
		if err != nil {
			c.t.Fatal(err)
		}
		list[question] = string(b)
	}
	accounts, err := op.Accounts(ctx)
	note("accounts", accounts, err)
	transfers, err := op.Transfers(ctx, client.TransferQuery{PageQuery: client.PageQuery{Limit: 1000}})
	note("transfers", transfers, err)
	tokens, err := op.Tokens(ctx)
	note("tokens", tokens, err)
	invites, err := op.Invites(ctx)
	note("invites", invites, err)
	all, err := op.Jobs(ctx, client.JobQuery{})
	note("jobs", all, err)
	for _, id := range jobs {
		job, err := op.Job(ctx, id)
		// Of a worker's name that cannot be read, the start of its id takes the place: names are not compared.
		for i := range job.Workers {
			job.Workers[i].Name = ""
		}
		slices.SortFunc(job.Workers, func(a, b cloudcrowd.JobWorker) int { return strings.Compare(string(a.Worker), string(b.Worker)) })
		note("job "+string(id), job, err)
		tasks, err := op.Tasks(ctx, id, client.TaskQuery{})
		for _, v := range tasks.Items {
			for i := range v.Attempts {
				v.Attempts[i].WorkerName = ""
			}
		}
		note("tasks of "+string(id), tasks, err)
		attempts, err := op.Attempts(ctx, id, client.PageQuery{})
		for i := range attempts.Items {
			attempts.Items[i].WorkerName = ""
		}
		note("attempts of "+string(id), attempts, err)
		lines, err := op.Statement(ctx, requester, client.StatementQuery{Job: id})
		note("statement of "+string(id), lines, err)
		for _, o := range job.Outputs {
			r, err := op.OpenOutput(ctx, id, o.Stage, o.Task, o.Path)
			if err != nil {
				refused["output "+o.Path] = err
				continue
			}
			b, err := io.ReadAll(r)
			r.Close()
			note(fmt.Sprint("output ", o.Path, " of ", id), string(b), err)
		}
	}
	return list, refused
}

// started waits until the server serves or has ended, and reports whether it serves.
func (c *crowd) started() bool {
	c.t.Helper()
	until(c.t, "the server serves or ends", func() bool { return c.server.gone() || len(c.server.output()) > 0 })
	said := c.server.output()
	return len(said) > 0 && strings.Contains(said[0], `"admin_token"`) // else it says why it does not
}

// Bits of the database file flip while the server is away. Whatever it struck, a server that starts answers as before, or refuses and says what is damaged, also without
// fsck; nothing wrong is ever served. A bit that matters is named by fsck.
func TestDatabaseBitFlips(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	c := newCrowd(t, nil, "ada", "grace")
	var jobs []cloudcrowd.JobID
	for n := 1; n <= 2; n++ {
		jobs = append(jobs, c.ended(c.submit(counting(n, 1, pair)), cloudcrowd.JobDone).ID)
	}
	c.dismiss("ada")
	c.dismiss("grace")
	c.rest()
	c.again()
	before, refused := c.readings(jobs)
	if len(refused) > 0 {
		t.Fatal(refused)
	}
	c.rest()
	sound := c.data
	file, err := os.ReadFile(filepath.Join(sound, "cloudcrowd.db"))
	if err != nil {
		t.Fatal(err)
	}
	named, harmless, answered, denied := 0, 0, 0, 0
	for i := range setting(t, flipsSetting, 4) {
		// Most of a small file is empty; half of the flips strike bytes that hold something. One is sure to strike the journal.
		at := lots.IntN(len(file))
		for i%2 == 0 && file[at] == 0 {
			at = lots.IntN(len(file))
		}
		switch i {
		case 0:
			at = bytes.Index(file, []byte("counting")) // the first job's name, in the row that says it was submitted
		case 1:
			at = bytes.LastIndex(file, []byte(requester)) // the account that paid
		}
		c.data = filepath.Join(c.dir, fmt.Sprint("flipped-", i))
		if err := os.CopyFS(c.data, os.DirFS(sound)); err != nil {
			t.Fatal(err)
		}
		bit := lots.IntN(8)
		flip(t, filepath.Join(c.data, "cloudcrowd.db"), int64(at), bit)
		r := command(t, nil, "fsck", "--data", c.data, "--json")
		clean := r.status == 0 && strings.Contains(r.last(), `"clean"`)
		if !clean && r.status == 0 || !clean && !strings.Contains(r.stdout+r.stderr, "problem") && !strings.Contains(r.stderr, "corrupt") && !strings.Contains(r.stderr, "database") {
			t.Errorf("bit %d of byte %d: fsck says neither that all is well nor what is not: %d %s%s", bit, at, r.status, r.stdout, r.stderr)
		}
		if clean {
			harmless++
		} else {
			named++
		}
		c.begin(c.host())
		if c.started() {
			answers, refused := c.readings(jobs)
			for question, answer := range answers {
				if answer != before[question] {
					t.Errorf("bit %d of byte %d: the answer to %q is\n%s\nbefore\n%s", bit, at, question, answer, before[question])
				}
			}
			for question, err := range refused {
				if clean || !strings.Contains(err.Error(), "damaged") {
					t.Errorf("bit %d of byte %d: %q is refused, fsck says %s: %v", bit, at, question, r.last(), err)
				}
			}
			answered, denied = answered+len(answers), denied+len(refused)
		} else if clean {
			t.Errorf("bit %d of byte %d: fsck finds nothing, but the server does not start", bit, at)
		}
		c.server.replace()
		if err := os.RemoveAll(c.data); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d flips were named, %d changed nothing; %d questions were answered as before, %d refused", named, harmless, answered, denied)
}

// A bit of the WAL flips that a killed server has left. SQLite drops what it struck and all that follows without a word; the server must not: it starts with
// everything that was acknowledged, or names what is missing and does not start, and so does fsck.
func TestWALBitFlips(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	c := newCrowd(t, nil)
	const gifts = 30
	for range gifts {
		if _, err := c.op.Issue(t.Context(), gifted, 1, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	c.server.kill()
	sound := c.data
	wal, err := os.ReadFile(filepath.Join(sound, "cloudcrowd.db-wal"))
	if err != nil || len(wal) == 0 {
		t.Fatalf("a killed server left no WAL: %v", err)
	}
	named := 0
	for i := range setting(t, flipsSetting, 4) {
		c.data = filepath.Join(c.dir, fmt.Sprint("flipped-", i))
		if err := os.CopyFS(c.data, os.DirFS(sound)); err != nil {
			t.Fatal(err)
		}
		at, bit := lots.IntN(len(wal)), lots.IntN(8)
		if i == 0 {
			at = len(wal) / 2
		}
		flip(t, filepath.Join(c.data, "cloudcrowd.db-wal"), int64(at), bit)
		r := command(t, nil, "fsck", "--data", c.data, "--json")
		clean := r.status == 0 && strings.Contains(r.last(), `"clean"`)
		c.begin(c.host())
		switch serves := c.started(); {
		case !serves:
			named++
			until(t, "the server ends", c.server.gone)
			log, err := os.ReadFile(c.server.log)
			if err != nil {
				t.Fatal(err)
			}
			if clean || !strings.Contains(string(log), "journal of shard") && !strings.Contains(string(log), "database") {
				t.Errorf("bit %d of byte %d of the WAL: it does not start, fsck says %s, and why: %s", bit, at, r.last(), log[max(0, len(log)-500):])
			}
		case !clean:
			t.Errorf("bit %d of byte %d of the WAL: it starts though fsck says %s", bit, at, r.last())
		default:
			if account, err := c.op.Account(t.Context(), gifted); err != nil || account.Balance != gifts {
				t.Errorf("bit %d of byte %d of the WAL: of %d gifts %d are there, %v", bit, at, gifts, account.Balance, err)
			}
		}
		c.server.replace()
		if err := os.RemoveAll(c.data); err != nil {
			t.Fatal(err)
		}
	}
	if named == 0 {
		t.Error("no flip was named, though one struck the middle")
	}
	t.Logf("%d flips were named", named)
}

// A bit of a blob flips on the disk: no byte of it is served wrong, fsck names it, and storing it again mends it.
func TestBlobBitFlips(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	c := newCrowd(t, nil)
	for _, size := range []int{5_000, 300_000} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(lots.Uint32())
		}
		digest, err := c.api.PutBytes(t.Context(), content)
		if err != nil {
			t.Fatal(err)
		}
		var path string
		err = filepath.WalkDir(filepath.Join(c.data, "blobs"), func(p string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() && strings.HasSuffix(p, string(digest)[4:]) {
				path = p
			}
			return err
		})
		if err != nil || path == "" {
			t.Fatalf("the file of blob %s is not found, %v", digest.Short(), err)
		}
		for range 4 {
			at, bit := lots.IntN(size), lots.IntN(8)
			flip(t, path, int64(at), bit)
			from := lots.IntN(at + 1)
			for _, span := range [][2]int{{0, size}, {from, size - from}, {at, 1}} {
				r, err := c.impatient().OpenBlob(t.Context(), digest, int64(span[0]), int64(span[1]), "")
				if err != nil {
					continue
				}
				got, err := io.ReadAll(r)
				r.Close()
				if err == nil || !bytes.HasPrefix(content[span[0]:], got) {
					t.Errorf("bit %d of byte %d flipped: %d bytes from %d were served, %v", bit, at, len(got), span[0], err)
				}
			}
			if _, err := c.impatient().OpenBlob(t.Context(), digest, int64(at), 1, ""); cloudcrowd.CodeOf(err) != cloudcrowd.Internal || !strings.Contains(err.Error(), string(digest)) {
				t.Errorf("the error does not name the blob: %v", err)
			}
			if r := command(t, nil, "fsck", "--data", c.data, "--json"); r.status == 0 || !strings.Contains(r.last(), string(digest)) {
				t.Errorf("fsck does not name blob %s: %s%s", digest, r.stdout, r.stderr)
			}
			if _, err := c.api.PutBytes(t.Context(), content); err != nil {
				t.Errorf("storing it again: %v", err)
			}
		}
		r, err := c.api.OpenBlob(t.Context(), digest, 0, -1, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content) {
			t.Errorf("after storing it again %d bytes of %d, %v", len(got), size, err)
		}
		r.Close()
	}
	c.fsck()
}

// Bits flip in what a worker that was killed keeps of results nobody has acknowledged: in the log, and in the files of an attempt. No such result is
// believed, the worker says what it found, and the job ends right.
func TestSpoolBitFlips(t *testing.T) {
	t.Parallel()
	lots := chance(t)
	c := newCrowd(t, shortLease, "ada", "grace")
	id := c.submit(counting(8, 60, pair))
	events := func(name, text string) int { return strings.Count(strings.Join(c.workers[name].output(), "\n"), text) }
	c.reached(id, "both work", func(cloudcrowd.Job) bool {
		return events("ada", `"event":"started"`) > 0 && events("grace", `"event":"started"`) > 0
	})
	c.server.kill()
	before := events("ada", `"event":"finished"`)
	spool := filepath.Join(c.folder("ada"), "spool")
	until(t, "ada finishes something for nobody and has it in its spool", func() bool { // it says so before it has written it down
		log, err := os.Stat(filepath.Join(spool, "log"))
		return events("ada", `"event":"finished"`) > before && err == nil && log.Size() > 0
	})
	c.workers["ada"].kill()
	log, err := os.Stat(filepath.Join(spool, "log"))
	if err != nil || log.Size() == 0 {
		t.Fatalf("nothing is in the spool: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(spool, "*", "out", "lines.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files are in the spool: %v", err)
	}
	if lots.IntN(2) == 0 {
		files = files[:len(files)-1] // one is as it was
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, file, lots.Int64N(info.Size()), lots.IntN(8))
	}
	flip(t, filepath.Join(spool, "log"), lots.Int64N(log.Size()), lots.IntN(8))
	c.again()
	c.work("ada", "")
	c.online("ada", "grace")
	until(t, "ada says what it found", func() bool { return events("ada", "spool: ") > 0 })
	job := c.ended(id, cloudcrowd.JobDone)
	if got := c.answer(job, "lines.txt"); got != counted(8, 60) {
		t.Errorf("the answer is\n%s", got)
	}
	if job.Refused > 0 {
		t.Errorf("%d damaged results were reported and had to be refused", job.Refused)
	}
	c.audit(job)
}
