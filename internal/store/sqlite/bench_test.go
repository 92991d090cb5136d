package sqlite

import (
	"crypto/sha256"
	"fmt"
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

// BenchmarkProject measures the projection of finished tasks: of a hundred with two attempts and charges each, as a server does it that has little to
// do, and of five thousand with one of each, as one does it that has much; the figures are per task.
func BenchmarkProject(b *testing.B) {
	for _, c := range []struct{ tasks, attempts int }{{100, 2}, {5000, 1}} {
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
	digest := func(a, b int64) cloudcrowd.Digest {
		return cloudcrowd.Digest(fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, a, b))))
	}
	b.ReportAllocs()
	seq := int64(0)
	for b.Loop() {
		b.StopTimer()
		seq++
		if err := s.Commit(b.Context(), store.Batch{Epoch: h.Epoch, Seq: seq}); err != nil {
			b.Fatal(err)
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
		b.StartTimer()
		if err := s.Project(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(tasks), "ns/task")
}
