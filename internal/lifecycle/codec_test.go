package lifecycle

import (
	"encoding/hex"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// sample is one event of each kind with every field set, in the order of Event's fields.
func sample() []Event {
	const job = cloudcrowd.JobID("j0123456789abcdef")
	task := cloudcrowd.TaskID{Job: job, Stage: 1, Index: 2}
	attempt := cloudcrowd.AttemptID{Task: task, N: 3}
	digest := cloudcrowd.Digest(strings.Repeat("ab", 32))
	files := []cloudcrowd.OutputFile{{Path: "out/a.csv", Digest: digest, SizeBytes: 10}}
	program := &cloudcrowd.Program{Module: digest, ModuleName: "m.wasm", ModuleSize: 5, Args: []string{"-k", "{{k}}"}, Env: []cloudcrowd.EnvVar{{Name: "A", Value: "b"}}, Stdin: "in", Inputs: []string{"genome"}}
	split := &cloudcrowd.Split{Kind: cloudcrowd.SplitFASTA, Input: "genome", From: 1, To: 2, Size: 3, Min: 4, Max: 5, NoHeader: true, Overlap: 6, Grid: []cloudcrowd.GridAxis{{Name: "t", Values: []string{"1", "2"}}},
		Width: 7, Height: 8, TileW: 9, TileH: 10, Stage: "s", Program: program}
	merge := &cloudcrowd.Merge{Kind: cloudcrowd.MergeProgram, File: "f", As: "g", Sort: []string{"c"}, Op: "sum", By: []string{"d"}, Program: program, FanIn: 16}
	stage := cloudcrowd.Stage{Name: "count", After: []string{"first"}, Split: split, Run: program, Merge: merge, Inputs: []string{"genome"},
		Resources: cloudcrowd.Resources{MemoryBytes: 1, DiskBytes: 2, OutputBytes: 3, Cores: 4}, Timeout: 5, Retries: 6, Target: 7, Verify: cloudcrowd.Verify{None: true, Replicas: 3, Quorum: 2, Confidence: 0.99}}
	spec := cloudcrowd.JobSpec{Name: "n", Inputs: map[string]cloudcrowd.Input{"genome": {Set: true, Files: []cloudcrowd.InputFile{{Name: "x", Digest: digest, SizeBytes: 9}}}},
		Params: []cloudcrowd.Param{{Name: "k", Value: "21"}}, Stages: []cloudcrowd.Stage{stage}, Budget: 2_500_000, Deadline: 600e9, Outputs: []string{"count"}, Priority: -3, Speculate: new(0.2)}
	result := cloudcrowd.Result{Outcome: cloudcrowd.Exited, ExitCode: 2, Reason: "it exited with status 2", Outputs: files,
		Usage: cloudcrowd.Usage{CPUSeconds: 1.5, WallSeconds: 2.5, PeakMemoryBytes: 3, InputBytes: 4, OutputBytes: 5}, StderrTail: "panic", Log: digest}
	why := cloudcrowd.Why{FinishSeconds: 1, WaitSeconds: 2, FetchSeconds: 3, RunSeconds: 4, Rank: 5, Candidates: 6, RunnerUp: "w2", RunnerUpSecs: 7, Purpose: "first",
		Turn: &cloudcrowd.Turn{UsageCoreSeconds: 1, Running: 2, Quota: 3, Weight: 4, Requesters: 5, Priority: 6, Slack: 7},
		Late: &cloudcrowd.Late{N: 1, ElapsedSeconds: 2, ExpectedSeconds: 3, RemainingSeconds: 4}}
	span := decompose.Span{Offset: 1, Length: 2}
	index := &decompose.Index{Data: digest, Bytes: 1, Units: 2, Header: span, Marks: []decompose.Mark{{Unit: 1, Offset: 2, Ext: 3, Header: span}}, List: []string{"unit", "not \xff text"}, Step: 4, Places: []byte{1, 2}}
	paid := []Paid{{N: 1, Gross: 100, Fee: 5, CoreSeconds: 1.5, Deferred: true}}
	return []Event{
		{JobSubmitted: &JobSubmitted{Job: job, Account: "ada", Key: "k", Spec: spec, Deadline: 5}},
		{StageIndexed: &StageIndexed{Job: job, Stage: 1, Index: index}},
		{TaskCarved: &TaskCarved{Task: task, Unit: cloudcrowd.Unit{Lo: 1, Hi: 2}, Level: 3, Pos: 4, Final: true, Quorum: 2, Start: 3, Alone: true, Need: "why"}},
		{AttemptLeased: &AttemptLeased{ID: attempt, Worker: "U1", Owner: "bob", Trusted: true, Reserve: 7, Expected: 1.25, Speed: 1.5, Why: why, Copy: true}},
		{AttemptReported: &AttemptReported{ID: attempt, Result: result, Digest: digest, CoreSeconds: 2, Reserve: 9}},
		{AttemptEnded: &AttemptEnded{ID: attempt, State: cloudcrowd.AttemptFailed, Result: &result, Verdict: "v", CoreSeconds: 2}},
		{TaskDone: &TaskDone{Task: task, Canonical: 1, Paid: paid, Refused: []int32{2, 3}}},
		{TaskFailed: &TaskFailed{Task: task, Reason: "r", Paid: paid}},
		{TaskReopened: &TaskReopened{Task: task, Quorum: 2, Redo: true, Reason: "r"}},
		{StageMerged: &StageMerged{Job: job, Stage: 1, Outputs: files, Redo: true}},
		{JobEnded: &JobEnded{Job: job, State: cloudcrowd.JobDone, Reason: "r", Hold: cloudcrowd.HoldVoided}},
		{CreditsIssued: &CreditsIssued{To: "ada", Amount: 5, By: "admin", Note: "n", Key: "k"}},
		{QuorumSet: &QuorumSet{Task: task, Quorum: 1, Reason: "r", Alone: true}},
		{AttemptCompared: &AttemptCompared{ID: attempt, Digest: digest}},
		{HalfLifeSet: &HalfLifeSet{HalfLife: 1800e9}},
	}
}

// The journal's format is not changed unknowingly: the bytes of one event of each kind are written down. Where this fails, old journals must still be
// readable: give new fields new numbers, never reuse one, then run the test with -update.
func TestGolden(t *testing.T) {
	t.Parallel()
	const file = "testdata/journal.golden"
	events := sample()
	if kinds := reflect.TypeFor[Event]().NumField(); len(events) != kinds {
		t.Fatalf("%d samples of %d kinds of event", len(events), kinds)
	}
	var out strings.Builder
	for i, ev := range events {
		if reflect.ValueOf(ev).Field(i).IsNil() {
			t.Fatalf("sample %d is of another kind", i)
		}
		if empty := unset(reflect.ValueOf(ev).Field(i).Elem(), reflect.TypeFor[Event]().Field(i).Name); empty != "" {
			t.Errorf("the sample leaves %s empty", empty)
		}
		b, err := EncodeEvents([]Event{ev})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%s\n%s\n", reflect.TypeFor[Event]().Field(i).Name, hex.EncodeToString(b))
	}
	if *update {
		if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(string(want), "\r\n", "\n")), "\n")
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		if i >= len(lines) || line != lines[i] {
			t.Errorf("line %d of %s: now it is %s", i+1, file, line)
		}
	}
	// What was written is read back as it was, whatever this version writes.
	for i := 1; i < len(lines); i += 2 {
		b, err := hex.DecodeString(lines[i])
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEvents(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got[0], events[i/2]) {
			t.Errorf("%s was read back as %+v", lines[i-1], got[0])
		}
	}
}

