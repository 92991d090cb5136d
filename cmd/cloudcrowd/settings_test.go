package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"pgregory.net/rapid"
)

// Options win over the environment, the environment over the file, the file over the default.
func TestSettle(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "worker.yaml")
	if err := os.WriteFile(path, []byte("name: file\ndata: file\nmemory: 512MiB\nslots: 3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := map[string]string{"CLOUDCROWD_WORKER_NAME": "environment", "CLOUDCROWD_WORKER_DATA": "environment"}
	a := &app{getenv: func(name string) string { return environment[name] }}
	c := a.workerCommand()
	if err := c.ParseFlags([]string{"--name", "option", "--config", path}); err != nil {
		t.Fatal(err)
	}
	if err := a.settle(c); err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]string{"name": "option", "data": "environment", "memory": "512MiB", "slots": "3", "cache": "", "log": "warn"} {
		if got := c.Flags().Lookup(option).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", option, got, want)
		}
	}
}

// Of addresses nobody is shown passwords, nor users where a user alone is a secret.
func TestWithoutUser(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ address, kind, want string }{
		{"postgres://u@h/d?sslmode=disable", secretPassword, ""},
		{"postgres://u:p@h/d?sslmode=disable", secretPassword, "postgres://…@h/d?sslmode=disable"},
		{"postgres://u:p/q?@h1:1,h2:2/d", secretPassword, "postgres://…@h1:1,h2:2/d"},
		{"postgres://h/d?user=u&password=p", secretPassword, "postgres://h/d"},
		{"postgres://u@h1:1,h2:2/d", secretPassword, ""},
		{"nats://u:p@h1:4222,nats://u:p@h2:4222", secretUser, "nats://…@h2:4222"},
		{"tls://token@h", secretUser, "tls://…@h"},
		{"tls://h:4222", secretUser, ""},
	} {
		got, hidden := withoutUser(tt.address, tt.kind)
		if want := cmp.Or(tt.want, tt.address); got != want || hidden != (want != tt.address) {
			t.Errorf("%s: %s, %v", tt.address, got, hidden)
		}
	}
}

// A size reads back as it was written; what is no size is refused.
func TestByteSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"64MiB": 64 << 20, "1.5 GiB": 3 << 29, "8g": 8 << 30, "1000": 1000, "2KB": 2000, "7b": 7} {
		var s byteSize
		if err := s.Set(text); err != nil || int64(s) != want {
			t.Errorf("%q is %d (%v), want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "1PiB", "9999999TiB", "1..2", "NaN"} {
		if err := new(byteSize).Set(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		want := byteSize(rapid.Int64Range(1, 1<<50).Draw(t, "size"))
		var got byteSize
		if err := got.Set(want.String()); err != nil || got != want {
			t.Fatalf("%q reads back as %d (%v), want %d", want.String(), got, err, want)
		}
	})
}

// The status of a command is that of its error's code; an interrupted one ends as shells expect.
func TestExitStatus(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0}, {errors.New("x"), 1}, {cloudcrowd.Errorf(cloudcrowd.Unsuccessful, "x"), 8}, {errReported{cloudcrowd.Unsuccessful}, 8},
		{context.Canceled, 130}, {os.ErrNotExist, 4}, {errNoServer, 7},
	} {
		if got := exitStatus(c.err); got != c.want {
			t.Errorf("%v ends with %d, want %d", c.err, got, c.want)
		}
	}
	for _, m := range exitMeanings {
		if m.code.ExitStatus() == 0 {
			t.Errorf("%s ends with 0", m.code)
		}
	}
}

// A job is found by the beginning of its id or name, and a beginning of several is refused.
func TestPickJob(t *testing.T) {
	t.Parallel()
	jobs := []cloudcrowd.JobSummary{{ID: "j2aaaaaaaaaaaaaaa", Name: "Render"}, {ID: "j1bbbbbbbbbbbbbbb", Name: "k-mers"}, {ID: "j1aaaaaaaaaaaaaaa", Name: "k-mers"}}
	for word, want := range map[string]cloudcrowd.JobID{"last": jobs[0].ID, "ren": jobs[0].ID, "j1b": jobs[1].ID} {
		if got, err := pickJob(jobs, word); err != nil || got != want {
			t.Errorf("%q is %s (%v), want %s", word, got, err, want)
		}
	}
	for word, want := range map[string]cloudcrowd.Code{"k-mers": cloudcrowd.Conflict, "x": cloudcrowd.NotFound} {
		if _, err := pickJob(jobs, word); cloudcrowd.CodeOf(err) != want {
			t.Errorf("%q: %v, want code %s", word, err, want)
		}
	}
	if _, err := pickJob(nil, "last"); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("last of none: %v", err)
	}
}

// A worker is found by id, beginning of id, or name.
func TestPickWorker(t *testing.T) {
	t.Parallel()
	all := []cloudcrowd.WorkerView{
		{Worker: cloudcrowd.Worker{ID: "UAAA1", Name: "ada"}}, {Worker: cloudcrowd.Worker{ID: "UAAB2", Name: "grace"}}, {Worker: cloudcrowd.Worker{ID: "UB", Name: "grace"}},
	}
	for word, want := range map[string]cloudcrowd.WorkerID{"ada": "UAAA1", "UAAB": "UAAB2", "UB": "UB"} {
		if got, err := pickWorker(all, word); err != nil || got.ID != want {
			t.Errorf("%q is %s (%v), want %s", word, got.ID, err, want)
		}
	}
	for word, want := range map[string]cloudcrowd.Code{"grace": cloudcrowd.Conflict, "UA": cloudcrowd.Conflict, "linus": cloudcrowd.NotFound} {
		if _, err := pickWorker(all, word); cloudcrowd.CodeOf(err) != want {
			t.Errorf("%q: %v, want code %s", word, err, want)
		}
	}
}

// Balances that cannot be are named one by one.
func TestLedgerProblems(t *testing.T) {
	t.Parallel()
	good := []cloudcrowd.Account{{ID: cloudcrowd.IssuerAccount, Balance: -10}, {ID: "ada", Balance: 10, Held: 4}}
	if p := ledgerProblems(good); len(p) != 0 {
		t.Errorf("good balances: %q", p)
	}
	bad := []cloudcrowd.Account{{ID: cloudcrowd.IssuerAccount, Balance: -10}, {ID: "ada", Balance: 5, Held: 6}, {ID: "grace", Balance: -1}}
	if p := ledgerProblems(bad); len(p) != 4 { // the sum, ada's hold, grace's balance and hold
		t.Errorf("%d problems: %q", len(p), p)
	}
}
