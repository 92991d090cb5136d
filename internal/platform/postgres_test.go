package platform

import (
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
)

// A server on PostgreSQL runs jobs to their end, is started again on what it left, and its books are clean, also beside it; what somebody changes in
// the database is found and named.
func TestServerOnPostgreSQL(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	dir, d := t.TempDir(), Database{Address: server.Address(t)}
	for range 2 {
		r, err := Bench(t.Context(), BenchConfig{Tasks: 300, Workers: 2, Samples: 5, DataDir: dir, Database: d})
		if err != nil {
			t.Fatal(err)
		}
		if r.Tasks != 300 || r.LedgerSum != 0 {
			t.Errorf("%+v", r)
		}
	}
	options := FsckOptions{Database: d}
	r := check(t, dir+"/server", options)
	mustBeClean(t, r)
	if r.Tasks < 610 || r.Blobs == 0 {
		t.Errorf("%+v, want 610 tasks at least", r)
	}
	for _, tt := range []struct{ change, subject, undo string }{
		{"UPDATE accounts SET balance = balance + 1 WHERE id = 'issuer'", "account issuer", "UPDATE accounts SET balance = balance - 1 WHERE id = 'issuer'"},
		{"UPDATE holds SET posted = posted - 1 WHERE posted = amount OR posted > 0", "hold of job", "UPDATE holds SET posted = posted + 1 WHERE posted > 0"},
		{"UPDATE listings SET latest = latest + 1 WHERE kind = 0", "all charges", "UPDATE listings SET latest = latest - 1 WHERE kind = 0"},
		{"UPDATE jobs SET state = 'lost'", "job j", "UPDATE jobs SET state = 'done'"},
		{`UPDATE segments SET bytes = '\x0102030405060708' WHERE seq = (SELECT max(seq) FROM segments)`, "segment of tasks", ""},
		{"UPDATE records SET shard = shard + 100", "record of worker", "UPDATE records SET shard = shard - 100"},
		{"UPDATE settings SET value = '1' WHERE key = 'cluster/shards'", "journal of shard", "UPDATE settings SET value = '6' WHERE key = 'cluster/shards'"},
		{"UPDATE journal SET at = at + 1 WHERE (shard, seq) = (SELECT shard, seq FROM journal WHERE shard <> 0 ORDER BY seq DESC, shard LIMIT 1)", "journal row", ""},
	} {
		postgrestest.Exec(t, d.Address, tt.change)
		r := check(t, dir+"/server", options)
		found := false
		for _, p := range r.Problems {
			found = found || strings.HasPrefix(p.Subject, tt.subject)
		}
		if r.Verdict != Faulty || !found {
			t.Errorf("%s: %+v, want %s named", tt.change, r, tt.subject)
		}
		if tt.undo != "" {
			postgrestest.Exec(t, d.Address, tt.undo)
		}
	}
	server.Stop()
	if _, err := Fsck(t.Context(), dir+"/server", options); cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable {
		t.Errorf("fsck without a database: %v, want code unavailable", err)
	}
}
