package sqlite

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

const aJob = cloudcrowd.JobID("j0000000000000000")

// tasksDone is a stretch that ends tasks of a job, by index.
func tasksDone(from, to int64, indexes ...int32) store.Projected {
	p := store.Projected{From: from, To: to}
	for _, i := range indexes {
		id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: aJob, Index: i}, N: 1}
		p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: id.Task, Label: fmt.Sprint("up to row ", to)})
		p.Attempts = append(p.Attempts, cloudcrowd.Attempt{ID: id, Worker: cloudcrowd.WorkerID(fmt.Sprint("U", i%2)), EndedAt: cloudcrowd.Time(to)})
		p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: id, Worker: "U", Owner: "anna", At: cloudcrowd.Time(to)})
	}
	return p
}

func committed(t *testing.T, n int) *Store {
	t.Helper()
	s := open(t, quickDir(t))
	b := newBookkeeper(t, s)
	for range n {
		if err := b.commit(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func mustProject(t *testing.T, s *Store, p store.Projected) {
	t.Helper()
	if err := s.Project(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

// mustBeListed stops the test unless listings and segments agree.
func mustBeListed(t *testing.T, s *Store) {
	t.Helper()
	err := tables.Listings(t.Context(), s, func(l history.Listing) { t.Errorf("missing: %s", l) }, func(l history.Listing) { t.Errorf("foreign: %s", l) })
	if err != nil {
		t.Fatal(err)
	}
}

func countSegments(t *testing.T, s *Store) (n int) {
	t.Helper()
	if _, err := s.one(t.Context(), "SELECT count(*) FROM segments", nil, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// However many stretches of one task each there are, a block keeps few segments, also over restarts; and every list leads to them.
func TestSmallSegmentsAreMerged(t *testing.T) {
	t.Parallel()
	const stretches = 300
	s := committed(t, stretches)
	for i := range int64(stretches) {
		if i == 150 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, strings.TrimSuffix(s.path, "/cloudcrowd.db"))
		}
		mustProject(t, s, tasksDone(i, i+1, int32(i)))
		if n := countSegments(t, s); n > 2*history.MaxSegments+2 {
			t.Fatalf("%d segments after %d stretches", n, i)
		}
	}
	mustBeListed(t, s)
	list, _, err := s.Tasks(t.Context(), aJob, 0, store.Page{Limit: 1000})
	if err != nil || len(list) != stretches {
		t.Errorf("%d tasks, %v", len(list), err)
	}
}

// A damaged segment does not stop the projection; reading it names it.
func TestDamagedSegment(t *testing.T) {
	t.Parallel()
	s := committed(t, 60)
	mustProject(t, s, tasksDone(0, 1, 0))
	if _, err := s.lazy.exec("UPDATE segments SET bytes = x'0102030405060708'"); err != nil {
		t.Fatal(err)
	}
	for i := int64(1); i < 60; i++ {
		mustProject(t, s, tasksDone(i, i+1, int32(i)))
	}
	for what, read := range map[string]func() error{
		"tasks":    func() error { _, _, err := s.Tasks(t.Context(), aJob, 0, store.Page{}); return err },
		"task":     func() error { _, err := s.Task(t.Context(), cloudcrowd.TaskID{Job: aJob}); return err },
		"attempts": func() error { _, _, err := s.WorkerAttempts(t.Context(), "U0", store.Page{}); return err },
		"charges":  func() error { _, _, err := s.Charges(t.Context(), store.ChargeFilter{}, store.Page{}); return err },
	} {
		e, ok := errors.AsType[*store.CorruptError](read())
		if !ok || !strings.Contains(e.What, "segment of tasks j0000000000000000-0-0 to 511 up to journal row 1,") {
			t.Errorf("%s: %v, want the damaged segment", what, e)
		}
	}
}

// A stretch that was written in part, because the server died, is written again: with the same end or with another, over what is left of it, and
// also while segments are merged.
func TestStretchLeftInPart(t *testing.T) {
	t.Parallel()
	s := committed(t, 80)
	for i := range int64(20) {
		mustProject(t, s, tasksDone(i, i+1, int32(i)))
	}
	leave := func(p store.Projected) {
		t.Helper()
		err := s.writeLazily(t.Context(), func(w *writer) error {
			for _, seg := range history.Cut(p) {
				if err := w.putSegment(seg.Stored(), seg.Listings()); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	leave(tasksDone(20, 60, 5, 21, 22, 40))
	for i := int64(20); i < 50; i++ { // now it goes on in small steps
		mustProject(t, s, tasksDone(i, i+1, int32(i)))
		mustBeListed(t, s)
	}
	leave(tasksDone(50, 60, 59))
	mustProject(t, s, tasksDone(50, 60, 5, 40, 50, 51))
	mustBeListed(t, s)
	for i := int64(60); i < 80; i++ {
		mustProject(t, s, tasksDone(i, i+1, int32(i)))
	}
	mustBeListed(t, s)
	for index, label := range map[int32]string{3: "up to row 4", 5: "up to row 60", 21: "up to row 22", 40: "up to row 60", 51: "up to row 60", 70: "up to row 71"} {
		v, err := s.Task(t.Context(), cloudcrowd.TaskID{Job: aJob, Index: index})
		if err != nil || v.Label != label || len(v.Attempts) != 1 {
			t.Errorf("task %d: %+v, %v, want %q", index, v, err, label)
		}
	}
}
