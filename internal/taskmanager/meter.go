package taskmanager

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// meter counts accepted tasks and charges by second over the last minute.
type meter struct {
	seconds [60]struct {
		at    int64
		tasks int64
		gross cloudcrowd.Credits
	}
}

func (m *meter) count(d *lifecycle.Decider) {
	second := int64(d.At / 1e6)
	s := &m.seconds[second%60]
	if s.at != second {
		s.at, s.tasks, s.gross = second, 0, 0
	}
	for _, ev := range d.Events {
		var paid []lifecycle.Paid
		switch {
		case ev.TaskDone != nil:
			s.tasks++
			paid = ev.TaskDone.Paid
		case ev.TaskFailed != nil:
			paid = ev.TaskFailed.Paid
		}
		for _, p := range paid { // deferred charges, too: they count as the job's cost from now on
			s.gross += p.Gross
		}
	}
}

// rates returns accepted tasks per second and credits per hour over the last minute.
func (m *meter) rates(now cloudcrowd.Time) (tasks float64, perHour cloudcrowd.Credits) {
	second := int64(now / 1e6)
	var gross cloudcrowd.Credits
	for _, s := range m.seconds {
		if second-s.at < 60 {
			tasks += float64(s.tasks)
			gross += s.gross
		}
	}
	return tasks / 60, gross * 60
}
