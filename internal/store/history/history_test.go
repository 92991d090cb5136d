package history

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

const job = cloudcrowd.JobID("j0000000000000000")

// full is an item of each kind with every field set.
func full() store.Projected {
	digest := func(c string) cloudcrowd.Digest { return cloudcrowd.Digest(strings.Repeat(c, 64)) }
	id := cloudcrowd.TaskID{Job: job, Stage: 2, Index: 700}
	outputs := []cloudcrowd.OutputFile{{Path: "a/ü.txt", Digest: digest("a"), SizeBytes: 3}, {Path: "b", Digest: "no digest"}, {Path: "c", Digest: digest("G")}}
	return store.Projected{Shard: 3, From: 4, To: 9,
		Tasks: []cloudcrowd.Task{{ID: id, Job: job, Stage: "count", Index: 700, State: cloudcrowd.TaskDone, Unit: cloudcrowd.Unit{Lo: -5, Hi: 1 << 60}, Label: "bases 0–147,455", Quorum: 2,
			Canonical: 1, Outputs: outputs, Cost: 7, CreatedAt: 5, EndedAt: 50, Reason: "it was so"}},
		Attempts: []cloudcrowd.Attempt{{ID: cloudcrowd.AttemptID{Task: id, N: 1}, Stage: "count", Worker: "UA", WorkerName: "shed", State: cloudcrowd.AttemptAccepted, LeasedAt: 35, EndedAt: 40,
			Result: &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, ExitCode: -3, Reason: "well", Outputs: outputs,
				Usage:      cloudcrowd.Usage{CPUSeconds: 1.5, WallSeconds: 0.1, PeakMemoryBytes: 1 << 40, InputBytes: 1, OutputBytes: 2},
				StderrTail: "oh\n", Log: digest("0")},
			ResultDigest: digest("f"), Progress: 0.5, Charge: 12, Verdict: "agreed",
			Why: cloudcrowd.Why{FinishSeconds: 2.25, WaitSeconds: 1, FetchSeconds: 2, RunSeconds: 3, Rank: 4, Candidates: 3, RunnerUp: "UB", RunnerUpSecs: 5, Purpose: "first",
				Turn: &cloudcrowd.Turn{UsageCoreSeconds: 1, Running: 2, Quota: 3, Weight: 4, Requesters: 5, Priority: 6, Slack: 7},
				Late: &cloudcrowd.Late{N: 1, ElapsedSeconds: 2, ExpectedSeconds: 3, RemainingSeconds: 4}}}},
		Charges: []cloudcrowd.Charge{{Attempt: cloudcrowd.AttemptID{Task: id, N: 1}, Worker: "UA", Requester: "anna", Owner: "bert", Gross: 12, Fee: 1, CoreSeconds: 0.125, At: 40, Shard: 3, Seq: 8}},
	}
}

// mustBeSet stops the test at a field that is zero: one that was added to the type and forgotten here, and perhaps in the format.
func mustBeSet(t *testing.T, what string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; what != "Task" || name != "Attempts" {
				mustBeSet(t, v.Type().Field(i).Name, v.Field(i))
			}
		}
	case reflect.Pointer:
		mustBeSet(t, what, v.Elem())
	case reflect.Slice:
		mustBeSet(t, what, v.Index(0))
	default:
		if v.IsZero() {
			t.Errorf("field %s is not tried", what)
		}
	}
}

// Every field of task, attempt and charge reads back as it was written, and so does an item of zeros.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	p := full()
	mustBeSet(t, "Task", reflect.ValueOf(p.Tasks[0]))
	mustBeSet(t, "Attempt", reflect.ValueOf(p.Attempts[0]))
	mustBeSet(t, "Charge", reflect.ValueOf(p.Charges[0]))
	id := cloudcrowd.TaskID{Job: job, Stage: 2, Index: 701}
	p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: id})
	p.Attempts = append(p.Attempts, cloudcrowd.Attempt{ID: cloudcrowd.AttemptID{Task: id, N: 2}})
	p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: cloudcrowd.AttemptID{Task: id, N: 2}})
	list := Cut(p)
	if len(list) != 1 || list[0].Key != (Key{Place{job, 2, 1}, 9, 0}) || list[0].Items() != 6 {
		t.Fatalf("%+v, want one segment", list)
	}
	s, err := Decode(list[0].Stored())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range [][2]any{{s.Tasks, p.Tasks}, {s.Attempts, p.Attempts}, {s.Charges, p.Charges}, {s.Shard, 3}} {
		if !reflect.DeepEqual(v[0], v[1]) {
			t.Errorf("read\n%+v\nwant\n%+v", v[0], v[1])
		}
	}
	one, err := decode(list[0].Stored(), attempts)
	if err != nil || one.Tasks != nil || one.Charges != nil || !reflect.DeepEqual(one.Attempts, p.Attempts) {
		t.Errorf("%+v, %v, want the attempts alone", one, err)
	}
}

