package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

const testJob cloudcrowd.JobID = "j0000000000000000"

// fakeServer answers with what handlers say, and with 404 elsewhere.
func fakeServer(t *testing.T, handlers map[string]http.HandlerFunc) *client.Client {
	t.Helper()
	mux := http.NewServeMux()
	for pattern, h := range handlers {
		mux.HandleFunc(pattern, h)
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{URL: s.URL, Token: "x", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(v)
	}
}

func job(state cloudcrowd.JobState, outputs ...cloudcrowd.StageOutput) cloudcrowd.Job {
	return cloudcrowd.Job{JobSummary: cloudcrowd.JobSummary{ID: testJob, Name: "test", State: state, Budget: 5}, Outputs: outputs}
}

// quietApp is a program whose output can be read afterwards.
func quietApp() (a *app, out, errs *bytes.Buffer) {
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	return &app{stdout: out, stderr: errs, getenv: func(string) string { return "" }}, out, errs
}

// A server that goes away while a job is followed is waited for; the job is reported when it is back.
func TestFollowWaitsForTheServer(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	api := fakeServer(t, map[string]http.HandlerFunc{"/v1/jobs/": func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) {
		case 1:
			answer(job(cloudcrowd.JobRunning))(w, r)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			answer(job(cloudcrowd.JobDone))(w, r)
		}
	}})
	a, _, errs := quietApp()
	got, err := a.follow(t.Context(), api, testJob)
	if err != nil || got.State != cloudcrowd.JobDone {
		t.Fatalf("%v, %v", got.State, err)
	}
	if text := errs.String(); !strings.Contains(text, "the server is away") || !strings.Contains(text, "the server is back") {
		t.Errorf("said: %s", text)
	}
}

// What waiting cannot mend ends following at once.
func TestFollowGivesUp(t *testing.T) {
	t.Parallel()
	a, _, _ := quietApp()
	if _, err := a.follow(t.Context(), fakeServer(t, nil), testJob); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("got %v", err)
	}
}

// An interrupted run leaves the job to the server and says how to come back, or cancels it if asked to.
func TestDetach(t *testing.T) {
	t.Parallel()
	var cancelled atomic.Bool
	api := fakeServer(t, map[string]http.HandlerFunc{"POST /v1/jobs/{job}/cancel": func(w http.ResponseWriter, r *http.Request) {
		cancelled.Store(true)
		answer(job(cloudcrowd.JobCancelled))(w, r)
	}})
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	a, _, errs := quietApp()
	if err := a.detach(ctx, api, testJob, runOptions{out: "here"}, context.Canceled); !errors.Is(err, context.Canceled) || cancelled.Load() {
		t.Errorf("%v; cancelled: %v", err, cancelled.Load())
	}
	if text := errs.String(); !strings.Contains(text, "cloudcrowd job results --out here "+string(testJob)) {
		t.Errorf("said: %s", text)
	}
	if err := a.detach(ctx, api, testJob, runOptions{cancel: true}, context.Canceled); !errors.Is(err, context.Canceled) || !cancelled.Load() {
		t.Errorf("%v; cancelled: %v", err, cancelled.Load())
	}
}

func digest(text string) cloudcrowd.Digest {
	sum := sha256.Sum256([]byte(text))
	return cloudcrowd.Digest(hex.EncodeToString(sum[:]))
}

// Result files are stored whole and checked; names that leave the folder, links in it, and wrong bytes store nothing.
func TestFetch(t *testing.T) {
	t.Parallel()
	api := fakeServer(t, map[string]http.HandlerFunc{"/v1/jobs/{job}/outputs/": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("good")) }})
	file := func(path string, d cloudcrowd.Digest) cloudcrowd.StageOutput {
		return cloudcrowd.StageOutput{Stage: "s", OutputFile: cloudcrowd.OutputFile{Path: path, Digest: d, SizeBytes: 4}}
	}
	a, _, _ := quietApp()

	dir := filepath.Join(t.TempDir(), "out")
	paths, err := a.fetch(t.Context(), api, job(cloudcrowd.JobDone, file("a/b.txt", digest("good"))), dir)
	if err != nil || len(paths) != 1 {
		t.Fatalf("%q, %v", paths, err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "a", "b.txt")); err != nil || string(data) != "good" {
		t.Errorf("%q, %v", data, err)
	}

	outside := t.TempDir()
	linked := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(linked, "link")); err != nil {
		t.Skipf("no links here: %v", err)
	}
	for name, c := range map[string]struct {
		dir string
		o   cloudcrowd.StageOutput
	}{
		"parent":      {t.TempDir(), file("../x", digest("good"))},
		"absolute":    {t.TempDir(), file("/x", digest("good"))},
		"link":        {linked, file("link/x", digest("good"))},
		"wrong bytes": {t.TempDir(), file("x", digest("other"))},
	} {
		if paths, err := a.fetch(t.Context(), api, job(cloudcrowd.JobDone, c.o), c.dir); err == nil {
			t.Errorf("%s: stored %q", name, paths)
		}
		for _, d := range []string{c.dir, outside, filepath.Dir(c.dir)} {
			if _, err := os.Stat(filepath.Join(d, "x")); err == nil {
				t.Errorf("%s: there is a file below %s", name, d)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(c.dir, "*.part")); len(left) > 0 {
			t.Errorf("%s: left %q", name, left)
		}
	}
}

// A failed job ends with its reason, the last words of its program without control characters, and what to do.
func TestUnsuccessful(t *testing.T) {
	t.Parallel()
	task := cloudcrowd.TaskID{Job: testJob}
	tasks := client.Page[cloudcrowd.Task]{Items: []cloudcrowd.Task{{ID: task, Attempts: []cloudcrowd.Attempt{
		{ID: cloudcrowd.AttemptID{Task: task, N: 1}, Result: &cloudcrowd.Result{StderrTail: "first"}},
		{ID: cloudcrowd.AttemptID{Task: task, N: 2}, Result: &cloudcrowd.Result{StderrTail: "last \x1b[2Jwords"}}}}}}
	api := fakeServer(t, map[string]http.HandlerFunc{"/v1/jobs/{job}/tasks": answer(tasks)})
	a, _, errs := quietApp()
	failed := job(cloudcrowd.JobFailed)
	failed.Reason = "task 3 of stage count failed 4 times"
	err := a.unsuccessful(t.Context(), api, failed)
	if exitStatus(err) != 8 || !strings.Contains(err.Error(), failed.Reason) {
		t.Errorf("%v with status %d", err, exitStatus(err))
	}
	if text := errs.String(); !strings.Contains(text, "last ␛[2Jwords") || strings.Contains(text, "first") {
		t.Errorf("said: %q", text)
	}
}

// Pages are gathered to the limit and no further.
func TestCollect(t *testing.T) {
	t.Parallel()
	all := []int{1, 2, 3, 4, 5}
	for limit, want := range map[int]int{0: 5, 3: 3, 9: 5} {
		got, err := collect(limit, func(q client.PageQuery) (client.Page[int], error) {
			from := len(q.Cursor) // the cursor is as long as what was seen
			to := min(from+min(q.Limit, 2), len(all))
			page := client.Page[int]{Items: all[from:to]}
			if to < len(all) {
				page.Next = strings.Repeat("x", to)
			}
			return page, nil
		})
		if err != nil || len(got) != want {
			t.Errorf("limit %d: %v, %v", limit, got, err)
		}
	}
}
