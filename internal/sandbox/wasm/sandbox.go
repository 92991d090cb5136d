package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// Config says how a Sandbox is set up. Only Root is required.
type Config struct {
	// Root is a folder of this sandbox alone, on the same file system as every Spec's In and Out. It is made if missing; New empties what an
	// earlier, killed process left in its subfolder "slots".
	Root string
	// CacheDir keeps compiled code between processes. It is made with mode 0700 and must not be writable by others: its content is native code.
	// "" keeps none.
	CacheDir string
	// CacheBytes bounds CacheDir; the longest unused modules go first. Default 2 GiB.
	CacheBytes int64
	// Slots is how many attempts run at once; more wait. Default: GOMAXPROCS.
	Slots int
	// Warm is how many idle children are kept for the next attempt of their module. Default Slots+2.
	Warm int
	// Executable is the program whose main calls ChildMain when IsChild. Default: this one.
	Executable string
	// CompileTime bounds compiling or loading one module. Default 2 minutes.
	CompileTime time.Duration
	// CompileMemoryBytes bounds a process that compiles. Default 4 GiB.
	CompileMemoryBytes int64
}

// Sandbox implements sandbox.Sandbox.
type Sandbox struct {
	config Config
	cache  *cache
	slots  chan struct{}
	spawns chan func() // run on one thread that lives until Close
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup // Runs and their helpers

	onBegin func(*process) // for tests: called when a program starts to run; nil otherwise

	mu       sync.Mutex
	closed   bool
	outlines map[string]outline // of modules that were read and checked, by digest
	idle     []*process         // oldest first
	serial   int
}

var errClosed = &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the sandbox is closed"}

// New prepares a sandbox. It starts no process yet.
func New(config Config) (*Sandbox, error) {
	if config.Slots <= 0 {
		config.Slots = runtime.GOMAXPROCS(0)
	}
	if config.Warm <= 0 {
		config.Warm = config.Slots + 2
	}
	if config.CacheBytes <= 0 {
		config.CacheBytes = 2 << 30
	}
	if config.CompileTime <= 0 {
		config.CompileTime = 2 * time.Minute
	}
	if config.CompileMemoryBytes <= 0 {
		config.CompileMemoryBytes = 4 << 30
	}
	if config.Executable == "" {
		own, err := ownExecutable()
		if err != nil {
			return nil, err
		}
		config.Executable = own
	}
	if config.Root == "" {
		return nil, cloudcrowd.Fieldf("root", "the sandbox needs a folder of its own")
	}
	var err error
	if config.Root, err = ownFolder(config.Root); err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(config.Root, "slots")), os.Mkdir(filepath.Join(config.Root, "slots"), 0o700)); err != nil {
		return nil, err
	}
	s := &Sandbox{config: config, slots: make(chan struct{}, config.Slots), spawns: make(chan func()), outlines: map[string]outline{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if config.CacheDir != "" {
		if config.CacheDir, err = ownFolder(config.CacheDir); err != nil {
			return nil, err
		}
		s.cache = &cache{dir: config.CacheDir, limit: config.CacheBytes, compile: s.compile, busy: map[string]chan struct{}{}}
	}
	go s.spawner()
	return s, nil
}

// ownFolder makes dir for this user alone and returns its real path: walls are put around real paths.
func ownFolder(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// spawner starts all children on one thread, which ends only when the sandbox is closed: Linux kills a child when the thread that started it ends.
func (s *Sandbox) spawner() {
	runtime.LockOSThread()
	for f := range s.spawns {
		f()
	}
}

// spawn runs f on the spawner's thread.
func (s *Sandbox) spawn(f func()) {
	finished := make(chan struct{})
	s.spawns <- func() { f(); close(finished) }
	<-finished
}

// Name implements sandbox.Sandbox.
func (s *Sandbox) Name() string { return "wasm" }

// Check says whether this sandbox can run a module; it is the function Check.
func (s *Sandbox) Check(module []byte) error { return Check(module) }

// Close implements sandbox.Sandbox.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	s.cancel()
	for _, p := range idle {
		p.stop()
	}
	s.work.Wait()
	close(s.spawns)
	return os.RemoveAll(filepath.Join(s.config.Root, "slots"))
}

// enter counts a Run in, unless the sandbox is closed.
func (s *Sandbox) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.work.Add(1)
	return nil
}

// module reads and verifies a module file. Only cold paths need it.
func (s *Sandbox) module(path, digest string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "module", Msg: "the module cannot be read", Err: err}
	}
	if !info.Mode().IsRegular() || info.Size() > MaxModuleBytes {
		return nil, cloudcrowd.Fieldf("module", "the module is no regular file of at most %d bytes", MaxModuleBytes)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "module", Msg: "the module cannot be read", Err: err}
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != digest {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.DigestMismatch, Field: "module",
			Msg: fmt.Sprintf("the module's bytes have digest %x, not %s", sum, digest)}
	}
	return b, nil
}

// outlineFor returns what is known of a module without running it, reading the file the first time a digest is seen.
func (s *Sandbox) outlineFor(spec *sandbox.Spec) (outline, error) {
	s.mu.Lock()
	o, known := s.outlines[spec.ModuleDigest]
	s.mu.Unlock()
	if known {
		return o, nil
	}
	b, err := s.module(spec.Module, spec.ModuleDigest)
	if err != nil {
		return o, err
	}
	if o, err = outlineOf(b); err != nil {
		return o, &unusable{err}
	}
	o.exports, o.imports = nil, nil
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.outlines) > 10_000 {
		clear(s.outlines)
	}
	s.outlines[spec.ModuleDigest] = o
	return o, nil
}

// unusable marks an error as the module's fault: an Outcome, not an error of the sandbox.
type unusable struct{ error }

func (u *unusable) Unwrap() error { return u.error }
