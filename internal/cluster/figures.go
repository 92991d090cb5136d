package cluster

import (
	"context"
	"errors"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// Ready says why this server takes no new work, nil if it does.
func (n *Node) Ready(ctx context.Context) error {
	if n.Draining() && !n.cfg.Alone {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new work is accepted: %s", drainReason)
	}
	if !n.owns() {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the store has not answered for %s", n.cfg.Lease)
	}
	for _, m := range n.Locals() {
		if err := m.Ready(ctx); err != nil && (n.cfg.Alone || !taskmanager.Moved(err)) {
			return err
		}
	}
	return nil
}

// Draining reports whether this server is about to stop.
func (n *Node) Draining() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.draining
}

// Leased counts the attempts of the shards here that workers hold.
func (n *Node) Leased(ctx context.Context) (int, error) {
	total := 0
	for _, m := range n.Locals() {
		k, err := m.Leased(ctx)
		if err != nil && (n.cfg.Alone || !taskmanager.Moved(err)) { // else the shard is on its way to another server, with its leases
			return total, err
		}
		total += k
	}
	return total, nil
}

// Figures add up those of the shards here, since each was taken over.
func (n *Node) Figures() taskmanager.Figures {
	total := taskmanager.Figures{Ended: map[cloudcrowd.JobState]int64{}, Attempts: map[cloudcrowd.AttemptState]int64{}}
	for _, m := range n.Locals() {
		f := m.Figures()
		total.Commits += f.Commits
		total.Events += f.Events
		total.Submitted += f.Submitted
		total.Done += f.Done
		total.Failed += f.Failed
		total.Leased += f.Leased
		total.Refused += f.Refused
		total.Charged += f.Charged
		total.Seq += f.Seq
		total.Projected += f.Projected
		total.Queued += f.Queued
		for k, v := range f.Ended {
			total.Ended[k] += v
		}
		for k, v := range f.Attempts {
			total.Attempts[k] += v
		}
	}
	return total
}

// Standing is how things stand with the shards here.
func (n *Node) Standing(ctx context.Context) (cloudcrowd.ServerStatus, error) {
	var parts []cloudcrowd.ServerStatus
	var errs []error
	for _, m := range n.Locals() {
		s, err := m.Standing(ctx)
		if taskmanager.Moved(err) && !n.cfg.Alone {
			continue
		}
		if err != nil {
			errs = append(errs, err)
		}
		parts = append(parts, s)
	}
	if len(parts) == 0 {
		return cloudcrowd.ServerStatus{Version: n.cfg.Version, StartedAt: n.started}, nil
	}
	return sum(parts), errors.Join(errs...)
}

// Members says how many servers are alive, and how many shards are served here.
func (n *Node) Members() (servers, here int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.shards {
		if h.manager != nil {
			here++
		}
	}
	return max(len(n.live), 1), here
}

// failures are the shards that this server was to serve and cannot, with why.
func (n *Node) failures() map[int]error {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := map[int]error{}
	for shard, h := range n.shards {
		if h.failure != nil && h.manager == nil {
			list[shard] = h.failure
		}
	}
	return list
}
