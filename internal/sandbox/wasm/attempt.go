package wasm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/experimental/sysfs"
	"github.com/tetratelabs/wazero/sys"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// programName is argv[0] of every program.
const programName = "program"

// attempt runs the program once in fresh memory.
func (c *child) attempt(r run) done {
	if files := max(r.Limits.OutputBytes, r.Limits.TmpBytes); files != c.files {
		limitFiles(files)
		c.files = files
	}
	if r.Limits.MemoryBytes != c.data {
		limitData(r.Limits.MemoryBytes)
		c.data = r.Limits.MemoryBytes
	}
	in := &inputs{dev: 1}
	if r.HasIn {
		root, err := c.in.OpenRoot("a")
		if err != nil {
			return done{Status: sandbox.Broken, Reason: "the sandbox cannot open the input folder: " + err.Error()}
		}
		defer root.Close()
		in.root = root
	}
	root, err := c.out.OpenRoot("a")
	if err != nil {
		return done{Status: sandbox.Broken, Reason: "the sandbox cannot open the output folder: " + err.Error()}
	}
	defer root.Close()
	out := newMount(root, 2, r.Limits.OutputBytes, r.Limits.OutputFiles, true)
	tmp := newMount(c.tmp, 3, r.Limits.TmpBytes, r.Limits.OutputFiles, false)
	defer c.empty(tmp)

	stdout := &capture{tail: sandbox.NewTail(r.Limits.LogBytes), root: c.spool, limit: r.Limits.OutputBytes}
	defer stdout.discard()
	stderr := sandbox.NewTail(r.Limits.LogBytes)
	memory := &memory{limit: uint64(min(r.Limits.MemoryBytes, maxPages*pageBytes))}
	defer memory.Free()

	ctx := experimental.WithMemoryAllocator(context.Background(), memory)
	began, cpu := time.Now(), cpuSeconds()
	module, err := c.runtime.InstantiateModule(ctx, c.program, c.configuration(r, in, out, tmp, stdout, stderr))
	if module != nil {
		_ = module.Close(ctx)
	}
	d := verdict(err, memory, out, tmp)
	d.Usage = sandbox.Usage{CPUSeconds: cpuSeconds() - cpu, WallSeconds: time.Since(began).Seconds(), PeakMemoryBytes: int64(memory.peak)}
	if d.Status == sandbox.Succeeded && out.entries == 0 && stdout.tail.Total() > 0 {
		d.Status, d.Reason = stdout.becomeOutput(root, c.dir)
	}
	d.Stdout, d.Stderr = stdout.tail.Bytes(), stderr.Bytes()
	return d
}

// configuration is everything the program sees; nothing in it comes from the host or its clock.
func (c *child) configuration(r run, in *inputs, out, tmp *mount, stdout, stderr io.Writer) wazero.ModuleConfig {
	files := wazero.NewFSConfig().(sysfs.FSConfig).WithSysFSMount(in, "/in").(sysfs.FSConfig).WithSysFSMount(out, "/out").(sysfs.FSConfig).WithSysFSMount(tmp, "/tmp")
	clock := &clock{}
	config := wazero.NewModuleConfig().WithName("").WithFSConfig(files).
		WithArgs(append([]string{programName}, r.Args...)...).
		WithStdin(bytes.NewReader(r.Stdin)).WithStdout(stdout).WithStderr(stderr).
		WithWalltime(clock.wall, sys.ClockResolution(clockStep)).WithNanotime(clock.read, sys.ClockResolution(clockStep)).
		WithNanosleep(clock.sleep).WithRandSource(randomness(r.Seed))
	for _, e := range r.Env {
		key, value, _ := strings.Cut(e, "=")
		config = config.WithEnv(key, value)
	}
	return config
}

