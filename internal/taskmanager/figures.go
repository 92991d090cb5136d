package taskmanager

import (
	"context"
	"maps"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// Figures count what was committed since the Manager was started, and say how far things are. For monitoring: the journal has the whole truth.
type Figures struct {
	Commits   int64 // journal rows written
	Events    int64 // in them
	Submitted int64 // jobs
	Ended     map[cloudcrowd.JobState]int64
	Done      int64                             // tasks with a canonical result
	Failed    int64                             // tasks
	Leased    int64                             // attempts handed out
	Attempts  map[cloudcrowd.AttemptState]int64 // that came to an end: reported, failed, lost, returned, cancelled
	Refused   int64                             // reported results that disagreed
	Charged   cloudcrowd.Credits                // gross
	Seq       int64                             // last journal row
	Projected int64                             // last row in the readable tables
	Queued    int                               // commands that wait
}

// figures are guarded by a lock of their own, so that they can be read while the loop hangs.
type figures struct {
	mu sync.Mutex
	Figures
}

// count adds a committed batch.
func (f *figures) count(d *lifecycle.Decider, seq int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Ended == nil {
		f.Ended, f.Attempts = map[cloudcrowd.JobState]int64{}, map[cloudcrowd.AttemptState]int64{}
	}
	f.Commits++
	f.Events += int64(len(d.Events))
	f.Seq = seq
	for _, ev := range d.Events {
		var paid []lifecycle.Paid
		switch {
		case ev.JobSubmitted != nil:
			f.Submitted++
		case ev.JobEnded != nil:
			f.Ended[ev.JobEnded.State]++
		case ev.AttemptLeased != nil:
			f.Leased++
		case ev.AttemptReported != nil:
			f.Attempts[cloudcrowd.AttemptReported]++
		case ev.AttemptEnded != nil:
			f.Attempts[ev.AttemptEnded.State]++
		case ev.TaskDone != nil:
			f.Done++
			f.Refused += int64(len(ev.TaskDone.Refused))
			paid = ev.TaskDone.Paid
		case ev.TaskFailed != nil:
			f.Failed++
			paid = ev.TaskFailed.Paid
		}
		for _, p := range paid {
			f.Charged += p.Gross
		}
	}
}

// Figures returns what was counted. It does not wait for the loop.
func (m *Manager) Figures() Figures {
	m.figures.mu.Lock()
	defer m.figures.mu.Unlock()
	f := m.figures.Figures
	f.Ended, f.Attempts, f.Queued = maps.Clone(f.Ended), maps.Clone(f.Attempts), len(m.queue)
	if m.loop != nil {
		f.Projected = m.loop.project.reached()
		f.Seq = max(f.Seq, f.Projected)
	}
	return f
}

// Standing is Status without what needs the store: it is asked often.
func (m *Manager) Standing(ctx context.Context) (cloudcrowd.ServerStatus, error) {
	s := cloudcrowd.ServerStatus{Version: m.cfg.Version, StartedAt: m.started}
	err := m.view(ctx, func(l *loop) { l.status(&s) })
	return s, err
}
