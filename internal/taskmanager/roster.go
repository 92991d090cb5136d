package taskmanager

import (
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/scheduler"
)

// The loop keeps its sessions in order, and of them a list of those that take work, which is made again when somebody comes, goes or changes his mind: what
// a batch costs must not grow with the number of workers that have nothing to do with it.

// enter adds a session, in the place of the worker's older one if there is one.
func (l *loop) enter(w cloudcrowd.WorkerID, s *session) {
	at, known := slices.BinarySearchFunc(l.ordered, w, func(s *session, w cloudcrowd.WorkerID) int { return strings.Compare(string(s.sched.ID), string(w)) })
	if known {
		l.ordered[at] = s
	} else {
		l.ordered = slices.Insert(l.ordered, at, s)
	}
	l.sessions[w], l.takers, l.recent = s, nil, nil
}

// silent notes that a worker has gone, and since when.
func (l *loop) silent(s *session, since cloudcrowd.Time) {
	s.online, s.goneAt, s.sched.Closed = false, since, true
	l.relist(s)
}

// relist notices that a worker takes work, or takes none any more. It is called whenever that may have changed.
func (l *loop) relist(s *session) {
	if s.listed != s.takes() {
		l.takers = nil
	}
}

func (s *session) takes() bool { return s.online && !s.sched.Closed }

// open lists the workers that take work, in a fixed order. The list is not to be changed.
func (l *loop) open() []*scheduler.Worker {
	if l.takers == nil {
		l.takers, l.field = make([]*scheduler.Worker, 0, len(l.ordered)), nil
		for i, s := range l.ordered {
			s.box.order, s.sched.Tag = i, i
			if s.listed = s.takes(); s.listed {
				l.takers = append(l.takers, &s.sched)
			}
		}
	}
	return l.takers
}
