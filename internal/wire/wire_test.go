package wire

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/wire/pb"
)

var (
	jobA = cloudcrowd.NewJobID(time.UnixMilli(1_790_000_000_000), 1)
	jobB = cloudcrowd.NewJobID(time.UnixMilli(1_790_000_000_001), 2)
)

func attemptID(job cloudcrowd.JobID, stage, index, n int32) cloudcrowd.AttemptID {
	return cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job, Stage: stage, Index: index}, N: n}
}

func digestOf(fill string) cloudcrowd.Digest {
	return cloudcrowd.Digest(strings.Repeat(fill, 64/len(fill)))
}

// exampleUp has every field set.
func exampleUp() cloudcrowd.Up {
	return cloudcrowd.Up{
		Hello: &cloudcrowd.Hello{
			Session: "s-1",
			Info: cloudcrowd.WorkerInfo{
				Name: "réchaud", Version: "0.1", OS: "linux", Arch: "amd64", CPU: "a CPU", Cores: 8, Slots: 4, Speed: 1.25,
				MemoryBytes: 1 << 33, DiskBytes: 1 << 35, Sandboxes: []string{"wasm"},
			},
			Holding:     []cloudcrowd.AttemptID{attemptID(jobA, 0, 1, 1), attemptID(jobB, 2, 3, 4)},
			Spooled:     []cloudcrowd.AttemptID{attemptID(jobA, 0, 0, 1)},
			Cached:      []cloudcrowd.Digest{digestOf("ab"), digestOf("cd")},
			CachedBytes: 123,
		},
		Beat: &cloudcrowd.Beat{
			Session: "s-1",
			Holding: []cloudcrowd.Progress{{Attempt: attemptID(jobB, 2, 3, 4), Running: true, Fraction: 0.5, Elapsed: 1.5}},
			Want:    7, Unable: "its disk is full", Cached: []cloudcrowd.Digest{digestOf("ef")}, CachedBytes: 456,
		},
		Reports: []cloudcrowd.Report{
			{Attempt: attemptID(jobA, 0, 0, 1), Result: cloudcrowd.Result{
				Outcome: cloudcrowd.Succeeded,
				Outputs: []cloudcrowd.OutputFile{{Path: "a/b.txt", Digest: digestOf("12"), SizeBytes: 5}, {Path: "c", Digest: digestOf("34")}},
				Usage:   cloudcrowd.Usage{CPUSeconds: 0.25, WallSeconds: 0.5, PeakMemoryBytes: 65536, InputBytes: 10, OutputBytes: 5},
				Log:     digestOf("56"),
			}},
			{Attempt: attemptID(jobA, 0, 5, 2), Result: cloudcrowd.Result{
				Outcome: cloudcrowd.Exited, ExitCode: -3, Reason: "the program exited with status -3", StderrTail: "no\nsuch file",
			}},
		},
		Returned: []cloudcrowd.AttemptID{attemptID(jobA, 0, 9, 1)},
		Leaving:  true,
	}
}

// exampleDown has every field set.
func exampleDown() cloudcrowd.Down {
	return cloudcrowd.Down{
		Welcome: &cloudcrowd.Welcome{HeartbeatSeconds: 5, LeaseSeconds: 30, Ahead: 2, Servers: []string{"https://a.example.org:8443", "https://[2001:db8::2]:8443"}},
		Refresh: true,
		Leases: []cloudcrowd.Lease{{
			Attempt: attemptID(jobA, 0, 2, 1),
			Payload: cloudcrowd.Payload{
				Module: digestOf("aa"), ModuleSize: 1000, Args: []string{"count", "-k", "21"}, Env: []string{"K=V=W"}, Stdin: []byte("in"),
				Files: []cloudcrowd.TaskFile{{Path: "genome", Segments: []cloudcrowd.Segment{
					{Inline: []byte(">chr1\n")},
					{Blob: digestOf("bb"), Offset: 100, Length: 50},
					{Blob: digestOf("cc"), Length: 7, Whole: true},
				}}},
				Seed:      1<<63 + 5,
				Resources: cloudcrowd.Resources{MemoryBytes: 1 << 28, DiskBytes: 1 << 30, OutputBytes: 1 << 20, Cores: 1},
				Timeout:   cloudcrowd.Duration(10 * time.Minute),
			},
			Grants: []cloudcrowd.Grant{{Blob: digestOf("aa"), Token: "t1"}, {Blob: digestOf("bb"), Token: "t2"}},
			Upload: "up-1",
		}},
		Acks:    []cloudcrowd.AttemptID{attemptID(jobA, 0, 0, 1)},
		Cancels: []cloudcrowd.AttemptID{attemptID(jobB, 0, 7, 3)},
		Refused: "revoked by its owner",
	}
}

// Every field survives the trip.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	up, down := exampleUp(), exampleDown()
	frame, err := EncodeUp(&up)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeUp(frame); err != nil || !reflect.DeepEqual(got, &up) {
		t.Fatalf("up: %v\n got %s\nwant %s", err, text(got), text(&up))
	}
	if frame, err = EncodeDown(&down); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeDown(frame); err != nil || !reflect.DeepEqual(got, &down) {
		t.Fatalf("down: %v\n got %s\nwant %s", err, text(got), text(&down))
	}
}

