package bucket

import (
	"context"
	"net"
	"time"
)

// stallTime is how long a connection on which something is expected may move no byte.
const stallTime = 2 * time.Minute

type dialer func(ctx context.Context, network, addr string) (net.Conn, error)

// stallingDialer makes connections that fail when they move no byte for stallTime, so that a network that went away without a word does not hold a
// transfer for ever. Idle connections end with it, which costs nothing.
func stallingDialer(dial dialer) dialer {
	if dial == nil {
		dial = (&net.Dialer{Timeout: reachTimeout}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &stallingConn{c}, nil
	}
}

type stallingConn struct{ net.Conn }

func (c *stallingConn) Read(p []byte) (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(stallTime)) // a closed connection says so when it is read
	return c.Conn.Read(p)
}

// Write also gives the answer its full time: the transport waits for it while it sends.
func (c *stallingConn) Write(p []byte) (int, error) {
	_ = c.SetDeadline(time.Now().Add(stallTime))
	return c.Conn.Write(p)
}
