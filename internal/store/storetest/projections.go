package storetest

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// journaled returns a book whose journal has n rows, so that they can be projected.
func journaled(t testing.TB, s store.Store, shard, n int) *book {
	b := newBook(t, s, shard)
	for range n {
		b.commit(b.batch())
	}
	return b
}

func sampleTask(job cloudcrowd.JobID, stage, index int32) cloudcrowd.Task {
	return cloudcrowd.Task{
		ID: cloudcrowd.TaskID{Job: job, Stage: stage, Index: index}, Job: job, Stage: fmt.Sprintf("stage%d", stage), Index: index, State: cloudcrowd.TaskDone,
		Unit: cloudcrowd.Unit{Lo: 10, Hi: 20}, Label: "bases 10–20", Quorum: 2, Canonical: 1, Cost: 7, CreatedAt: 5, EndedAt: 50,
		Outputs: []cloudcrowd.OutputFile{{Path: "a/ü.txt", Digest: cloudcrowd.Digest(strings.Repeat("ab", 32)), SizeBytes: 3}},
	}
}

func sampleAttempt(task cloudcrowd.TaskID, n int32, worker cloudcrowd.WorkerID, ended cloudcrowd.Time) cloudcrowd.Attempt {
	return cloudcrowd.Attempt{
		ID: cloudcrowd.AttemptID{Task: task, N: n}, Stage: "count", Worker: worker, WorkerName: "shed", State: cloudcrowd.AttemptAccepted, LeasedAt: ended - 5, EndedAt: ended,
		Result: &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Usage: cloudcrowd.Usage{CPUSeconds: 1.5, PeakMemoryBytes: 1 << 40}, Outputs: []cloudcrowd.OutputFile{{Path: "out"}}},
		Charge: 12, Verdict: "agreed", Why: cloudcrowd.Why{FinishSeconds: 2.25, Candidates: 3, Purpose: "copy",
			Turn: &cloudcrowd.Turn{UsageCoreSeconds: 1.5, Requesters: 2, Priority: -3}, Late: &cloudcrowd.Late{N: 1, ElapsedSeconds: 7}},
	}
}

func sampleJob(n int, account cloudcrowd.AccountID, state cloudcrowd.JobState) store.JobRow {
	return store.JobRow{
		Summary: cloudcrowd.JobSummary{ID: jobID(n), Name: fmt.Sprintf("Job Number %d", n), Account: account, State: state, SubmittedAt: cloudcrowd.Time(100 * (n / 2)),
			Stages: []cloudcrowd.StageView{{Name: "count", Tasks: 3}}, Budget: 5, Progress: 0.5},
		Detail: fmt.Appendf(nil, `{"job":"%s"}`, jobID(n)),
	}
}

