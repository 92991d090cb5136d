package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// finished is a naive twin of the tables of finished work: the newest version of everything, in maps.
type finished struct {
	b        *book
	to       int64 // projected
	tasks    map[cloudcrowd.TaskID]cloudcrowd.Task
	attempts map[cloudcrowd.AttemptID]cloudcrowd.Attempt
	charges  map[cloudcrowd.AttemptID]cloudcrowd.Charge
}

func newFinished(t testing.TB, s store.Store) *finished {
	return &finished{newBook(t, s, 0), 0, map[cloudcrowd.TaskID]cloudcrowd.Task{}, map[cloudcrowd.AttemptID]cloudcrowd.Attempt{}, map[cloudcrowd.AttemptID]cloudcrowd.Charge{}}
}

// project writes a stretch of one journal row to the store and to the twin.
func (f *finished) project(p store.Projected) {
	f.b.t.Helper()
	f.b.commit(f.b.batch())
	p.From, p.To = f.to, f.to+1
	f.to++
	must(f.b.t, f.b.s.Project(f.b.t.Context(), p))
	for _, v := range p.Tasks {
		f.tasks[v.ID] = v
	}
	for _, v := range p.Attempts {
		f.attempts[v.ID] = v
	}
	for _, v := range p.Charges {
		f.charges[v.Attempt] = v
	}
}

// done is a finished task with an attempt and its charge, at a time.
func done(p *store.Projected, id cloudcrowd.TaskID, worker cloudcrowd.WorkerID, at cloudcrowd.Time) {
	a := sampleAttempt(id, 1, worker, at)
	p.Tasks, p.Attempts = append(p.Tasks, sampleTask(id.Job, id.Stage, id.Index)), append(p.Attempts, a)
	p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: a.ID, Worker: worker, Requester: "anna", Owner: "owner-of-" + cloudcrowd.AccountID(worker), Gross: 12, Fee: 1, CoreSeconds: 0.5, At: at, Seq: 1})
}

func listed[K comparable, V any](m map[K]V, match func(V) bool, compare func(a, b V) int) []V {
	return slices.SortedFunc(func(yield func(V) bool) {
		for v := range maps.Values(m) {
			if match(v) && !yield(v) {
				return
			}
		}
	}, compare)
}

func compareAttempts(a, b cloudcrowd.AttemptID) int {
	return cmp.Or(cmp.Compare(a.Task.Job, b.Task.Job), cmp.Compare(a.Task.Stage, b.Task.Stage), cmp.Compare(a.Task.Index, b.Task.Index), cmp.Compare(a.N, b.N))
}

// wantPages reads a list in pages and compares it.
func wantPages[T any](t testing.TB, what string, size int, want []T, read func(store.Page) ([]T, string, error)) {
	t.Helper()
	list := allPages(t, size, read)
	if len(list) == len(want) && (len(want) == 0 || reflect.DeepEqual(list, want)) {
		return
	}
	for i := range min(len(list), len(want)) {
		if !reflect.DeepEqual(list[i], want[i]) {
			t.Fatalf("%s in pages of %d: item %d of %d is\n%+v\nwant\n%+v", what, size, i, len(list), list[i], want[i])
		}
	}
	t.Fatalf("%s in pages of %d: %d items, want %d", what, size, len(list), len(want))
}

