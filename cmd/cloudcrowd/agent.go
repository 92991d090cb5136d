package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/machine"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/wasm"
	"cloudcrowd.dev/cloudcrowd/internal/worker"
)

// home is the server a worker's data folder belongs to, kept so that only the first start needs a link.
type home struct {
	Server string `json:"server"`
	Pin    string `json:"pin,omitempty"`
}

const homeFile = "server.json"

// loadHome reads which server a data folder belongs to; the zero home if none yet.
func loadHome(dir string) (home, error) {
	var h home
	data, err := os.ReadFile(filepath.Join(dir, homeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return h, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &h)
	}
	return h, err
}

func (h home) save(dir string) error {
	data, err := json.Marshal(h)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, homeFile)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// runAgent works for a server until ctx ends, then hands back what it has not finished.
func (a *app) runAgent(ctx context.Context, s workerSettings, log *slog.Logger) error {
	h, err := loadHome(s.DataDir)
	if err != nil {
		return err
	}
	invite := ""
	if s.Join != "" {
		l, err := link.Parse(s.Join)
		if err != nil {
			return err
		}
		if l.Kind != link.Join {
			return cloudcrowd.Fieldf("--join", "this is an admin link; a worker needs the join link").WithHint("`cloudcrowd workers invite` makes one")
		}
		h, invite = home{l.Server, l.Pin}, l.Secret
	}
	if h.Server == "" {
		return cloudcrowd.Fieldf("--join", "this device has not joined a server yet").WithHint("give the join link that `cloudcrowd server` or `cloudcrowd workers invite` prints")
	}
	if s.Slots == 0 {
		s.Slots = machine.Cores()
	}
	if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
		return err
	}
	lock, owner, err := filelock.Take(filepath.Join(s.DataDir, "lock"))
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return cloudcrowd.Errorf(cloudcrowd.Conflict, "another worker uses the data folder %s already (%s)", s.DataDir, owner).
			WithHint("one worker uses all cores of a machine; a second one here needs a device key of its own: add --data %s-2", s.DataDir)
	case err != nil:
		return err
	}
	defer lock.Release()
	box, err := wasm.New(wasm.Config{Root: filepath.Join(s.DataDir, "sandbox"), CacheDir: filepath.Join(s.DataDir, "compiled"), Slots: s.Slots})
	if err != nil {
		return err
	}
	defer box.Close()
	walls, missing, err := box.Walls(ctx)
	if err != nil {
		return &cloudcrowd.Error{Code: cloudcrowd.Unavailable, Msg: "no program can run here", Err: err}
	}
	agent, err := worker.New(worker.Config{Server: h.Server, Pin: h.Pin, DataDir: s.DataDir, Invite: invite, Name: s.Name, Version: version(), Slots: s.Slots,
		MemoryBytes: s.MemoryBytes, CacheBytes: s.CacheBytes, Sandbox: box, Log: log, OnEvent: a.workerEvent(s.DataDir, h), Misbehave: s.Misbehave})
	if err != nil {
		return err
	}
	a.printf("worker %s, %s, for %s\n", agent.ID().Short(), plural(s.Slots, "slot"), h.Server)
	a.sayWalls(walls, missing)
	defer context.AfterFunc(ctx, func() {
		a.notef("handing back what has not started, waiting %.0f s at most for what runs; Ctrl-C again leaves at once\n", worker.DefaultGrace.Seconds())
		agent.Drain()
	})()
	return agent.Run(context.WithoutCancel(ctx))
}

// sayWalls tells the owner what stands between strangers' programs and the machine.
func (a *app) sayWalls(walls, missing []string) {
	if a.json {
		_ = a.object(map[string]any{"event": "walls", "text": "walls around each program: " + strings.Join(walls, ", "), "walls": walls, "missing": missing})
		return
	}
	if len(walls) > 0 {
		a.printf("each program runs in a process of its own behind %s\n", strings.Join(walls, ", "))
	}
	if len(missing) > 0 {
		a.notef("warning: this system, or the container, withholds %s: if the engine itself had a hole, less would stand behind it\n", strings.Join(missing, ", "))
	}
}

// workerEvent prints what happens to a worker, and remembers the server once the device has joined it.
func (a *app) workerEvent(dir string, h home) func(worker.Event) {
	saved := false
	return func(e worker.Event) {
		if e.Kind == worker.Connected && !saved {
			if err := h.save(dir); err != nil {
				a.notef("the server's address could not be kept: %v\n", err)
			}
			saved = true
		}
		if a.json {
			o := map[string]any{"event": e.Kind, "text": e.Text, "finished": e.Finished, "running": e.Running}
			if e.Server != "" {
				o["server"] = e.Server
			}
			a.object(o)
			return
		}
		switch e.Kind {
		case worker.Started: // the end of it is enough
		case worker.Finished:
			a.printf("%s %s (%s so far)\n", e.Attempt, a.ink.state(string(e.Outcome)), plural(e.Finished, "attempt"))
		default:
			a.printf("%s\n", e.Text)
		}
	}
}
