package worker

import (
	"context"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/fake"
)

// noop does nothing; upper writes its input in capitals; stuck waits to be stopped.
var programs = map[string]fake.Program{
	"noop": func(context.Context, *fake.Attempt) (int, error) { return 0, nil },
	"upper": func(_ context.Context, a *fake.Attempt) (int, error) {
		b, err := os.ReadFile(path(a.In, "text"))
		if err != nil {
			return 1, nil
		}
		fmt.Fprintf(a.Stderr, "%d bytes", len(b))
		return 0, os.WriteFile(path(a.Out, "text"), []byte(strings.ToUpper(string(b))), 0o600)
	},
	"index": func(_ context.Context, a *fake.Attempt) (int, error) {
		return 0, os.WriteFile(path(a.Out, "index"), fmt.Appendf(nil, "index %d", a.Spec.Seed), 0o600)
	},
	"fail": func(_ context.Context, a *fake.Attempt) (int, error) {
		io.WriteString(a.Stderr, "no such thing\xff")
		return 3, nil
	},
	"stuck": func(ctx context.Context, _ *fake.Attempt) (int, error) { <-ctx.Done(); return 0, ctx.Err() },
}

func textFile(segments ...cloudcrowd.Segment) cloudcrowd.TaskFile {
	return cloudcrowd.TaskFile{Path: "text", Segments: segments}
}

// A worker joins once, says what it is, asks for work, runs it, stores what came out and reports it; what is acknowledged is forgotten.
func TestWork(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	dir := t.TempDir()
	a := launch(t, s, dir, sandboxOf(programs), nil)
	hello := s.greet(t, a.ID(), welcome)
	if hello.Info.Name != "test" || hello.Info.Slots != 2 || hello.Info.Speed != 1 || !slices.Equal(hello.Info.Sandboxes, []string{"wasm"}) {
		t.Fatalf("hello %+v", hello.Info)
	}
	beat := s.next(t, func(u cloudcrowd.Up) bool { return u.Beat != nil })
	if beat.Beat.Want != 4 || beat.Beat.Session != hello.Session {
		t.Fatalf("beat %+v", beat.Beat)
	}
	blob := s.put([]byte("abcdefghij"))
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{
		s.lease(1, "upper", textFile(cloudcrowd.Segment{Inline: []byte("x")}, cloudcrowd.Segment{Blob: blob, Offset: 2, Length: 3}, cloudcrowd.Segment{Blob: blob, Length: 10, Whole: true})),
		s.lease(2, "fail"),
		s.lease(3, "noop"),
	}})
	got := s.reports(t, 3)
	r := got[attemptOf(1)]
	if r.Outcome != cloudcrowd.Succeeded || len(r.Outputs) != 1 || s.get(t, r.Outputs[0].Digest) != "XCDEABCDEFGHIJ" || r.Outputs[0].SizeBytes != 14 || r.Usage.OutputBytes != 14 {
		t.Fatalf("result %+v", r)
	}
	if s.get(t, r.Log) != "==> stderr <==\n14 bytes" {
		t.Fatalf("log %q", s.get(t, r.Log))
	}
	if r := got[attemptOf(2)]; r.Outcome != cloudcrowd.Exited || r.ExitCode != 3 || r.StderrTail != "no such thing?" || r.Reason == "" {
		t.Fatalf("result %+v", r)
	}
	if r := got[attemptOf(3)]; r.Outcome != cloudcrowd.Succeeded || r.Outputs != nil || r.Log != "" {
		t.Fatalf("result %+v", r)
	}
	for id := range got {
		s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{id}})
	}
	s.next(t, func(u cloudcrowd.Up) bool { return u.Beat != nil && len(u.Beat.Holding) == 0 && u.Beat.Want == 4 })
	a.Drain()
	if err := a.wait(t); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(path(dir, "spool"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("the spool holds %v, %v", entries, err)
	}
}

