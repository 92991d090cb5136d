package worker

import (
	"context"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox"
)

// answer is a sandbox that knows the answer: what remains is the path there and back.
type answer struct{}

func (answer) Name() string { return "wasm" }
func (answer) Close() error { return nil }
func (answer) Run(context.Context, sandbox.Spec) (sandbox.Outcome, error) {
	return sandbox.Outcome{Status: sandbox.Succeeded, Empty: true}, nil
}

// BenchmarkDispatch is the way of a lease to a worker and of its result back, over a real WebSocket, with a spool on disk, 256 leases at a time.
func BenchmarkDispatch(b *testing.B) {
	t := &testing.T{}
	s := serve(t, "")
	defer s.stop()
	cfg := Config{Server: s.http.URL, DataDir: b.TempDir(), Invite: invite, Name: "bench", Slots: 4, Speed: 1, MemoryBytes: 1 << 40, Sandbox: answer{}}
	a, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	w := cloudcrowd.Welcome{HeartbeatSeconds: 5, LeaseSeconds: 30, Ahead: 4096}
	for up := range s.ups {
		if up.Hello != nil {
			break
		}
	}
	down := cloudcrowd.Down{Welcome: &w}
	template := s.lease(0, "noop")
	const flight, batch = 2048, 256
	b.ResetTimer()
	start := time.Now()
	next, done := 0, 0
	for done < b.N {
		for next < b.N && next-done < flight {
			n := min(batch, b.N-next)
			for range n {
				l := template
				l.Attempt = attemptOf(int32(next))
				down.Leases = append(down.Leases, l)
				next++
			}
			if err := s.gateway.Send(a.ID(), down); err != nil {
				b.Fatal(err)
			}
			down = cloudcrowd.Down{}
		}
		up := <-s.ups
		for _, r := range up.Reports {
			down.Acks = append(down.Acks, r.Attempt)
			done++
		}
		if len(down.Acks) > 0 {
			if err := s.gateway.Send(a.ID(), down); err != nil {
				b.Fatal(err)
			}
			down = cloudcrowd.Down{}
		}
	}
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "tasks/s")
}
