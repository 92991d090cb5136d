package wasm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// overheadBytes is how much more resident memory than its limit a program's child may take: the engine, buffers, and Go's garbage.
const overheadBytes = 256 << 20

// childProcessors is how many processors a child's Go runtime uses: one for the program, one for everything else.
const childProcessors = 2

// watchEvery is how often a running child's memory is looked at.
const watchEvery = 20 * time.Millisecond

// Run implements sandbox.Sandbox.
func (s *Sandbox) Run(ctx context.Context, spec sandbox.Spec) (sandbox.Outcome, error) {
	if err := s.enter(); err != nil {
		return sandbox.Outcome{}, err
	}
	defer s.work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()

	if err := spec.Validate(); err != nil {
		return sandbox.Outcome{}, err
	}
	spec.Limits = spec.Limits.WithDefaults()
	o, err := s.outlineFor(&spec)
	if bad := (*unusable)(nil); errors.As(err, &bad) {
		return sandbox.Outcome{Status: sandbox.Trapped, Reason: bad.Error()}, nil
	}
	if err != nil {
		return sandbox.Outcome{}, err
	}
	if need := o.minPages * pageBytes; need > uint64(spec.Limits.MemoryBytes) {
		return sandbox.Outcome{Status: sandbox.OutOfMemory,
			Reason: fmt.Sprintf("the program needs %d bytes of memory to start, the limit is %d", need, spec.Limits.MemoryBytes)}, nil
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return cancelled(), nil
	}

	// A child may have died unnoticed while idle; that says nothing about the program, so a second one is tried.
	for try := 1; ; try++ {
		p, outcome, err := s.acquire(ctx, &spec)
		if p == nil {
			return outcome, err
		}
		outcome, began, err := s.attempt(ctx, p, &spec)
		if !began && err == nil && outcome.Status == sandbox.Broken && try < 3 {
			continue
		}
		return outcome, err
	}
}

func cancelled() sandbox.Outcome {
	return sandbox.Outcome{Status: sandbox.Cancelled, Reason: "the attempt was cancelled"}
}

// attempt moves In into the child's folder, lets it run the program, moves In back, and brings to Out what was left for it. began says that the program may
// have run.
func (s *Sandbox) attempt(ctx context.Context, p *process, spec *sandbox.Spec) (outcome sandbox.Outcome, began bool, err error) {
	in := filepath.Join(p.dir, "in", "a")
	if err := p.makeOut(); err != nil {
		s.release(p, false)
		return outcome, false, fmt.Errorf("attempt %s: make a folder for its output: %w", spec.ID, err)
	}
	if spec.In != "" {
		if err := os.Rename(spec.In, in); err != nil {
			s.release(p, true)
			return outcome, false, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Field: "in", Err: err,
				Msg:  "the folder cannot be moved into the sandbox's folder",
				Hint: "In, Out and the sandbox's Root must be on one file system"}
		}
	}
	outcome, began, healthy := s.talk(ctx, p, spec)
	if !healthy {
		p.kill(sandbox.Broken)
		<-p.dead
	}
	empty, err := p.bringOut(spec.Out)
	if spec.In != "" {
		err = errors.Join(err, os.Rename(in, spec.In))
	}
	s.release(p, healthy && err == nil)
	if err != nil {
		return outcome, began, fmt.Errorf("attempt %s: bring its folders back: %w", spec.ID, err)
	}
	if outcome.Empty = empty; empty {
		return outcome, began, nil
	}
	found, err := sandbox.Inspect(spec.Out, spec.Limits.OutputFiles)
	outcome.Usage.OutputBytes = found.Bytes
	if outcome.Status == sandbox.Succeeded {
		switch {
		case err != nil:
			outcome.Status, outcome.Reason = sandbox.Broken, "the output folder holds what it must not: "+err.Error()
		case found.Bytes > spec.Limits.OutputBytes:
			outcome.Status, outcome.Reason = sandbox.OutputLimit, fmt.Sprintf("the program left %d bytes in /out, the limit is %d", found.Bytes, spec.Limits.OutputBytes)
		}
	}
	return outcome, began, nil
}

// talk sends the run and waits for its end or for a reason to kill the child. healthy says that the child can run another attempt.
func (s *Sandbox) talk(ctx context.Context, p *process, spec *sandbox.Spec) (outcome sandbox.Outcome, began, healthy bool) {
	watch := newWatch(p)
	defer func() { healthy = watch.end() && healthy }()
	watch.onCancel(ctx)
	watch.after(s.config.CompileTime, sandbox.Broken) // a child that does not even answer
	start := time.Now()
	var first started
	err := p.pipe.send(run{Args: spec.Args, Env: spec.Env, Stdin: spec.Stdin, HasIn: spec.In != "", Seed: spec.Seed, Limits: spec.Limits})
	if err == nil {
		err = p.pipe.receive(&first, 1<<10)
	}
	if err != nil {
		return s.postMortem(p, spec, start, -1), false, false
	}
	start = time.Now()
	if s.onBegin != nil {
		s.onBegin(p)
	}
	watch.after(spec.Limits.Time, sandbox.TimedOut)
	watch.memory(p.base + spec.Limits.MemoryBytes + overheadBytes)
	var d done
	if err := p.pipe.receive(&d, 2*spec.Limits.LogBytes+64<<10); err != nil {
		p.kill(sandbox.Broken)
		return s.postMortem(p, spec, start, first.CPUSeconds), true, false
	}
	return believable(d, spec.Limits, time.Since(start)), true, d.Status != sandbox.Broken
}

