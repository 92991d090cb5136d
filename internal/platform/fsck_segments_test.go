package platform

import (
	"database/sql"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store/history"
)

// openSegments decodes all stored segments.
func openSegments(t testing.TB, db *sql.DB) (list []*history.Segment) {
	t.Helper()
	rows, err := db.Query("SELECT job, stage, block, seq, part, shard, items, bytes FROM segments ORDER BY job, stage, block, seq, part")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v history.Stored
		if err := rows.Scan(&v.Job, &v.Stage, &v.Block, &v.Seq, &v.Part, &v.Shard, &v.Items, &v.Bytes); err != nil {
			t.Fatal(err)
		}
		s, err := history.Decode(v)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil || len(list) == 0 {
		t.Fatalf("%d segments, %v", len(list), err)
	}
	return list
}

// alterSegments changes what segments hold and stores them anew, with right checksums and listings, as a program would that lies.
func alterSegments(change func(*history.Segment)) func(*testing.T, string, *sql.DB) {
	return func(t *testing.T, _ string, db *sql.DB) {
		t.Helper()
		run := func(text string, args ...any) {
			t.Helper()
			if _, err := db.Exec(text, args...); err != nil {
				t.Fatal(err)
			}
		}
		list := openSegments(t, db)
		run("DELETE FROM segments")
		run("DELETE FROM listings")
		for _, s := range list {
			change(s)
			if s.Items() == 0 {
				continue
			}
			v := s.Stored()
			run("INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?)", v.Job, v.Stage, v.Block, v.Seq, v.Part, v.Shard, v.Items, v.Bytes)
			for _, l := range s.Listings() {
				run("INSERT INTO listings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", int(l.Kind), l.ID, l.Level(), l.Latest, l.Job, l.Stage, l.Block, l.Seq, l.Part, l.Earliest, l.Shard)
			}
		}
	}
}

func eachTask(change func(*cloudcrowd.Task)) func(*testing.T, string, *sql.DB) {
	return alterSegments(func(s *history.Segment) {
		for i := range s.Tasks {
			change(&s.Tasks[i])
		}
	})
}

func eachAttempt(change func(*cloudcrowd.Attempt)) func(*testing.T, string, *sql.DB) {
	return alterSegments(func(s *history.Segment) {
		for i := range s.Attempts {
			change(&s.Attempts[i])
		}
	})
}

func eachCharge(change func(*cloudcrowd.Charge)) func(*testing.T, string, *sql.DB) {
	return alterSegments(func(s *history.Segment) {
		for i := range s.Charges {
			change(&s.Charges[i])
		}
	})
}

// withoutTask removes the tasks of an index, their attempts or their charges.
func withoutTask(index int32, tasks, attempts, charges bool) func(*testing.T, string, *sql.DB) {
	return alterSegments(func(s *history.Segment) {
		s.Tasks = slices.DeleteFunc(s.Tasks, func(v cloudcrowd.Task) bool { return tasks && v.ID.Index == index })
		s.Attempts = slices.DeleteFunc(s.Attempts, func(v cloudcrowd.Attempt) bool { return attempts && v.ID.Task.Index == index })
		s.Charges = slices.DeleteFunc(s.Charges, func(v cloudcrowd.Charge) bool { return charges && v.Attempt.Task.Index == index })
	})
}
