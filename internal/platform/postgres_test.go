package platform

import (
	"log/slog"
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
		{"UPDATE holds SET posted = posted + 1 WHERE posted < amount", "hold of job", "UPDATE holds SET posted = posted - 1 WHERE posted > 0"},
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

// Before a start one can ask whether a database answers and is meant for such a server; asking changes nothing.
func TestLookAtDatabase(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t)
	d := Database{Address: server.Address(t)}
	c := ServerConfig{DataDir: t.TempDir(), Database: d, Listen: "127.0.0.1:0", Cluster: Cluster{Shards: 3}}
	if postgrestest.Major(t) < 18 { // later ones have checksums unless told otherwise
		var log strings.Builder
		if notes, err := LookAtDatabase(t.Context(), c); err != nil || len(notes) != 2 || !strings.Contains(notes[0], "pg_checksums --enable") {
			t.Errorf("without checksums: %q, %v", notes, err)
		}
		db, err := d.open(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := checkSums(t.Context(), db, slog.New(slog.NewTextHandler(&log, nil))); err != nil || !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "pg_checksums --enable") {
			t.Errorf("without checksums: %v, %s", err, log.String())
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		d.Address = server.Address(t)
		c.Database = d
		server.Sum(t)
	}
	for range 2 {
		if notes, err := LookAtDatabase(t.Context(), c); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "empty") {
			t.Fatalf("an empty database: %q, %v", notes, err)
		}
	}
	s, err := StartServer(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(t.Context())
	other := c
	other.DataDir, other.Cluster.Shards = t.TempDir(), 4
	for i, tt := range []struct {
		c     ServerConfig
		wrong []string
	}{
		{c, nil},
		{other, []string{"has 3 shards", "have their blobs in"}},
		{ServerConfig{DataDir: c.DataDir, Database: d, Blobs: "mem://"}, []string{"have their blobs in"}},
		{ServerConfig{DataDir: c.DataDir, Database: Database{Address: "postgres://nobody@127.0.0.1:1/x"}}, []string{"cannot be reached"}},
	} {
		notes, err := LookAtDatabase(t.Context(), tt.c)
		if len(notes) > 0 || (err == nil) != (len(tt.wrong) == 0) {
			t.Errorf("case %d: %q, %v", i, notes, err)
		}
		for _, words := range tt.wrong {
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("case %d: %v, want %q", i, err, words)
			}
		}
	}
	postgrestest.Exec(t, d.Address, "DELETE FROM schema_versions WHERE version = (SELECT max(version) FROM schema_versions)")
	if notes, err := LookAtDatabase(t.Context(), c); err != nil || len(notes) != 1 || !strings.Contains(notes[0], "earlier version") {
		t.Errorf("an older schema: %q, %v", notes, err)
	}
}
