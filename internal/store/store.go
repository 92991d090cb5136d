// Package store is the contract of CloudCrowd's durable state: per-shard journals with fencing, the double-entry ledger, projections for
// reading, and the directory of tokens, invites and workers. storetest is its suite; memory, sqlite and postgres implement it.
//
// Order of calls for a shard: Acquire or Claim once (it fences every earlier owner), Load the snapshot and journal tail, then Commit batch after batch,
// Seq by Seq; Release when another server is to have it. A commit that fails changes nothing. Reads and directory calls may run concurrently with
// everything.
package store

import (
	"context"
	"errors"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
)

// ErrFenced says that the epoch or sequence was not the expected one: another server owns the shard, or the caller's memory is stale.
// Nothing was written; the caller must drop its memory and stop or reload.
var ErrFenced = errors.New("store: shard is owned by another epoch or its head moved")

// InsufficientError says that a hold could not be placed. Nothing of the batch was written; the caller refuses that job and commits again without it.
type InsufficientError struct {
	Job       cloudcrowd.JobID
	Account   cloudcrowd.AccountID
	Available cloudcrowd.Credits // balance less held
	Wanted    cloudcrowd.Credits
}

func (e *InsufficientError) Error() string {
	return fmt.Sprintf("account %s has %s credits available, the hold needs %s", e.Account, e.Available, e.Wanted)
}

// CorruptError names stored bytes that do not match their checksum or cannot be decoded. They are never returned.
type CorruptError struct {
	What string // "journal row 0/17", "snapshot 0/4000"
	Err  error
}

func (e *CorruptError) Error() string { return "store: " + e.What + " is corrupt: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

// Store is the whole contract. Implementations are safe for concurrent use. When the disk is full or gone, writes return an Error with code
// Unavailable and change nothing; after a failed sync the store refuses every further write until it is reopened.
type Store interface {
	Shards
	Ledger
	Projections
	Directory
	Members
	// Close waits for running calls and releases everything. Safe to call twice.
	Close() error
}

// Head is where a shard stands after Acquire or Claim.
type Head struct {
	Epoch       int64  // the caller's, to be given to every Commit
	Owner       string // id of the server that claimed it; "" if nobody's: it was released, or acquired without a name
	Seq         int64  // of the last committed journal row; 0 when empty
	SnapshotSeq int64  // journal rows up to here are contained in Snapshot; 0 when none
	Snapshot    []byte
}

// Row is one committed batch.
type Row struct {
	Seq    int64
	Epoch  int64
	At     cloudcrowd.Time
	Count  int // events in Events
	Events []byte
	// Seen is how far the journals of the other shards had come at the moment at which the credits that the batch spends were compared with what is
	// available: exactly the rows up to there were counted. Set by the store; without entries for empty journals, and empty for a batch without Spenders.
	Seen Seen
}

// Batch is one commit.
type Batch struct {
	Shard  int
	Epoch  int64
	Seq    int64 // of this row; the shard's head must be Seq-1
	At     cloudcrowd.Time
	Count  int
	Events []byte
	// Applied in this order, each checked: holds placed, transfers, holds ended.
	Place     []cloudcrowd.Hold     // State pending, Posted 0; raises Held by Amount, refused below zero available
	Transfers []cloudcrowd.Transfer // kind post lowers the payer's Held and raises its hold's Posted by the amount
	End       []HoldEnd
}

// HoldEnd ends a hold; what was not posted becomes available again.
type HoldEnd struct {
	Job   cloudcrowd.JobID
	State cloudcrowd.HoldState // voided, expired, or posted if the whole amount was
}

// Shards is the journal.
type Shards interface {
	// Acquire takes over a shard: raises its epoch and returns where it stands. Shards count from 0 and exist once acquired. A damaged snapshot
	// answers *CorruptError and leaves the epoch as it was.
	Acquire(ctx context.Context, shard int) (Head, error)
	// Claim is Acquire for a server: it takes the shard over under its name, only if the shard's epoch is still seen (0: the shard does not exist yet
	// or was never acquired); ErrFenced otherwise, and nothing changed. Code Invalid without an owner or for a seen below 0. After code Unavailable
	// the claim may have been written all the same; then the head carries the owner's name, and may be claimed again under its new epoch.
	Claim(ctx context.Context, shard int, owner string, seen int64) (Head, error)
	// Release gives a shard up: it has no owner any more; its epoch stays. ErrFenced under another epoch. It does not fence: whoever releases commits
	// no more by himself.
	Release(ctx context.Context, shard int, epoch int64) error
	// Rows calls fn for the journal rows after seq, in order, until fn returns an error. Every row's checksum was verified; a damaged or missing
	// row answers *CorruptError. fn may call the store.
	Rows(ctx context.Context, shard int, after int64, fn func(Row) error) error
	// Commit writes one batch durably (synced) or not at all. Errors: ErrFenced, *InsufficientError, code Unavailable, and code Internal for a
	// batch that breaks a rule of the ledger (Apply has them). A commit that was begun is finished even if ctx ends. Only when the disk fails
	// during the sync is the outcome open; then the store refuses every further write, and the journal shows after reopening how it ended. Where
	// the database is another process, it is open too when that goes away in the middle and cannot be asked; then ShardList and Rows fail with
	// code Unavailable until it is known, so that a caller who reads the shard back reads what is final.
	Commit(ctx context.Context, b Batch) error
	// SaveSnapshot keeps the state after row seq and drops older snapshots. Journal rows stay. ErrFenced under another epoch, for a seq the journal
	// has not reached, or before that of the newest snapshot.
	SaveSnapshot(ctx context.Context, shard int, epoch, seq int64, state []byte) error
	// ShardList returns the shards that exist, ascending, with their heads (Snapshot nil).
	ShardList(ctx context.Context) (map[int]Head, error)
}

// Page bounds a list: at most Limit items (0 means 100, at most 1000) after the opaque cursor of the previous page.
type Page struct {
	Limit  int
	Cursor string
}

// TransferFilter selects transfers; zero fields select all.
type TransferFilter struct {
	Account      cloudcrowd.AccountID // debit or credit
	Job          cloudcrowd.JobID
	Since, Until cloudcrowd.Time // [Since, Until)
}

// Ledger reads accounts. All writing goes through Commit.
type Ledger interface {
	// Account returns a zero-balance account if it has never been used.
	Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error)
	// Accounts returns all accounts, by id, from one snapshot, so that balances sum to zero.
	Accounts(ctx context.Context) ([]cloudcrowd.Account, error)
	// Transfers lists newest first; next is "" on the last page.
	Transfers(ctx context.Context, f TransferFilter, p Page) (list []cloudcrowd.Transfer, next string, err error)
	Hold(ctx context.Context, job cloudcrowd.JobID) (cloudcrowd.Hold, error) // code NotFound
	// Holds returns the holds in the given state, all if "".
	Holds(ctx context.Context, state cloudcrowd.HoldState) ([]cloudcrowd.Hold, error)
}