// Numbers that JSON cannot hold become 0, and the caller's values stay as they are.
func TestOddNumbers(t *testing.T) {
	t.Parallel()
	p := full()
	p.Attempts[0].Why.FinishSeconds, p.Attempts[0].Result.Usage.CPUSeconds, p.Charges[0].CoreSeconds = math.Inf(-1), math.NaN(), math.Inf(1)
	s, err := Decode(Cut(p)[0].Stored())
	if err != nil {
		t.Fatal(err)
	}
	if s.Attempts[0].Why.FinishSeconds != 0 || s.Attempts[0].Result.Usage.CPUSeconds != 0 || s.Charges[0].CoreSeconds != 0 || s.Attempts[0].Why.WaitSeconds != 1 {
		t.Errorf("%+v, %+v", s.Attempts[0], s.Charges[0])
	}
	if !math.IsNaN(p.Attempts[0].Result.Usage.CPUSeconds) {
		t.Error("the caller's value was changed")
	}
}

// Any changed bit, a cut, and the right bytes under another key are named and not read.
func TestDamage(t *testing.T) {
	t.Parallel()
	p := full()
	for i := range 40 { // so many that it is compressed
		task := p.Tasks[0]
		task.ID.Index = 512 + int32(i)
		p.Tasks = append(p.Tasks, task)
	}
	for _, whole := range []Stored{Cut(p)[0].Stored(), Cut(store.Projected{To: 9, Charges: p.Charges})[0].Stored()} {
		mustBeCorrupt := func(what string, s Stored) {
			t.Helper()
			got, err := Decode(s)
			if e, ok := errors.AsType[*store.CorruptError](err); !ok || got != nil || e.What != s.Key.String() {
				t.Errorf("%s: %+v, %v, want a corrupt segment with its name", what, got, err)
			}
		}
		for i := range whole.Bytes {
			s := whole
			s.Bytes = slices.Clone(whole.Bytes)
			s.Bytes[i] ^= 1 << (i % 8)
			mustBeCorrupt(fmt.Sprint("byte ", i), s)
			s.Bytes = whole.Bytes[:i]
			mustBeCorrupt(fmt.Sprint("cut at ", i), s)
		}
		for what, change := range map[string]func(*Stored){
			"job": func(s *Stored) { s.Job = "j1" }, "stage": func(s *Stored) { s.Stage++ }, "block": func(s *Stored) { s.Block++ },
			"row": func(s *Stored) { s.Seq++ }, "part": func(s *Stored) { s.Part++ }, "shard": func(s *Stored) { s.Shard++ },
		} {
			s := whole
			change(&s)
			mustBeCorrupt(what, s)
		}
	}
}

// Bytes with a right checksum that no segment has are refused, whatever they are.
func FuzzDecode(f *testing.F) {
	p := full()
	f.Add(Cut(p)[0].encode()[HeadBytes:])
	f.Fuzz(func(t *testing.T, plain []byte) {
		s := &Segment{Key: Key{Place: Place{Job: job}}}
		if s.read(plain, everything) {
			_ = s.Stored()
		}
	})
}

