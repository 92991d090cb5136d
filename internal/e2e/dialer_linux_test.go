package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// whoDials says that dialerOf works here.
const whoDials = true

// dialerOf is the name of the process that made a connection over loopback; "" if it is none of these. The connection may not be found: the kernel's list, which changes
// while it is read, leaves some out.
func dialerOf(c net.Conn, names map[int]string) (name string, found bool) {
	at, ok := c.RemoteAddr().(*net.TCPAddr)
	to, ok2 := c.LocalAddr().(*net.TCPAddr)
	if !ok || !ok2 {
		return "", false
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return "", false
	}
	socket := ""
	local, remote := fmt.Sprintf("0100007F:%04X", at.Port), fmt.Sprintf("0100007F:%04X", to.Port) // connections to different places may begin at one port
	for line := range strings.Lines(string(table)) {
		if field := strings.Fields(line); len(field) > 9 && field[1] == local && field[2] == remote {
			socket = "socket:[" + field[9] + "]"
			break
		}
	}
	if socket == "" {
		return "", false
	}
	for pid, name := range names {
		list, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid)) // none, if it has ended
		for _, fd := range list {
			if to, err := os.Readlink(fd); err == nil && to == socket {
				return name, true
			}
		}
	}
	return "", true
}
