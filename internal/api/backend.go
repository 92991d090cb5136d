package api

import (
	"context"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Backend is what the HTTP API and the console need from the Task Manager. Every answer already reflects what the same caller was told before
// ("a reader sees its own writes"). Who may call what is decided before, by authz; accounts are passed so that the work can be attributed.
type Backend interface {
	// Plan says what a job would be cut into and cost. Nothing is stored.
	Plan(ctx context.Context, account cloudcrowd.AccountID, spec cloudcrowd.JobSpec) (cloudcrowd.Plan, error)
	// Submit validates, places the hold and accepts a job, durably. The same key from the same account returns the same job (24 h).
	// Errors: Invalid, NotFound (a blob is missing), InsufficientCredits, Unavailable.
	Submit(ctx context.Context, account cloudcrowd.AccountID, spec cloudcrowd.JobSpec, key string) (cloudcrowd.JobID, error)
	// Cancel ends a running job; the unspent budget goes back. Conflict if it has ended.
	Cancel(ctx context.Context, id cloudcrowd.JobID, by cloudcrowd.AccountID, reason string) error

	Job(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error)
	Jobs(ctx context.Context, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error)
	// Tasks lists tasks by stage and index with their attempts; stage "" means all, state "" means any.
	Tasks(ctx context.Context, id cloudcrowd.JobID, stage string, state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error)
	Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error)
	// Attempts lists a job's attempts, running ones too, for the timeline.
	Attempts(ctx context.Context, id cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error)
	Explain(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error)
	ExplainTask(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error)

	Workers(ctx context.Context) ([]cloudcrowd.WorkerView, error)
	Worker(ctx context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error)
	WorkerAttempts(ctx context.Context, id cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error)
	// RevokeWorker ends a worker's connection and leases and refuses it from now on.
	RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error

	// Issue creates credits in an account. The same key returns the same transfer.
	Issue(ctx context.Context, to cloudcrowd.AccountID, amount cloudcrowd.Credits, by cloudcrowd.AccountID, note, key string) (cloudcrowd.Transfer, error)
	Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error)
	Accounts(ctx context.Context) ([]cloudcrowd.Account, error)
	Transfers(ctx context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error)
	// Charges are the lines of a statement: every paid attempt.
	Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error)

	Prices() cloudcrowd.Prices
	Status(ctx context.Context) (cloudcrowd.ServerStatus, error)
	// Events sends events after the given id ("" means from now) until ctx ends; then the channel is closed. A reader that is too slow is
	// dropped (channel closed) and resumes with the last id it saw. account "" means all accounts; job "" means all jobs.
	Events(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) (<-chan cloudcrowd.Event, error)
}
