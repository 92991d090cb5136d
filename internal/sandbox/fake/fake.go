// Package fake is a sandbox for tests and simulations: its programs are Go functions, chosen by the module's digest. It keeps the contract of package
// sandbox (limits, outcomes, determinism), but confines nothing.
package fake

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// Program stands for a module. It returns its exit status; an error, or a panic, is a crash, unless the error is a *Stop. It must return soon after
// ctx is done: the fake cannot kill it. What it does with files it does below a.In, a.Out and a.Tmp.
type Program func(ctx context.Context, a *Attempt) (exitCode int, err error)

// Attempt is what a Program may reach.
type Attempt struct {
	Spec           sandbox.Spec // as given, with defaults filled in
	In, Out, Tmp   string       // host folders; In is a copy
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Random         io.Reader // from Seed
	elapsed        time.Duration
}

// Now is the program's clock: it starts at 2026-01-01T00:00:00Z and moves by a microsecond per reading.
func (a *Attempt) Now() time.Time {
	a.elapsed += time.Microsecond
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(a.elapsed)
}

// Sleep moves the program's clock.
func (a *Attempt) Sleep(d time.Duration) { a.elapsed += max(d, 0) }

// Stop is an error with which a Program chooses its status, for example sandbox.OutOfMemory.
type Stop struct {
	Status sandbox.Status
	Reason string
}

// Error returns the reason.
func (s *Stop) Error() string { return s.Reason }

// Sandbox implements sandbox.Sandbox.
type Sandbox struct {
	programs map[string]Program
	ctx      context.Context
	cancel   context.CancelFunc
	mu       sync.Mutex
	closed   bool
	work     sync.WaitGroup
}

// New makes a sandbox that runs the given programs, by digest of the module they stand for. Spec.Module is not read.
func New(programs map[string]Program) *Sandbox {
	ctx, cancel := context.WithCancel(context.Background())
	return &Sandbox{programs: programs, ctx: ctx, cancel: cancel}
}

// Name implements sandbox.Sandbox; the fake answers to the name of the sandbox it stands for.
func (s *Sandbox) Name() string { return "wasm" }

// Close implements sandbox.Sandbox.
func (s *Sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.work.Wait()
	return nil
}

// Run implements sandbox.Sandbox.
func (s *Sandbox) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Outcome, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return sandbox.Outcome{}, &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "the sandbox is closed"}
	}
	s.work.Add(1)
	s.mu.Unlock()
	defer s.work.Done()

	if err := spec.Validate(); err != nil {
		return sandbox.Outcome{}, err
	}
	program := s.programs[spec.ModuleDigest]
	if program == nil {
		return sandbox.Outcome{}, cloudcrowd.Fieldf("module_digest", "no program is registered for %s", spec.ModuleDigest)
	}
	spec.Limits = spec.Limits.WithDefaults()
	tmp, err := os.MkdirTemp("", "fake-sandbox-")
	if err != nil {
		return sandbox.Outcome{}, err
	}
	defer os.RemoveAll(tmp)
	a := &Attempt{Spec: spec, In: filepath.Join(tmp, "in"), Out: spec.Out, Tmp: filepath.Join(tmp, "tmp"), Stdin: bytes.NewReader(spec.Stdin)}
	if err := errors.Join(os.Mkdir(a.In, 0o700), os.Mkdir(a.Tmp, 0o700)); err != nil {
		return sandbox.Outcome{}, err
	}
	if spec.In != "" {
		if err := os.CopyFS(a.In, os.DirFS(spec.In)); err != nil {
			return sandbox.Outcome{}, err
		}
	}
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], spec.Seed)
	a.Random = rand.NewChaCha8(sha256.Sum256(seed[:]))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	return perform(ctx, program, a)
}

// perform runs the program under its time limit and judges the end as a real sandbox would.
func perform(ctx context.Context, program Program, a *Attempt) (sandbox.Outcome, error) {
	limits := a.Spec.Limits
	all := &bounded{limit: limits.OutputBytes}
	stdout, stderr := sandbox.NewTail(limits.LogBytes), sandbox.NewTail(limits.LogBytes)
	a.Stdout, a.Stderr = io.MultiWriter(stdout, all), stderr
	timed, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	began := time.Now()
	code, err := 0, ctx.Err()
	if err == nil {
		code, err = guarded(timed, program, a)
	}
	o := sandbox.Outcome{Status: sandbox.Succeeded, Usage: sandbox.Usage{WallSeconds: time.Since(began).Seconds()}}
	o.Stdout, o.Stderr = stdout.Bytes(), stderr.Bytes()
	stop := (*Stop)(nil)
	end := func(status sandbox.Status, format string, args ...any) {
		o.Status, o.Reason = status, fmt.Sprintf(format, args...)
	}
	switch {
	case ctx.Err() != nil:
		end(sandbox.Cancelled, "the attempt was cancelled")
	case timed.Err() != nil:
		end(sandbox.TimedOut, "the program ran longer than %v and was killed", limits.Time)
	case errors.As(err, &stop):
		end(stop.Status, "%s", stop.Reason)
	case err != nil:
		end(sandbox.Trapped, "the program crashed: %v", err)
	case code != 0:
		o.ExitCode = code
		end(sandbox.Exited, "the program ended with exit status %d", code)
	}
	if scratch, err := sandbox.Inspect(a.Tmp, limits.OutputFiles); o.Status == sandbox.Succeeded && (err != nil || scratch.Bytes > limits.TmpBytes) {
		o.ExitCode = 1
		end(sandbox.Exited, "the program ended with exit status 1, after /tmp was full (%d bytes)", limits.TmpBytes)
	}
	found, err := sandbox.Inspect(a.Out, limits.OutputFiles)
	if o.Status == sandbox.Succeeded {
		switch {
		case err != nil || found.Bytes > limits.OutputBytes:
			end(sandbox.OutputLimit, "the program wanted to write more than %d bytes or %d files to /out", limits.OutputBytes, limits.OutputFiles)
		case found.Entries == 0 && stdout.Total() > limits.OutputBytes:
			end(sandbox.OutputLimit, "the program left nothing in /out and printed more than %d bytes", limits.OutputBytes)
		case found.Entries == 0 && stdout.Total() > 0:
			if err := os.WriteFile(filepath.Join(a.Out, "stdout"), all.Bytes(), 0o600); err != nil {
				return o, err
			}
			found.Bytes = stdout.Total()
		}
	}
	o.Usage.OutputBytes = found.Bytes
	return o, nil
}

// guarded turns a panic into an error.
func guarded(ctx context.Context, program Program, a *Attempt) (code int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
			if e, ok := r.(error); ok {
				err = e
			}
		}
	}()
	return program(ctx, a)
}

// bounded keeps what is written until it is too much.
type bounded struct {
	bytes.Buffer
	limit int64
}

// Write never fails.
func (b *bounded) Write(p []byte) (int, error) {
	if int64(b.Len()) <= b.limit {
		b.Buffer.Write(p)
	}
	return len(p), nil
}
