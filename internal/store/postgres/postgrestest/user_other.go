//go:build !linux

package postgrestest

import "syscall"

func giveAway(string) error { return nil }

func attributes() *syscall.SysProcAttr { return nil }