// JobRow is a job's projection. Detail is the encoded cloudcrowd.Job (JSON), final once the job has ended.
type JobRow struct {
	Summary cloudcrowd.JobSummary
	Detail  []byte
}

// RecordRow is a worker's standing by what one shard saw of it. What all shards saw is their sum (cloudcrowd.Record.Add).
type RecordRow struct {
	Worker cloudcrowd.WorkerID
	Shard  int               // set by Records; Project takes that of the stretch
	Record cloudcrowd.Record // absolute, not a difference
}

// Projected is what one stretch of the journal did to the readable tables. Tasks, attempts and charges are written when they are final; what a later
// stretch says of one replaces what was said before, and of two of the same in one stretch the last counts.
type Projected struct {
	Shard    int
	From, To int64             // journal rows From+1..To
	Jobs     []JobRow          // inserted or replaced
	Tasks    []cloudcrowd.Task // without Attempts
	Attempts []cloudcrowd.Attempt
	Charges  []cloudcrowd.Charge
	Records  []RecordRow
}

// JobFilter selects jobs; zero fields select all.
type JobFilter struct {
	Account cloudcrowd.AccountID
	State   cloudcrowd.JobState
	Text    string // part of name or id, case-insensitive
}

// ChargeFilter selects charges; zero fields select all.
type ChargeFilter struct {
	Job          cloudcrowd.JobID
	Requester    cloudcrowd.AccountID
	Owner        cloudcrowd.AccountID
	Worker       cloudcrowd.WorkerID
	Task         *cloudcrowd.TaskID
	Since, Until cloudcrowd.Time
}

