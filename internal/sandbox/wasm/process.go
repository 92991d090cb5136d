package wasm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// process is a child as its parent sees it. One goroutine at a time talks to it; kill may come from anywhere.
type process struct {
	digest string // module it is bound to
	dir    string // its folder; "" for a compile child
	cmd    *exec.Cmd
	pipe   *pipe
	ends   []io.Closer   // our ends of the pipes
	dead   chan struct{} // closed once the process is gone and cmd.ProcessState is set
	wall   wall
	stderr crashLog
	base   int64 // resident bytes before the first attempt

	// out is the folder that is /out of the next attempt, empty; nil: to be made. It stays with the child as long as its attempts leave it empty, which many
	// do: moving the caller's in and out would cost more than running a small program.
	out *os.File

	mu    sync.Mutex
	cause sandbox.Status // why it was killed; "" if it was not
}

// launch starts a child. spawn must run on a thread that lives as long as the children may: Linux kills them when it ends.
func launch(executable string, spawn func(func())) (*process, error) {
	toChild, ourOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	ourIn, fromChild, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, toChild.Close(), ourOut.Close())
	}
	p := &process{pipe: newPipe(ourIn, ourOut), ends: []io.Closer{ourIn, ourOut}, dead: make(chan struct{})}
	p.cmd = exec.Command(executable)
	p.cmd.Args = []string{"cloudcrowd-sandbox"}
	p.cmd.Env = append(childEnvironment(), childVariable+"=1", fmt.Sprintf("GOMAXPROCS=%d", childProcessors), "GOTRACEBACK=single")
	p.cmd.WaitDelay = time.Second
	p.cmd.Dir = filepath.VolumeName(executable) + string(filepath.Separator)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = toChild, fromChild, &p.stderr
	p.wall.prepare(p.cmd)
	spawn(func() { err = p.cmd.Start() })
	_ = toChild.Close()
	_ = fromChild.Close()
	if err != nil {
		p.close()
		return nil, err
	}
	if err := p.wall.started(p.cmd.Process); err != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.close()
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait()
		p.close()
		close(p.dead)
	}()
	return p, nil
}

func (p *process) close() {
	for _, c := range p.ends {
		_ = c.Close()
	}
	p.wall.close()
}

// kill ends the process at once; the first cause stays. It does not wait.
func (p *process) kill(cause sandbox.Status) {
	p.mu.Lock()
	if p.cause == "" {
		p.cause = cause
	}
	p.mu.Unlock()
	_ = p.cmd.Process.Kill()
}

func (p *process) killedFor() sandbox.Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cause
}

// makeOut sees to it that the child has an empty folder for the output of an attempt.
func (p *process) makeOut() (err error) {
	if p.out != nil {
		return nil
	}
	path := filepath.Join(p.dir, "out", "a")
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	p.out, err = os.Open(path)
	return err
}

// bringOut puts what an attempt has left in the place of the empty folder to, unless it left nothing, which is seen by looking, not by what the child says.
func (p *process) bringOut(to string) (empty bool, err error) {
	if _, err := p.out.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	switch _, err := p.out.Readdirnames(1); {
	case err == io.EOF:
		return true, nil
	case err != nil:
		return false, err
	}
	_ = p.out.Close() // it was read only
	p.out = nil
	return false, errors.Join(os.Remove(to), os.Rename(filepath.Join(p.dir, "out", "a"), to))
}

// stop kills the process, waits until it is gone and removes its folder.
func (p *process) stop() {
	p.kill(sandbox.Cancelled)
	<-p.dead
	if p.out != nil {
		_ = p.out.Close() // it was read only
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir)
	}
}

// cpuSeconds is the processor time of a dead process.
func (p *process) cpuSeconds() float64 {
	<-p.dead
	return (p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()).Seconds()
}

// lastWords says why a process died by itself: the first line the runtime printed, or how the system describes its end.
func (p *process) lastWords() (words string, outOfMemory bool) {
	<-p.dead
	text := p.stderr.String()
	outOfMemory = strings.Contains(text, "out of memory") || strings.Contains(text, "cannot allocate memory") || strings.Contains(text, "failed to allocate")
	for line := range splitLines(text) {
		if line != "" {
			return firstLine(line), outOfMemory
		}
	}
	return p.cmd.ProcessState.String(), outOfMemory
}

// crashLog collects the beginning of a child's own stderr.
type crashLog struct {
	mu   sync.Mutex
	head bytes.Buffer
}

// Write implements io.Writer and keeps the beginning, where a crash says its reason.
func (l *crashLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 4<<10 - l.head.Len(); room > 0 {
		l.head.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *crashLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head.String()
}
