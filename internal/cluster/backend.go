package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// Backend answers for all shards what api.Backend and console.Backend ask.
type Backend struct{ n *Node }

// Backend is what API and console ask.
func (n *Node) Backend() *Backend { return &Backend{n} }

func (b *Backend) shardOf(id cloudcrowd.JobID) int { return store.ShardOf(id, b.n.cfg.Shards) }

// all does it on every shard at once and returns the answers by shard, or the first error.
func all[I, O any](ctx context.Context, n *Node, x method[I, O], in I) ([]O, error) {
	if n.cfg.Shards == 1 {
		out, err := x.on(ctx, n, 0, in)
		return []O{out}, err
	}
	out, errs := make([]O, n.cfg.Shards), make([]error, n.cfg.Shards)
	done := make(chan struct{})
	for shard := range out {
		go func() {
			out[shard], errs[shard] = x.on(ctx, n, shard, in)
			done <- struct{}{}
		}()
	}
	for range out {
		<-done
	}
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// near is a shard whose task manager runs here, if there is one.
func (b *Backend) near() int {
	for shard := range b.n.cfg.Shards {
		if b.n.Local(shard) != nil {
			return shard
		}
	}
	return 0
}

// Plan implements api.Backend.
func (b *Backend) Plan(ctx context.Context, account cloudcrowd.AccountID, spec cloudcrowd.JobSpec) (cloudcrowd.Plan, error) {
	return plan.on(ctx, b.n, b.near(), byAccount{Account: account, Spec: spec})
}

// Submit implements api.Backend. The key chooses the shard, so that the same key always comes to the same one.
func (b *Backend) Submit(ctx context.Context, account cloudcrowd.AccountID, spec cloudcrowd.JobSpec, key string) (cloudcrowd.JobID, error) {
	return submit.on(ctx, b.n, store.ShardOfKey(string(account)+"\x00"+key, b.n.cfg.Shards), byAccount{account, spec, key})
}

// Cancel implements api.Backend. A server may have cancelled the job and ended before it said so; then the next one finds it cancelled, as it was to be.
func (b *Backend) Cancel(ctx context.Context, id cloudcrowd.JobID, by cloudcrowd.AccountID, reason string) error {
	_, again, err := cancel.try(ctx, b.n, b.shardOf(id), cancelling{id, by, reason})
	if again && cloudcrowd.CodeOf(err) == cloudcrowd.Conflict {
		j, jerr := b.Job(ctx, id)
		if jerr != nil { // nobody knows who has done it
			return jerr
		}
		if j.State == cloudcrowd.JobCancelled && j.Reason == taskmanager.CancelReason(by, reason) {
			return nil
		}
	}
	return err
}

// Job implements api.Backend.
func (b *Backend) Job(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	return job.on(ctx, b.n, b.shardOf(id), id)
}

// Jobs implements api.Backend.
func (b *Backend) Jobs(ctx context.Context, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error) {
	parts, err := all(ctx, b.n, inMemory, f)
	if err != nil {
		return nil, "", err
	}
	var memory taskmanager.InMemory
	for _, part := range parts {
		memory.Jobs, memory.Present = append(memory.Jobs, part.Jobs...), append(memory.Present, part.Present...)
	}
	return taskmanager.AllJobs(ctx, b.n.cfg.Store, memory, f, p)
}

// Tasks implements api.Backend.
func (b *Backend) Tasks(ctx context.Context, id cloudcrowd.JobID, stage string, state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error) {
	page, err := tasks.on(ctx, b.n, b.shardOf(id), tasksOf{id, stage, state, p})
	return page.Items, page.Next, err
}

// Task implements api.Backend.
func (b *Backend) Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	return task.on(ctx, b.n, b.shardOf(id.Job), id)
}

// Attempts implements api.Backend.
func (b *Backend) Attempts(ctx context.Context, id cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	page, err := attempts.on(ctx, b.n, b.shardOf(id), attemptsOf{id, p})
	return page.Items, page.Next, err
}

// Explain implements api.Backend.
func (b *Backend) Explain(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error) {
	return explain.on(ctx, b.n, b.shardOf(id), id)
}

// ExplainTask implements api.Backend.
func (b *Backend) ExplainTask(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error) {
	return explainTask.on(ctx, b.n, b.shardOf(id.Job), id)
}

// Workers implements api.Backend.
func (b *Backend) Workers(ctx context.Context) ([]cloudcrowd.WorkerView, error) {
	parts, err := all(ctx, b.n, workers, none{})
	if err != nil {
		return nil, err
	}
	list := parts[0]
	if len(parts) == 1 {
		return list, nil
	}
	at := make(map[cloudcrowd.WorkerID]int, len(list))
	for i := range list {
		at[list[i].ID] = i
	}
	for _, part := range parts[1:] {
		for _, v := range part {
			if i, ok := at[v.ID]; ok {
				list[i] = b.together(list[i], v)
			} else { // it has joined meanwhile
				at[v.ID] = len(list)
				list = append(list, v)
			}
		}
	}
	return list, nil
}

