package main

import (
	"context"
	"log/slog"

	"cloudcrowd.dev/cloudcrowd"
)

// runningServer is a server in this process.
type runningServer interface {
	URL() string        // of API and console
	AdminToken() string // of an operator
	AdminLink() string
	JoinLink() string
	Wait() error // until it stops by itself or by Stop
	Stop(ctx context.Context) error
}

// startServer starts a server that serves when the call returns.
var startServer = func(ctx context.Context, s serverSettings, log *slog.Logger) (runningServer, error) {
	return nil, cloudcrowd.Errorf(cloudcrowd.Unavailable, "this build has no server")
}

// runAgent works for a server until ctx ends.
var runAgent = func(ctx context.Context, s workerSettings, log *slog.Logger) error {
	return cloudcrowd.Errorf(cloudcrowd.Unavailable, "this build has no worker")
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

// benchConditions and benchResult are what bench dispatch prints.
type benchConditions struct {
	Tasks   int
	Workers int
	DataDir string
}

// benchDispatch runs no-op tasks through a real server.
var benchDispatch = func(ctx context.Context, b benchConditions) (map[string]any, error) {
	return nil, cloudcrowd.Errorf(cloudcrowd.Unavailable, "this build has no bench")
}

// jobSchema is the JSON Schema of job files.
var jobSchema = func() []byte { return []byte("{}\n") }