// A stretch is cut by job, stage and block; the last of two versions counts, and large blocks are parted by task.
func TestCut(t *testing.T) {
	t.Parallel()
	at := func(job cloudcrowd.JobID, stage, index int32) cloudcrowd.TaskID {
		return cloudcrowd.TaskID{Job: job, Stage: stage, Index: index}
	}
	p := store.Projected{To: 7}
	for _, id := range []cloudcrowd.TaskID{at("b", 0, 512), at("a", 0, 3), at("a", 0, 1), at("a", 1, 1), at("a", 0, 511), at("a", 0, 512)} {
		p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: id, State: "old"}, cloudcrowd.Task{ID: id, State: "new", Attempts: []cloudcrowd.Attempt{{}}})
	}
	var got []string
	for _, s := range Cut(p) {
		line := fmt.Sprintf("%s-%d block %d row %d part %d:", s.Job, s.Stage, s.Block, s.Seq, s.Part)
		for _, v := range s.Tasks {
			if v.State != "new" || v.Attempts != nil {
				t.Errorf("%+v, want the new version without attempts", v)
			}
			line += fmt.Sprint(" ", v.ID.Index)
		}
		got = append(got, line)
	}
	want := []string{"b-0 block 1 row 7 part 0: 512", "a-0 block 0 row 7 part 0: 1 3 511", "a-1 block 0 row 7 part 0: 1", "a-0 block 1 row 7 part 0: 512"}
	if !slices.Equal(got, want) {
		t.Errorf("cut into\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}

	large := store.Projected{To: 7}
	for i := range int32(BlockTasks) {
		large.Attempts = append(large.Attempts, cloudcrowd.Attempt{ID: cloudcrowd.AttemptID{Task: at("a", 0, i), N: 1}, Result: &cloudcrowd.Result{StderrTail: strings.Repeat("x", 10_000)}})
	}
	large.Attempts[9].Result.StderrTail = strings.Repeat("x", 2*MaxPlain)
	n, total := int32(0), 0
	for _, s := range Cut(large) {
		if s.Part != n || s.size() > MaxPlain && len(s.Attempts) > 1 {
			t.Errorf("part %d has %d attempts of %d bytes", s.Part, len(s.Attempts), s.size())
		}
		n, total = n+1, total+len(s.Attempts)
	}
	if n < 6 || total != BlockTasks {
		t.Errorf("%d attempts in %d parts", total, n)
	}
}

// Merging keeps few segments however they arrive, writes each item again a few times only, and leaves large ones alone.
func TestPlan(t *testing.T) {
	t.Parallel()
	var list []Held
	written := 0
	for i := range 3 * BlockTasks {
		list = append(list, Held{Key{Place{job, 0, 0}, int64(i), 0}, 1, 100, nil})
		if from, to := Plan(list); from != to {
			sum := Held{Key: list[to-1].Key}
			for _, h := range list[from:to] {
				sum.Items, sum.Bytes = sum.Items+h.Items, sum.Bytes+h.Bytes
			}
			written += sum.Items
			list = slices.Replace(list, from, to, sum)
		}
		if len(list) > MaxSegments+1 {
			t.Fatalf("%d segments after %d", len(list), i)
		}
	}
	if written > 6*3*BlockTasks {
		t.Errorf("%d items were written again for %d", written, 3*BlockTasks)
	}
	large := slices.Repeat([]Held{{Key{}, 100, mergeBytes, nil}}, 50)
	if from, to := Plan(large); from != to {
		t.Errorf("segments %d to %d are merged, though each is large", from, to)
	}
}

// twin keeps the newest version of everything in maps.
type twin struct {
	tasks    map[cloudcrowd.TaskID]cloudcrowd.Task
	attempts map[cloudcrowd.AttemptID]cloudcrowd.Attempt
	charges  map[cloudcrowd.AttemptID]cloudcrowd.Charge
}

func compareIDs(a, b cloudcrowd.AttemptID) int {
	return cmp.Or(cmp.Compare(a.Task.Job, b.Task.Job), cmp.Compare(a.Task.Stage, b.Task.Stage), cmp.Compare(a.Task.Index, b.Task.Index), cmp.Compare(a.N, b.N))
}

// selected are a map's values that match, in order.
func selected[K comparable, V any](m map[K]V, match func(V) bool, compare func(a, b V) int) (list []V) {
	for _, v := range m {
		if match(v) {
			list = append(list, v)
		}
	}
	slices.SortFunc(list, compare)
	return list
}

func newestAttempt(a, b cloudcrowd.Attempt) int {
	return cmp.Or(cmp.Compare(b.EndedAt, a.EndedAt), compareIDs(b.ID, a.ID))
}

func newestCharge(a, b cloudcrowd.Charge) int {
	return cmp.Or(cmp.Compare(b.At, a.At), compareIDs(b.Attempt, a.Attempt))
}

// pages reads a list to its end and compares it.
func pages[T any](t *testing.T, what string, size int, want []T, read func(store.Page) ([]T, string, error)) {
	t.Helper()
	var all []T
	for p := (store.Page{Limit: size}); ; {
		list, next, err := read(p)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(list) > size || next != "" && len(list) < size {
			t.Fatalf("%s: a page of %d items, limit %d", what, len(list), size)
		}
		all = append(all, list...)
		if p.Cursor = next; next == "" {
			break
		}
	}
	if len(all) != len(want) || len(want) > 0 && !reflect.DeepEqual(all, want) {
		for i := range min(len(all), len(want)) {
			if !reflect.DeepEqual(all[i], want[i]) {
				t.Fatalf("%s in pages of %d: item %d is\n%+v\nwant\n%+v", what, size, i, all[i], want[i])
			}
		}
		t.Fatalf("%s in pages of %d: %d items, want %d", what, size, len(all), len(want))
	}
}

// Random stretches, in which items come again with other workers and times, read back under every list as from maps: before, while and after
// segments are merged.
func TestTwin(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 7))
			jobs := []cloudcrowd.JobID{job, "j0000000000000001"}
			wide := int32(1 + rng.IntN(2000))                // of indexes
			long := cloudcrowd.Time(1) << (4 + rng.IntN(40)) // of times
			many := 1 + rng.IntN(40)                         // items of a stretch
			db, w := &rows{}, twin{map[cloudcrowd.TaskID]cloudcrowd.Task{}, map[cloudcrowd.AttemptID]cloudcrowd.Attempt{}, map[cloudcrowd.AttemptID]cloudcrowd.Charge{}}
			now := cloudcrowd.Time(1 << 50)
			id := func() cloudcrowd.AttemptID {
				return cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: jobs[rng.IntN(2)], Stage: int32(rng.IntN(2)), Index: rng.Int32N(wide)}, N: 1 + rng.Int32N(3)}
			}
			worker := func() cloudcrowd.WorkerID { return cloudcrowd.WorkerID(fmt.Sprint("U", rng.IntN(3))) }
			account := func() cloudcrowd.AccountID { return cloudcrowd.AccountID(fmt.Sprint("a", rng.IntN(3))) }
			for to := int64(1); to <= 40; to++ {
				p := store.Projected{From: to - 1, To: to}
				now += long / 64
				at := func() cloudcrowd.Time { return now - cloudcrowd.Time(rng.Int64N(int64(long))) }
				for range many {
					v := cloudcrowd.Task{ID: id().Task, EndedAt: at(), Label: fmt.Sprint("label ", to)}
					a := cloudcrowd.Attempt{ID: id(), Worker: worker(), EndedAt: at(), Verdict: fmt.Sprint("verdict ", to)}
					c := cloudcrowd.Charge{Attempt: id(), Worker: worker(), Owner: account(), Requester: account(), At: at(), Seq: to}
					w.tasks[v.ID], w.attempts[a.ID], w.charges[c.Attempt] = v, a, c
					p.Tasks, p.Attempts, p.Charges = append(p.Tasks, v), append(p.Attempts, a), append(p.Charges, c)
				}
				db.project(t, p)
				if to%20 == 0 {
					w.compare(t, db, rng, now)
				}
			}
		})
	}
}

