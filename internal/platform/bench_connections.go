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
)

// BenchConnectionsResult is what idle workers cost a server.
type BenchConnectionsResult struct {
	Workers          int     `json:"workers"`
	KiBPerConnection float64 `json:"kib_per_connection"` // heap and stacks in use after a collection, less those before
	ConnectSeconds   float64 `json:"connect_seconds"`    // until the last of them is welcomed, all starting at once
	StormSeconds     float64 `json:"storm_seconds"`      // the same after all were cut off at once
	CPUs             int     `json:"cpus"`
}

// BenchConnections connects so many workers, run by crowd, a command that performs BenchCrowd, and reports what they cost.
func BenchConnections(ctx context.Context, dir string, workers int, crowd *exec.Cmd) (r BenchConnectionsResult, err error) {
	s, err := StartServer(ctx, ServerConfig{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return r, err
	}
	defer func() {
		if serr := s.Stop(context.WithoutCancel(ctx)); err == nil {
			err = serr
		}
	}()
	in, err := crowd.StdinPipe()
	if err != nil {
		return r, err
	}
	out, err := crowd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := crowd.Start(); err != nil {
		return r, err
	}
	defer func() {
		_ = in.Close() // it ends with its input
		if werr := crowd.Wait(); err == nil {
			err = werr
		}
	}()
	answers := bufio.NewReader(out)
	ask := func(format string, args ...any) (string, error) {
		if _, err := fmt.Fprintf(in, format+"\n", args...); err != nil {
			return "", err
		}
		line, err := answers.ReadString('\n')
		if err == io.EOF {
			err = cloudcrowd.Errorf(cloudcrowd.Internal, "the crowd has ended")
		}
		return strings.TrimSpace(line), err
	}
	seconds := func(line string, err error) (float64, error) {
		if err != nil {
			return 0, err
		}
		return strconv.ParseFloat(line, 64)
	}

	line, err := ask("devices %d", workers)
	if err != nil {
		return r, err
	}
	var ids []cloudcrowd.WorkerID
	if err := json.Unmarshal([]byte(line), &ids); err != nil {
		return r, err
	}
	join, err := link.Parse(s.JoinLink())
	if err != nil {
		return r, err
	}
	invite := string(blob.DigestOf([]byte(join.Secret)))
	for _, id := range ids {
		if _, err := s.store.Join(ctx, invite, cloudcrowd.Worker{ID: id, Name: id.Short()}, cloudcrowd.TimeOf(time.Now())); err != nil {
			return r, err
		}
	}
	r = BenchConnectionsResult{Workers: workers, CPUs: runtime.NumCPU()}
	before := memoryInUse()
	url := "ws" + strings.TrimPrefix(s.URL(), "http") + "/worker"
	if r.ConnectSeconds, err = seconds(ask("connect %s", url)); err != nil {
		return r, err
	}
	r.KiBPerConnection = float64(memoryInUse()-before) / 1024 / float64(workers)
	r.StormSeconds, err = seconds(ask("storm"))
	return r, err
}

// memoryInUse is the heap and the stacks after a collection.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC() // the first one frees what the second shrinks
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