func text(v any) string { b, _ := json.MarshalIndent(v, "", " "); return string(b) }

// exampleUp and exampleDown miss no field, so that a field added to the vocabulary and forgotten here fails.
func TestExamplesAreComplete(t *testing.T) {
	t.Parallel()
	up, down := exampleUp(), exampleDown()
	for _, v := range []any{up, *up.Hello, up.Hello.Info, *up.Beat, up.Beat.Holding[0], up.Reports[0], up.Reports[0].Result.Usage,
		up.Reports[0].Result.Outputs[0], down, *down.Welcome, down.Leases[0], down.Leases[0].Payload, down.Leases[0].Payload.Resources,
		down.Leases[0].Payload.Files[0], down.Leases[0].Grants[0]} {
		x := reflect.ValueOf(v)
		for i := range x.NumField() {
			if x.Field(i).IsZero() {
				t.Errorf("%T.%s is not set in the example", v, x.Type().Field(i).Name)
			}
		}
	}
}

// Messages with many entries split into frames that together say the same, in order.
func TestSplit(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		up := exampleUp()
		n := rapid.IntRange(0, 40_000).Draw(t, "reports")
		up.Reports, up.Returned = nil, nil
		for i := range n {
			up.Reports = append(up.Reports, cloudcrowd.Report{Attempt: attemptID(jobA, 0, int32(i), 1), Result: cloudcrowd.Result{Outcome: cloudcrowd.Succeeded}})
		}
		for i := range rapid.IntRange(0, 40_000).Draw(t, "returned") {
			up.Returned = append(up.Returned, attemptID(jobB, 0, int32(i), 1))
		}
		frames, err := SplitUp(&up)
		if err != nil {
			t.Fatal(err)
		}
		var sum cloudcrowd.Up
		for i, f := range frames {
			u, err := DecodeUp(f)
			if err != nil {
				t.Fatal(err)
			}
			if u.Leaving != (i == len(frames)-1) {
				t.Fatalf("leaving in frame %d of %d", i, len(frames))
			}
			if u.Hello != nil {
				if i > 0 {
					t.Fatalf("hello in frame %d", i)
				}
				sum.Hello = u.Hello
			}
			if u.Beat != nil {
				sum.Beat = u.Beat
			}
			sum.Reports = append(sum.Reports, u.Reports...)
			sum.Returned = append(sum.Returned, u.Returned...)
			sum.Leaving = sum.Leaving || u.Leaving
		}
		if !reflect.DeepEqual(sum, up) {
			t.Fatalf("%d frames of %d reports and %d returns say something else", len(frames), len(up.Reports), len(up.Returned))
		}
	})
}