// compare reads everything under every list, in pages of the given size.
func (f *finished) compare(size int) {
	t, s, ctx := f.b.t, f.b.s, f.b.t.Context()
	t.Helper()
	jobs, workers, owners := map[cloudcrowd.JobID]bool{}, map[cloudcrowd.WorkerID]bool{}, map[cloudcrowd.AccountID]bool{}
	for id := range f.tasks {
		jobs[id.Job] = true
	}
	for _, a := range f.attempts {
		workers[a.Worker] = true
	}
	for _, c := range f.charges {
		owners[c.Owner] = true
	}
	for job := range jobs {
		for stage := int32(-1); stage < 2; stage++ {
			want := listed(f.tasks, func(v cloudcrowd.Task) bool { return v.ID.Job == job && (stage < 0 || v.ID.Stage == stage) }, func(a, b cloudcrowd.Task) int {
				return compareAttempts(cloudcrowd.AttemptID{Task: a.ID}, cloudcrowd.AttemptID{Task: b.ID})
			})
			wantPages(t, fmt.Sprintf("tasks of stage %d of %s", stage, job), size, want, func(p store.Page) ([]cloudcrowd.Task, string, error) { return s.Tasks(ctx, job, stage, p) })
			tries := map[cloudcrowd.TaskID][]cloudcrowd.Attempt{}
			for _, a := range f.attempts {
				tries[a.ID.Task] = append(tries[a.ID.Task], a)
			}
			for i := range want {
				want[i].Attempts = tries[want[i].ID]
				slices.SortFunc(want[i].Attempts, func(a, b cloudcrowd.Attempt) int { return compareAttempts(a.ID, b.ID) })
			}
			wantPages(t, fmt.Sprintf("whole tasks of stage %d of %s", stage, job), size, want, func(p store.Page) (list []cloudcrowd.Task, next string, err error) {
				var ids []cloudcrowd.TaskID
				if list, next, err = s.Tasks(ctx, job, stage, p); err == nil {
					for _, v := range list {
						ids = append(ids, v.ID)
					}
					list, err = s.WholeTasks(ctx, ids)
				}
				return list, next, err
			})
			if len(want) > 0 {
				a, b, c := want[0], want[len(want)/2], want[len(want)-1]
				if have := got(s.Task(ctx, b.ID))(t); !reflect.DeepEqual(have, b) {
					t.Fatalf("task\n%+v\nwant\n%+v", have, b)
				}
				mixed := []cloudcrowd.Task{c, a, b, a}
				if have := got(s.WholeTasks(ctx, []cloudcrowd.TaskID{c.ID, a.ID, b.ID, a.ID}))(t); !reflect.DeepEqual(have, mixed) {
					t.Fatalf("tasks\n%+v\nwant\n%+v", have, mixed)
				}
				_, err := s.WholeTasks(ctx, []cloudcrowd.TaskID{a.ID, {Job: job, Stage: 7}})
				wantCode(t, err, cloudcrowd.NotFound)
			}
		}
		wantPages(t, "attempts of "+string(job), size, listed(f.attempts, func(a cloudcrowd.Attempt) bool { return a.ID.Task.Job == job }, func(a, b cloudcrowd.Attempt) int { return compareAttempts(a.ID, b.ID) }),
			func(p store.Page) ([]cloudcrowd.Attempt, string, error) { return s.JobAttempts(ctx, job, p) })
		f.compareCharges(size, store.ChargeFilter{Job: job}, func(c cloudcrowd.Charge) bool { return c.Attempt.Task.Job == job })
	}
	for w := range workers {
		wantPages(t, "attempts of worker "+string(w), size, listed(f.attempts, func(a cloudcrowd.Attempt) bool { return a.Worker == w }, func(a, b cloudcrowd.Attempt) int { return newestAttempt(a.EndedAt, b.EndedAt, a.ID, b.ID) }),
			func(p store.Page) ([]cloudcrowd.Attempt, string, error) { return s.WorkerAttempts(ctx, w, p) })
		f.compareCharges(size, store.ChargeFilter{Worker: w}, func(c cloudcrowd.Charge) bool { return c.Worker == w })
	}
	for o := range owners {
		f.compareCharges(size, store.ChargeFilter{Owner: o}, func(c cloudcrowd.Charge) bool { return c.Owner == o })
	}
	f.compareCharges(size, store.ChargeFilter{}, func(cloudcrowd.Charge) bool { return true })
	f.compareCharges(size, store.ChargeFilter{Requester: "anna", Since: 500, Until: 1500}, func(c cloudcrowd.Charge) bool { return c.Requester == "anna" && c.At >= 500 && c.At < 1500 })
}

