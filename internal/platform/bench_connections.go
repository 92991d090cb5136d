package platform

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/link"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// BenchConnectionsResult is what idle workers cost a server.
type BenchConnectionsResult struct {
	Workers          int     `json:"workers"`
	KiBPerConnection float64 `json:"kib_per_connection"` // heap and stacks in use, less those before, when the workers have been idle for some time
	KiBAtOnce        float64 `json:"kib_at_once"`        // the same as soon as all are welcome
	ConnectSeconds   float64 `json:"connect_seconds"`    // until the last of them is welcomed, all starting at once
	StormSeconds     float64 `json:"storm_seconds"`      // the same after all were cut off at once
	CPUs             int     `json:"cpus"`
}

// BenchConnections connects so many workers, run by crowd, a command that performs BenchCrowd, and reports what they cost.
func BenchConnections(ctx context.Context, dir string, db Database, workers int, crowd *exec.Cmd) (r BenchConnectionsResult, err error) {
	s, err := StartServer(ctx, ServerConfig{DataDir: dir, Database: db, Listen: "127.0.0.1:0"})
	if err != nil {
		return r, err
	}
	defer func() {
		if serr := s.Stop(context.WithoutCancel(ctx)); err == nil {
			err = serr
		}
	}()
	c, err := startCrowd(ctx, s, crowd, workers)
	if err != nil {
		return r, err
	}
	defer func() {
		if cerr := c.end(); err == nil {
			err = cerr
		}
	}()
	r = BenchConnectionsResult{Workers: workers, CPUs: runtime.NumCPU()}
	before := memoryInUse()
	if r.ConnectSeconds, err = c.seconds("connect %s", workerURL(s)); err != nil {
		return r, err
	}
	each := func() float64 { return float64(memoryInUse()-before) / 1024 / float64(workers) }
	r.KiBAtOnce = each()
	// Beats are part of being idle. A collection halves a stack of which most is unused, so a few are needed until what connecting took is given back; a
	// server makes one every two minutes at least.
	select {
	case <-time.After(2 * taskmanager.DefaultHeartbeat):
	case <-ctx.Done():
		return r, ctx.Err()
	}
	for range 3 {
		r.KiBPerConnection = each()
	}
	r.StormSeconds, err = c.seconds("storm")
	return r, err
}

func workerURL(s *Server) string { return "ws" + strings.TrimPrefix(s.URL(), "http") + "/worker" }

// crowdProcess is a process that performs BenchCrowd.
type crowdProcess struct {
	command *exec.Cmd
	in      io.WriteCloser
	answers *bufio.Reader
}

// startCrowd starts one and lets the server know its devices, which connect when they are asked to.
func startCrowd(ctx context.Context, s *Server, command *exec.Cmd, workers int) (_ *crowdProcess, err error) {
	c := &crowdProcess{command: command}
	if c.in, err = command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.answers = bufio.NewReader(out)
	if err := command.Start(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = c.end() // the first error is the one that matters
		}
	}()
	line, err := c.ask("devices %d", workers)
	if err != nil {
		return nil, err
	}
	var ids []cloudcrowd.WorkerID
	if err := json.Unmarshal([]byte(line), &ids); err != nil {
		return nil, err
	}
	join, err := link.Parse(s.JoinLink())
	if err != nil {
		return nil, err
	}
	invite := string(blob.DigestOf([]byte(join.Secret)))
	for _, id := range ids {
		if _, err := s.store.Join(ctx, invite, cloudcrowd.Worker{ID: id, Name: id.Short()}, cloudcrowd.TimeOf(time.Now())); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *crowdProcess) ask(format string, args ...any) (string, error) {
	if _, err := fmt.Fprintf(c.in, format+"\n", args...); err != nil {
		return "", err
	}
	line, err := c.answers.ReadString('\n')
	if err == io.EOF {
		err = cloudcrowd.Errorf(cloudcrowd.Internal, "the crowd has ended")
	}
	return strings.TrimSpace(line), err
}

// seconds is ask for a number.
func (c *crowdProcess) seconds(format string, args ...any) (float64, error) {
	line, err := c.ask(format, args...)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(line, 64)
}

// end ends the process, by ending its input.
func (c *crowdProcess) end() error {
	_ = c.in.Close()
	return c.command.Wait()
}

// memoryInUse is the heap and the stacks after a collection.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // the first one frees what the second shrinks
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
