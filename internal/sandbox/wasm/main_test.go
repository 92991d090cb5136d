package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/sandboxtest"
)

// guests are the Go programs of testdata, compiled for WASI once per test run, and codeCache their compiled code.
var (
	guests    = map[string]program{}
	codeCache string
)

// otherMains are what this test binary does instead of testing when an environment variable says so; its value is the argument.
var otherMains = map[string]func(string){}

// program is a module on disk.
type program struct{ path, digest string }

func TestMain(m *testing.M) {
	if IsChild() {
		ChildMain()
	}
	for variable, other := range otherMains {
		if argument := os.Getenv(variable); argument != "" {
			other(argument)
			return
		}
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "sandbox-wasm-test-")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		codeCache = filepath.Join(dir, "cache")
		for _, name := range []string{"behave", "escape"} {
			path := filepath.Join(dir, name+".wasm")
			build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/"+name)
			build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
			if out, err := build.CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "building the guest %s: %v\n%s", name, err, out)
				return 1
			}
			b, err := os.ReadFile(path)
			if err != nil {
				panic(err)
			}
			guests[name] = program{path, digestOf(b)}
		}
		if err := compileGuests(filepath.Join(dir, "root")); err != nil {
			fmt.Fprintln(os.Stderr, "compiling the guests:", err)
			return 1
		}
		status := m.Run()
		leak := goleak.Find() // every child has a goroutine that waits for it, so this finds forgotten processes, too
		for tries := 0; leak != nil && tries < 60; tries++ {
			leak = goleak.Find() // waits about half a second by itself, which may be too short on a busy machine
		}
		if leak != nil {
			fmt.Fprintln(os.Stderr, leak)
			return max(status, 1)
		}
		return status
	}())
}

// compileGuests fills the cache, so that tests side by side do not compile the same programs at once.
func compileGuests(root string) error {
	s, err := New(Config{Root: root, CacheDir: codeCache})
	if err != nil {
		return err
	}
	for _, p := range guests {
		b, err := s.module(p.path, p.digest)
		if err != nil {
			return err
		}
		if _, err := s.cache.ensure(context.Background(), p.digest, b); err != nil {
			return err
		}
	}
	return s.Close()
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// write stores a hand-made module.
func write(t testing.TB, module []byte) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "module.wasm")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		t.Fatal(err)
	}
	return program{path, digestOf(module)}
}

func open(t testing.TB, config Config) *Sandbox {
	t.Helper()
	if config.Root == "" {
		config.Root = t.TempDir()
	}
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (p program) spec(t testing.TB, args ...string) sandbox.Spec {
	return sandbox.Spec{ID: t.Name(), Module: p.path, ModuleDigest: p.digest, Args: args, Out: t.TempDir(), Seed: 1}
}

func attempt(t testing.TB, s *Sandbox, spec sandbox.Spec) sandbox.Outcome {
	t.Helper()
	o, err := s.Run(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The sandbox keeps the contract.
func TestContract(t *testing.T) {
	t.Parallel()
	sandboxtest.Run(t, func(t *testing.T) sandboxtest.Subject {
		s := open(t, Config{CacheDir: codeCache, Slots: 2})
		return sandboxtest.Subject{Sandbox: s, Module: guests["behave"].path, Digest: guests["behave"].digest}
	})
}
