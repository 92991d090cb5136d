package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long anything may take before a test gives up. It is long: a busy machine is no failure.
const patience = 120 * time.Second

// look is the pause between two looks at something that is waited for.
const look = 10 * time.Millisecond

// until waits for a condition.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
		pause := time.NewTimer(look)
		select {
		case <-pause.C:
		case <-t.Context().Done():
			t.Fatalf("%s: the test ended", what)
		}
	}
}

// process is a running command of the platform.
type process struct {
	t     testing.TB
	name  string
	cmd   *exec.Cmd
	stdin io.Closer // a worker stops when it closes
	ended chan struct{}

	mu    sync.Mutex
	quiet bool     // another one has taken its place: a failure is explained by that one
	lines []string // of stdout
	log   string   // file of stderr
}

// environment is the one of this process without settings of the platform, and with a home of its own.
func environment(extra ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "CLOUDCROWD_") {
			env = append(env, v)
		}
	}
	return append(env, append([]string{"HOME=" + home, "XDG_CONFIG_HOME=" + home, "XDG_CACHE_HOME=" + home}, extra...)...)
}

// start runs the command in the background. It is killed when the test ends.
func start(t testing.TB, name, dir string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, cmd: exec.Command(program, args...), ended: make(chan struct{}), log: filepath.Join(dir, name+".log")}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the child has its own
	p.cmd.Env, p.cmd.Stderr = environment(env...), log
	bind(p.cmd)
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for scan := bufio.NewScanner(stdout); scan.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scan.Text())
			p.mu.Unlock()
		}
		_ = p.cmd.Wait() // the status is read from cmd.ProcessState
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && !p.quiet {
			b, _ := os.ReadFile(p.log)
			t.Logf("--- %s, stderr:\n%s", p.name, b[max(0, len(b)-4000):])
			lines := p.output()
			t.Logf("--- %s, stdout:\n%s", p.name, strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
	})
	return p
}

// output is what it has printed so far, by lines.
func (p *process) output() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.lines...)
}

// kill ends it without a warning, as a power failure would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// replace kills it; another process takes its place, and explains the failure of a test in its stead.
func (p *process) replace() {
	p.mu.Lock()
	p.quiet = true
	p.mu.Unlock()
	p.kill()
}

func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// result is what a command printed and how it ended.
type result struct {
	status         int
	stdout, stderr string
}

// last is the last line of stdout: what programs read.
func (r result) last() string {
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	return lines[len(lines)-1]
}

// command runs a command to its end.
func command(t testing.TB, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr strings.Builder
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = environment(env...), &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%v did not end within %s\n%s", cmd.Args, patience, stderr.String())
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// given are the addresses that tests of this process have.
var given sync.Map

// steadyAddress is a free loopback address that a server finds free again after a restart: systems do not give ports so low to whoever asks for any, and no other
// test is given it.
func steadyAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000)))
		if err != nil {
			continue
		}
		l.Close()
		address := l.Addr().String()
		if _, taken := given.LoadOrStore(address, true); !taken {
			return address
		}
	}
	t.Fatal("no port is free")
	return ""
}