func (w twin) compare(t *testing.T, db *rows, rng *rand.Rand, now cloudcrowd.Time) {
	t.Helper()
	r, size := NewReader(db), 1+rng.IntN(200)
	if _, ok := w.tasks[cloudcrowd.TaskID{}]; ok {
		t.Fatal("a task without a name")
	}
	for stage := int32(-1); stage < 3; stage++ {
		want := selected(w.tasks, func(v cloudcrowd.Task) bool { return v.ID.Job == job && (stage < 0 || v.ID.Stage == stage) }, func(a, b cloudcrowd.Task) int {
			return compareIDs(taskID(&a), taskID(&b))
		})
		pages(t, fmt.Sprint("tasks of stage ", stage), size, want, func(p store.Page) ([]cloudcrowd.Task, string, error) { return r.Tasks(t.Context(), job, stage, p) })
		var ids []cloudcrowd.TaskID
		var all []cloudcrowd.Task
		for i, v := range want {
			if i%7 == 0 || rng.IntN(5) == 0 {
				v.Attempts = selected(w.attempts, func(a cloudcrowd.Attempt) bool { return a.ID.Task == v.ID }, func(a, b cloudcrowd.Attempt) int { return compareIDs(a.ID, b.ID) })
				if got, ok, err := r.Task(t.Context(), v.ID); !ok || err != nil || !reflect.DeepEqual(got, v) {
					t.Fatalf("task %+v, %v, %v, want %+v", got, ok, err, v)
				}
				ids, all = append(ids, v.ID), append(all, v)
			}
		}
		rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j], all[i], all[j] = ids[j], ids[i], all[j], all[i] })
		if len(ids) > 0 { // one of them twice
			ids, all = append(ids, ids[0]), append(all, all[0])
		}
		if got, err := r.WholeTasks(t.Context(), ids); err != nil || len(got) != len(all) || len(all) > 0 && !reflect.DeepEqual(got, all) {
			t.Fatalf("tasks %+v, %v, want %+v", got, err, all)
		}
		if _, err := r.WholeTasks(t.Context(), append(ids, cloudcrowd.TaskID{Job: job, Stage: 9})); cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
			t.Fatalf("a task that is not there among others: %v", err)
		}
	}
	if _, ok, err := r.Task(t.Context(), cloudcrowd.TaskID{Job: job, Stage: 9}); ok || err != nil {
		t.Fatal("a task that is not there", err)
	}
	pages(t, "attempts of the job", size, selected(w.attempts, func(a cloudcrowd.Attempt) bool { return a.ID.Task.Job == job }, func(a, b cloudcrowd.Attempt) int { return compareIDs(a.ID, b.ID) }),
		func(p store.Page) ([]cloudcrowd.Attempt, string, error) { return r.JobAttempts(t.Context(), job, p) })
	pages(t, "attempts of a worker", size, selected(w.attempts, func(a cloudcrowd.Attempt) bool { return a.Worker == "U1" }, newestAttempt),
		func(p store.Page) ([]cloudcrowd.Attempt, string, error) {
			return r.WorkerAttempts(t.Context(), "U1", p)
		})
	var task cloudcrowd.TaskID
	for id := range w.charges {
		task = id.Task
	}
	since := now - cloudcrowd.Time(rng.Int64N(int64(now/2)))
	for _, f := range []store.ChargeFilter{{}, {Job: job}, {Requester: "a1"}, {Owner: "a1"}, {Worker: "U1"}, {Task: &task}, {Since: since, Until: since + 1000}, {Until: since}, {Worker: "U2", Owner: "a0", Since: since}} {
		want := selected(w.charges, func(c cloudcrowd.Charge) bool {
			return (f.Job == "" || f.Job == c.Attempt.Task.Job) && (f.Requester == "" || f.Requester == c.Requester) && (f.Owner == "" || f.Owner == c.Owner) && (f.Worker == "" || f.Worker == c.Worker) &&
				(f.Task == nil || *f.Task == c.Attempt.Task) && (f.Since == 0 || c.At >= f.Since) && (f.Until == 0 || c.At < f.Until)
		}, newestCharge)
		pages(t, fmt.Sprintf("charges %+v", f), size, want, func(p store.Page) ([]cloudcrowd.Charge, string, error) { return r.Charges(t.Context(), f, p) })
	}
}

