package sqlite

import (
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

// BenchmarkProject measures the projection of 100 finished tasks with two attempts and charges each.
func BenchmarkProject(b *testing.B) {
	s := open(b, b.TempDir())
	s.options.ProjectedRows = 256
	h, err := s.Acquire(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	seq := int64(0)
	for b.Loop() {
		b.StopTimer()
		seq++
		if err := s.Commit(b.Context(), store.Batch{Epoch: h.Epoch, Seq: seq}); err != nil {
			b.Fatal(err)
		}
		p := store.Projected{From: seq - 1, To: seq}
		for i := range 100 {
			task := cloudcrowd.TaskID{Job: "j0000000000000000", Index: int32(seq)*100 + int32(i)}
			p.Tasks = append(p.Tasks, cloudcrowd.Task{ID: task, State: cloudcrowd.TaskDone, Label: "bases 0–147,455"})
			for n := range int32(2) {
				id := cloudcrowd.AttemptID{Task: task, N: n + 1}
				worker := cloudcrowd.WorkerID(fmt.Sprint("U", (i+int(n))%16))
				p.Attempts = append(p.Attempts, cloudcrowd.Attempt{ID: id, Worker: worker, EndedAt: cloudcrowd.Time(seq), Result: &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded}})
				p.Charges = append(p.Charges, cloudcrowd.Charge{Attempt: id, Worker: worker, Requester: "anna", Owner: "bert", At: cloudcrowd.Time(seq)})
			}
		}
		b.StartTimer()
		if err := s.Project(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
}
