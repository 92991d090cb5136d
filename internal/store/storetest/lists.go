package storetest

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// wantList reads a list in several page sizes and compares it with the expected one.
func wantList[T any](t *testing.T, what string, want []T, read func(store.Page) ([]T, string, error)) {
	t.Helper()
	for _, size := range []int{1, 2, 7, 0, 1000} {
		list := allPages(t, size, read)
		if len(list) != len(want) || len(want) > 0 && !reflect.DeepEqual(list, want) {
			t.Errorf("%s in pages of %d: %d items, want %d in this order", what, size, len(list), len(want))
		}
	}
}

func filtered[T any](list []T, match func(T) bool) (out []T) {
	for _, v := range list {
		if match(v) {
			out = append(out, v)
		}
	}
	return out
}

// Jobs are listed newest first under every filter.
func jobLists(t *testing.T, s store.Store) {
	journaled(t, s, 0, 1)
	var all []store.JobRow
	states := []cloudcrowd.JobState{cloudcrowd.JobDone, cloudcrowd.JobRunning, cloudcrowd.JobFailed}
	for i := range 30 {
		all = append(all, sampleJob(i, cloudcrowd.AccountID([]string{"anna", "bert"}[i%2]), states[i%3]))
	}
	all[4].Summary.Name = "Straße 100% _x_ Ärger"
	must(t, s.Project(t.Context(), store.Projected{To: 1, Jobs: all}))
	for i := range all {
		all[i].Detail = nil
	}
	slices.SortFunc(all, func(a, b store.JobRow) int {
		return cmp.Or(cmp.Compare(b.Summary.SubmittedAt, a.Summary.SubmittedAt), cmp.Compare(b.Summary.ID, a.Summary.ID))
	})
	filters := map[store.JobFilter]func(cloudcrowd.JobSummary) bool{
		{}:                       func(cloudcrowd.JobSummary) bool { return true },
		{Account: "anna"}:        func(j cloudcrowd.JobSummary) bool { return j.Account == "anna" },
		{State: "running"}:       func(j cloudcrowd.JobSummary) bool { return j.State == "running" },
		{Text: "NUMBER 1"}:       func(j cloudcrowd.JobSummary) bool { return strings.HasPrefix(j.Name, "Job Number 1") },
		{Text: "ärger"}:          func(j cloudcrowd.JobSummary) bool { return strings.HasSuffix(j.Name, "Ärger") },
		{Text: "%"}:              func(j cloudcrowd.JobSummary) bool { return strings.Contains(j.Name, "%") },
		{Text: string(jobID(7))}: func(j cloudcrowd.JobSummary) bool { return j.ID == jobID(7) },
		{Account: "bert", State: "done", Text: "number 2"}: func(j cloudcrowd.JobSummary) bool {
			return j.Account == "bert" && j.State == "done" && strings.HasPrefix(j.Name, "Job Number 2")
		},
		{Account: "nobody"}: func(cloudcrowd.JobSummary) bool { return false },
	}
	for f, match := range filters {
		want := filtered(all, func(j store.JobRow) bool { return match(j.Summary) })
		wantList(t, fmt.Sprintf("jobs %+v", f), want, func(p store.Page) ([]store.JobRow, string, error) { return s.Jobs(t.Context(), f, p) })
	}
}