// A page that is being read while segments are merged is still whole; a listing whose segment is lost is named.
func TestMergedMeanwhile(t *testing.T) {
	t.Parallel()
	db := &rows{}
	var want []cloudcrowd.Attempt
	for i := range int64(6) {
		a := cloudcrowd.Attempt{ID: cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job, Index: int32(i)}, N: 1}, Worker: "U", EndedAt: cloudcrowd.Time(i)}
		want = append(want, a)
		db.project(t, store.Projected{To: i + 1, Attempts: []cloudcrowd.Attempt{a}})
	}
	slices.Reverse(want)
	r := NewReader(db)
	db.meddle = func() {
		held, _ := db.Versions(t.Context(), Place{Job: job})
		db.merge(t, held)
	}
	list, _, err := r.WorkerAttempts(t.Context(), "U", store.Page{})
	if err != nil || !reflect.DeepEqual(list, want) || len(db.segments) != 1 {
		t.Errorf("%+v, %v from %d segments, want %+v from one", list, err, len(db.segments), want)
	}
	db.segments = nil
	_, _, err = r.WorkerAttempts(t.Context(), "U", store.Page{})
	if e, ok := errors.AsType[*store.CorruptError](err); !ok || !strings.Contains(e.Error(), "missing") {
		t.Errorf("%v, want the segment that is lost", err)
	}
}

