package gateway

import (
	"net"
	"unsafe" // for go:linkname

	"github.com/nats-io/nats-server/v2/server"
)

// serve makes the bus serve a connection as a client's: it reads and writes conn in goroutines of its own until it closes it.
//
// The bus can take connections from a listener, or make the two ends of a pipe (server.InProcessConn). A pipe needs two more goroutines a connection that do
// nothing but copy: a quarter of what an idle worker costs, and two more turns of the scheduler for each message. So this calls what InProcessConn calls with
// its end of the pipe. The function is not exported: if a later version of the bus renames it, the program does not link.
func serve(bus *server.Server, conn net.Conn) { createClientInProcess(bus, conn) }

//go:linkname createClientInProcess github.com/nats-io/nats-server/v2/server.(*Server).createClientInProcess
func createClientInProcess(bus *server.Server, conn net.Conn) unsafe.Pointer