// Nothing of an attempt is there for the next one on the same slot, not even an empty folder it made.
func TestOutIsEmpty(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	mine := map[string]fake.Program{
		"folder": func(_ context.Context, a *fake.Attempt) (int, error) {
			return 0, os.Mkdir(path(a.Out, "folder"), 0o700)
		},
		"look": func(_ context.Context, a *fake.Attempt) (int, error) {
			left, err := os.ReadDir(a.Out)
			return len(left), err
		},
	}
	a := launch(t, s, t.TempDir(), sandboxOf(mine), func(c *Config) { c.Slots = 1 })
	s.greet(t, a.ID(), welcome)
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(1, "look"), s.lease(2, "folder"), s.lease(3, "look"), s.lease(4, "look")}})
	for id, r := range s.reports(t, 4) {
		if r.Outcome != cloudcrowd.Succeeded || r.Outputs != nil {
			t.Errorf("%s: %+v", id, r)
		}
	}
}

// What is cached is not fetched again, whole or in part, also after a restart; damage on disk is noticed.
func TestCache(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	dir := t.TempDir()
	a := launch(t, s, dir, sandboxOf(programs), nil)
	s.greet(t, a.ID(), welcome)
	blob := s.put([]byte("abcdefghij"))
	whole := textFile(cloudcrowd.Segment{Blob: blob, Length: 10, Whole: true})
	part := textFile(cloudcrowd.Segment{Blob: blob, Offset: 1, Length: 2})
	run := func(a *running, i int32, f cloudcrowd.TaskFile) []string {
		t.Helper()
		s.requested()
		s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(i, "upper", f)}})
		s.next(t, func(u cloudcrowd.Up) bool { // an earlier one may be reported again, if its acknowledgement was lost with the agent
			return slices.ContainsFunc(u.Reports, func(r cloudcrowd.Report) bool {
				return r.Attempt == attemptOf(i) && r.Result.Outcome == cloudcrowd.Succeeded
			})
		})
		s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{attemptOf(i)}})
		return slices.DeleteFunc(s.requested(), func(r string) bool { return !strings.HasPrefix(r, "GET") })
	}
	module := digest([]byte("upper")).Short()
	if got := run(a, 1, part); !slices.Equal(got, []string{"GET " + module, "GET " + blob.Short() + " bytes=1-2"}) {
		t.Fatalf("requests %q", got)
	}
	if got := run(a, 2, whole); !slices.Equal(got, []string{"GET " + blob.Short()}) {
		t.Fatalf("requests %q", got)
	}
	for i, f := range []cloudcrowd.TaskFile{part, whole, textFile(cloudcrowd.Segment{Blob: blob, Offset: 5, Length: 5})} {
		if got := run(a, int32(10+i), f); len(got) != 0 {
			t.Fatalf("requests %q", got)
		}
	}
	// What an attempt left is there for what follows from it.
	if got := run(a, 15, textFile(cloudcrowd.Segment{Blob: digest([]byte("ABCDEFGHIJ")), Length: 10, Whole: true})); len(got) != 0 {
		t.Fatalf("requests for its own output: %q", got)
	}
	a.kill(t)
	file := path(dir, "cache", string(blob))
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("abcdefghiX"), 0o600); err != nil {
		t.Fatal(err)
	}
	a = launch(t, s, dir, sandboxOf(programs), nil)
	hello := s.greet(t, a.ID(), welcome)
	if len(hello.Cached) != 5 { // module, input, outputs
		t.Fatalf("cached %v", hello.Cached)
	}
	if got := run(a, 20, whole); !slices.Equal(got, []string{"GET " + blob.Short()}) {
		t.Fatalf("requests %q", got)
	}
}

// What was reported to a server that is gone is reported again as soon as another one has taken over, without waiting for a new connection.
func TestReportsAgainAfterTakeover(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	a := launch(t, s, t.TempDir(), sandboxOf(programs), nil)
	s.greet(t, a.ID(), welcome)
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(1, "noop")}})
	s.reports(t, 1) // not acknowledged
	for range 3 {
		s.send(t, a.ID(), cloudcrowd.Down{Welcome: &welcome})
		s.reports(t, 1)
	}
	s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{attemptOf(1)}})
}