// What was projected reads back equal, the same stretch cannot be projected twice, and later rows replace earlier ones.
func project(t *testing.T, s store.Store) {
	journaled(t, s, 0, 5)
	job := sampleJob(1, "anna", cloudcrowd.JobRunning)
	task := sampleTask(jobID(1), 0, 3)
	attempts := []cloudcrowd.Attempt{sampleAttempt(task.ID, 1, "UA", 40), sampleAttempt(task.ID, 2, "UB", 41)}
	charge := cloudcrowd.Charge{Attempt: attempts[0].ID, Worker: "UA", Requester: "anna", Owner: "bert", Gross: 12, Fee: 1, CoreSeconds: 0.125, At: 40, Seq: 2}
	record := store.RecordRow{Worker: "UA", Record: cloudcrowd.Record{Valid: 3, Streak: 2, Earned: 11, LastInvalid: 9}}
	must(t, s.Project(t.Context(), store.Projected{From: 0, To: 2, Jobs: []store.JobRow{job}, Tasks: []cloudcrowd.Task{task}, Attempts: attempts,
		Charges: []cloudcrowd.Charge{charge}, Records: []store.RecordRow{record}}))
	if to := got(s.ProjectedTo(t.Context(), 0))(t); to != 2 {
		t.Errorf("projected to %d, want 2", to)
	}
	same := func(what string, have, want any) {
		t.Helper()
		if !reflect.DeepEqual(have, want) {
			t.Errorf("%s:\n%+v\nwant\n%+v", what, have, want)
		}
	}
	same("job", got(s.Job(t.Context(), jobID(1)))(t), job)
	same("tasks", got2(s.Tasks(t.Context(), jobID(1), -1, store.Page{}))(t), []cloudcrowd.Task{task})
	whole := task
	whole.Attempts = attempts
	same("task", got(s.Task(t.Context(), task.ID))(t), whole)
	same("attempts of the job", got2(s.JobAttempts(t.Context(), jobID(1), store.Page{}))(t), attempts)
	same("attempts of the worker", got2(s.WorkerAttempts(t.Context(), "UB", store.Page{}))(t), attempts[1:])
	same("charges", got2(s.Charges(t.Context(), store.ChargeFilter{}, store.Page{}))(t), []cloudcrowd.Charge{charge})
	same("records", got(s.Records(t.Context()))(t), []store.RecordRow{record})

	job.Summary.State, job.Summary.Name, job.Detail = cloudcrowd.JobDone, "renamed", []byte("{}")
	record.Record.Valid++
	must(t, s.Project(t.Context(), store.Projected{From: 2, To: 5, Jobs: []store.JobRow{job}, Records: []store.RecordRow{record}}))
	same("job replaced", got(s.Job(t.Context(), jobID(1)))(t), job)
	same("records replaced", got(s.Records(t.Context()))(t), []store.RecordRow{record})
	if list := got2(s.Jobs(t.Context(), store.JobFilter{State: cloudcrowd.JobRunning}, store.Page{}))(t); len(list) != 0 {
		t.Errorf("the job is still listed as running: %v", list)
	}
	_, err := s.Job(t.Context(), jobID(77))
	wantCode(t, err, cloudcrowd.NotFound)
	_, err = s.Task(t.Context(), cloudcrowd.TaskID{Job: jobID(1), Index: 77})
	wantCode(t, err, cloudcrowd.NotFound)
}

// A stretch that does not begin where the tables stand, or that is ahead of the journal, is refused and writes nothing.
func projectRefuses(t *testing.T, s store.Store) {
	journaled(t, s, 0, 4)
	if to := got(s.ProjectedTo(t.Context(), 0))(t); to != 0 {
		t.Errorf("a new shard is projected to %d", to)
	}
	must(t, s.Project(t.Context(), store.Projected{To: 2}))
	for _, span := range [][2]int64{{0, 2}, {1, 3}, {3, 4}, {2, 5}, {2, 1}} {
		err := s.Project(t.Context(), store.Projected{From: span[0], To: span[1], Jobs: []store.JobRow{sampleJob(1, "anna", cloudcrowd.JobDone)}})
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("rows %d..%d after 2 of 4: %v, want ErrFenced", span[0], span[1], err)
		}
	}
	if list := got2(s.Jobs(t.Context(), store.JobFilter{}, store.Page{}))(t); len(list) != 0 {
		t.Errorf("refused stretches left %v", list)
	}
	if err := s.Project(t.Context(), store.Projected{Shard: 9, To: 0}); !errors.Is(err, store.ErrFenced) {
		t.Errorf("unknown shard: %v, want ErrFenced", err)
	}
}

// Every shard keeps a record of its own of a worker; clearing one leaves the others.
func recordsByShard(t *testing.T, s store.Store) {
	row := func(worker cloudcrowd.WorkerID, shard int, valid int64) store.RecordRow {
		return store.RecordRow{Worker: worker, Shard: shard, Record: cloudcrowd.Record{Valid: valid}}
	}
	for shard := range 3 {
		journaled(t, s, shard, 2)
		must(t, s.Project(t.Context(), store.Projected{Shard: shard, To: 1, Records: []store.RecordRow{row("UB", shard, 7), row("UA", shard, int64(shard))}}))
	}
	must(t, s.Project(t.Context(), store.Projected{Shard: 1, From: 1, To: 2, Records: []store.RecordRow{row("UA", 1, 10)}}))
	want := []store.RecordRow{row("UA", 0, 0), row("UA", 1, 10), row("UA", 2, 2), row("UB", 0, 7), row("UB", 1, 7), row("UB", 2, 7)}
	if have := got(s.Records(t.Context()))(t); !reflect.DeepEqual(have, want) {
		t.Errorf("records %+v, want %+v", have, want)
	}
	must(t, s.ClearProjection(t.Context(), 1))
	want = []store.RecordRow{want[0], want[2], want[3], want[5]}
	if have := got(s.Records(t.Context()))(t); !reflect.DeepEqual(have, want) {
		t.Errorf("records after clearing shard 1: %+v, want %+v", have, want)
	}
}