// A page costs what it holds: the segments it opens do not grow with the history before and behind it.
func TestPagesCostWhatTheyHold(t *testing.T) {
	t.Parallel()
	db := &rows{}
	const stretches, each = 60, 400
	for i := range int64(stretches) {
		p := store.Projected{From: i, To: i + 1}
		for k := range int32(each) {
			id := cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: job, Index: int32(i)*each + k}, N: 1}
			at := cloudcrowd.Time(i*each+int64(k)) * 1000
			p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: id.Task})
			p.Attempts = append(p.Attempts, cloudcrowd.Attempt{ID: id, Worker: "U", EndedAt: at})
			p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: id, Worker: "U", Requester: "anna", Owner: "bert", At: at})
		}
		db.project(t, p)
	}
	r := NewReader(db)
	for what, read := range map[string]func(store.Page) (string, error){
		"tasks": func(p store.Page) (string, error) { _, next, err := r.Tasks(t.Context(), job, 0, p); return next, err },
		"job attempts": func(p store.Page) (string, error) {
			_, next, err := r.JobAttempts(t.Context(), job, p)
			return next, err
		},
		"worker attempts": func(p store.Page) (string, error) {
			_, next, err := r.WorkerAttempts(t.Context(), "U", p)
			return next, err
		},
		"charges": func(p store.Page) (string, error) {
			_, next, err := r.Charges(t.Context(), store.ChargeFilter{}, p)
			return next, err
		},
		"owner's": func(p store.Page) (string, error) {
			_, next, err := r.Charges(t.Context(), store.ChargeFilter{Owner: "bert"}, p)
			return next, err
		},
	} {
		for p := (store.Page{Limit: 300}); ; {
			db.opened = 0
			next, err := read(p)
			if err != nil {
				t.Fatal(err)
			}
			if db.opened > 12 {
				t.Errorf("%s: a page of %d opens %d segments of %d", what, p.Limit, db.opened, len(db.segments))
			}
			if p.Cursor = next; next == "" {
				break
			}
		}
	}
}

// A Reader whose segment is opened again and again keeps it open.
func BenchmarkTask(b *testing.B) {
	db, p := &rows{}, many(BlockTasks)
	db.project(b, p)
	r := NewReader(db)
	for b.Loop() {
		if _, ok, err := r.Task(b.Context(), p.Tasks[77].ID); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// many are finished tasks as the dispatch benchmark has them.
func many(n int) store.Projected {
	rng := rand.New(rand.NewPCG(1, 2))
	p := store.Projected{To: 9}
	for i := range n {
		v := full()
		id := cloudcrowd.TaskID{Job: job, Index: int32(i)}
		var digest [4]cloudcrowd.Digest
		for k := range digest {
			digest[k] = cloudcrowd.Digest(fmt.Sprintf("%016x%016x%016x%016x", rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64()))
		}
		t, a, c := v.Tasks[0], v.Attempts[0], v.Charges[0]
		t.ID, t.Index, t.Unit, t.Label, t.Outputs = id, id.Index, cloudcrowd.Unit{Lo: int64(i), Hi: int64(i) + 1}, fmt.Sprint("unit ", i), []cloudcrowd.OutputFile{{Path: "out", Digest: digest[0], SizeBytes: 10}}
		a.ID, a.Worker, a.ResultDigest, a.LeasedAt, a.EndedAt = cloudcrowd.AttemptID{Task: id, N: 1}, cloudcrowd.WorkerID(fmt.Sprint("U", i%8)), digest[1], cloudcrowd.Time(1<<50+i*90), cloudcrowd.Time(1<<50+i*100)
		a.Result.Outputs, a.Result.Log = t.Outputs, digest[2]
		a.Result.Usage.WallSeconds, a.Why.FinishSeconds, a.Why.RunSeconds = rng.Float64(), rng.Float64(), rng.Float64()
		c.Attempt, c.Worker, c.At, c.CoreSeconds = a.ID, a.Worker, a.EndedAt, rng.Float64()
		p.Tasks, p.Attempts, p.Charges = append(p.Tasks, t), append(p.Attempts, a), append(p.Charges, c)
	}
	return p
}

// BenchmarkCut measures making segments of 512 finished tasks; the figures are per task.
func BenchmarkCut(b *testing.B) {
	p := many(BlockTasks)
	size := 0
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range Cut(p) {
			size = len(s.Stored().Bytes)
			s.Listings()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockTasks, "ns/task")
	b.ReportMetric(float64(size)/BlockTasks, "B/task")
}

// BenchmarkDecode measures opening a segment of 512 finished tasks; the figures are per task.
func BenchmarkDecode(b *testing.B) {
	s := Cut(many(BlockTasks))[0].Stored()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(s); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockTasks, "ns/task")
}
