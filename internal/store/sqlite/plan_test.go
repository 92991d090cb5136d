package sqlite

import (
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// Every list walks an index in its order: a page of a filter costs the same however long the history is.
func TestPlans(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	if err := newBookkeeper(t, s).commit(); err != nil {
		t.Fatal(err)
	}
	projected := store.Projected{To: 1} // so much that pages have an end
	for i := range int32(3000) {
		id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: "j0000000000000000", Stage: 1, Index: i}, N: 1}
		projected.Tasks = append(projected.Tasks, cloudcrowd.Task{ID: id.Task})
		projected.Attempts = append(projected.Attempts, cloudcrowd.Attempt{ID: id, Worker: "U", EndedAt: cloudcrowd.Time(i)})
		projected.Charges = append(projected.Charges, cloudcrowd.Charge{Attempt: id, Worker: "U", Owner: "a", Requester: "a", At: cloudcrowd.Time(i)})
	}
	if err := s.Project(t.Context(), projected); err != nil {
		t.Fatal(err)
	}
	type statement struct {
		text string
		args []any
	}
	var seen []statement
	s.observe = func(text string, args []any) { seen = append(seen, statement{text, args}) }
	ctx, task := t.Context(), projected.Tasks[5].ID
	job, full := task.Job, store.Page{Limit: 1000}
	cursor := store.Page{Cursor: store.EncodeCursor("transfers", transferKey{1, 2, 3, 4})}
	reads := map[string]func() error{
		"transfers":            func() error { _, _, err := s.Transfers(ctx, store.TransferFilter{}, cursor); return err },
		"transfers by account": func() error { _, _, err := s.Transfers(ctx, store.TransferFilter{Account: "a"}, cursor); return err },
		"transfers by job":     func() error { _, _, err := s.Transfers(ctx, store.TransferFilter{Job: "j"}, cursor); return err },
		"transfers since":      func() error { _, _, err := s.Transfers(ctx, store.TransferFilter{Since: 5}, cursor); return err },
		"jobs":                 func() error { _, _, err := s.Jobs(ctx, store.JobFilter{}, store.Page{}); return err },
		"jobs by account":      func() error { _, _, err := s.Jobs(ctx, store.JobFilter{Account: "a"}, store.Page{}); return err },
		"jobs by state":        func() error { _, _, err := s.Jobs(ctx, store.JobFilter{State: "done"}, store.Page{}); return err },
		"tasks":                func() error { _, _, err := s.Tasks(ctx, job, -1, full); return err },
		"tasks of a stage":     func() error { _, _, err := s.Tasks(ctx, job, 1, full); return err },
		"job attempts":         func() error { _, _, err := s.JobAttempts(ctx, job, full); return err },
		"worker attempts":      func() error { _, _, err := s.WorkerAttempts(ctx, "U", full); return err },
		"charges":              func() error { _, _, err := s.Charges(ctx, store.ChargeFilter{}, full); return err },
		"charges by requester": func() error {
			_, _, err := s.Charges(ctx, store.ChargeFilter{Requester: "a"}, full)
			return err
		},
		"charges by owner":  func() error { _, _, err := s.Charges(ctx, store.ChargeFilter{Owner: "a"}, full); return err },
		"charges by worker": func() error { _, _, err := s.Charges(ctx, store.ChargeFilter{Worker: "U"}, full); return err },
		"charges by job":    func() error { _, _, err := s.Charges(ctx, store.ChargeFilter{Job: job}, full); return err },
		"charges by task":   func() error { _, _, err := s.Charges(ctx, store.ChargeFilter{Task: &task}, full); return err },
		"task":              func() error { _, err := s.Task(ctx, task); return err },
		"whole tasks": func() error {
			_, err := s.WholeTasks(ctx, []cloudcrowd.TaskID{task, projected.Tasks[2500].ID})
			return err
		},
		"merge":         func() error { _, err := s.merge(ctx, history.PlaceOf(task), 1); return err },
		"pending holds": func() error { _, err := s.Holds(ctx, cloudcrowd.HoldPending); return err },
		"journal":       func() error { _, _, err := s.journalRows(ctx, 0, 5); return err },
	}
	for name, read := range reads {
		seen = nil
		if err := read(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(seen) == 0 {
			t.Errorf("%s read nothing", name)
		}
		for _, st := range append([]statement(nil), seen...) {
			err := s.each(ctx, "EXPLAIN QUERY PLAN "+st.text, st.args, func(scan scanner) error {
				var id, parent, unused int
				var step string
				if err := scan(&id, &parent, &unused, &step); err != nil {
					return err
				}
				walk := strings.HasPrefix(step, "SCAN") && (!strings.Contains(step, "INDEX") || strings.Contains(name, " by ")) && !strings.Contains(step, "subquery")
				sort := strings.Contains(step, "TEMP B-TREE") && name != "transfers by account"
				if walk || sort {
					t.Errorf("%s: %s\n%s", name, step, st.text)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
