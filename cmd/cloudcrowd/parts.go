package main

import (
	"context"
	"log/slog"

	"cloudcrowd.dev/cloudcrowd/internal/platform"
)

// startServer starts a server in this process; it serves when the call returns.
func startServer(ctx context.Context, s serverSettings, log *slog.Logger) (*platform.Server, error) {
	return platform.StartServer(ctx, s.config(log))
}

// config is what the settings mean to the platform.
func (s *serverSettings) config(log *slog.Logger) platform.ServerConfig {
	return platform.ServerConfig{DataDir: s.DataDir, Database: s.Store, Cluster: s.Cluster, Listen: s.Listen, Domain: s.Domain, CertFile: s.CertFile, KeyFile: s.KeyFile,
		Email: s.Email, Blobs: s.Blobs, BlobsIndirect: !s.BlobsDirect, Prices: s.Prices, Sharing: s.Sharing, LeaseTTL: s.Lease, Version: version(), Log: log,
		PublicURL: s.PublicURL, Drain: s.Drain}
}