// unset names the first exported field that is zero.
func unset(v reflect.Value, path string) string {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return path
		}
		return unset(v.Elem(), path)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				if s := unset(v.Field(i), path+"."+f.Name); s != "" {
					return s
				}
			}
		}
		return ""
	case reflect.Slice:
		if v.Len() == 0 {
			return path
		}
		return unset(v.Index(0), path+"[0]")
	}
	if v.IsZero() {
		return path
	}
	return ""
}

// Fields that a later version adds are skipped; a snapshot of garbage is refused; an empty one is an empty shard.
func TestDecodeTolerance(t *testing.T) {
	t.Parallel()
	later, err := encMode.Marshal([]map[int]any{{12: map[int]any{1: "ada", 2: 5, 3: "admin", 99: "new"}, 77: "unheard of"}})
	if err != nil {
		t.Fatal(err)
	}
	events, err := DecodeEvents(later)
	if err != nil || events[0].CreditsIssued == nil || events[0].CreditsIssued.Amount != 5 {
		t.Fatalf("%+v, %v", events, err)
	}
	if _, err := DecodeState([]byte{0xff}); err == nil {
		t.Error("garbage is a snapshot")
	}
	b, err := NewState(3).Encode()
	if err != nil {
		t.Fatal(err)
	}
	s, err := DecodeState(b)
	if err != nil || s.Shard != 3 || len(s.Running()) != 0 || s.Record("nobody") != (cloudcrowd.Record{}) {
		t.Fatalf("%+v, %v", s, err)
	}
}

// Two results are alike to the quorum exactly if their files are: paths, bytes and sizes, not logs or times.
func TestResultDigest(t *testing.T) {
	t.Parallel()
	a := succeeded("x", 1)
	b := succeeded("x", 99)
	b.Log, b.StderrTail = "something", "else"
	if ResultDigest(a) != ResultDigest(b) {
		t.Error("usage or logs change the digest")
	}
	for name, change := range map[string]func(*cloudcrowd.OutputFile){
		"path":   func(f *cloudcrowd.OutputFile) { f.Path = "out2" },
		"digest": func(f *cloudcrowd.OutputFile) { f.Digest = outputs("y")[0].Digest },
		"size":   func(f *cloudcrowd.OutputFile) { f.SizeBytes++ },
	} {
		c := succeeded("x", 1)
		change(&c.Outputs[0])
		if ResultDigest(a) == ResultDigest(c) {
			t.Errorf("another %s does not change the digest", name)
		}
	}
	// A path cannot be made to look like two files.
	two := cloudcrowd.Result{Outputs: []cloudcrowd.OutputFile{{Path: "a", Digest: "d", SizeBytes: 1}, {Path: "b", Digest: "d", SizeBytes: 1}}}
	one := cloudcrowd.Result{Outputs: []cloudcrowd.OutputFile{{Path: "a d 1\n1:b", Digest: "d", SizeBytes: 1}}}
	if ResultDigest(two) == ResultDigest(one) {
		t.Error("two files and one with a crafted path are alike")
	}
}
