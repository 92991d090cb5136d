package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
)

// paying begins a shard with a hold, and returns what makes its next batches: a journal row of 1 KiB and ten transfers against the hold.
func paying(b *testing.B, s *Store, shard int) func() store.Batch {
	h, err := s.Acquire(b.Context(), shard)
	if err != nil {
		b.Fatal(err)
	}
	job := cloudcrowd.JobID(fmt.Sprintf("j%016d", shard))
	hold := cloudcrowd.Hold{Job: job, Account: "issuer", Amount: 1 << 50, State: cloudcrowd.HoldPending}
	if err := s.Commit(b.Context(), store.Batch{Shard: shard, Epoch: h.Epoch, Seq: 1, Place: []cloudcrowd.Hold{hold}}); err != nil {
		b.Fatal(err)
	}
	events := make([]byte, 1024)
	seq := int64(1)
	return func() store.Batch {
		seq++
		batch := store.Batch{Shard: shard, Epoch: h.Epoch, Seq: seq, At: cloudcrowd.Time(seq), Count: 10, Events: events}
		for i := range 10 {
			batch.Transfers = append(batch.Transfers, cloudcrowd.Transfer{ID: fmt.Sprintf("%d-%d-%d", shard, seq, i), Kind: cloudcrowd.TransferPost, Debit: "issuer",
				Credit: cloudcrowd.AccountID(fmt.Sprintf("owner%02d", i)), Amount: 1, Job: job, Shard: shard, Seq: seq, At: batch.At})
		}
		return batch
	}
}

// BenchmarkCommit measures synced commits of one journal row of 1 KiB and ten transfers against holds.
func BenchmarkCommit(b *testing.B) {
	s := openAt(b, postgrestest.Shared(b).Address(b))
	next := paying(b, s, 0)
	for b.Loop() {
		if err := s.Commit(b.Context(), next()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommitEmpty measures synced commits of one journal row of 1 KiB that moves no credits.
func BenchmarkCommitEmpty(b *testing.B) {
	s := openAt(b, postgrestest.Shared(b).Address(b))
	next := paying(b, s, 0)
	for b.Loop() {
		batch := next()
		batch.Transfers = nil
		if err := s.Commit(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCommitShards measures commits of eight shards at once. All pay the same accounts, out of holds or, in the second case, out of one account
// that each of them must lock.
func BenchmarkCommitShards(b *testing.B) {
	for _, locked := range []bool{false, true} {
		b.Run(map[bool]string{false: "holds", true: "one-spender"}[locked], func(b *testing.B) {
			s := openAt(b, postgrestest.Shared(b).Address(b))
			nexts := make([]func() store.Batch, 9)
			for shard := range nexts {
				nexts[shard] = paying(b, s, shard)
			}
			fund := nexts[8]()
			for i := range fund.Transfers {
				fund.Transfers[i].Credit, fund.Transfers[i].Amount = "bank", 1<<40
			}
			if err := s.Commit(b.Context(), fund); err != nil {
				b.Fatal(err)
			}
			var left atomic.Int64
			left.Store(int64(b.N))
			var wait sync.WaitGroup
			b.ResetTimer()
			for _, next := range nexts[:8] {
				wait.Go(func() {
					for left.Add(-1) >= 0 {
						batch := next()
						if locked {
							t := &batch.Transfers[0]
							t.Kind, t.Debit, t.Job = cloudcrowd.TransferIssue, "bank", ""
						}
						if err := s.Commit(b.Context(), batch); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
		})
	}
}

// BenchmarkProject measures the projection of 100 finished tasks with two attempts and charges each.
func BenchmarkProject(b *testing.B) {
	s := openAt(b, postgrestest.Shared(b).Address(b))
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
