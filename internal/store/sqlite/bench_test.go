package sqlite

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// BenchmarkCommit measures synced commits of one journal row of 1 KiB and ten transfers against holds.
func BenchmarkCommit(b *testing.B) {
	s := open(b, b.TempDir())
	h, err := s.Acquire(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	const job = cloudcrowd.JobID("j0000000000000000")
	hold := cloudcrowd.Hold{Job: job, Account: "issuer", Amount: 1 << 50, State: cloudcrowd.HoldPending}
	if err := s.Commit(b.Context(), store.Batch{Epoch: h.Epoch, Seq: 1, Place: []cloudcrowd.Hold{hold}}); err != nil {
		b.Fatal(err)
	}
	events := make([]byte, 1024)
	seq := int64(1)
	for b.Loop() {
		seq++
		batch := store.Batch{Epoch: h.Epoch, Seq: seq, At: cloudcrowd.Time(seq), Count: 10, Events: events}
		for i := range 10 {
			batch.Transfers = append(batch.Transfers, cloudcrowd.Transfer{ID: fmt.Sprintf("0-%d-%d", seq, i), Kind: cloudcrowd.TransferPost, Debit: "issuer",
				Credit: cloudcrowd.AccountID(fmt.Sprintf("owner%02d", i)), Amount: 1, Job: job, Seq: seq, At: batch.At})
		}
		if err := s.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkProject measures the projection of finished tasks: of one, as for a job that is one task; of a hundred with two attempts and charges each, as a server does it that has little to
// do, and of five thousand with one of each, as one does it that has much; the figures are per task.
func BenchmarkProject(b *testing.B) {
	for _, c := range []struct{ tasks, attempts int }{{1, 1}, {100, 2}, {5000, 1}} {
		b.Run(fmt.Sprintf("tasks=%d,attempts=%d", c.tasks, c.attempts), func(b *testing.B) { benchmarkProject(b, c.tasks, c.attempts) })
	}
}

func benchmarkProject(b *testing.B, tasks, attempts int) {
	s := open(b, b.TempDir())
	s.options.ProjectedRows = 256
	h, err := s.Acquire(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	seq := int64(0)
	for b.Loop() {
		b.StopTimer()
		seq++
		if err := s.Commit(b.Context(), store.Batch{Epoch: h.Epoch, Seq: seq}); err != nil {
			b.Fatal(err)
		}
		p := finishedTasks(seq, tasks, attempts)
		b.StartTimer()
		if err := s.Project(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(tasks), "ns/task")
}

// finishedTasks is a stretch of finished tasks, each with so many attempts and charges, of 16 workers.
func finishedTasks(seq int64, tasks, attempts int) store.Projected {
	digest := func(a, b int64) cloudcrowd.Digest {
		return cloudcrowd.Digest(fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, a, b))))
	}
	p := store.Projected{From: seq - 1, To: seq}
	for i := range tasks {
		index := int32(seq)*int32(tasks) + int32(i)
		id := cloudcrowd.TaskID{Job: "j0000000000000000", Index: index}
		outputs := []cloudcrowd.OutputFile{{Path: "out", Digest: digest(seq, int64(i)), SizeBytes: 12}}
		now := cloudcrowd.Time(1<<50 + 20*int64(index))
		p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: id, Job: id.Job, Stage: "work", Index: index, State: cloudcrowd.TaskDone, Unit: cloudcrowd.Unit{Lo: int64(index), Hi: int64(index) + 1},
			Label: fmt.Sprint("unit ", index), Quorum: attempts, Canonical: 1, Outputs: outputs, Cost: 12, CreatedAt: now - 1e6, EndedAt: now})
		for n := range attempts {
			attempt := cloudcrowd.AttemptID{Task: id, N: int32(n) + 1}
			worker := cloudcrowd.WorkerID(fmt.Sprintf("U%055d", (i+n)%16))
			p.Attempts = append(p.Attempts, cloudcrowd.Attempt{ID: attempt, Stage: "work", Worker: worker, WorkerName: fmt.Sprint("machine ", (i+n)%16), State: cloudcrowd.AttemptAccepted,
				LeasedAt: now - 5e5, EndedAt: now, ResultDigest: digest(seq, -int64(i)), Charge: 12, Verdict: "agreed",
				Result: &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Outputs: outputs, Usage: cloudcrowd.Usage{CPUSeconds: float64(i) / 1000, WallSeconds: float64(i) / 999, PeakMemoryBytes: 1 << 20}},
				Why:    cloudcrowd.Why{FinishSeconds: float64(i) / 7, WaitSeconds: 0.5, RunSeconds: float64(i) / 11, Candidates: 16, Purpose: "first"}})
			p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: attempt, Worker: worker, Requester: "anna", Owner: "bert", Gross: 12, Fee: 1, CoreSeconds: float64(i) / 1000, At: now, Seq: seq})
		}
	}
	return p
}

