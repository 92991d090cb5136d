//go:build unix && !linux

package wasm

import (
	"os"
	"os/exec"
	"syscall"
)

// wall is what the parent puts around a child from outside: here, a process group of its own.
type wall struct{}

func (w *wall) prepare(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func (w *wall) started(*os.Process) error { return nil }

func (w *wall) close() {}

func (w *wall) residentBytes() int64 { return 0 }

func childEnvironment() []string { return nil }

func ownExecutable() (string, error) { return os.Executable() }
