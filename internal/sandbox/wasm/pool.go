package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// childDataBytes is the most private memory any child may ever have: 4 GiB of program and what the engine needs.
const childDataBytes = 8 << 30

// acquire returns a child bound to the Spec's module: a warm one, or a new one. A nil child comes with the outcome or error to return.
func (s *Sandbox) acquire(ctx context.Context, spec *sandbox.Spec) (*process, sandbox.Outcome, error) {
	s.mu.Lock()
	for i := len(s.idle) - 1; i >= 0; i-- {
		if p := s.idle[i]; p.digest == spec.ModuleDigest {
			s.idle = append(s.idle[:i], s.idle[i+1:]...)
			s.mu.Unlock()
			return p, sandbox.Outcome{}, nil
		}
	}
	s.mu.Unlock()
	module, err := s.module(spec.Module, spec.ModuleDigest)
	if err != nil {
		return nil, sandbox.Outcome{}, err
	}
	for try := 1; ; try++ {
		var code string
		if s.cache != nil && try < 3 {
			// Whatever ails the cache, the attempt need not: the third try, and a cache that cannot be written, go without it.
			code, err = s.cache.ensure(ctx, spec.ModuleDigest, module)
			bad, gone := (*refused)(nil), (*died)(nil)
			if errors.As(err, &bad) || errors.As(err, &gone) || ctx.Err() != nil {
				return nil, s.notPrepared(ctx, err), nil
			}
		}
		p, answer, err := s.start(ctx, bind{Module: module, Cache: code, DataBytes: childDataBytes}, overheadBytes+int64(len(module))*64, true)
		if err != nil {
			return nil, s.notPrepared(ctx, err), nil
		}
		if answer.BadCache {
			p.stop()
			s.cache.drop(spec.ModuleDigest)
			continue
		}
		if answer.Refused != "" {
			p.stop()
			return nil, s.notPrepared(ctx, &refused{answer.Refused}), nil
		}
		p.digest = spec.ModuleDigest
		p.base = p.wall.residentBytes()
		return p, sandbox.Outcome{}, nil
	}
}

// release gives a child back after an attempt; a healthy one stays warm, the longest idle one goes if there are too many.
func (s *Sandbox) release(p *process, healthy bool) {
	if !healthy {
		p.stop()
		return
	}
	s.mu.Lock()
	drop := p
	if !s.closed {
		s.idle = append(s.idle, p)
		drop = nil
		if len(s.idle) > s.config.Warm {
			drop = s.idle[0]
			s.idle = s.idle[1:]
		}
	}
	s.mu.Unlock()
	if drop != nil {
		drop.stop()
	}
}

// refused is a module that does not compile.
type refused struct{ why string }

func (r *refused) Error() string { return "the module cannot be compiled: " + r.why }

// died is a child that ended before it was ready.
type died struct {
	cause       sandbox.Status
	words       string
	outOfMemory bool
}

func (d *died) Error() string { return "the sandbox's process ended unexpectedly: " + d.words }

// notPrepared is the outcome of an attempt whose module could not be compiled or loaded.
func (s *Sandbox) notPrepared(ctx context.Context, err error) sandbox.Outcome {
	bad, gone := (*refused)(nil), (*died)(nil)
	switch {
	case ctx.Err() != nil:
		return cancelled()
	case errors.As(err, &bad):
		return sandbox.Outcome{Status: sandbox.Trapped, Reason: bad.Error()}
	case errors.As(err, &gone) && gone.cause == sandbox.TimedOut:
		return sandbox.Outcome{Status: sandbox.TimedOut, Reason: fmt.Sprintf("compiling or loading the module took longer than %v", s.config.CompileTime)}
	case errors.As(err, &gone) && (gone.cause == sandbox.OutOfMemory || gone.outOfMemory):
		return sandbox.Outcome{Status: sandbox.OutOfMemory, Reason: "compiling or loading the module took too much memory"}
	}
	return sandbox.Outcome{Status: sandbox.Broken, Reason: err.Error()}
}

// start launches a child and binds it. With folder it gets one of its own and is a run child.
func (s *Sandbox) start(ctx context.Context, b bind, memoryBytes int64, folder bool) (*process, ready, error) {
	var answer ready
	if folder {
		s.mu.Lock()
		s.serial++
		b.Dir = filepath.Join(s.config.Root, "slots", strconv.Itoa(s.serial))
		s.mu.Unlock()
		for _, d := range []string{"", "in", "out", "tmp", "spool"} {
			if err := os.Mkdir(filepath.Join(b.Dir, d), 0o700); err != nil {
				return nil, answer, err
			}
		}
	}
	p, err := launch(s.config.Executable, s.spawn)
	if err != nil {
		_ = os.RemoveAll(b.Dir)
		return nil, answer, fmt.Errorf("start a sandbox process: %w", err)
	}
	p.dir = b.Dir
	watch := newWatch(p)
	watch.onCancel(ctx)
	watch.after(s.config.CompileTime, sandbox.TimedOut)
	watch.memory(memoryBytes)
	if err = p.pipe.send(b); err == nil {
		err = p.pipe.receive(&answer, 64<<10)
	}
	if err == nil && answer.Protocol != protocol {
		p.stop()
		return nil, answer, fmt.Errorf("%s does not answer as a sandbox process", s.config.Executable)
	}
	if healthy := watch.end(); err != nil || !healthy {
		p.kill(sandbox.Broken)
		words, outOfMemory := p.lastWords()
		gone := &died{cause: p.killedFor(), words: words, outOfMemory: outOfMemory}
		p.stop()
		return nil, answer, gone
	}
	if answer.Failed != "" {
		p.stop()
		return nil, answer, fmt.Errorf("a sandbox process could not be set up: %s", answer.Failed)
	}
	return p, answer, nil
}

// Walls starts a child on a program that does nothing, and says in words what the system puts between such a child and this machine, and which of the walls
// that this system can have are missing: a kernel or a container may withhold them. An error means that no program can run here.
func (s *Sandbox) Walls(ctx context.Context) (walls, missing []string, err error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	defer s.work.Done()
	p, answer, err := s.start(ctx, bind{Module: []byte("\x00asm\x01\x00\x00\x00"), DataBytes: childDataBytes}, overheadBytes, true)
	if err != nil {
		return nil, nil, err
	}
	p.stop()
	for _, wall := range systemWalls {
		if !slices.ContainsFunc(answer.Walls, func(there string) bool { return strings.HasPrefix(there, wall) }) {
			missing = append(missing, wall)
		}
	}
	return answer.Walls, missing, nil
}

// compile runs a compile child; code appears in dir.
func (s *Sandbox) compile(ctx context.Context, module []byte, dir string) error {
	p, answer, err := s.start(ctx, bind{Compile: true, Module: module, Cache: dir, DataBytes: s.config.CompileMemoryBytes + 1<<30}, s.config.CompileMemoryBytes, false)
	if err != nil {
		return err
	}
	p.stop()
	switch {
	case answer.Refused != "":
		return &refused{answer.Refused}
	case answer.BadCache:
		return errors.New("the compiled code could not be stored")
	}
	return nil
}
