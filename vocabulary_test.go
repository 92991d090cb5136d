package cloudcrowd_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// What is printed is read back, for every amount but the few that do not fit.
func TestCreditsRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c := cloudcrowd.Credits(rapid.Int64Range(-9e18, 9e18).Draw(t, "credits"))
		got, err := cloudcrowd.ParseCredits(c.String())
		if err != nil || got != c {
			t.Fatalf("%d prints as %s, which reads as %d, %v", c, c, got, err)
		}
	})
	for text, want := range map[string]cloudcrowd.Credits{"0": 0, "2.5": 2_500_000, "-2.5": -2_500_000, "0.000001": 1, "-0.000001": -1, "1": 1_000_000, " 7 ": 7_000_000, "3.": 3_000_000,
		"2e-05": 20, "1e3": 1_000_000_000, "-1.5E-1": -150_000, "12.5e+1": 125_000_000, "0e0": 0, "100e-2": 1_000_000} {
		if got, err := cloudcrowd.ParseCredits(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for c, want := range map[cloudcrowd.Credits]string{0: "0", 1: "0.000001", -1: "-0.000001", 2_500_000: "2.5", 1_000_000: "1", math.MaxInt64: "9223372036854.775807", math.MinInt64: "-9223372036854.775808"} {
		if got := c.String(); got != want {
			t.Errorf("%d: %s, want %s", int64(c), got, want)
		}
	}
	for _, text := range []string{"", "-", ".", ".5", "1,5", "1.2345678", "1e", "e3", "1e1.5", "1e-7", "1e99", "1e-99", "-e1", ".5e1", "1,5e1", "--1e1", "1e13", "--1", "1.-5", "0x10", "99999999999999", "9223372036854", "NaN", "1.+5"} {
		if got, err := cloudcrowd.ParseCredits(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		} else if cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			t.Errorf("%q: code %s", text, cloudcrowd.CodeOf(err))
		}
	}
}

// Ids made are valid, sort by time, and read back from their text; others are refused.
func TestIDs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<47).Draw(t, "ms")
		a := cloudcrowd.NewJobID(time.UnixMilli(ms), rapid.Uint32().Draw(t, "a"))
		b := cloudcrowd.NewJobID(time.UnixMilli(ms+1+rapid.Int64Range(0, 1<<46).Draw(t, "later")), rapid.Uint32().Draw(t, "b"))
		if !a.Valid() || !b.Valid() || a >= b {
			t.Fatalf("%s, %s", a, b)
		}
		n := rapid.Int32Range(0, math.MaxInt32)
		task := cloudcrowd.TaskID{Job: a, Stage: n.Draw(t, "stage"), Index: n.Draw(t, "index")}
		attempt := cloudcrowd.AttemptID{Task: task, N: n.Draw(t, "n")}
		if got, err := cloudcrowd.ParseTaskID(task.String()); err != nil || got != task {
			t.Fatalf("%s: %v, %v", task, got, err)
		}
		if got, err := cloudcrowd.ParseAttemptID(attempt.String()); err != nil || got != attempt {
			t.Fatalf("%s: %v, %v", attempt, got, err)
		}
		text, err := json.Marshal(map[cloudcrowd.TaskID]cloudcrowd.AttemptID{task: attempt})
		if err != nil {
			t.Fatal(err)
		}
		var back map[cloudcrowd.TaskID]cloudcrowd.AttemptID
		if err := json.Unmarshal(text, &back); err != nil || back[task] != attempt {
			t.Fatalf("%s: %v, %v", text, back, err)
		}
	})
	job := string(cloudcrowd.NewJobID(time.UnixMilli(1), 2))
	for _, s := range []string{"", "j", job[1:], strings.ToUpper(job), job + "0", "k" + job[1:], job[:16] + "i", job[:16] + "-"} {
		if cloudcrowd.JobID(s).Valid() {
			t.Errorf("%q is a valid job id", s)
		}
	}
	for _, tail := range []string{"", "-0", "-0-1-2-3", "-0--1", "-0-x", "-0-2147483648", "-a-0", "-0-1-", "-+0-1"} {
		if id, err := cloudcrowd.ParseTaskID(job + tail); err == nil {
			t.Errorf("%q was read as task %v", job+tail, id)
		}
		if id, err := cloudcrowd.ParseAttemptID(job + tail); err == nil {
			t.Errorf("%q was read as attempt %v", job+tail, id)
		}
	}
	digest := cloudcrowd.Digest(strings.Repeat("0af9", 16))
	if !digest.Valid() || digest.Short() != "0af90af90af9" || cloudcrowd.Digest("").Valid() || cloudcrowd.Digest(strings.Repeat("A", 64)).Valid() || cloudcrowd.Digest(digest[1:]).Valid() {
		t.Error("Digest.Valid")
	}
	if cloudcrowd.WorkerID("UABC").Short() != "UABC" || cloudcrowd.WorkerID("UABCDEFGHIJKL").Short() != "UABCDEFGHI" {
		t.Error("WorkerID.Short")
	}
}

