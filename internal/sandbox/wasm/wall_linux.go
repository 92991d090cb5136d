package wasm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
)

// wall is what the parent puts around a child from outside.
type wall struct {
	statm string
}

func (w *wall) prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
}

func (w *wall) started(p *os.Process) error {
	w.statm = fmt.Sprintf("/proc/%d/statm", p.Pid)
	return nil
}

func (w *wall) close() {}

// residentBytes is the memory the process has now, 0 if unknown.
func (w *wall) residentBytes() int64 {
	b, err := os.ReadFile(w.statm)
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}

// childEnvironment is what a child needs of its parent's environment.
func childEnvironment() []string { return nil }

// ownExecutable is this program, even if its file was replaced meanwhile.
func ownExecutable() (string, error) { return "/proc/self/exe", nil }
