package main

import (
	"context"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// jetStream publishes the tasks to a work queue that syncs every write and acknowledges them one by one; the time is from the first publication to the
// last acknowledgement that the server has confirmed.
func jetStream(ctx context.Context, tasks int) (float64, error) {
	dir, err := os.MkdirTemp("", "peers-jetstream-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	bus, err := server.NewServer(&server.Options{DontListen: true, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir, SyncAlways: true})
	if err != nil {
		return 0, err
	}
	bus.Start()
	defer func() { bus.Shutdown(); bus.WaitForShutdown() }()
	if !bus.ReadyForConnections(10 * time.Second) {
		return 0, context.DeadlineExceeded
	}
	conn, err := nats.Connect("", nats.InProcessServer(bus))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4096))
	if err != nil {
		return 0, err
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "tasks", Subjects: []string{"task"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage})
	if err != nil {
		return 0, err
	}
	consumer, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192})
	if err != nil {
		return 0, err
	}
	began := time.Now()
	failed := make(chan error, 1)
	go func() {
		for range tasks {
			if _, err := js.PublishAsync("task", nil, jetstream.WithStallWait(time.Minute)); err != nil {
				failed <- err
				return
			}
		}
	}()
	for done := 0; done < tasks; {
		select {
		case err := <-failed:
			return 0, err
		default:
		}
		batch, err := consumer.Fetch(min(1000, tasks-done), jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return 0, err
		}
		for m := range batch.Messages() {
			done++
			ack := m.Ack
			if done == tasks {
				ack = func() error { return m.DoubleAck(ctx) }
			}
			if err := ack(); err != nil {
				return 0, err
			}
		}
	}
	return float64(tasks) / time.Since(began).Seconds(), nil
}
