package main

import (
	"context"
	"log/slog"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/platform"
)

// startServer starts a server in this process; it serves when the call returns.
func startServer(ctx context.Context, s serverSettings, log *slog.Logger) (*platform.Server, error) {
	return platform.StartServer(ctx, platform.ServerConfig{DataDir: s.DataDir, Listen: s.Listen, Domain: s.Domain, CertFile: s.CertFile, KeyFile: s.KeyFile,
		Email: s.Email, Prices: s.Prices, LeaseTTL: s.Lease, Version: version(), Log: log})
}

// fault is one thing that fsck found to disagree.
type fault struct {
	Subject string `json:"subject"` // what it is about
	Text    string `json:"text"`
}

// fsckReport is what fsck prints with --json.
type fsckReport struct {
	Verdict  string  `json:"verdict"` // "clean" or "faulty"
	Problems []fault `json:"problems,omitempty"`
}

// checkFolder recomputes what a data folder says.
var checkFolder = func(ctx context.Context, dir string) (fsckReport, error) {
	return fsckReport{}, cloudcrowd.Errorf(cloudcrowd.Unavailable, "this build has no fsck")
}
