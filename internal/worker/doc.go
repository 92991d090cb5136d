// Package worker is the program on a worker's machine: it joins a server, takes leases, fetches inputs, runs attempts in a sandbox, and reports results.
// A crowd may have several servers; when the one it is connected to is gone, it goes on with another (servers.go).
//
// The way of an attempt: a lease arrives (message.go) and is queued; fetchers bring what it lacks into the cache (fetch.go, cache.go); a slot runs it
// (slot.go); its result is written to the spool (spool.go), its outputs are uploaded (upload.go), and it is reported until the server acknowledges it
// (sender.go). Killing the agent at any point loses at most attempts that were running: what is in the spool is reported by the next start.
package worker

import (
	"cmp"
	"log/slog"
	"os"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/machine"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// Config of a worker. Server, DataDir and Sandbox are required; zero values elsewhere mean the default.
type Config struct {
	Server      string          // "https://host:8443"; plain http only to loopback. Others of its crowd are used when it is away, once it has named them
	Pin         string          // hexadecimal SHA-256 of the servers' certificate; if set, that certificate alone is accepted and names are not looked at
	DataDir     string          // device key, cache, spool, what it knows of the crowd; made with mode 0700. One agent at a time uses it
	Invite      string          // secret of an invite; needed until the device has joined
	Name        string          // for people; default the host name
	Version     string          // of the agent, for people
	Slots       int             // attempts at once; default the number of processors it may keep busy
	MemoryBytes int64           // for all attempts together; default three quarters of the machine's, or of its container's
	CacheBytes  int64           // most bytes of cached inputs; default 10 GiB
	Speed       float64         // of one slot; default: measured once by ReferenceKernel and kept in DataDir
	Grace       time.Duration   // how long Drain waits for running attempts; default 30 s
	Sandbox     sandbox.Sandbox // its Root must be on DataDir's file system
	Log         *slog.Logger    // default: discard
	OnEvent     func(Event)     // called in order, one at a time; must return soon

	// Misbehave makes the worker cheat or fail on purpose, to show and to test what the platform does about it; see misbehave.go. A worker of one's own
	// can only harm itself by it.
	Misbehave string
}

// Event is something a person at the worker's terminal may want to know.
type Event struct {
	Kind     EventKind
	Text     string               // one sentence
	Server   string               // of Joined, Connected and Disconnected: which one
	Attempt  cloudcrowd.AttemptID // of Started and Finished
	Outcome  cloudcrowd.Outcome   // of Finished
	Finished int64                // attempts finished since the start of the agent, whatever their outcome
	Running  int                  // attempts running now
}

// EventKind classifies events.
type EventKind string

const (
	Joined       EventKind = "joined"
	Measured     EventKind = "measured"
	Connected    EventKind = "connected"
	Disconnected EventKind = "disconnected" // it tries again by itself
	Started      EventKind = "started"
	Finished     EventKind = "finished"
	Problem      EventKind = "problem" // a full disk, for example
)

// Defaults of Config.
const (
	DefaultCacheBytes = 10 << 30
	DefaultGrace      = 30 * time.Second
)

func (c *Config) setDefaults() error {
	if err := link.CheckServer(c.Server); err != nil {
		return err
	}
	if err := link.CheckPin(c.Pin); err != nil {
		return err
	}
	c.Server = strings.TrimSuffix(c.Server, "/")
	if c.DataDir == "" {
		return cloudcrowd.Fieldf("data", "the worker needs a folder for its key, cache and spool")
	}
	if c.Sandbox == nil {
		return cloudcrowd.Errorf(cloudcrowd.Internal, "a worker needs a sandbox")
	}
	if err := checkMisbehave(c.Misbehave); err != nil {
		return err
	}
	if c.Name == "" {
		if c.Name, _ = os.Hostname(); c.Name == "" {
			c.Name = "worker"
		}
	}
	c.Name = printable(c.Name)
	if c.Slots <= 0 {
		c.Slots = machine.Cores()
	}
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = cmp.Or(machine.MemoryBytes(), 4<<30) / 4 * 3
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}
