//go:build !linux

package e2e

import "net"

const whoDials = false

func dialerOf(net.Conn, map[int]string) (string, bool) { return "", false }
