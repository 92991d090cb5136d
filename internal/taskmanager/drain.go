package taskmanager

import (
	"context"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// Drain makes the Manager take no new jobs and place no new leases, for the given reason, for the rest of its life. Leases that are out stay: results are
// taken, and nobody is blamed for being silent, because whoever lost his connection cannot come back to a server that drains. Safe twice.
func (m *Manager) Drain(reason string) { m.draining.CompareAndSwap(nil, &reason) }

// Draining is why no new work is taken, "" while it is.
func (m *Manager) Draining() string {
	if r := m.draining.Load(); r != nil {
		return *r
	}
	return ""
}

func (m *Manager) refuseDraining() error {
	if r := m.Draining(); r != "" {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new jobs are accepted: %s", r).WithHint("try again when the server is back; what was accepted before goes on then")
	}
	return nil
}

// Leased is how many attempts are out.
func (m *Manager) Leased(ctx context.Context) (n int, err error) {
	err = m.view(ctx, func(l *loop) {
		for _, s := range l.ordered {
			n += s.sched.Held.Len()
		}
		for _, held := range l.absent {
			n += held.Len()
		}
	})
	return n, err
}

// readyLimit is how long the loop may take to answer before it counts as stuck, as on a disk that hangs.
const readyLimit = 3 * time.Second

// Ready reports whether new work is taken; the error says why not.
func (m *Manager) Ready(ctx context.Context) error {
	if r := m.Draining(); r != "" {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new work is accepted: %s", r)
	}
	limited, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	readOnly := ""
	err := m.view(limited, func(l *loop) { readOnly = l.readOnly })
	switch {
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "nothing was decided for %s: the disk may hang", readyLimit)
	case err != nil:
		return err
	case readOnly != "":
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new work is accepted: %s", readOnly)
	}
	return nil
}
