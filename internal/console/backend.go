package console

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Backend is what the pages are filled from. Every method may be called concurrently.
type Backend interface {
	Cancel(ctx context.Context, id cloudcrowd.JobID, by cloudcrowd.AccountID, reason string) error
	Job(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error)
	Jobs(ctx context.Context, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error)
	Tasks(ctx context.Context, id cloudcrowd.JobID, stage string, state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error)
	Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error)
	Attempts(ctx context.Context, id cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error)
	Explain(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error)
	ExplainTask(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error)
	Workers(ctx context.Context) ([]cloudcrowd.WorkerView, error)
	Worker(ctx context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error)
	WorkerAttempts(ctx context.Context, id cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error)
	RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error
	Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error)
	Accounts(ctx context.Context) ([]cloudcrowd.Account, error)
	Transfers(ctx context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error)
	Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error)
	Prices() cloudcrowd.Prices
	Status(ctx context.Context) (cloudcrowd.ServerStatus, error)
}

// Blobs opens stored bytes for previews and downloads: length bytes from offset; a negative length means to the end.
type Blobs interface {
	Open(ctx context.Context, digest cloudcrowd.Digest, offset, length int64) (io.ReadCloser, error)
}

// Directory is the part of store.Directory that the workers page needs.
type Directory interface {
	Invites(ctx context.Context) ([]cloudcrowd.Invite, error)
	RevokeInvite(ctx context.Context, id string) error
}

// Authenticator says who asks: the account and role behind a session cookie or bearer token; ok is false without a valid one.
type Authenticator interface {
	Who(r *http.Request) (account cloudcrowd.AccountID, role cloudcrowd.Role, ok bool)
}

// JoinLink makes an invite for workers that will earn for owner and returns the link, which holds the secret and is shown once.
// maxUses 0 means no bound, 1 single use; a ttl of 0 never expires.
type JoinLink func(ctx context.Context, owner cloudcrowd.AccountID, maxUses int, ttl time.Duration) (link string, invite cloudcrowd.Invite, err error)

// Config is what a Console needs. Backend and Auth are required.
type Config struct {
	Backend   Backend
	Blobs     Blobs     // nil: no previews and no logs
	Directory Directory // nil: open invites are not listed
	Auth      Authenticator
	JoinLink  JoinLink // nil: the page shows the command instead of a form
	Version   string   // shown in the footer

	Base      string                                                        // path under which the console is mounted, without trailing slash; "" at the root
	EventsURL string                                                        // live feed; default "/v1/events"; "-" turns live pages off
	OutputURL func(job cloudcrowd.JobID, out cloudcrowd.StageOutput) string // address of a result file for downloading; nil: the API's /v1/jobs/{job}/outputs/…
	SignOut   string                                                        // address that ends the session by POST; "" hides the button
	Log       *slog.Logger                                                  // nil: slog.Default
	Now       func() time.Time                                              // nil: time.Now
}
