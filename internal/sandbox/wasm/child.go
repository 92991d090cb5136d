package wasm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// childVariable marks a process as a sandbox child.
const childVariable = "CLOUDCROWD_SANDBOX_CHILD"

// IsChild says whether this process was started as a sandbox child. If so, call ChildMain before anything else.
func IsChild() bool { return os.Getenv(childVariable) != "" }

// ChildMain is the life of a sandbox child; it never returns. The process ends when its parent closes the pipe.
func ChildMain() {
	c := &child{pipe: newPipe(os.Stdin, os.Stdout)}
	var b bind
	if err := c.pipe.receive(&b, maxFrameBytes); err != nil {
		os.Exit(2)
	}
	answer := c.begin(b)
	answer.Protocol = protocol
	if c.pipe.send(answer) != nil {
		os.Exit(0)
	}
	if answer.Refused != "" || answer.Failed != "" || answer.BadCache || b.Compile {
		// The parent ends this process when it has read the answer. Ending first would make the parent, which notices, close its end of the pipe with the
		// answer still in it.
		var none run
		_ = c.pipe.receive(&none, maxFrameBytes)
		os.Exit(0)
	}
	for {
		var r run
		if c.pipe.receive(&r, maxFrameBytes) != nil {
			os.Exit(0)
		}
		attended := attend(c.pipe)
		if c.pipe.send(started{CPUSeconds: cpuSeconds()}) != nil || c.pipe.send(c.attempt(r)) != nil {
			os.Exit(0)
		}
		attended()
	}
}

// attendAfter is how long an attempt goes on before anything is read beside it.
const attendAfter = 50 * time.Millisecond

// attend ends this process with its parent even while a program loops: when the program has run for some time, a goroutine waits for the next frame or the end
// of the pipe. Most attempts are over before. It must not allocate much: a garbage collection would wait for the program. The function it returns is called
// after the attempt; then the pipe is the caller's again.
func attend(p *pipe) func() {
	ended := make(chan struct{})
	timer := time.AfterFunc(attendAfter, func() {
		if _, err := p.r.Peek(1); err != nil {
			os.Exit(0)
		}
		close(ended)
	})
	return func() {
		if !timer.Stop() {
			<-ended
		}
	}
}

// child is a bound child process.
type child struct {
	pipe    *pipe
	runtime wazero.Runtime
	program wazero.CompiledModule
	dir     string
	files   int64    // last of limitFiles
	data    int64    // last of limitData
	out     *os.Root // Dir/out
	in      *os.Root // Dir/in
	tmp     *os.Root
	spool   *os.Root
}

// begin puts up the walls and then loads or compiles the module.
func (c *child) begin(b bind) ready {
	ctx := context.Background()
	var answer ready
	if !b.Compile {
		c.dir = b.Dir
		for _, d := range []struct {
			name string
			root **os.Root
		}{{"in", &c.in}, {"out", &c.out}, {"tmp", &c.tmp}, {"spool", &c.spool}} {
			root, err := os.OpenRoot(filepath.Join(b.Dir, d.name))
			if err != nil {
				return ready{Failed: err.Error()}
			}
			*d.root = root
		}
	}
	walls, err := wallIn(b)
	if err != nil {
		return ready{Failed: err.Error()}
	}
	answer.Walls = walls
	config := wazero.NewRuntimeConfig().WithDebugInfoEnabled(false)
	if b.Cache != "" {
		cache, err := wazero.NewCompilationCacheWithDir(b.Cache)
		if err != nil {
			return ready{BadCache: true}
		}
		config = config.WithCompilationCache(cache)
	}
	c.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, c.runtime); err != nil {
		return ready{Failed: err.Error()}
	}
	if c.program, err = c.runtime.CompileModule(ctx, b.Module); err == nil {
		return answer
	}
	if b.Cache != "" {
		// With a cache, an error may be the module's or the cache's fault; without, only the module's.
		plain := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithDebugInfoEnabled(false))
		if _, again := plain.CompileModule(ctx, b.Module); again == nil {
			return ready{BadCache: true}
		}
	}
	return ready{Refused: firstLine(err.Error())}
}

// firstLine keeps reasons to one line of reasonable length.
func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' || i > 300 {
			return s[:i]
		}
	}
	return s
}

// trapReason says where a program crashed, from the engine's error with its stack trace.
func trapReason(err error) string {
	var lines []string
	for line := range splitLines(err.Error()) {
		lines = append(lines, line)
		if len(lines) == 3 {
			break
		}
	}
	_, what, found := strings.Cut(lines[0], "failed: ") // the engine's "module[] function[_start] failed: …"
	if !found {
		what = lines[0]
	}
	reason := "the program crashed: " + firstLine(strings.TrimPrefix(what, "wasm error: "))
	if len(lines) == 3 && lines[2] != "" {
		reason += fmt.Sprintf(" in %s", firstLine(lines[2]))
	}
	return reason
}
