package taskmanager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Tasks and attempts of a job in memory and of one in the tables read alike.
func TestTasksAndAttempts(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	a, b := r.join("a", "bob", 2, nil), r.join("b", "eve", 2, nil)
	id := r.submit("ada", "", r.spec("s", 5, true, cloudcrowd.Verify{Replicas: 2, Quorum: 2}))
	r.work(a, b)
	read := func() string {
		var out strings.Builder
		cursor := ""
		for {
			var next string
			for _, task := range must(r, func(ctx context.Context) ([]cloudcrowd.Task, error) {
				list, n, err := r.m.Tasks(ctx, id, "work", "", store.Page{Limit: 2, Cursor: cursor})
				next = n
				return list, err
			}) {
				fmt.Fprintf(&out, "%d %s %d attempts %s\n", task.Index, task.State, len(task.Attempts), task.Label)
			}
			if cursor = next; cursor == "" {
				break
			}
		}
		for {
			var next string
			for _, at := range must(r, func(ctx context.Context) ([]cloudcrowd.Attempt, error) {
				list, n, err := r.m.Attempts(ctx, id, store.Page{Limit: 3, Cursor: cursor})
				next = n
				return list, err
			}) {
				fmt.Fprintf(&out, "%s %s %s %d\n", at.ID, at.WorkerName, at.State, at.Charge)
			}
			if cursor = next; cursor == "" {
				return out.String()
			}
		}
	}
	before := read()
	if strings.Count(before, "done 2 attempts") != 5 || strings.Count(before, "accepted") != 10 {
		t.Fatal(before)
	}
	page := func(state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error) {
		t.Helper()
		var next string
		list, err := call(r, func(ctx context.Context) (list []cloudcrowd.Task, err error) {
			list, next, err = r.m.Tasks(ctx, id, "", state, p)
			return list, err
		})
		return list, next, err
	}
	_, cursor, err := page("", store.Page{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.pass(time.Minute + time.Second)
		r.issue("ada", 1)
	}
	if r.m.State().Jobs[id] != nil {
		t.Fatal("the job is still in memory")
	}
	if after := read(); after != before {
		t.Fatalf("in memory\n%s\nin the tables\n%s", before, after)
	}
	if list, _, err := page("", store.Page{Limit: 2, Cursor: cursor}); err != nil || len(list) != 2 || list[0].Index != 2 {
		t.Errorf("a list that began while the job was in memory goes on with %v, %v", list, err)
	}
	if _, err := call(r, func(ctx context.Context) ([]cloudcrowd.Task, error) {
		list, _, err := r.m.Tasks(ctx, id, "nowhere", "", store.Page{})
		return list, err
	}); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		t.Errorf("a stage that is not there: %v", err)
	}
	e := must(r, func(ctx context.Context) (cloudcrowd.Explanation, error) { return r.m.Explain(ctx, id) })
	if text := strings.Join(e.Lines, "\n"); !strings.Contains(text, "It is done after") || !strings.Contains(text, "the rest went back") {
		t.Errorf("explained from the tables: %q", e.Lines)
	}
}

// Tasks of one state are listed by full pages, wherever the others stand between them.
func TestTasksByState(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	w := r.join("a", "bob", 5, nil)
	id := r.submit("ada", "", r.spec("s", 5, false, cloudcrowd.Verify{None: true}))
	r.step()
	for _, l := range r.received(w).Leases {
		if l.Attempt.Task.Index%2 == 1 {
			r.pass(time.Second)
			r.answer(w, l.Attempt, "x")
		}
	}
	if _, err := call(r, func(ctx context.Context) (int, error) { return 0, r.m.Cancel(ctx, id, "ada", "enough") }); err != nil {
		t.Fatal(err)
	}
	for _, where := range []string{"memory", "tables"} {
		for state, want := range map[cloudcrowd.TaskState][]int32{cloudcrowd.TaskDone: {1, 3}, "": {0, 1, 2, 3, 4}} {
			var got []int32
			for cursor, more := "", true; more; more = cursor != "" {
				list := must(r, func(ctx context.Context) (list []cloudcrowd.Task, err error) {
					list, cursor, err = r.m.Tasks(ctx, id, "", state, store.Page{Limit: 1, Cursor: cursor})
					return list, err
				})
				if len(list) != 1 && cursor != "" {
					t.Errorf("%s: a page of %d tasks", where, len(list))
				}
				for _, task := range list {
					got = append(got, task.Index)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: tasks that are %q: %v, not %v", where, state, got, want)
			}
		}
		for range 3 {
			r.pass(time.Minute + time.Second)
			r.issue("ada", 1)
		}
	}
}
