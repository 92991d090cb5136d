// Peers runs no-op tasks through other durable queues and through CloudCrowd on the same machine, one after the other and again, and prints tasks a second and
// ratios. It is a module of its own, so that nothing of the peers is linked into the product.
//
// River keeps jobs in PostgreSQL and works them in its own process; JetStream is an embedded NATS server that syncs every write. Neither verifies a result
// nor moves money. CloudCrowd is `cloudcrowd bench dispatch`: SQLite, every commit synced, workers over WebSockets, a quorum of one, payment.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
)

type peer struct {
	name string
	run  func(ctx context.Context, tasks int) (perSecond float64, err error)
}

func main() {
	tasks := flag.Int("tasks", 50_000, "no-op tasks for each system and run")
	runs := flag.Int("runs", 3, "runs of each, in turn")
	postgres := flag.String("postgres", os.Getenv("PEERS_POSTGRES"), "URL of an empty database for River; without it River is left out")
	program := flag.String("cloudcrowd", "cloudcrowd", "the program to compare with")
	workers := flag.Int("workers", 8, "workers of CloudCrowd")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	peers := []peer{{"cloudcrowd", func(ctx context.Context, n int) (float64, error) { return cloudcrowd(ctx, *program, n, *workers) }}, {"jetstream, sync always", jetStream}}
	if *postgres != "" {
		peers = append(peers, peer{"river on postgresql", func(ctx context.Context, n int) (float64, error) { return riverQueue(ctx, *postgres, n) }})
	}
	figures := map[string][]float64{}
	for range *runs {
		for _, p := range peers {
			perSecond, err := p.run(ctx, *tasks)
			if err != nil {
				slog.Error("a peer could not be measured", "peer", p.name, "err", err)
				os.Exit(1)
			}
			figures[p.name] = append(figures[p.name], perSecond)
		}
	}
	ours := median(figures["cloudcrowd"])
	fmt.Printf("%-24s %12s %12s %12s %s\n", "tasks/s", "min", "median", "max", "cloudcrowd/it")
	out := map[string]float64{}
	for _, p := range peers {
		f := figures[p.name]
		fmt.Printf("%-24s %12.0f %12.0f %12.0f %.2f\n", p.name, slices.Min(f), median(f), slices.Max(f), ours/median(f))
		out[strings.Trim(strings.Fields(p.name)[0], ",")] = median(f)
	}
	line, err := json.Marshal(out)
	if err != nil {
		panic(err) // plain numbers
	}
	fmt.Println(string(line))
}

func median(f []float64) float64 {
	f = slices.Sorted(slices.Values(f))
	return f[len(f)/2]
}

func cloudcrowd(ctx context.Context, program string, tasks, workers int) (float64, error) {
	var out bytes.Buffer
	c := exec.CommandContext(ctx, program, "bench", "dispatch", "--tasks", fmt.Sprint(tasks), "--workers", fmt.Sprint(workers), "--samples", "1", "--json")
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		return 0, err
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var r struct {
		TasksPerSecond float64 `json:"tasks_per_s"`
	}
	err := json.Unmarshal([]byte(lines[len(lines)-1]), &r)
	return r.TasksPerSecond, err
}
