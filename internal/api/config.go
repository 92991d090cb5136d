package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/authz"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Blobs is what the API needs of the blob store.
type Blobs interface {
	// Put stores exactly size bytes whose SHA-256 is d, or nothing: code DigestMismatch, Unavailable.
	Put(ctx context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error
	// Open reads length bytes from offset on; the range lies within the blob.
	Open(ctx context.Context, d cloudcrowd.Digest, offset, length int64) (io.ReadCloser, error)
	// Stat returns the size: code NotFound.
	Stat(ctx context.Context, d cloudcrowd.Digest) (int64, error)
}

// Config is what New needs. Backend, Blobs, Directory and Signer are required.
type Config struct {
	Backend   Backend
	Blobs     Blobs
	Directory store.Directory
	Signer    *authz.Signer

	Version   string
	PublicURL string // what links point to; "": the address each request came to
	Pin       string // fingerprint of a self-signed certificate, part of links
	WorkerURL string // where workers connect, told to those that join; "": /worker of this server
	Strict    bool   // the certificate is one that browsers know: send Strict-Transport-Security

	Console http.Handler                // everything that is not the API's; the caller is in its context (authz.FromContext). nil: 404
	Worker  http.Handler                // /worker, the workers' WebSocket, untouched by limits. nil: 404
	Joined  func(w cloudcrowd.Worker)   // called after a device was registered; may be nil
	Ready   func(context.Context) error // what /readyz says; nil: what Backend.Status says
	Metrics http.Handler                // /metrics, for operators and for this machine; nil: 404

	// Drain begins to stop the server, once no attempt is out or wait has passed; nil: it cannot be stopped from here.
	Drain func(ctx context.Context, wait time.Duration) (client.Draining, error)

	Indirect bool // workers read blobs through the server even where the store lets them read from it directly

	Limits Limits
	Log    *slog.Logger
	Now    func() time.Time // default time.Now
}

// Limits protect the server. Zero fields mean the defaults.
type Limits struct {
	Concurrent     int           // requests served at once, feeds not counted; default 1024
	Streams        int           // live feeds in all; default 512
	StreamsEach    int           // live feeds of one account; default 32
	PerSecond      float64       // requests of one token, sustained; default 200
	Burst          int           // and at once; default 1000
	Anonymous      float64       // requests without a valid token that one address may make a second; default 10
	AnonymousBurst int           // default 100
	BlobBytes      int64         // largest upload; default 64 GiB
	Stall          time.Duration // longest pause of a body while it is read or written; default 1 minute
	Heartbeat      time.Duration // of live feeds; default 15 s
}

// Bodies of JSON requests.
const (
	maxJobBody   = 16 << 20 // a job names each of its files
	maxOtherBody = 64 << 10
)

func (c *Config) fill() {
	l := &c.Limits
	orDefault(&l.Concurrent, 1024)
	orDefault(&l.Streams, 512)
	orDefault(&l.StreamsEach, 32)
	orDefault(&l.PerSecond, 200)
	orDefault(&l.Burst, 1000)
	orDefault(&l.Anonymous, 10)
	orDefault(&l.AnonymousBurst, 100)
	orDefault(&l.BlobBytes, 64<<30)
	orDefault(&l.Stall, time.Minute)
	orDefault(&l.Heartbeat, 15*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func orDefault[T int | int64 | float64 | time.Duration](v *T, fallback T) {
	if *v == 0 {
		*v = fallback
	}
}