// BenchmarkRead measures reading from a history of 100,000 tasks: the first page of each list, a page from its middle, and a page of tasks with their
// attempts, at once and one by one.
func BenchmarkRead(b *testing.B) {
	s := open(b, b.TempDir())
	s.options.ProjectedRows = 256
	h, err := s.Acquire(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	const stretches, each = 20, 5000
	var middle store.Projected
	for seq := int64(1); seq <= stretches; seq++ {
		if err := s.Commit(b.Context(), store.Batch{Epoch: h.Epoch, Seq: seq}); err != nil {
			b.Fatal(err)
		}
		p := finishedTasks(seq, each, 1)
		if err := s.Project(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		if seq == stretches/2 {
			middle = p
		}
	}
	ctx, job, worker := b.Context(), middle.Tasks[0].ID.Job, middle.Attempts[0].Worker
	at := map[string]any{"t": middle.Attempts[7].EndedAt, "i": middle.Attempts[7].ID}
	cursors := map[string]string{"tasks": store.EncodeCursor("tasks", map[string]any{"s": 0, "i": middle.Tasks[7].Index}), "worker-attempts": store.EncodeCursor("worker-attempts", at), "charges": store.EncodeCursor("charges", at)}
	reads := map[string]func(cursor string) (int, error){
		"tasks": func(cursor string) (int, error) {
			list, _, err := s.Tasks(ctx, job, 0, store.Page{Cursor: cursor})
			return len(list), err
		},
		"worker-attempts": func(cursor string) (int, error) {
			list, _, err := s.WorkerAttempts(ctx, worker, store.Page{Cursor: cursor})
			return len(list), err
		},
		"charges": func(cursor string) (int, error) {
			list, _, err := s.Charges(ctx, store.ChargeFilter{Requester: "anna"}, store.Page{Cursor: cursor})
			return len(list), err
		},
	}
	for _, name := range slices.Sorted(maps.Keys(reads)) {
		for where, cursor := range map[string]string{"first": "", "middle": cursors[name]} {
			b.Run(name+"/"+where, func(b *testing.B) {
				for b.Loop() {
					if n, err := reads[name](cursor); n != store.DefaultLimit || err != nil {
						b.Fatal(n, err)
					}
				}
			})
		}
	}
	b.Run("whole", func(b *testing.B) {
		var ids []cloudcrowd.TaskID
		for _, v := range middle.Tasks[:store.DefaultLimit] {
			ids = append(ids, v.ID)
		}
		for b.Loop() {
			if list, err := s.WholeTasks(ctx, ids); err != nil || len(list) != len(ids) {
				b.Fatal(len(list), err)
			}
		}
	})
	b.Run("one-by-one", func(b *testing.B) {
		for b.Loop() {
			for _, v := range middle.Tasks[:store.DefaultLimit] {
				if _, err := s.Task(ctx, v.ID); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