// Projections are written behind the journal, in order, by one projector per shard.
type Projections interface {
	// ProjectedTo returns the last journal row contained in the tables.
	ProjectedTo(ctx context.Context, shard int) (int64, error)
	// Project writes a stretch and moves ProjectedTo to p.To. A stretch whose From is not ProjectedTo, or whose To is behind From or ahead of the
	// journal, is refused with ErrFenced. It need not be synced: what is lost by a crash is projected again. A long stretch may be written in
	// several transactions, of which the last moves ProjectedTo; then readers see attempts before their tasks and tasks before their jobs.
	Project(ctx context.Context, p Projected) error
	// ClearProjection empties the tables of a shard; they are derived again from the journal.
	ClearProjection(ctx context.Context, shard int) error

	Job(ctx context.Context, id cloudcrowd.JobID) (JobRow, error) // code NotFound
	// Jobs lists newest first (Detail nil).
	Jobs(ctx context.Context, f JobFilter, p Page) (list []JobRow, next string, err error)
	// Tasks lists a stage's final tasks by index; stage -1 means all stages.
	Tasks(ctx context.Context, job cloudcrowd.JobID, stage int32, p Page) (list []cloudcrowd.Task, next string, err error)
	Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) // with Attempts; code NotFound
	// WholeTasks returns tasks with their Attempts, in the order of ids; code NotFound if one is not there. Tasks that lie together, as those of a page
	// of Tasks do, cost little more than one.
	WholeTasks(ctx context.Context, ids []cloudcrowd.TaskID) ([]cloudcrowd.Task, error)
	// JobAttempts lists a job's final attempts by task and number.
	JobAttempts(ctx context.Context, job cloudcrowd.JobID, p Page) (list []cloudcrowd.Attempt, next string, err error)
	// WorkerAttempts lists a worker's final attempts, newest first.
	WorkerAttempts(ctx context.Context, w cloudcrowd.WorkerID, p Page) (list []cloudcrowd.Attempt, next string, err error)
	// Charges lists newest first.
	Charges(ctx context.Context, f ChargeFilter, p Page) (list []cloudcrowd.Charge, next string, err error)
	Records(ctx context.Context) ([]RecordRow, error) // by worker and shard
}

// WorkerRow is a registered device with what it last said.
type WorkerRow struct {
	cloudcrowd.Worker
	Info     cloudcrowd.WorkerInfo
	LastSeen cloudcrowd.Time
}

// Directory holds who may do what. Secrets are stored as SHA-256 only (hash is lower-case hex).
type Directory interface {
	// PutToken stores a token under the hash of its secret, in place of an earlier one with the same id or hash. PutInvite does the same.
	PutToken(ctx context.Context, hash string, t cloudcrowd.Token) error
	TokenByHash(ctx context.Context, hash string) (cloudcrowd.Token, error) // code NotFound; expiry is the caller's to check
	Tokens(ctx context.Context) ([]cloudcrowd.Token, error)                 // by id
	DeleteToken(ctx context.Context, id string) error                       // code NotFound

	PutInvite(ctx context.Context, hash string, i cloudcrowd.Invite) error
	Invites(ctx context.Context) ([]cloudcrowd.Invite, error) // by id
	RevokeInvite(ctx context.Context, id string) error        // code NotFound
	// Join registers a worker by an invite, in one transaction; Owner and Invite are the invite's, RegisteredAt is now unless given. Code
	// Forbidden if the secret is unknown, revoked, expired at now or used up. A device already registered for the invite's owner is returned
	// unchanged (also when it is revoked) and uses nothing, even if the invite admits nobody any more; for another owner code Conflict.
	Join(ctx context.Context, inviteHash string, w cloudcrowd.Worker, now cloudcrowd.Time) (cloudcrowd.Worker, error)
	Worker(ctx context.Context, id cloudcrowd.WorkerID) (WorkerRow, error) // code NotFound
	Workers(ctx context.Context) ([]WorkerRow, error)                      // by registration
	// SeenWorker keeps what a worker last said of itself; code NotFound. Need not be synced.
	SeenWorker(ctx context.Context, id cloudcrowd.WorkerID, info cloudcrowd.WorkerInfo, at cloudcrowd.Time) error
	RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error // code NotFound

	// Setting reads a server-wide value ("" if unset); PutSetting writes it durably. Used for the shard count and secrets made at first start.
	Setting(ctx context.Context, key string) (string, error)
	PutSetting(ctx context.Context, key, value string) error
	// KeepSetting writes a value unless the key has one ("" is none), and returns the one that is kept. Of several servers that start at once, all get
	// the same.
	KeepSetting(ctx context.Context, key, value string) (kept string, err error)
}

// Server is one process that may own shards, as it last wrote itself down.
type Server struct {
	ID        string // made once per data directory
	Beat      int64  // grows with every sign of life; readers compare it on their own clock, so clocks need not agree
	URL       string // where clients and workers reach it
	Bus       string // host:port of its end of the bus; "" if it has none
	Version   string
	Draining  bool // it gives its shards away and takes none
	StartedAt cloudcrowd.Time
}

// Members is who serves the store.
type Members interface {
	// PutServer inserts or replaces a server; code Invalid without an id. It need not be synced.
	PutServer(ctx context.Context, s Server) error
	Servers(ctx context.Context) ([]Server, error) // by id
	// DropServer forgets a server; one that is not there is no error. Shards it owns keep its name.
	DropServer(ctx context.Context, id string) error
}
