package platform

import (
	"database/sql"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A history in several shards is clean at every step: credits issued in one are spent in the others, and all keep records of the same workers. So it is
// as a backup, restored, and once its readable tables were made anew, shard by shard.
func TestFsckShards(t *testing.T) {
	t.Parallel()
	h := newHistory(t, quickDir(t), 3)
	h.live(func() { mustBeClean(t, check(t, h.dir, FsckOptions{Quick: true})) })
	rows, err := h.db.Records(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	of := map[cloudcrowd.WorkerID]int{}
	for _, r := range rows {
		of[r.Worker]++
	}
	if of["UA"] != 2 || of["UD"] != 1 {
		t.Errorf("records %v, want two of UA, and one of UD, who is caught in the first shard that gives him work", of)
	}
	r := check(t, h.dir, FsckOptions{})
	mustBeClean(t, r)
	if r.Jobs != 5 || r.Notes != nil {
		t.Errorf("%+v", r)
	}

	backup, restored := filepath.Join(quickDir(t), "backup"), filepath.Join(quickDir(t), "restored")
	b, err := Backup(t.Context(), h.dir, backup, BackupOptions{})
	if err != nil || len(b.Rows) != 3 {
		t.Fatalf("%+v, %v, want journals of three shards", b.Rows, err)
	}
	if v, err := VerifyBackup(t.Context(), backup); err != nil || v.Verdict != Clean {
		t.Errorf("%+v, %v", v, err)
	}
	if rr, err := Restore(t.Context(), backup, restored); err != nil || rr.Fsck == nil || rr.Fsck.Verdict != Clean || rr.Fsck.Jobs != r.Jobs || rr.Fsck.Transfers != r.Transfers {
		t.Errorf("%+v, %v", rr, err)
	}

	for shard := range h.shards {
		if err := h.db.ClearProjection(t.Context(), shard); err != nil {
			t.Fatal(err)
		}
		if r := check(t, h.dir, FsckOptions{Quick: true}); shard == 2 && !slices.ContainsFunc(r.Problems, func(p Problem) bool { return strings.HasPrefix(p.Subject, "snapshot 2/") }) {
			t.Errorf("tables of shard 2 are empty, and its snapshot is newer: %+v", r.Problems)
		}
	}
	h.start()
	for range 3 {
		h.step()
	}
	mustBeClean(t, check(t, h.dir, FsckOptions{Quick: true}))
	if again, err := h.db.Records(t.Context()); err != nil || len(again) != len(rows) {
		t.Errorf("records %v, %v, want %d", again, err, len(rows))
	}
}

// Damage in any shard is found and named with its shard, and no damage is seen in others.
func TestFsckFindsDamageInShards(t *testing.T) {
	t.Parallel()
	const first = 1 << 44 // key of a journal's row 0 in shard 1
	rewrite := func(key int64, change func(*store.Row)) func(testing.TB, *sql.DB) {
		return func(t testing.TB, db *sql.DB) {
			var r store.Row
			var seen string
			if err := db.QueryRow("SELECT key, epoch, at, count, events, seen FROM journal WHERE key = ?", key).Scan(&r.Seq, &r.Epoch, &r.At, &r.Count, &r.Events, &seen); err != nil {
				t.Fatal(err)
			}
			r.Seq &= first - 1
			var err error
			if r.Seen, err = store.ParseSeen(seen); err != nil {
				t.Fatal(err)
			}
			change(&r)
			if _, err := db.Exec("UPDATE journal SET events = ?, seen = ?, sum = ? WHERE key = ?", r.Events, r.Seen.String(), r.Sum(int(key/first)), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(text string, args ...any) func(testing.TB, *sql.DB) {
		return func(t testing.TB, db *sql.DB) {
			r, err := db.Exec(text, args...)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := r.RowsAffected(); err != nil || n == 0 {
				t.Fatalf("%s changed %d rows (%v)", text, n, err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage  func(testing.TB, *sql.DB)
		subject string // of one problem, a prefix
		text    string
		only    string // every problem's subject contains it
	}{
		"journal byte": {run("UPDATE journal SET events = CAST(substr(events, 2) || x'00' AS BLOB) WHERE key = ?", first+2), "journal row 1/2", "checksum", "1/"},
		"journal end": {func(t testing.TB, db *sql.DB) {
			run("DELETE FROM journal WHERE key > ?", 2*first+2)(t, db)
			run("UPDATE shards SET head = 2 WHERE shard = 2")(t, db)
		}, "journal of shard 2", "rows of other shards have seen row", ""},
		"what was seen":                     {run("UPDATE journal SET seen = replace(seen, '2:', '2:1') WHERE key IN (SELECT min(key) FROM journal WHERE key < ? AND seen <> '')", first), "journal row 0/", "checksum", ""},
		"seen too early":                    {rewrite(1, func(r *store.Row) { r.Seen = nil }), "journal row 0/1", "the ledger cannot follow it: hold of", ""},
		"seen in a circle":                  {rewrite(2*first+1, func(r *store.Row) { r.Seen = store.Seen{0: 1} }), "journal row", "one of those it", ""},
		"seen in a shard that is not there": {rewrite(2*first+1, func(r *store.Row) { r.Seen = store.Seen{7: 1} }), "journal of shard 7", "no such shard", ""},
		"job in a wrong shard":              {run("INSERT INTO settings VALUES ('cluster/shards', '4')"), "job j", "whoever looks for it asks shard", ""},
		"shard beyond the others":           {run("INSERT INTO settings VALUES ('cluster/shards', '2')"), "journal of shard 2", "nobody serves this one", ""},
		"no number of shards":               {run("INSERT INTO settings VALUES ('cluster/shards', 'x')"), "setting cluster/shards", "not a number", "setting"},
		"record altered":                    {run(`UPDATE records SET doc = replace(doc, '"invalid":', '"invalid":1') WHERE worker = 'UD' AND shard = 1`), "record of worker UD in shard 1", "its invalid is", "UD in shard 1"},
		"record gone":                       {run("DELETE FROM records WHERE worker = 'UA' AND shard = 1"), "record of worker UA in shard 1", "missing", "UA in shard 1"},
		"record of a wrong shard": {func(t testing.TB, db *sql.DB) {
			run("DELETE FROM records WHERE worker = 'UA' AND shard = 2")(t, db)
			run("UPDATE records SET shard = 2 WHERE worker = 'UA' AND shard = 1")(t, db)
		}, "record of worker UA in shard 2", "the journal says", "UA in shard"},
		"transfer gone":        {run("DELETE FROM transfers WHERE shard = 2 AND seq = (SELECT max(seq) FROM transfers WHERE shard = 2)"), "transfer 2-", "missing", ""},
		"hold altered":         {run("UPDATE holds SET amount = amount + 1 WHERE job = (SELECT id FROM jobs WHERE shard = 1 LIMIT 1)"), "hold of job", "the journal says", "hold of job"},
		"job of another shard": {run("UPDATE jobs SET shard = 0 WHERE shard = 1"), "job j", "its shard is 0, the journal says 1", "job j"},
		"segment gone":         {run("DELETE FROM segments WHERE (job, stage, block, seq, part) = (SELECT job, stage, block, seq, part FROM segments WHERE shard = 1 LIMIT 1)"), "task j", "missing", ""},
		"tables behind":        {run("UPDATE shards SET projected = 1 WHERE shard = 2"), "snapshot 2/", "up to row 1 only", "2"},
		"snapshot byte":        {run("UPDATE snapshots SET state = x'00' WHERE shard = 2"), "snapshot 2/", "checksum", "snapshot 2/"},
		"snapshot of another":  {run("UPDATE snapshots SET (seq, state) = (SELECT seq, state FROM snapshots n WHERE n.shard = 0) WHERE shard = 2"), "snapshot 2/", "checksum", "snapshot 2/"},
		// The first job of shard 0 saw what those of shards 1 and 2 had cost; then ten credits were more than there was.
		"spent by another shard": {func(t testing.TB, db *sql.DB) { rewriteBudget(t, db, 1) }, "journal row 0/1", "the ledger cannot follow it: hold of", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, db := aHistoryOf(t, 3)
			c.damage(t, db)
			_ = db.Close()
			r := check(t, dir, FsckOptions{Quick: true})
			if r.Verdict != Faulty {
				t.Fatal("it was not found")
			}
			b, _ := json.MarshalIndent(r.Problems, "", " ")
			if !slices.ContainsFunc(r.Problems, func(p Problem) bool {
				return strings.HasPrefix(p.Subject, c.subject) && strings.Contains(p.Text, c.text)
			}) {
				t.Errorf("want %q: … %q …, have\n%s", c.subject, c.text, b)
			}
			if slices.ContainsFunc(r.Problems, func(p Problem) bool { return !strings.Contains(p.Subject, c.only) }) {
				t.Errorf("want only problems of %q, have\n%s", c.only, b)
			}
		})
	}
}

// rewriteBudget makes the first job of a journal want more than there is.
func rewriteBudget(t testing.TB, db *sql.DB, from int64) {
	t.Helper()
	rows, err := db.Query("SELECT key, epoch, at, count, events, seen FROM journal WHERE key >= ? ORDER BY key", from)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var r store.Row
		var key int64
		var seen string
		if err := rows.Scan(&key, &r.Epoch, &r.At, &r.Count, &r.Events, &seen); err != nil {
			t.Fatal(err)
		}
		events, err := lifecycle.DecodeEvents(r.Events)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(events, func(ev lifecycle.Event) bool { return ev.JobSubmitted != nil })
		if i < 0 {
			continue
		}
		events[i].JobSubmitted.Spec.Budget = 10 * cloudcrowd.Credit
		if r.Events, err = lifecycle.EncodeEvents(events); err != nil {
			t.Fatal(err)
		}
		r.Seq = key & (1<<44 - 1)
		if r.Seen, err = store.ParseSeen(seen); err != nil || len(r.Seen) == 0 {
			t.Fatal(r.Seen, err)
		}
		_ = rows.Close()
		if _, err := db.Exec("UPDATE journal SET events = ?, sum = ? WHERE key = ?", r.Events, r.Sum(int(key>>44)), key); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no job was submitted")
}