// Clearing a shard's tables leaves those of the others and lets the projection begin anew.
func clearProjection(t *testing.T, s store.Store) {
	for shard := range 2 {
		journaled(t, s, shard, 1)
		task := sampleTask(jobID(shard), 0, 0)
		a := sampleAttempt(task.ID, 1, cloudcrowd.WorkerID(fmt.Sprint("U", shard)), 3)
		p := store.Projected{Shard: shard, To: 1, Jobs: []store.JobRow{sampleJob(shard, "anna", cloudcrowd.JobDone)}, Tasks: []cloudcrowd.Task{task}, Attempts: []cloudcrowd.Attempt{a},
			Charges: []cloudcrowd.Charge{{Attempt: a.ID, Requester: "anna", At: 3, Shard: shard}}, Records: []store.RecordRow{{Worker: a.Worker}}}
		must(t, s.Project(t.Context(), p))
	}
	must(t, s.ClearProjection(t.Context(), 0))
	if a, b := got(s.ProjectedTo(t.Context(), 0))(t), got(s.ProjectedTo(t.Context(), 1))(t); a != 0 || b != 1 {
		t.Errorf("projected to %d and %d, want 0 and 1", a, b)
	}
	_, err := s.Job(t.Context(), jobID(0))
	wantCode(t, err, cloudcrowd.NotFound)
	got(s.Task(t.Context(), cloudcrowd.TaskID{Job: jobID(1)}))(t)
	counts := []int{len(got2(s.Jobs(t.Context(), store.JobFilter{}, store.Page{}))(t)), len(got2(s.Charges(t.Context(), store.ChargeFilter{}, store.Page{}))(t)), len(got(s.Records(t.Context()))(t)),
		len(got2(s.JobAttempts(t.Context(), jobID(0), store.Page{}))(t)), len(got2(s.Tasks(t.Context(), jobID(0), -1, store.Page{}))(t))}
	if !reflect.DeepEqual(counts, []int{1, 1, 1, 0, 0}) {
		t.Errorf("jobs, charges, records, attempts and tasks left: %v", counts)
	}
	must(t, s.Project(t.Context(), store.Projected{To: 1}))
}

// Estimates may be infinite; they must not stop the projection.
func oddNumbers(t *testing.T, s store.Store) {
	journaled(t, s, 0, 1)
	task := sampleTask(jobID(1), 0, 0)
	a := sampleAttempt(task.ID, 1, "UA", 4)
	a.Why.FinishSeconds, a.Result.Usage.CPUSeconds = math.Inf(1), math.NaN()
	j := sampleJob(1, "anna", cloudcrowd.JobDone)
	j.Summary.RemainingSeconds[1] = math.Inf(1)
	must(t, s.Project(t.Context(), store.Projected{To: 1, Jobs: []store.JobRow{j}, Attempts: []cloudcrowd.Attempt{a}, Charges: []cloudcrowd.Charge{{Attempt: a.ID, CoreSeconds: math.NaN()}}}))
	if !math.IsNaN(a.Result.Usage.CPUSeconds) {
		t.Error("the caller's value was changed")
	}
	if list := got2(s.JobAttempts(t.Context(), jobID(1), store.Page{}))(t); len(list) != 1 {
		t.Errorf("attempts %v, want one", list)
	}
	got(s.Job(t.Context(), jobID(1)))(t)
	got2(s.Charges(t.Context(), store.ChargeFilter{}, store.Page{}))(t)
}
