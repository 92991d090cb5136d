// Package sandboxtest is the contract of package sandbox as a test suite. Every implementation passes it.
package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// Subject is a sandbox under test and the program of package behave made for it.
type Subject struct {
	Sandbox sandbox.Sandbox
	Module  string // host path
	Digest  string
}

// attempts prepares Specs for one subject.
type attempts struct {
	Subject
	t *testing.T
}

func (a attempts) spec(args ...string) sandbox.Spec {
	a.t.Helper()
	return sandbox.Spec{ID: a.t.Name(), Module: a.Module, ModuleDigest: a.Digest, Args: args, Out: a.t.TempDir(), Seed: 1,
		Limits: sandbox.Limits{Time: time.Minute}}
}

func (a attempts) run(s sandbox.Spec) sandbox.Outcome {
	a.t.Helper()
	o, err := a.Sandbox.Run(a.t.Context(), s)
	if err != nil {
		a.t.Fatalf("Run: %v", err)
	}
	if left, err := os.ReadDir(s.Out); o.Empty && (err != nil || len(left) > 0) {
		a.t.Errorf("the outcome says that nothing was left, /out holds %v (%v)", left, err)
	}
	return o
}

func (a attempts) want(o sandbox.Outcome, status sandbox.Status) {
	a.t.Helper()
	if o.Status != status {
		a.t.Fatalf("status %s (%s), want %s; stderr: %s", o.Status, o.Reason, status, o.Stderr)
	}
	if (o.Reason == "") != (status == sandbox.Succeeded) {
		a.t.Errorf("status %s with reason %q", o.Status, o.Reason)
	}
}

func (a attempts) file(s sandbox.Spec, name string) string {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Out, filepath.FromSlash(name)))
	if err != nil {
		a.t.Fatal(err)
	}
	return string(b)
}

// Run checks all promises of the contract. open is called once per promise and must register its own clean-up.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.check(attempts{open(t), t})
		})
	}
}