// Durations print without useless parts and are read back; a number is seconds.
func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{`"10m"`: 10 * time.Minute, `"1h30m"`: 90 * time.Minute, `"90s"`: 90 * time.Second, `"1.5s"`: 1500 * time.Millisecond, `2.5`: 2500 * time.Millisecond, `0`: 0, `"-3s"`: -3 * time.Second} {
		var d cloudcrowd.Duration
		if err := json.Unmarshal([]byte(text), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	for d, want := range map[time.Duration]string{10 * time.Minute: "10m", 2 * time.Hour: "2h", 90 * time.Second: "1m30s", time.Hour + time.Second: "1h0m1s", 0: "0s", 20 * time.Second: "20s", 1500 * time.Millisecond: "1.5s"} {
		if got := cloudcrowd.Duration(d).String(); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for _, text := range []string{`"10"`, `"soon"`, `{}`, `true`, `"10 m"`, `""`} {
		var d cloudcrowd.Duration
		if err := json.Unmarshal([]byte(text), &d); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := cloudcrowd.Duration(rapid.Int64().Draw(t, "d"))
		text, err := json.Marshal(d)
		var back cloudcrowd.Duration
		if err != nil || json.Unmarshal(text, &back) != nil || back != d {
			t.Fatalf("%v: %s, %v", d, text, back)
		}
	})
}

// Every code has its statuses: HTTP one of 4xx or 5xx, and an exit status of its family.
func TestCodesComplete(t *testing.T) {
	t.Parallel()
	f, err := parser.ParseFile(token.NewFileSet(), "error.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := 0
	for _, decl := range f.Decls {
		g, ok := decl.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, spec := range g.Specs {
			v := spec.(*ast.ValueSpec)
			names++
			code := cloudcrowd.Code(strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
			http, exit := code.HTTPStatus(), code.ExitStatus()
			if http < 400 || http > 599 || exit < 1 || exit > 9 || (http == 500) != (code == cloudcrowd.Internal) {
				t.Errorf("%s (%s): HTTP %d, exit %d", v.Names[0].Name, code, http, exit)
			}
			if strings.ToLower(string(code)) != string(code) || strings.ContainsAny(string(code), " _") {
				t.Errorf("%s is not written like the others", code)
			}
		}
	}
	if names < 13 {
		t.Errorf("%d codes found", names)
	}
	if unknown := cloudcrowd.Code("unheard-of"); unknown.HTTPStatus() != 500 || unknown.ExitStatus() != 1 {
		t.Error("an unknown code is not an internal error")
	}
}

// Errors carry field, message and cause; the code is found through wrapping; a hint is added to a copy.
func TestError(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk full")
	e := &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Field: "budget", Msg: "no", Err: cause}
	if e.Error() != "budget: no: disk full" || !errors.Is(e, cause) {
		t.Error(e)
	}
	wrapped := fmt.Errorf("submitting: %w", e)
	if cloudcrowd.CodeOf(wrapped) != cloudcrowd.Unavailable || cloudcrowd.CodeOf(cause) != cloudcrowd.Internal || cloudcrowd.CodeOf(nil) != "" {
		t.Error("CodeOf")
	}
	hinted := e.WithHint("try %d", 2)
	if hinted.Hint != "try 2" || e.Hint != "" || hinted.Msg != e.Msg {
		t.Error("WithHint")
	}
	if f := cloudcrowd.Fieldf("a.b", "must be %d", 1); f.Code != cloudcrowd.Invalid || f.Error() != "a.b: must be 1" {
		t.Error(f)
	}
	if f := cloudcrowd.Errorf(cloudcrowd.Conflict, "x %s", "y"); f.Error() != "x y" {
		t.Error(f)
	}
}

// Sizes are written for people.
func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 4613734: "4.4 MiB", 1 << 40: "1.0 TiB", math.MaxInt64: "8.0 EiB"} {
		if got := cloudcrowd.Bytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// States that end are those nothing follows; outcomes blame the program or the machine, never both.
func TestStates(t *testing.T) {
	t.Parallel()
	if cloudcrowd.JobRunning.Ended() || !cloudcrowd.JobDone.Ended() || !cloudcrowd.JobFailed.Ended() || !cloudcrowd.JobCancelled.Ended() {
		t.Error("JobState.Ended")
	}
	var open []cloudcrowd.AttemptState
	for _, s := range []cloudcrowd.AttemptState{cloudcrowd.AttemptLeased, cloudcrowd.AttemptReported, cloudcrowd.AttemptAccepted, cloudcrowd.AttemptRefused, cloudcrowd.AttemptFailed,
		cloudcrowd.AttemptLost, cloudcrowd.AttemptReturned, cloudcrowd.AttemptCancelled} {
		if !s.Ended() {
			open = append(open, s)
		}
	}
	if !slices.Equal(open, []cloudcrowd.AttemptState{cloudcrowd.AttemptLeased, cloudcrowd.AttemptReported}) {
		t.Errorf("open attempts: %v", open)
	}
	for o, program := range map[cloudcrowd.Outcome]bool{cloudcrowd.Succeeded: false, cloudcrowd.Exited: true, cloudcrowd.Trapped: true, cloudcrowd.TimedOut: true, cloudcrowd.OutOfMemory: true,
		cloudcrowd.OutputLimit: true, cloudcrowd.Broken: false, cloudcrowd.Stopped: false} {
		if o.ProgramFault() != program {
			t.Errorf("%s: program's fault %v", o, o.ProgramFault())
		}
	}
	at := cloudcrowd.TimeOf(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC))
	if !at.Time().Equal(time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)) || at.Time().Location() != time.UTC {
		t.Error("Time does not come back")
	}
	if (*cloudcrowd.Merge)(nil).Builtin() || (&cloudcrowd.Merge{Kind: cloudcrowd.MergeProgram}).Builtin() || !(&cloudcrowd.Merge{Kind: cloudcrowd.MergeCSV}).Builtin() {
		t.Error("Merge.Builtin")
	}
	p := cloudcrowd.Payload{Files: []cloudcrowd.TaskFile{{Segments: []cloudcrowd.Segment{{Inline: []byte("abc")}, {Blob: "d", Length: 10}}}, {Segments: []cloudcrowd.Segment{{Blob: "e", Length: 5}}}}}
	if p.InputBytes() != 18 {
		t.Errorf("InputBytes: %d", p.InputBytes())
	}
}