// together is what two shards say of one worker.
func (b *Backend) together(x, y cloudcrowd.WorkerView) cloudcrowd.WorkerView {
	if y.Online && !x.Online {
		x, y = y, x
	}
	x.Draining, x.LastSeen, x.CachedBytes = x.Draining || y.Draining, max(x.LastSeen, y.LastSeen), max(x.CachedBytes, y.CachedBytes)
	x.Running = append(slices.Clone(x.Running), y.Running...)
	x.Unable = cmp.Or(x.Unable, y.Unable)
	if x.Online {
		x.Running = x.Running[:min(len(x.Running), max(x.Info.Slots, 1))]
	}
	x.Record = x.Record.Add(y.Record)
	x.Standing, x.ErrorRate = verify.Standing(x.Record, cloudcrowd.TimeOf(b.n.cfg.Now())), verify.ErrorRate(x.Record)
	return x
}

// Worker implements api.Backend.
func (b *Backend) Worker(ctx context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
	parts, err := all(ctx, b.n, worker, id)
	if err != nil {
		return cloudcrowd.WorkerView{}, err
	}
	v := parts[0]
	for _, y := range parts[1:] {
		v = b.together(v, y)
	}
	return v, nil
}

// WorkerAttempts implements api.Backend.
func (b *Backend) WorkerAttempts(ctx context.Context, id cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	var list []cloudcrowd.Attempt
	if p.Cursor == "" {
		parts, err := all(ctx, b.n, running, id)
		if err != nil {
			return nil, "", err
		}
		for _, part := range parts {
			list = append(list, part...)
		}
	}
	past, next, err := b.n.cfg.Store.WorkerAttempts(ctx, id, p)
	return append(list, past...), next, err
}

// RevokeWorker implements api.Backend.
func (b *Backend) RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error {
	_, err := all(ctx, b.n, revoke, revoking{id, revoked})
	return err
}

// Issue implements api.Backend. Whoever issues and the key choose the shard, as they tell a repetition from another request.
func (b *Backend) Issue(ctx context.Context, to cloudcrowd.AccountID, amount cloudcrowd.Credits, by cloudcrowd.AccountID, note, key string) (cloudcrowd.Transfer, error) {
	return issue.on(ctx, b.n, store.ShardOfKey(string(by)+"\x00"+key, b.n.cfg.Shards), issuing{To: to, By: by, Amount: amount, Note: note, Key: key})
}

// Account implements api.Backend.
func (b *Backend) Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	return b.n.cfg.Store.Account(ctx, id)
}

// Accounts implements api.Backend.
func (b *Backend) Accounts(ctx context.Context) ([]cloudcrowd.Account, error) {
	return b.n.cfg.Store.Accounts(ctx)
}

// Transfers implements api.Backend.
func (b *Backend) Transfers(ctx context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error) {
	return b.n.cfg.Store.Transfers(ctx, f, p)
}

// Charges implements api.Backend. It waits until the tables hold what was committed when it was called.
func (b *Backend) Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	var err error
	if f.Job != "" {
		_, err = written.on(ctx, b.n, b.shardOf(f.Job), none{})
	} else {
		_, err = all(ctx, b.n, written, none{})
	}
	if err != nil {
		return nil, "", err
	}
	return b.n.cfg.Store.Charges(ctx, f, p)
}

// Prices implements api.Backend.
func (b *Backend) Prices() cloudcrowd.Prices { return b.n.cfg.Prices }

// sum is what several shards say of how things stand.
func sum(parts []cloudcrowd.ServerStatus) cloudcrowd.ServerStatus {
	s := parts[0]
	for _, p := range parts[1:] {
		s.JobsRunning += p.JobsRunning
		s.TasksRunning += p.TasksRunning
		s.TasksPerSecond += p.TasksPerSecond
		s.WaitingSeconds = max(s.WaitingSeconds, p.WaitingSeconds)
		s.CreditsPerHour += p.CreditsPerHour
		s.WorkersOnline, s.Slots = max(s.WorkersOnline, p.WorkersOnline), max(s.Slots, p.Slots) // every shard knows them all
		s.SlotsBusy += p.SlotsBusy
		s.ReadOnly, s.Draining = cmp.Or(s.ReadOnly, p.ReadOnly), cmp.Or(s.Draining, p.Draining)
		for _, a := range p.Attention {
			if !slices.Contains(s.Attention, a) {
				s.Attention = append(s.Attention, a)
			}
		}
	}
	s.SlotsBusy = min(s.SlotsBusy, s.Slots) // shards may queue more than a worker runs
	return s
}

// Status implements api.Backend.
func (b *Backend) Status(ctx context.Context) (cloudcrowd.ServerStatus, error) {
	parts, err := all(ctx, b.n, standing, none{})
	if err != nil {
		return cloudcrowd.ServerStatus{Version: b.n.cfg.Version}, err
	}
	s := sum(parts)
	s.Version, s.StartedAt = b.n.cfg.Version, b.n.started
	if !b.n.cfg.Alone {
		s.Servers = b.n.URLs()
	}
	for shard, err := range b.n.failures() {
		s.Attention = append(s.Attention, fmt.Sprintf("a part of the jobs cannot be served (shard %d): %v", shard, err))
	}
	return s, taskmanager.AddLedger(ctx, b.n.cfg.Store, cloudcrowd.TimeOf(b.n.cfg.Now()), &s)
}
