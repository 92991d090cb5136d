//go:build !linux

package postgrestest

import (
	"errors"
	"syscall"
)

func giveAway(string) error { return nil }

func attributes() *syscall.SysProcAttr { return nil }

func mountSmall(string, int) error { return errors.New("only on Linux") }

func unmount(string) {}