// A result is reported until it is acknowledged: after the server was away, and after the agent was killed.
func TestResultsSurvive(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	dir := t.TempDir()
	a := launch(t, s, dir, sandboxOf(programs), nil)
	s.greet(t, a.ID(), welcome)
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(1, "index"), s.lease(2, "noop")}})
	first := s.reports(t, 2)

	s.restart()
	hello := s.next(t, func(u cloudcrowd.Up) bool { return u.Hello != nil })
	if len(hello.Hello.Spooled) != 2 {
		t.Fatalf("spooled %v", hello.Hello.Spooled)
	}
	again := map[cloudcrowd.AttemptID]cloudcrowd.Result{}
	for _, r := range hello.Reports {
		again[r.Attempt] = r.Result
	}
	if !reflect.DeepEqual(first, again) {
		t.Fatalf("reported %+v, then %+v", first, again)
	}
	s.send(t, a.ID(), cloudcrowd.Down{Welcome: &welcome, Acks: []cloudcrowd.AttemptID{attemptOf(2)}})
	s.next(t, func(u cloudcrowd.Up) bool { return u.Beat != nil && len(u.Beat.Holding) == 1 })
	a.kill(t)

	a = launch(t, s, dir, sandboxOf(programs), nil)
	hello = s.next(t, func(u cloudcrowd.Up) bool { return u.Hello != nil })
	if !slices.Contains(hello.Hello.Spooled, attemptOf(1)) {
		t.Fatalf("spooled %v", hello.Hello.Spooled)
	}
	s.send(t, a.ID(), cloudcrowd.Down{Welcome: &welcome})
	got := map[cloudcrowd.AttemptID]cloudcrowd.Result{}
	for _, r := range hello.Reports {
		got[r.Attempt] = r.Result
	}
	for len(got) < 1 || got[attemptOf(1)].Outcome == "" {
		for id, r := range s.reports(t, 1) {
			got[id] = r
		}
	}
	if !reflect.DeepEqual(got[attemptOf(1)], first[attemptOf(1)]) {
		t.Fatalf("reported %+v, then %+v", first[attemptOf(1)], got[attemptOf(1)])
	}
}

// Outputs that cannot be stored now are kept, also by a killed agent, and stored when the server takes them.
func TestUploadsSurvive(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	dir := t.TempDir()
	events := make(chan Event, 1000)
	a := launch(t, s, dir, sandboxOf(programs), func(c *Config) { c.OnEvent = func(e Event) { events <- e } })
	s.greet(t, a.ID(), welcome)
	warm := s.lease(1, "index")
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{warm}})
	s.reports(t, 1)
	s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{attemptOf(1)}})
	s.setDown(true)
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(2, "index")}})
	for tried := false; !tried; {
		s.next(t, func(u cloudcrowd.Up) bool { return u.Beat != nil && len(u.Beat.Holding) == 1 }) // its lease is kept alive meanwhile
		for _, r := range s.requested() {
			tried = tried || r == "PUT "+digest([]byte("index 2")).Short()
		}
	}
	a.kill(t)
	s.setDown(false)
	a = launch(t, s, dir, sandboxOf(programs), nil)
	s.greet(t, a.ID(), welcome)
	r := s.reports(t, 1)[attemptOf(2)]
	if r.Outcome != cloudcrowd.Succeeded || s.get(t, r.Outputs[0].Digest) != "index 2" {
		t.Fatalf("result %+v", r)
	}
}

// Draining hands back what has not started, finishes what runs if it ends soon, stops and hands back what does not, and says goodbye.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	release := make(chan struct{})
	mine := map[string]fake.Program{"stuck": programs["stuck"], "soon": func(context.Context, *fake.Attempt) (int, error) { <-release; return 0, nil }}
	a := launch(t, s, t.TempDir(), sandboxOf(mine), func(c *Config) { c.Grace = 3 * time.Second })
	s.greet(t, a.ID(), welcome)
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(1, "stuck"), s.lease(2, "soon"), s.lease(3, "stuck"), s.lease(4, "stuck")}})
	// Fetching decides the order, so which two run is seen, not assumed.
	var run, queued []cloudcrowd.AttemptID
	s.next(t, func(u cloudcrowd.Up) bool {
		run, queued = nil, nil
		if u.Beat != nil {
			for _, p := range u.Beat.Holding {
				if p.Running {
					run = append(run, p.Attempt)
				} else {
					queued = append(queued, p.Attempt)
				}
			}
		}
		return len(run) == 2 && len(queued) == 2
	})
	soonRuns := slices.Contains(run, attemptOf(2))
	close(release)
	a.Drain()
	returned := map[cloudcrowd.AttemptID]bool{}
	leaving, reported := false, false
	want := 4
	if soonRuns {
		want = 3
	}
	s.next(t, func(u cloudcrowd.Up) bool {
		for _, id := range u.Returned {
			returned[id] = true
		}
		for _, r := range u.Reports {
			if r.Attempt != attemptOf(2) || r.Result.Outcome != cloudcrowd.Succeeded {
				t.Errorf("reported %+v", r)
			}
			reported = true
			s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{r.Attempt}})
		}
		leaving = leaving || u.Leaving
		return len(returned) == want && leaving && reported == soonRuns
	})
	if err := a.wait(t); err != nil {
		t.Fatal(err)
	}
}