// believable turns a child's report into an outcome, keeping only what could be true: a child whose engine failed may say anything.
func believable(d done, limits sandbox.Limits, elapsed time.Duration) sandbox.Outcome {
	o := sandbox.Outcome{Status: d.Status, ExitCode: d.ExitCode, Reason: firstLine(d.Reason), Usage: d.Usage}
	o.Stdout = d.Stdout[max(0, len(d.Stdout)-limits.LogBytes):]
	o.Stderr = d.Stderr[max(0, len(d.Stderr)-limits.LogBytes):]
	switch d.Status {
	case sandbox.Succeeded:
		o.ExitCode, o.Reason = 0, ""
	case sandbox.Exited, sandbox.OutOfMemory:
	case sandbox.Trapped, sandbox.OutputLimit, sandbox.Broken:
		o.ExitCode = 0
	default:
		o.Status, o.Reason = sandbox.Broken, "the sandbox's process reported nonsense"
	}
	// Written so that NaN becomes the bound, too.
	if most := elapsed.Seconds(); !(o.Usage.WallSeconds >= 0 && o.Usage.WallSeconds <= most) {
		o.Usage.WallSeconds = most
	}
	if most := o.Usage.WallSeconds*childProcessors + 0.05; !(o.Usage.CPUSeconds >= 0 && o.Usage.CPUSeconds <= most) {
		o.Usage.CPUSeconds = most
	}
	o.Usage.PeakMemoryBytes = max(0, min(o.Usage.PeakMemoryBytes, limits.MemoryBytes))
	o.Usage.OutputBytes = 0
	return o
}

// postMortem says what became of an attempt whose child is gone or going.
func (s *Sandbox) postMortem(p *process, spec *sandbox.Spec, start time.Time, cpuBefore float64) sandbox.Outcome {
	p.kill(sandbox.Broken)
	cause := p.killedFor()
	words, outOfMemory := p.lastWords()
	var o sandbox.Outcome
	if cpuBefore >= 0 {
		o.Usage = sandbox.Usage{CPUSeconds: max(0, p.cpuSeconds()-cpuBefore), WallSeconds: time.Since(start).Seconds()}
	}
	switch {
	case cause == sandbox.TimedOut:
		o.Status, o.Reason = cause, fmt.Sprintf("the program ran longer than %v and was killed", spec.Limits.Time)
	case cause == sandbox.OutOfMemory || outOfMemory:
		o.Status, o.Reason = sandbox.OutOfMemory, fmt.Sprintf("the program made its sandbox use far more than its %d bytes of memory and was killed", spec.Limits.MemoryBytes)
		o.Usage.PeakMemoryBytes = spec.Limits.MemoryBytes
	case cause == sandbox.Cancelled:
		o.Status, o.Reason = cause, cancelled().Reason
	default:
		o.Status, o.Reason = sandbox.Broken, "the sandbox's process ended unexpectedly: "+words
	}
	return o
}

// watch kills a process for at most one reason, from timers, a context and its memory.
type watch struct {
	p     *process
	mu    sync.Mutex
	over  bool
	fired bool
	timer *time.Timer
	poll  *time.Timer
	stop  func() bool
}

func newWatch(p *process) *watch { return &watch{p: p} }

func (w *watch) kill(cause sandbox.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.fired = true
		w.p.kill(cause)
	}
}

func (w *watch) onCancel(ctx context.Context) {
	w.stop = context.AfterFunc(ctx, func() { w.kill(sandbox.Cancelled) })
}

// after replaces the deadline.
func (w *watch) after(d time.Duration, cause sandbox.Status) {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d, func() { w.kill(cause) })
}

// memory watches the resident memory from now on.
func (w *watch) memory(most int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.poll = time.AfterFunc(watchEvery, func() {
		if w.p.wall.residentBytes() > most {
			w.kill(sandbox.OutOfMemory)
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.over {
			w.poll.Reset(watchEvery)
		}
	})
}

// end stops watching and says whether nothing was killed.
func (w *watch) end() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = true
	if w.timer != nil {
		w.timer.Stop()
	}
	if w.poll != nil {
		w.poll.Stop()
	}
	if w.stop != nil {
		w.stop()
	}
	return !w.fired
}