// A lease that does not fit is named and holds up no other.
func TestSplitDownNamesOversizedLeases(t *testing.T) {
	t.Parallel()
	down := exampleDown()
	lease := down.Leases[0]
	noise := make([]byte, MaxFrame)
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	down.Leases = nil
	for i := range 5 {
		l := lease
		l.Attempt.Task.Index = int32(i)
		if i == 2 {
			l.Payload.Stdin = noise
		}
		down.Leases = append(down.Leases, l)
	}
	frames, large, err := SplitDown(&down)
	if err != nil || len(large) != 1 || large[0].Task.Index != 2 {
		t.Fatalf("too large: %v, %v", large, err)
	}
	var got []int32
	for _, f := range frames {
		d, err := DecodeDown(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range d.Leases {
			got = append(got, l.Attempt.Task.Index)
		}
	}
	if fmt.Sprint(got) != "[0 1 3 4]" {
		t.Fatalf("leases %v", got)
	}
}

// What breaks a limit is refused by sender and receiver, naming the field.
func TestRefusals(t *testing.T) {
	t.Parallel()
	ups := map[string]struct {
		field string
		spoil func(*cloudcrowd.Up)
	}{
		"job id":           {"returned", func(u *cloudcrowd.Up) { u.Returned[0].Task.Job = "nonsense" }},
		"attempt zero":     {"returned", func(u *cloudcrowd.Up) { u.Returned[0].N = 0 }},
		"negative index":   {"returned", func(u *cloudcrowd.Up) { u.Returned[0].Task.Index = -1 }},
		"path climbs":      {"outputs.path", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = "../b" }},
		"path absolute":    {"outputs.path", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = "/b" }},
		"path backslash":   {"outputs.path", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = `a\b` }},
		"path long":        {"outputs.path", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = strings.Repeat("a", 256) }},
		"path empty":       {"outputs.path", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = "" }},
		"outputs unsorted": {"outputs", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = "z" }},
		"outputs twice":    {"outputs", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Path = "c" }},
		"no digest":        {"outputs.digest", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].Digest = "" }},
		"negative size":    {"size_bytes", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outputs[0].SizeBytes = -1 }},
		"outcome":          {"outcome", func(u *cloudcrowd.Up) { u.Reports[0].Result.Outcome = "great" }},
		"long reason":      {"reason", func(u *cloudcrowd.Up) { u.Reports[0].Result.Reason = strings.Repeat("a", MaxReason+1) }},
		"broken text":      {"stderr_tail", func(u *cloudcrowd.Up) { u.Reports[1].Result.StderrTail = "\xff" }},
		"endless time":     {"wall_seconds", func(u *cloudcrowd.Up) { u.Reports[0].Result.Usage.WallSeconds = inf() }},
		"no number":        {"cpu_seconds", func(u *cloudcrowd.Up) { u.Reports[0].Result.Usage.CPUSeconds = inf() - inf() }},
		"fraction":         {"fraction", func(u *cloudcrowd.Up) { u.Beat.Holding[0].Fraction = 1.1 }},
		"no session":       {"hello.session", func(u *cloudcrowd.Up) { u.Hello.Session = "" }},
		"name of lines":    {"hello.info.name", func(u *cloudcrowd.Up) { u.Hello.Info.Name = "a\nb" }},
		"long name":        {"hello.info.name", func(u *cloudcrowd.Up) { u.Hello.Info.Name = strings.Repeat("a", MaxName+1) }},
		"much cached":      {"hello.cached", func(u *cloudcrowd.Up) { u.Hello.Cached = make([]cloudcrowd.Digest, MaxCached+1) }},
	}
	for name, c := range ups {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := exampleUp()
			c.spoil(&u)
			wantField(t, c.field, func() error { _, err := EncodeUp(&u); return err }())
		})
	}
	downs := map[string]struct {
		field string
		spoil func(*cloudcrowd.Lease)
	}{
		"module":        {"module", func(l *cloudcrowd.Lease) { l.Payload.Module = "" }},
		"input climbs":  {"files.path", func(l *cloudcrowd.Lease) { l.Payload.Files[0].Path = "a/../../b" }},
		"span overflow": {"segments", func(l *cloudcrowd.Lease) { l.Payload.Files[0].Segments[1].Offset = 1<<63 - 10 }},
		"whole offset":  {"segments", func(l *cloudcrowd.Lease) { l.Payload.Files[0].Segments[1].Whole = true }},
		"both":          {"segments", func(l *cloudcrowd.Lease) { l.Payload.Files[0].Segments[1].Inline = []byte("x") }},
		"blobless span": {"segments", func(l *cloudcrowd.Lease) { l.Payload.Files[0].Segments[0].Length = 4 }},
		"header":        {"token", func(l *cloudcrowd.Lease) { l.Grants[0].Token = "a\r\nHost: b" }},
		"upload header": {"upload", func(l *cloudcrowd.Lease) { l.Upload = "a b" }},
		"NUL":           {"args", func(l *cloudcrowd.Lease) { l.Payload.Args[0] = "a\x00" }},
		"env":           {"env", func(l *cloudcrowd.Lease) { l.Payload.Env[0] = "=x" }},
		"timeout":       {"timeout", func(l *cloudcrowd.Lease) { l.Payload.Timeout = -1 }},
	}
	for name, c := range downs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := exampleDown()
			c.spoil(&d.Leases[0])
			wantField(t, c.field, func() error { _, err := EncodeDown(&d); return err }())
		})
	}
}

func inf() float64 { x := 1e308; return x * 10 }

func wantField(t *testing.T, field string, err error) {
	t.Helper()
	e, ok := err.(*cloudcrowd.Error)
	if !ok || !strings.HasSuffix(e.Field, field) {
		t.Fatalf("got %v, want an error about %s", err, field)
	}
}

// A frame made to become large in memory is refused before it does.
func TestBombs(t *testing.T) {
	t.Parallel()
	reports := []byte{}
	for len(reports) < MaxPlain-10 {
		reports = append(reports, 0x22, 0x00) // field 4, empty
	}
	nested := protowire.AppendTag(nil, 4, protowire.BytesType)
	outputs := []byte{}
	for len(outputs) < 200_000 {
		outputs = append(outputs, 0x42, 0x00)
	}
	nested = protowire.AppendBytes(nested, outputs)
	pack := func(b []byte) []byte { return packer().EncodeAll(b, []byte{zstdFrame}) }
	for name, frame := range map[string][]byte{
		"reports": pack(reports),
		"outputs": pack(nested),
		"zeroes":  pack(make([]byte, 64<<20)),
		"long":    make([]byte, MaxFrame+1),
	} {
		if _, err := DecodeUp(frame); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Versions: what neither end can speak is refused with both ranges; fields and numbers of a later version of the same protocol are ignored.
func TestVersions(t *testing.T) {
	t.Parallel()
	future := &pb.Up{Hello: &pb.Hello{Protocol: 9, Oldest: 2, Session: "s", Info: &pb.Info{}}}
	frame, _ := pack(future)
	if _, err := DecodeUp(frame); err == nil || !strings.Contains(err.Error(), "speaks versions 2 to 9") {
		t.Fatalf("got %v", err)
	}
	future.Hello.Oldest = 1
	future.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 1000, protowire.VarintType), 5))
	frame, _ = pack(future)
	if u, err := DecodeUp(frame); err != nil || u.Hello.Session != "s" {
		t.Fatalf("got %v, %v", u, err)
	}
}