// A cancelled attempt ends, running or queued, and nothing is reported of it.
func TestCancel(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	a := launch(t, s, t.TempDir(), sandboxOf(programs), func(c *Config) { c.Slots = 1 })
	s.greet(t, a.ID(), welcome)
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{s.lease(1, "stuck"), s.lease(2, "stuck"), s.lease(3, "noop")}})
	s.next(t, func(u cloudcrowd.Up) bool {
		return u.Beat != nil && slices.ContainsFunc(u.Beat.Holding, func(p cloudcrowd.Progress) bool { return p.Running })
	})
	s.send(t, a.ID(), cloudcrowd.Down{Cancels: []cloudcrowd.AttemptID{attemptOf(1), attemptOf(2)}})
	if got := s.reports(t, 1); len(got) != 1 || got[attemptOf(3)].Outcome != cloudcrowd.Succeeded {
		t.Fatalf("reports %+v", got)
	}
	s.send(t, a.ID(), cloudcrowd.Down{Acks: []cloudcrowd.AttemptID{attemptOf(3)}})
	s.next(t, func(u cloudcrowd.Up) bool {
		if len(u.Reports) > 0 {
			t.Errorf("reported %+v", u.Reports)
		}
		return u.Beat != nil && u.Beat.Want == 3 && len(u.Beat.Holding) == 0
	})
}

// What cannot be fetched is this machine's failure, not the program's.
func TestFetchFailure(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	a := launch(t, s, t.TempDir(), sandboxOf(programs), nil)
	s.greet(t, a.ID(), welcome)
	missing := s.lease(1, "upper", textFile(cloudcrowd.Segment{Blob: digest([]byte("nowhere")), Length: 7, Whole: true}))
	ungranted := s.lease(2, "upper", textFile(cloudcrowd.Segment{Blob: s.put([]byte("secret")), Length: 6, Whole: true}))
	ungranted.Grants = ungranted.Grants[:1]
	large := s.lease(3, "noop")
	large.Payload.Resources.MemoryBytes = 2 << 30
	s.send(t, a.ID(), cloudcrowd.Down{Leases: []cloudcrowd.Lease{missing, ungranted, large}})
	for id, r := range s.reports(t, 3) {
		if r.Outcome != cloudcrowd.Broken || r.Reason == "" {
			t.Errorf("%s: %+v", id, r)
		}
	}
}

// A server that does not know the session is greeted again, though not in a storm.
func TestRefresh(t *testing.T) {
	t.Parallel()
	s := serve(t, "")
	a := launch(t, s, t.TempDir(), sandboxOf(programs), nil)
	one := s.greet(t, a.ID(), welcome)
	began := time.Now()
	for range 100 {
		s.send(t, a.ID(), cloudcrowd.Down{Refresh: true})
	}
	two := s.greet(t, a.ID(), welcome)
	if one.Session != two.Session {
		t.Fatalf("sessions %s, %s", one.Session, two.Session)
	}
	hellos := 1
	s.next(t, func(u cloudcrowd.Up) bool {
		if u.Hello != nil {
			hellos++
		}
		return u.Beat != nil
	})
	if most := 1 + int(time.Since(began)/greetPause); hellos > most { // one, unless this took longer than the pause
		t.Errorf("greeted %d times, at most %d times were allowed", hellos, most)
	}
}
