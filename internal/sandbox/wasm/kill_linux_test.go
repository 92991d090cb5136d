package wasm

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// childrenOf lists the sandbox children of a process.
func childrenOf(parent int) (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) && f[0] != "Z" {
			pids = append(pids, pid)
		}
	}
	return pids
}

// When the agent is killed, its children die with it, even in the middle of a program that never looks up.
func TestChildrenDieWithTheirParent(t *testing.T) {
	t.Parallel()
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), agentVariable+"="+t.TempDir())
	stdout, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "running\n" {
		t.Fatalf("%q, %v", line, err)
	}
	children := childrenOf(agent.Process.Pid)
	if len(children) == 0 {
		t.Fatal("the agent has no children")
	}
	_ = agent.Process.Kill()
	_ = agent.Wait()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for _, pid := range children {
		for range tick.C {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err != nil || strings.Contains(string(b), ") Z ") {
				break
			}
		}
	}
}

// agentVariable makes the test binary an agent that runs an endless program with its folders below the given one.
const agentVariable = "SANDBOX_TEST_AGENT"

func init() { otherMains[agentVariable] = agentMain }

func agentMain(dir string) {
	s, err := New(Config{Root: filepath.Join(dir, "root")})
	if err != nil {
		panic(err)
	}
	module := tower(60).bytes()
	path, out := filepath.Join(dir, "module"), filepath.Join(dir, "out")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		panic(err)
	}
	if err := os.Mkdir(out, 0o700); err != nil {
		panic(err)
	}
	s.onBegin = func(*process) { fmt.Println("running") }
	_, _ = s.Run(context.Background(), sandbox.Spec{Module: path, ModuleDigest: digestOf(module), Out: out})
}
