// Package gateway is the server's end of the worker protocol. Workers speak the NATS protocol inside a WebSocket on the API's own port; the gateway
// upgrades the connection, admits the device by its key, and hands its bytes to a NATS server embedded in this process, which has no listener of
// its own. Messages are decoded, checked and handed to the Crowd; what the Crowd sends is merged per worker and goes out in as few frames as possible.
//
// Who may do what: the embedded server sends each connection a fresh nonce; the device signs it with its Ed25519 key (nkey). A device may publish on
// its own "up" subject and listen on its own "down" subject, nothing else. So the subject of a message proves who sent it. The server's own connection
// uses a secret made at start, and never comes through a WebSocket.
package gateway

import (
	"context"
	"log/slog"

	"cloudcrowd.dev/cloudcrowd"
)

// Crowd receives what workers say; the Task Manager implements it. Calls come from several goroutines, for one worker in order, and must not block long:
// while one runs, other workers wait.
type Crowd interface {
	// Receive is called for every message, already checked by package wire. A few messages of a connection may still come after its Gone.
	Receive(w cloudcrowd.WorkerID, up cloudcrowd.Up)
	// Gone is called once when a worker's connection has ended. When a device connects again while it is connected, Gone comes before the first
	// message of the new connection.
	Gone(w cloudcrowd.WorkerID)
}

// Admission decides whether a device may connect. It is asked once per connection, after the device has proven that it holds its key.
type Admission interface {
	// Admit returns nil, or a *cloudcrowd.Error whose code and message the device is told: Forbidden (revoked), NotFound (never joined), Unavailable.
	Admit(ctx context.Context, id cloudcrowd.WorkerID) error
}

// Config of a Gateway. Crowd and Admission are required; zero values elsewhere mean the default.
type Config struct {
	Crowd             Crowd
	Admission         Admission
	Log               *slog.Logger // default: discard
	MaxConnections    int          // WebSockets at once, admitted or not; default 20,000
	BytesPerSecond    int          // from one worker, sustained; default 16 MiB; twice as much at once
	MessagesPerSecond int          // protocol messages from one worker, sustained; default 2,000; twice as many at once
	MaxQueue          int          // leases, acknowledgements and cancels waiting to be sent to one worker; default 32,768
}

// Defaults of Config.
const (
	DefaultMaxConnections    = 20_000
	DefaultBytesPerSecond    = 16 << 20
	DefaultMessagesPerSecond = 2_000
	DefaultMaxQueue          = 32_768
)

func (c *Config) setDefaults() {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxConnections <= 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.BytesPerSecond <= 0 {
		c.BytesPerSecond = DefaultBytesPerSecond
	}
	if c.MessagesPerSecond <= 0 {
		c.MessagesPerSecond = DefaultMessagesPerSecond
	}
	if c.MaxQueue <= 0 {
		c.MaxQueue = DefaultMaxQueue
	}
}
