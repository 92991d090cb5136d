package taskmanager

import (
	"context"
	"errors"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// Simulation drives the same loop by hand, on a clock of its own: Open instead of Start, then Step whenever time has moved or something was queued.

// Open loads the shard without starting the loop's goroutine.
func (m *Manager) Open(ctx context.Context) error {
	if m.loop != nil {
		return errors.New("taskmanager: opened twice")
	}
	l, err := newLoop(ctx, m)
	if err == nil {
		m.loop = l
	}
	return err
}

// Step decides and commits everything that is queued, as one batch, and writes the readable tables up to it.
func (m *Manager) Step(ctx context.Context) error {
	if err := m.loop.step(ctx, m.gather(nil)); err != nil {
		return err
	}
	return m.loop.project.flush()
}

// Close writes what the readable tables lack and a snapshot, as Stop does. The Manager takes no more steps.
func (m *Manager) Close() error {
	m.loop.saveLast()
	err := m.loop.project.flush()
	m.feed.close()
	close(m.closed)
	return err
}

// Queued reports whether there is more to decide: commands wait, or leases that the last batch had no room for.
func (m *Manager) Queued() bool { return len(m.queue) > 0 || m.loop.more }

// Inject queues a decision; done gets its error after the commit, or what prevented it.
func (m *Manager) Inject(decide func(*lifecycle.Decider) error, done func(error)) bool {
	return m.post(command{decide: func(_ *loop, d *lifecycle.Decider) error { return decide(d) }, done: done})
}

// InjectSubmit is Inject for a decision that submits a job: where nobody can pay it, it alone is refused.
func (m *Manager) InjectSubmit(job cloudcrowd.JobID, decide func(*lifecycle.Decider) error, done func(error)) bool {
	return m.post(command{job: job, decide: func(_ *loop, d *lifecycle.Decider) error { return decide(d) }, done: done})
}

// State is the loop's memory, to be read between steps only.
func (m *Manager) State() *lifecycle.State { return m.loop.st }