// Tasks are listed by stage and index, attempts by task and number or newest first; numbers sort as numbers.
func taskLists(t *testing.T, s store.Store) {
	journaled(t, s, 0, 1)
	var tasks []cloudcrowd.Task
	var attempts []cloudcrowd.Attempt
	for _, job := range []int{1, 2} {
		for stage := range int32(2) {
			for index := range int32(12) {
				task := sampleTask(jobID(job), stage, index)
				tasks = append(tasks, task)
				for n := range int32(2) {
					attempts = append(attempts, sampleAttempt(task.ID, n+1, cloudcrowd.WorkerID(fmt.Sprint("U", (index+n)%3)), cloudcrowd.Time(10*(index/3))))
				}
			}
		}
	}
	must(t, s.Project(t.Context(), store.Projected{To: 1, Tasks: tasks, Attempts: attempts}))
	for stage := int32(-1); stage < 3; stage++ {
		want := filtered(tasks, func(x cloudcrowd.Task) bool { return x.Job == jobID(1) && (stage < 0 || x.ID.Stage == stage) })
		wantList(t, fmt.Sprint("tasks of stage ", stage), want, func(p store.Page) ([]cloudcrowd.Task, string, error) {
			return s.Tasks(t.Context(), jobID(1), stage, p)
		})
	}
	want := filtered(attempts, func(x cloudcrowd.Attempt) bool { return x.ID.Task.Job == jobID(2) })
	wantList(t, "attempts of a job", want, func(p store.Page) ([]cloudcrowd.Attempt, string, error) {
		return s.JobAttempts(t.Context(), jobID(2), p)
	})
	want = filtered(attempts, func(x cloudcrowd.Attempt) bool { return x.Worker == "U1" })
	slices.SortFunc(want, func(a, b cloudcrowd.Attempt) int { return newestAttempt(a.EndedAt, b.EndedAt, a.ID, b.ID) })
	wantList(t, "attempts of a worker", want, func(p store.Page) ([]cloudcrowd.Attempt, string, error) {
		return s.WorkerAttempts(t.Context(), "U1", p)
	})
}

// newestAttempt orders by time, then id, newest first.
func newestAttempt(at, bt cloudcrowd.Time, a, b cloudcrowd.AttemptID) int {
	return cmp.Or(cmp.Compare(bt, at), cmp.Compare(b.Task.Job, a.Task.Job), cmp.Compare(b.Task.Stage, a.Task.Stage), cmp.Compare(b.Task.Index, a.Task.Index), cmp.Compare(b.N, a.N))
}

// Charges are listed newest first under every filter.
func chargeLists(t *testing.T, s store.Store) {
	journaled(t, s, 0, 1)
	var all []cloudcrowd.Charge
	for i := range int32(48) {
		all = append(all, cloudcrowd.Charge{
			Attempt: cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: jobID(int(i % 4)), Stage: i % 2, Index: i / 8}, N: 1 + i}, Worker: cloudcrowd.WorkerID(fmt.Sprint("U", i%5)),
			Requester: cloudcrowd.AccountID([]string{"anna", "bert"}[i%2]), Owner: cloudcrowd.AccountID([]string{"carl", "dora", "emil"}[i%3]),
			Gross: cloudcrowd.Credits(i), Fee: 1, CoreSeconds: float64(i) / 8, At: cloudcrowd.Time(i / 5), Seq: int64(i),
		})
	}
	must(t, s.Project(t.Context(), store.Projected{To: 1, Charges: all}))
	slices.SortFunc(all, func(a, b cloudcrowd.Charge) int { return newestAttempt(a.At, b.At, a.Attempt, b.Attempt) })
	task := all[0].Attempt.Task
	tests := []struct {
		f     store.ChargeFilter
		match func(cloudcrowd.Charge) bool
	}{
		{store.ChargeFilter{}, func(cloudcrowd.Charge) bool { return true }},
		{store.ChargeFilter{Job: jobID(1)}, func(c cloudcrowd.Charge) bool { return c.Attempt.Task.Job == jobID(1) }},
		{store.ChargeFilter{Requester: "anna"}, func(c cloudcrowd.Charge) bool { return c.Requester == "anna" }},
		{store.ChargeFilter{Owner: "dora"}, func(c cloudcrowd.Charge) bool { return c.Owner == "dora" }},
		{store.ChargeFilter{Worker: "U3"}, func(c cloudcrowd.Charge) bool { return c.Worker == "U3" }},
		{store.ChargeFilter{Task: &task}, func(c cloudcrowd.Charge) bool { return c.Attempt.Task == task }},
		{store.ChargeFilter{Since: 3, Until: 6}, func(c cloudcrowd.Charge) bool { return c.At >= 3 && c.At < 6 }},
		{store.ChargeFilter{Owner: "carl", Worker: "U1", Requester: "anna", Since: 1}, func(c cloudcrowd.Charge) bool {
			return c.Owner == "carl" && c.Worker == "U1" && c.Requester == "anna" && c.At >= 1
		}},
	}
	for _, tt := range tests {
		wantList(t, fmt.Sprintf("charges %+v", tt.f), filtered(all, tt.match), func(p store.Page) ([]cloudcrowd.Charge, string, error) {
			return s.Charges(t.Context(), tt.f, p)
		})
	}
}
