package main

import (
	"os/exec"
	"syscall"
)

// separate puts a child into a process group of its own, so that Ctrl-C at the console reaches the parent alone, which then lets the child go.
func separate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}
