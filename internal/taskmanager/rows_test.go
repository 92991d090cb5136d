package taskmanager

import (
	"fmt"
	"reflect"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Stretches that are joined hold every task, attempt and charge in order, and of jobs and records the last version alone.
func TestJoined(t *testing.T) {
	t.Parallel()
	row := func(seq int64, jobs, workers string) store.Projected {
		p := store.Projected{Shard: 2, From: seq - 1, To: seq}
		for _, j := range jobs {
			p.Jobs = append(p.Jobs, store.JobRow{Summary: cloudcrowd.JobSummary{ID: cloudcrowd.JobID(j), Tasks: seq}})
		}
		for _, w := range workers {
			p.Records = append(p.Records, store.RecordRow{Worker: cloudcrowd.WorkerID(w), Record: cloudcrowd.Record{Valid: seq}})
		}
		id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: "a", Index: int32(seq)}, N: 1}
		p.Tasks, p.Attempts, p.Charges = []cloudcrowd.Task{{ID: id.Task}}, []cloudcrowd.Attempt{{ID: id}}, []cloudcrowd.Charge{{Attempt: id}}
		return p
	}
	all := Joined([]store.Projected{row(5, "ab", "xy"), row(6, "b", "z"), row(7, "cb", "x")})
	if all.Shard != 2 || all.From != 4 || all.To != 7 {
		t.Errorf("%d: rows %d to %d", all.Shard, all.From, all.To)
	}
	text := ""
	for _, j := range all.Jobs {
		text += fmt.Sprint(j.Summary.ID, j.Summary.Tasks, " ")
	}
	for _, r := range all.Records {
		text += fmt.Sprint(r.Worker, r.Record.Valid, " ")
	}
	for i := range all.Tasks {
		text += fmt.Sprint(all.Tasks[i].ID.Index, all.Attempts[i].ID.Task.Index, all.Charges[i].Attempt.Task.Index, " ")
	}
	if want := "a5 b7 c7 x7 y5 z6 5 5 5 6 6 6 7 7 7 "; text != want {
		t.Errorf("%q, want %q", text, want)
	}
}

// settled is a state with finished tasks, and what one journal row that finished them all asks for.
func settled(t testing.TB, tasks int) (*Manager, *lifecycle.State, *lifecycle.Out) {
	r := newRig(t, nil)
	w := r.join("a", "bob", 8, nil)
	id := cloudcrowd.NewJobID(r.clock(), 1)
	stage := &lifecycle.Stage{}
	st, out := lifecycle.NewState(0), &lifecycle.Out{}
	st.Jobs[id] = &lifecycle.Job{ID: id, Spec: r.spec("first", int64(tasks), false, one), Stages: []*lifecycle.Stage{stage}}
	for i := range int32(tasks) {
		name := cloudcrowd.TaskID{Job: id, Index: i}
		aid := cloudcrowd.AttemptID{Task: name, N: 1}
		a := &lifecycle.Attempt{N: 1, Worker: w, State: cloudcrowd.AttemptAccepted, EndedAt: 5, Result: &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded}}
		stage.Tasks = append(stage.Tasks, &lifecycle.Task{State: cloudcrowd.TaskDone, Unit: cloudcrowd.Unit{Lo: int64(i), Hi: int64(i) + 1}, Canonical: 1, Attempts: []*lifecycle.Attempt{a}})
		out.Tasks, out.Attempts = append(out.Tasks, name, name), append(out.Attempts, aid)
		out.Charges = append(out.Charges, cloudcrowd.Charge{Attempt: aid, Worker: w})
	}
	out.Records = []lifecycle.Changed{{Worker: w, Record: &cloudcrowd.Record{Valid: int64(tasks)}}}
	return r.m, st, out
}

// What a row names several times is projected once, with the shard and the row in its charges, and what it asked for stays as it was.
func TestRowsOnce(t *testing.T) {
	t.Parallel()
	m, st, out := settled(t, 5)
	out.Attempts = out.Attempts[:4] // the last one was final before
	before := fmt.Sprintf("%+v", out)
	p := rowsOf(m, st, 9, 1, out)
	if len(p.Tasks) != 5 || len(p.Attempts) != 5 || len(p.Charges) != 5 || len(p.Records) != 1 || p.From != 8 || p.To != 9 || p.Charges[3].Seq != 9 {
		t.Errorf("%+v", p)
	}
	for i, a := range p.Attempts {
		if a.WorkerName != "a" || a.ID.Task.Index != int32(i) || p.Tasks[i].Label != fmt.Sprint("number ", i) {
			t.Errorf("%+v, %+v", a, p.Tasks[i])
		}
	}
	if after := fmt.Sprintf("%+v", out); !reflect.DeepEqual(before, after) {
		t.Errorf("the row's own lists were changed:\n%s\n%s", before, after)
	}
}

// BenchmarkRows measures what the loop does for the tables in a row that finishes 200 tasks; the figure is per task.
func BenchmarkRows(b *testing.B) {
	m, st, out := settled(b, 200)
	b.ReportAllocs()
	for b.Loop() {
		rowsOf(m, st, 9, 1, out)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/task")
}