// verdict turns how the engine returned into a status. Limits that were hit come first: whatever else happened followed from them.
func verdict(err error, memory *memory, out, tmp *mount) done {
	exit := (*sys.ExitError)(nil)
	switch {
	case out.full:
		return done{Status: sandbox.OutputLimit, Reason: fmt.Sprintf("the program wanted to write more than %s or %d files to /out", cloudcrowd.Bytes(out.maxBytes), out.maxEntries)}
	case err == nil:
		return done{Status: sandbox.Succeeded}
	case errors.As(err, &exit) && exit.ExitCode() == 0:
		return done{Status: sandbox.Succeeded}
	}
	d := done{Status: sandbox.Trapped}
	if exit != nil {
		d.Status, d.ExitCode = sandbox.Exited, int(exit.ExitCode())
		d.Reason = fmt.Sprintf("the program ended with exit status %d", d.ExitCode)
	} else {
		d.Reason = trapReason(err)
	}
	switch {
	case memory.refused:
		d.Status = sandbox.OutOfMemory
		d.Reason = fmt.Sprintf("the program wanted more than %s of memory, and then: %s", cloudcrowd.Bytes(int64(memory.limit)), d.Reason)
	case out.broken != nil || tmp.broken != nil:
		d.Status = sandbox.Broken
		d.Reason = fmt.Sprintf("the machine could not store the program's files: %v", errors.Join(out.broken, tmp.broken))
	case tmp.full:
		d.Reason += fmt.Sprintf(", after /tmp was full (%s, %d files)", cloudcrowd.Bytes(tmp.maxBytes), tmp.maxEntries)
	}
	return d
}

// empty removes what a program left in /tmp.
func (c *child) empty(tmp *mount) {
	for name := range tmp.top.children {
		_ = c.tmp.RemoveAll(name)
	}
}

// splitLines yields the lines of s without surrounding blanks.
func splitLines(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(s) {
			if !yield(strings.TrimSpace(line)) {
				return
			}
		}
	}
}

// capture is a program's stdout: the tail for the log, and all of it, up to a limit, in case it becomes the output. Much goes to a file.
type capture struct {
	tail  *sandbox.Tail
	root  *os.Root
	limit int64
	head  []byte
	file  *os.File
	err   error
}

// spoolName is the file in the spool folder and spillBytes what is held in memory before it is made.
const (
	spoolName  = "stdout"
	spillBytes = 256 << 10
)

// Write implements io.Writer; the program never sees an error.
func (c *capture) Write(p []byte) (int, error) {
	_, _ = c.tail.Write(p)
	if c.err != nil || c.tail.Total() > c.limit {
		c.discard()
		return len(p), nil
	}
	if c.file == nil && len(c.head)+len(p) <= spillBytes {
		c.head = append(c.head, p...)
		return len(p), nil
	}
	if c.file == nil {
		if c.file, c.err = c.root.OpenFile(spoolName, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); c.err != nil {
			return len(p), nil
		}
		_, c.err = c.file.Write(c.head)
		c.head = nil
	}
	if c.err == nil {
		_, c.err = c.file.Write(p)
	}
	return len(p), nil
}

// discard drops everything but the tail.
func (c *capture) discard() {
	c.head = nil
	if c.file != nil {
		_ = c.file.Close()
		_ = c.root.Remove(spoolName)
		c.file = nil
	}
}

// becomeOutput makes all that was printed the file "stdout" in out.
func (c *capture) becomeOutput(out *os.Root, dir string) (sandbox.Status, string) {
	if c.tail.Total() > c.limit {
		return sandbox.OutputLimit, fmt.Sprintf("the program left nothing in /out and printed more than %s", cloudcrowd.Bytes(int64(c.limit)))
	}
	if c.err == nil && c.file == nil {
		c.err = out.WriteFile(spoolName, c.head, 0o600)
	} else if c.err == nil {
		c.err = c.file.Close()
		c.file = nil
		if c.err == nil {
			c.err = os.Rename(dir+"/spool/"+spoolName, dir+"/out/a/"+spoolName)
		}
	}
	if c.err != nil {
		return sandbox.Broken, "the machine could not store what the program printed: " + c.err.Error()
	}
	return sandbox.Succeeded, ""
}