var cases = []struct {
	name  string
	check func(attempts)
}{
	{"a program that does nothing succeeds and leaves nothing", func(a attempts) {
		s := a.spec("nothing")
		o := a.run(s)
		a.want(o, sandbox.Succeeded)
		if c, err := sandbox.Inspect(s.Out, 10); err != nil || c.Entries != 0 || len(o.Stdout)+len(o.Stderr) != 0 {
			a.t.Fatalf("left %+v, %v, printed %q %q", c, err, o.Stdout, o.Stderr)
		}
		if a.Sandbox.Name() == "" {
			a.t.Error("no name")
		}
	}},
	{"arguments, environment and stdin arrive exactly", func(a attempts) {
		s := a.spec("echo", "", "two words", "--ü\n")
		s.Env = []string{"B=2", "A=x=y", "EMPTY="}
		s.Stdin = []byte("line\x00\xff")
		o := a.run(s)
		a.want(o, sandbox.Succeeded)
		want := fmt.Sprintf("args %q\nenv %q\nstdin line\x00\xff", s.Args[1:], s.Env)
		if string(o.Stdout) != want {
			a.t.Fatalf("printed %q, want %q", o.Stdout, want)
		}
	}},
	{"the exit status comes back", func(a attempts) {
		o := a.run(a.spec("exit", "7"))
		a.want(o, sandbox.Exited)
		if o.ExitCode != 7 || !strings.Contains(o.Reason, "7") {
			a.t.Fatalf("exit %d, %q", o.ExitCode, o.Reason)
		}
	}},
	{"a crash is the program's outcome and the sandbox goes on", func(a attempts) {
		a.want(a.run(a.spec("crash")), sandbox.Trapped)
		a.want(a.run(a.spec("nothing")), sandbox.Succeeded)
	}},
	{"/in is copied to /out with its folders", func(a attempts) {
		s := a.spec("copy")
		s.In = a.t.TempDir()
		if err := os.MkdirAll(filepath.Join(s.In, "deep", "er"), 0o700); err != nil {
			a.t.Fatal(err)
		}
		for name, text := range map[string]string{"one": "1", "deep/two": "22", "deep/er/three": ""} {
			if err := os.WriteFile(filepath.Join(s.In, filepath.FromSlash(name)), []byte(text), 0o600); err != nil {
				a.t.Fatal(err)
			}
		}
		o := a.run(s)
		a.want(o, sandbox.Succeeded)
		if a.file(s, "one") != "1" || a.file(s, "deep/two") != "22" || a.file(s, "deep/er/three") != "" || o.Usage.OutputBytes != 3 {
			a.t.Fatalf("wrong copies, %d bytes", o.Usage.OutputBytes)
		}
		if b, err := os.ReadFile(filepath.Join(s.In, "deep", "two")); err != nil || string(b) != "22" {
			a.t.Fatalf("the input is not in its place: %q, %v", b, err)
		}
	}},
	{"the caller's input stays as it is", func(a attempts) {
		s := a.spec("writein")
		s.In = a.t.TempDir()
		path := filepath.Join(s.In, "file")
		if err := os.WriteFile(path, []byte("original"), 0o400); err != nil {
			a.t.Fatal(err)
		}
		o := a.run(s)
		a.want(o, sandbox.Succeeded)
		if b, _ := os.ReadFile(path); string(b) != "original" {
			a.t.Fatalf("input now %q", b)
		}
	}},
	{"what is printed becomes the output if nothing else is", func(a attempts) {
		s := a.spec("print", "1000000")
		o := a.run(s)
		a.want(o, sandbox.Succeeded)
		all := a.file(s, "stdout")
		if len(all) != 1_000_000 || o.Usage.OutputBytes != 1_000_000 {
			a.t.Fatalf("output %d bytes, usage %d", len(all), o.Usage.OutputBytes)
		}
		if len(o.Stdout) != sandbox.DefaultLogBytes || !strings.HasSuffix(all, string(o.Stdout)) {
			a.t.Fatalf("log of %d bytes is not the end of the output", len(o.Stdout))
		}
	}},
	{"printing is only a log if the program failed or wrote files", func(a attempts) {
		s := a.spec("exit", "1")
		a.want(a.run(s), sandbox.Exited)
		if c, err := sandbox.Inspect(s.Out, 10); err != nil || c.Entries != 0 {
			a.t.Fatalf("left %+v, %v", c, err)
		}
	}},
	{"logs keep the last bytes", func(a attempts) {
		s := a.spec("warn", "first", "second")
		s.Limits.LogBytes = 6
		if o := a.run(s); string(o.Stderr) != "second" {
			a.t.Fatalf("kept %q", o.Stderr)
		}
	}},
	{"printing more than the output limit without files is over the limit", func(a attempts) {
		s := a.spec("print", "5000")
		s.Limits.OutputBytes = 4999
		a.want(a.run(s), sandbox.OutputLimit)
	}},
	{"the output limit is exact", func(a attempts) {
		s := a.spec("write", "file", "4000")
		s.Limits.OutputBytes = 4000
		a.want(a.run(s), sandbox.Succeeded)
		s = a.spec("write", "file", "4001")
		s.Limits.OutputBytes = 4000
		a.want(a.run(s), sandbox.OutputLimit)
	}},
	{"the number of files is limited", func(a attempts) {
		s := a.spec("makefiles", "10")
		s.Limits.OutputFiles = 10
		a.want(a.run(s), sandbox.Succeeded)
		s = a.spec("makefiles", "11")
		s.Limits.OutputFiles = 10
		a.want(a.run(s), sandbox.OutputLimit)
	}},
	{"/tmp is limited and empty at the start of every attempt", func(a attempts) {
		a.want(a.run(a.spec("writetmp", "d/file", "1000")), sandbox.Succeeded)
		s := a.spec("listtmp")
		a.want(a.run(s), sandbox.Succeeded)
		if names := a.file(s, "names"); names != "" {
			a.t.Fatalf("/tmp holds %q", names)
		}
		s = a.spec("writetmp", "file", "1001")
		s.Limits.TmpBytes = 1000
		o := a.run(s)
		a.want(o, sandbox.Exited)
		if !strings.Contains(o.Reason, "/tmp") {
			a.t.Fatalf("reason %q does not name /tmp", o.Reason)
		}
	}},
	{"too much memory is out-of-memory", func(a attempts) {
		s := a.spec("hog", "16000000")
		s.Limits.MemoryBytes = 128 << 20
		a.want(a.run(s), sandbox.Succeeded)
		s = a.spec("hog", "256000000")
		s.Limits.MemoryBytes = 128 << 20
		o := a.run(s)
		a.want(o, sandbox.OutOfMemory)
		if o.Usage.PeakMemoryBytes > s.Limits.MemoryBytes {
			a.t.Fatalf("peak %d over the limit", o.Usage.PeakMemoryBytes)
		}
	}},
	{"a program that does not end is stopped at its time", func(a attempts) {
		s := a.spec("spin")
		s.Limits.Time = 200 * time.Millisecond
		o := a.run(s)
		a.want(o, sandbox.TimedOut)
		if o.Usage.WallSeconds < 0.2 {
			a.t.Fatalf("stopped after %v s", o.Usage.WallSeconds)
		}
		a.want(a.run(a.spec("nothing")), sandbox.Succeeded)
	}},
	{"endless printing is stopped at its time too, in bounded memory", func(a attempts) {
		s := a.spec("printforever")
		s.Limits.Time = 300 * time.Millisecond
		s.Limits.OutputBytes = 1 << 20
		a.want(a.run(s), sandbox.TimedOut)
	}},
	{"cancelling stops a program", func(a attempts) {
		ctx, cancel := context.WithCancel(a.t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		o, err := a.Sandbox.Run(ctx, a.spec("spin"))
		if err != nil {
			a.t.Fatal(err)
		}
		a.want(o, sandbox.Cancelled)
		o, err = a.Sandbox.Run(ctx, a.spec("nothing"))
		if err != nil {
			a.t.Fatal(err)
		}
		a.want(o, sandbox.Cancelled)
	}},
	{"the same seed gives the same bytes, another seed others", func(a attempts) {
		var seen []string
		for _, seed := range []uint64{5, 5, 6} {
			s := a.spec("dice")
			s.Seed = seed
			o := a.run(s)
			a.want(o, sandbox.Succeeded)
			seen = append(seen, string(o.Stdout))
		}
		if seen[0] != seen[1] || seen[0] == seen[2] {
			a.t.Fatalf("saw %q", seen)
		}
	}},
	{"attempts run side by side without touching each other", func(a attempts) {
		var wait sync.WaitGroup
		for i := range 8 {
			s := a.spec("write", "file", fmt.Sprint(1000+i))
			wait.Go(func() {
				o, err := a.Sandbox.Run(a.t.Context(), s)
				if b, _ := os.ReadFile(filepath.Join(s.Out, "file")); err != nil || o.Status != sandbox.Succeeded || len(b) != 1000+i {
					a.t.Errorf("attempt %d: %s (%s), %v, %d bytes", i, o.Status, o.Reason, err, len(b))
				}
			})
		}
		wait.Wait()
	}},
	{"a bad spec is an error that names the field", func(a attempts) {
		for field, spoil := range map[string]func(*sandbox.Spec){
			"module_digest": func(s *sandbox.Spec) { s.ModuleDigest = "abc" },
			"args":          func(s *sandbox.Spec) { s.Args = []string{"a\x00b"} },
			"env":           func(s *sandbox.Spec) { s.Env = []string{"novalue"} },
			"in":            func(s *sandbox.Spec) { s.In = filepath.Join(s.Out, "missing") },
			"out":           func(s *sandbox.Spec) { s.Out = filepath.Join(s.Out, "missing") },
		} {
			s := a.spec("nothing")
			spoil(&s)
			_, err := a.Sandbox.Run(a.t.Context(), s)
			if e, ok := err.(*cloudcrowd.Error); !ok || e.Field != field {
				a.t.Errorf("%s: error %v", field, err)
			}
		}
		s := a.spec("nothing")
		if err := os.WriteFile(filepath.Join(s.Out, "left"), nil, 0o600); err != nil {
			a.t.Fatal(err)
		}
		if _, err := a.Sandbox.Run(a.t.Context(), s); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			a.t.Errorf("a full output folder: %v", err)
		}
	}},
	{"closing stops what runs, and is final", func(a attempts) {
		finished := make(chan sandbox.Outcome, 1)
		s := a.spec("spin")
		go func() {
			o, _ := a.Sandbox.Run(context.WithoutCancel(a.t.Context()), s)
			finished <- o
		}()
		time.AfterFunc(50*time.Millisecond, func() { _ = a.Sandbox.Close() })
		if o := <-finished; o.Status != sandbox.Cancelled && o.Status != "" {
			a.t.Fatalf("ended as %s (%s)", o.Status, o.Reason)
		}
		if err := a.Sandbox.Close(); err != nil {
			a.t.Fatal(err)
		}
		if _, err := a.Sandbox.Run(a.t.Context(), a.spec("nothing")); err == nil {
			a.t.Fatal("ran after Close")
		}
	}},
	{"standard error is not the output", func(a attempts) {
		s := a.spec("warn", "careful")
		o := a.run(s)
		a.want(o, sandbox.Succeeded)
		if entries, _ := os.ReadDir(s.Out); len(entries) != 0 || !bytes.Equal(o.Stderr, []byte("careful")) {
			a.t.Fatalf("left %v, stderr %q", entries, o.Stderr)
		}
	}},
}