func (f *finished) compareCharges(size int, filter store.ChargeFilter, match func(cloudcrowd.Charge) bool) {
	f.b.t.Helper()
	want := listed(f.charges, match, func(a, b cloudcrowd.Charge) int { return newestAttempt(a.At, b.At, a.Attempt, b.Attempt) })
	wantPages(f.b.t, fmt.Sprintf("charges %+v", filter), size, want, func(p store.Page) ([]cloudcrowd.Charge, string, error) {
		return f.b.s.Charges(f.b.t.Context(), filter, p)
	})
}

// What a later stretch says of a task, an attempt or a charge replaces what earlier ones said, under every list: also where it now belongs to
// another worker or to another time, which happens to an attempt that was lost and reported after all.
func rewritten(t *testing.T, s store.Store) {
	f := newFinished(t, s)
	for round := range 4 {
		var p store.Projected
		for i := range int32(40) {
			if round > 0 && int(i)%(round+1) != 0 {
				continue
			}
			id := cloudcrowd.TaskID{Job: jobID(1), Stage: i % 2, Index: i / 2}
			at := cloudcrowd.Time(1000*round) + cloudcrowd.Time(i)
			if round == 3 {
				at = cloudcrowd.Time(5 + i%3)
			}
			done(&p, id, cloudcrowd.WorkerID(fmt.Sprint("U", (int(i)+round)%3)), at)
			last := len(p.Tasks) - 1
			p.Tasks[last].Label, p.Attempts[last].Verdict, p.Charges[last].Gross = fmt.Sprint("in round ", round), fmt.Sprint("in round ", round), cloudcrowd.Credits(round)
			if i%5 == 0 {
				p.Attempts = append(p.Attempts, sampleAttempt(id, 2+int32(round), "U1", at))
			}
		}
		f.project(p)
		f.compare(9)
	}
	// When a job ends, attempts and charges of its tasks come without the tasks.
	var p store.Projected
	for id, a := range f.attempts {
		if id.Task.Index%2 == 0 && id.N == 1 {
			a.State, a.Charge = cloudcrowd.AttemptAccepted, 77
			p.Attempts = append(p.Attempts, a)
			p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: id, Worker: a.Worker, Requester: "anna", Owner: "owner", Gross: 77, At: 9000, Seq: 5})
		}
	}
	f.project(p)
	for _, size := range []int{1, 7, 1000} {
		f.compare(size)
	}
	must(t, s.ClearProjection(t.Context(), 0))
	if list := got2(s.WorkerAttempts(t.Context(), "U1", store.Page{}))(t); len(list) != 0 {
		t.Errorf("%d attempts after everything was cleared", len(list))
	}
}

// Stretches whose tasks lie between one another's, over the bounds at which a store may divide them, read as one list, in pages of any size.
func overlapping(t *testing.T, s store.Store) {
	f := newFinished(t, s)
	for k := range int32(7) {
		var p store.Projected
		for i := k; i < 1400; i += 7 + k {
			done(&p, cloudcrowd.TaskID{Job: jobID(1 + int(i%2)), Index: i}, cloudcrowd.WorkerID(fmt.Sprint("U", i%5)), cloudcrowd.Time(i)*10+cloudcrowd.Time(k))
		}
		f.project(p)
	}
	for _, size := range []int{77, 1000} {
		f.compare(size)
	}
}

// A stretch of many tasks is written and read whole.
func longStretch(t *testing.T, s store.Store) {
	f := newFinished(t, s)
	var p store.Projected
	for i := range int32(5000) {
		done(&p, cloudcrowd.TaskID{Job: jobID(1), Index: i}, cloudcrowd.WorkerID(fmt.Sprint("U", i%7)), cloudcrowd.Time(i/3))
	}
	f.project(p)
	f.compare(1000)
}

// Many stretches of one task each are a list like others, also where they come in disorder.
func shortStretches(t *testing.T, s store.Store) {
	f := newFinished(t, s)
	for i := range int32(300) {
		var p store.Projected
		done(&p, cloudcrowd.TaskID{Job: jobID(1), Index: i * 89 % 300}, cloudcrowd.WorkerID(fmt.Sprint("U", i%3)), cloudcrowd.Time(2*i))
		f.project(p)
		if i == 150 {
			f.compare(100)
		}
	}
	f.compare(50)
}
