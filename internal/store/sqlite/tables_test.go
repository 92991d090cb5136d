package sqlite

import (
	"fmt"
	"math"
	"reflect"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// The rows read from the tables are, value for value, those that tables.Rows says were projected.
func TestTablesHoldWhatWasProjected(t *testing.T) {
	t.Parallel()
	s := open(t, quickDir(t))
	b := newBookkeeper(t, s)
	if err := b.commit(); err != nil {
		t.Fatal(err)
	}
	task := cloudcrowd.TaskID{Job: "j1", Stage: 1, Index: 2}
	attempt := cloudcrowd.AttemptID{Task: task, N: 3}
	p := store.Projected{To: 1,
		Jobs:     []store.JobRow{{Summary: cloudcrowd.JobSummary{ID: "j1", Name: "Name", Progress: math.NaN()}, Detail: []byte(`{}`)}, {Summary: cloudcrowd.JobSummary{ID: "j2"}}},
		Tasks:    []cloudcrowd.Task{{ID: task, Job: "j1", State: cloudcrowd.TaskDone}},
		Attempts: []cloudcrowd.Attempt{{ID: attempt, Worker: "U1", EndedAt: 7, Why: cloudcrowd.Why{FinishSeconds: math.Inf(1)}}},
		Charges:  []cloudcrowd.Charge{{Attempt: attempt, Worker: "U1", Gross: 5, Fee: 1, CoreSeconds: 2, At: 7, Seq: 1}, {Attempt: cloudcrowd.AttemptID{Task: task, N: 4}, CoreSeconds: math.NaN()}},
		Records:  []store.RecordRow{{Worker: "U1", Record: cloudcrowd.Record{Valid: 9}}}}
	if err := s.Project(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	name := func(r tables.Row) string {
		_, keys := tables.Columns(r.Table)
		return fmt.Sprint(r.Table, r.Values[:keys])
	}
	rows, err := tables.Rows(p)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]any{}
	for _, r := range rows {
		want[name(r)] = r.Values
	}
	if len(want) != 7 {
		t.Fatalf("%d rows, want 7", len(want))
	}
	snapshot := openSnapshot(t, s.path)
	err = tables.Walk(t.Context(), snapshot, func(r tables.Row) error {
		if !reflect.DeepEqual(want[name(r)], r.Values) {
			t.Errorf("%s holds\n%#v, want\n%#v", name(r), r.Values, want[name(r)])
		}
		delete(want, name(r))
		return nil
	}, func(err error) error { return err })
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}
