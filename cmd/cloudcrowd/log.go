package main

import (
	"io"
	"log/slog"
)

// logger writes what server and worker do to stderr: text on a terminal and in files, JSON with --json.
func (a *app) logger(level string) *slog.Logger {
	return newLogger(a.stderr, level, a.json)
}

func newLogger(w io.Writer, level string, asJSON bool) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: l}
	if asJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
