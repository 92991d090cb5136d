package e2e

import (
	"os/exec"
	"syscall"
)

// bind lets a process end with the tests, however they end.
func bind(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
