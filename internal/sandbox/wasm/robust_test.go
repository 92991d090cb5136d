package wasm

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// children returns the warm children of a sandbox.
func (s *Sandbox) children() []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*process(nil), s.idle...)
}

// A child that died while idle is replaced without the program noticing.
func TestDeadIdleChildIsReplaced(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	spec := func() sandbox.Spec { return write(t, noop.bytes()).spec(t) }
	attempt(t, s, spec())
	first := s.children()[0]
	_ = first.cmd.Process.Kill()
	<-first.dead
	if o := attempt(t, s, spec()); o.Status != sandbox.Succeeded {
		t.Fatalf("%+v", o)
	}
	if s.children()[0] == first {
		t.Fatal("the dead child was used")
	}
}

// A child that is killed from outside in the middle of a run gives an outcome that does not blame the program.
func TestChildKilledFromOutside(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	s.onBegin = func(p *process) { _ = p.cmd.Process.Kill() }
	o := attempt(t, s, write(t, tower(60).bytes()).spec(t))
	if o.Status != sandbox.Broken || o.Reason == "" {
		t.Fatalf("%+v", o)
	}
}

// A child runs attempts of one module only, the longest idle one goes first, and no folder of a gone child stays.
func TestChildrenAreKeptPerModule(t *testing.T) {
	t.Parallel()
	s := open(t, Config{Slots: 1, Warm: 2})
	var programs []program
	for i := range 3 {
		m := noop
		m.data = []byte{byte(i)}
		programs = append(programs, write(t, m.bytes()))
	}
	for _, i := range []int{0, 1, 0, 2, 0} {
		if o := attempt(t, s, programs[i].spec(t)); o.Status != sandbox.Succeeded {
			t.Fatalf("%+v", o)
		}
	}
	var kept []string
	for _, p := range s.children() {
		kept = append(kept, p.digest)
	}
	if want := []string{programs[2].digest, programs[0].digest}; strings.Join(kept, " ") != strings.Join(want, " ") {
		t.Fatalf("kept %v, want %v", kept, want)
	}
	folders, err := os.ReadDir(filepath.Join(s.config.Root, "slots"))
	if err != nil || len(folders) != 2 || s.serial != 3 {
		t.Fatalf("%d folders, %d children started, %v", len(folders), s.serial, err)
	}
}

// Compiled code is used again by another sandbox, and code that was damaged in any way is replaced.
func TestCompileCache(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := write(t, noop.bytes())
	run := func() {
		t.Helper()
		s := open(t, Config{CacheDir: dir})
		if o := attempt(t, s, p.spec(t)); o.Status != sandbox.Succeeded {
			t.Fatalf("%+v", o)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var code string
	find := func() []byte {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, p.digest, "code", "*", "*"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%v, %v", files, err)
		}
		code = files[0]
		b, err := os.ReadFile(code)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	run()
	good := find()
	made, _ := os.Stat(code)
	run()
	if again, _ := os.Stat(code); !again.ModTime().Equal(made.ModTime()) {
		t.Error("compiled twice")
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for name, bad := range map[string][]byte{"flipped": flipped, "cut": good[:len(good)/2], "empty": nil, "longer": append(bytes.Clone(good), 0)} {
		if err := os.WriteFile(code, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		run()
		if !bytes.Equal(find(), good) {
			t.Errorf("%s: the code was not replaced", name)
		}
		// The same with a matching sum, as after a change of engine or processor: the child itself refuses the code.
		if err := os.WriteFile(code, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		sum, _, err := sumOf(filepath.Join(dir, p.digest, "code"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, p.digest, "sum"), []byte(sum), 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "cut" || name == "empty" {
			run()
		} else if err := os.Remove(filepath.Join(dir, p.digest, "sum")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, p.digest, "code")); err != nil {
		t.Fatal(err)
	}
	run()
}

// The cache keeps to its size: the longest unused module goes.
func TestCacheIsPruned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Config{CacheDir: dir, CacheBytes: 1})
	for i := range 3 {
		m := noop
		m.data = []byte{byte(i)}
		p := write(t, m.bytes())
		attempt(t, s, p.spec(t))
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != p.digest {
			t.Fatalf("cache holds %v, %v", entries, err)
		}
	}
}

// A module whose bytes are not those of its digest is refused and not run.
func TestWrongDigest(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	spec := write(t, noop.bytes()).spec(t)
	spec.ModuleDigest = strings.Repeat("0", 64)
	if _, err := s.Run(t.Context(), spec); cloudcrowd.CodeOf(err) != cloudcrowd.DigestMismatch {
		t.Fatalf("%v", err)
	}
}

// An executable that is no sandbox child gives an outcome, not a hang.
func TestForeignExecutable(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/bin/true", "/bin/cat", "/does/not/exist"} {
		s := open(t, Config{Executable: path, CompileTime: time.Second})
		o, err := s.Run(t.Context(), write(t, noop.bytes()).spec(t))
		if err != nil || o.Status == sandbox.Succeeded {
			t.Errorf("%s: %+v, %v", path, o, err)
		}
	}
}

// What a child reports is only believed where it can be true.
func TestNonsenseIsNotBelieved(t *testing.T) {
	t.Parallel()
	limits := sandbox.Limits{MemoryBytes: 1000, LogBytes: 3}.WithDefaults()
	o := believable(done{Status: "rich", Reason: "a\nb", Stdout: []byte("12345"),
		Usage: sandbox.Usage{CPUSeconds: math.NaN(), WallSeconds: math.Inf(1), PeakMemoryBytes: 1 << 50, OutputBytes: 1 << 50}}, limits, time.Second)
	if o.Status != sandbox.Broken || string(o.Stdout) != "345" || o.Usage.CPUSeconds > 3 || o.Usage.WallSeconds != 1 ||
		o.Usage.PeakMemoryBytes != 1000 || o.Usage.OutputBytes != 0 {
		t.Fatalf("%+v", o)
	}
}

// Several sandboxes, as of several processes, may share one cache folder: nobody sees half-made code, and all attempts succeed.
func TestCacheIsShared(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := write(t, noop.bytes())
	var wait sync.WaitGroup
	for range 6 {
		s, spec := open(t, Config{CacheDir: dir}), p.spec(t)
		wait.Go(func() {
			if o, err := s.Run(t.Context(), spec); err != nil || o.Status != sandbox.Succeeded {
				t.Errorf("%+v, %v", o, err)
			}
			s.cache.drop(p.digest)
		})
	}
	wait.Wait()
}

// A cache that cannot be written costs time, not attempts.
func TestUnusableCache(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	s := open(t, Config{CacheDir: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := attempt(t, s, write(t, noop.bytes()).spec(t)); o.Status != sandbox.Succeeded {
		t.Fatalf("%+v", o)
	}
}

// The reason of a crash says what happened and where.
func TestCrashReason(t *testing.T) {
	t.Parallel()
	s := open(t, Config{CacheDir: codeCache})
	o := attempt(t, s, guests["behave"].spec(t, "crash"))
	if want := "the program crashed: out of bounds memory access in "; o.Status != sandbox.Trapped || !strings.HasPrefix(o.Reason, want) || !strings.Contains(o.Reason, "crash") {
		t.Fatalf("%+v", o)
	}
}
