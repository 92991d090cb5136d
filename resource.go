package cloudcrowd

// The types of this file are the API's resources: what the HTTP API answers, the client returns and the console draws.

// JobSummary is one row of a list of jobs.
type JobSummary struct {
	ID               JobID       `json:"job"`
	Name             string      `json:"name"`
	Account          AccountID   `json:"account"`
	State            JobState    `json:"state"`
	Reason           string      `json:"reason,omitempty"` // why it failed or was cancelled
	SubmittedAt      Time        `json:"submitted_at"`     // Unix microseconds, as all times of the API
	EndedAt          Time        `json:"ended_at,omitempty"`
	Deadline         Time        `json:"deadline,omitempty"`
	Progress         float64     `json:"progress"` // 0..1, share of the estimated work that is accepted
	Stages           []StageView `json:"stages"`   // in order
	Tasks            int64       `json:"tasks"`    // created so far
	TasksDone        int64       `json:"tasks_done"`
	Attempts         int64       `json:"attempts"`
	Refused          int64       `json:"refused"` // attempts whose result was refused
	Failed           int64       `json:"failed"`  // attempts that failed or were lost
	Budget           Credits     `json:"budget_microcredits"`
	Cost             Credits     `json:"cost_microcredits"`
	RemainingSeconds [2]float64  `json:"remaining_seconds"` // low and high estimate; 0,0 when ended or unknown
}

// Job is one job in full.
type Job struct {
	JobSummary
	Spec    JobSpec       `json:"spec"`
	Workers []JobWorker   `json:"workers"` // who worked on it
	Notes   []string      `json:"notes"`   // plain sentences of what happened, oldest first: "2 results from mallory were refused: …"
	Outputs []StageOutput `json:"outputs"` // result files; complete when State is done
	Hold    Hold          `json:"hold"`
}

// JobWorker sums up one worker's part in a job.
type JobWorker struct {
	Worker     WorkerID  `json:"worker"`
	Name       string    `json:"name"`
	Owner      AccountID `json:"owner"`
	Attempts   int64     `json:"attempts"`
	Accepted   int64     `json:"accepted"`
	Refused    int64     `json:"refused"`
	Failed     int64     `json:"failed"`
	Earned     Credits   `json:"earned_microcredits"` // net of the fee
	CPUSeconds float64   `json:"cpu_seconds"`
}

// StageView is a stage's progress.
type StageView struct {
	Name        string     `json:"name"`
	After       []string   `json:"after,omitempty"`
	Kind        string     `json:"kind"` // "fasta → kmers count", for people
	State       StageState `json:"state"`
	UnitsTotal  int64      `json:"units_total"` // 0 while unknown
	UnitsCarved int64      `json:"units_carved"`
	UnitsDone   int64      `json:"units_done"`
	Tasks       int64      `json:"tasks"`
	TasksDone   int64      `json:"tasks_done"`
	TasksFailed int64      `json:"tasks_failed"`
	Running     int64      `json:"running"` // attempts leased now
	Refused     int64      `json:"refused"`
	Cost        Credits    `json:"cost_microcredits"`
	StartedAt   Time       `json:"started_at,omitempty"`
	EndedAt     Time       `json:"ended_at,omitempty"`
}

// StageOutput is one result file of a job.
type StageOutput struct {
	Stage string `json:"stage"`
	Task  int32  `json:"task"` // index of the task that made it; -1 for a built-in merge
	OutputFile
}

// Task is one task with its attempts.
type Task struct {
	ID        TaskID       `json:"task"`
	Job       JobID        `json:"job"`
	Stage     string       `json:"stage"`
	Index     int32        `json:"index"`
	State     TaskState    `json:"state"`
	Unit      Unit         `json:"unit"`
	Label     string       `json:"label"` // "bases 0–147,455", for people
	Quorum    int          `json:"quorum"`
	Canonical int32        `json:"canonical,omitempty"` // number of the attempt whose result was accepted
	Outputs   []OutputFile `json:"outputs,omitempty"`
	Cost      Credits      `json:"cost_microcredits"`
	CreatedAt Time         `json:"created_at"`
	EndedAt   Time         `json:"ended_at,omitempty"`
	Reason    string       `json:"reason,omitempty"`
	Attempts  []Attempt    `json:"attempts"`
}

// Attempt is one try of a task.
type Attempt struct {
	ID           AttemptID    `json:"attempt"`
	Stage        string       `json:"stage"`
	Worker       WorkerID     `json:"worker"`
	WorkerName   string       `json:"worker_name"`
	State        AttemptState `json:"state"`
	LeasedAt     Time         `json:"leased_at"`
	EndedAt      Time         `json:"ended_at,omitempty"` // when its result came in or it was given up
	Result       *Result      `json:"result,omitempty"`
	ResultDigest Digest       `json:"result_digest,omitempty"` // what the quorum compares
	Progress     float64      `json:"progress,omitempty"`      // 0..1 as the worker says
	Charge       Credits      `json:"charge_microcredits,omitempty"`
	Verdict      string       `json:"verdict,omitempty"` // one sentence: why accepted or refused
	Why          Why          `json:"why"`
}

// WorkerView is a worker as lists and pages show it.
type WorkerView struct {
	Worker
	Info        WorkerInfo  `json:"info"`
	Online      bool        `json:"online"`
	Draining    bool        `json:"draining"`
	Unable      string      `json:"unable,omitempty"` // why it takes no work at present though it is here: "its disk is full"
	LastSeen    Time        `json:"last_seen,omitempty"`
	Running     []AttemptID `json:"running"` // one per busy slot
	CachedBytes int64       `json:"cached_bytes"`
	Record      Record      `json:"record"`
	Standing    string      `json:"standing"`   // "trusted", "new", "probation", "distrusted", with verify's meaning
	ErrorRate   float64     `json:"error_rate"` // verify's upper estimate of the chance that its next result is wrong
}

// Explanation answers "why?" for a job or task, in sentences, most important first.
type Explanation struct {
	Subject string   `json:"subject"`
	Lines   []string `json:"lines"`

	Standing *Standing `json:"standing,omitempty"` // of a running job: what decides when it is its turn
	Attempts []Attempt `json:"attempts,omitempty"` // of a task, with the parts of the score by which each went to its worker; without results
}

// Standing is where a job stands among others, in the figures by which the scheduler decides. docs/scheduling.md says what follows from them.
type Standing struct {
	Requester        AccountID `json:"requester"`
	UsageCoreSeconds float64   `json:"usage_core_seconds"` // what its requester used lately, older use counting less
	HalfLifeSeconds  float64   `json:"half_life_seconds"`  // after which it counts half
	Weight           float64   `json:"weight"`             // of the requester's share
	Running          int64     `json:"running"`            // attempts of the requester
	Late             int64     `json:"late,omitempty"`     // of those, late ones that do not count for a quota that is reached
	Quota            int64     `json:"quota,omitempty"`    // most of them; 0: no bound
	Place            int       `json:"place"`              // of the requester among those who have work to be done; 1: it is his turn
	Requesters       int       `json:"requesters"`         // who have work to be done

	Priority      int      `json:"priority"`                // as it was given
	Gained        int      `json:"gained"`                  // points of priority it has gained by waiting
	SlackSeconds  *float64 `json:"slack_seconds,omitempty"` // until all workers must be at work for it to meet its deadline
	JobPlace      int      `json:"job_place"`               // among the requester's jobs; 1: first
	Jobs          int      `json:"jobs"`                    // of the requester that have work to be done
	RankSeconds   []Rank   `json:"ranks"`                   // stages that have work, the longest path first
	Speculate     float64  `json:"speculate"`               // share of the work that second copies may take
	WorkSeconds   float64  `json:"work_core_seconds"`       // expected of all attempts but copies
	CopiedSeconds float64  `json:"copied_core_seconds"`     // expected of second copies
}

// Rank is the longest path from a stage to the end of its job: of its running stages the one with the longest is served first.
type Rank struct {
	Stage   string  `json:"stage"`
	Seconds float64 `json:"seconds"` // on the reference core
}

// Plan says what a job will be cut into and cost before anything is spent.
type Plan struct {
	Name        string      `json:"name"`
	Stages      []StagePlan `json:"stages"`
	CoreSeconds [2]float64  `json:"core_seconds"`           // normalised, low and high; replicas included
	Cost        [2]Credits  `json:"cost_microcredits"`      // low and high
	Minimum     Credits     `json:"minimum_microcredits"`   // cheapest possible plan; a smaller budget is refused
	Budget      Credits     `json:"budget_microcredits"`    // what would be held
	Available   Credits     `json:"available_microcredits"` // of the requester's account
	Seconds     [2]float64  `json:"seconds"`                // wall time on the workers here now; 0,0 if none is online
	Workers     int         `json:"workers"`                // that could run it now
	Notes       []string    `json:"notes"`                  // warnings and plain facts ("count is not verified: …")
}

// StagePlan is the plan of one stage.
type StagePlan struct {
	Name        string     `json:"name"`
	Kind        string     `json:"kind"`
	Units       int64      `json:"units"`        // 0: known only when earlier stages ran
	UnitName    string     `json:"unit_name"`    // "bases", "lines", "tasks"
	Tasks       [2]int64   `json:"tasks"`        // low and high
	Replicas    [2]float64 `json:"replicas"`     // attempts per task
	MemoryBytes int64      `json:"memory_bytes"` // per attempt
	CoreSeconds [2]float64 `json:"core_seconds"`
	Verify      string     `json:"verify"` // in words
}

// Event is one line of the live feed. ID orders events of a shard and is what Last-Event-ID resumes from.
type Event struct {
	ID      string    `json:"id"`   // "shard-seq-n"
	Type    string    `json:"type"` // "job.submitted", "task.accepted", …
	At      Time      `json:"at"`
	Job     JobID     `json:"job,omitempty"`
	Account AccountID `json:"account,omitempty"` // owner of the job: who may see it
	Stage   string    `json:"stage,omitempty"`
	Task    int32     `json:"task,omitempty"`
	Attempt int32     `json:"attempt,omitempty"`
	Worker  WorkerID  `json:"worker,omitempty"`
	Text    string    `json:"text"` // one sentence
}

// ServerStatus is the overview.
type ServerStatus struct {
	Version         string   `json:"version"`
	StartedAt       Time     `json:"started_at"`
	JobsRunning     int      `json:"jobs_running"`
	TasksRunning    int      `json:"tasks_running"`                 // attempts leased
	TasksPerSecond  float64  `json:"tasks_per_s"`                   // accepted, last minute
	WaitingSeconds  float64  `json:"waiting_seconds"`               // age of the oldest task that waits for a worker
	CreditsPerHour  Credits  `json:"credits_per_hour_microcredits"` // charged in the last minute, scaled
	WorkersOnline   int      `json:"workers_online"`
	Slots           int      `json:"slots"`
	SlotsBusy       int      `json:"slots_busy"`
	LedgerSum       Credits  `json:"ledger_sum"` // 0, or something is wrong
	LedgerCheckedAt Time     `json:"ledger_checked_at"`
	ReadOnly        string   `json:"read_only,omitempty"` // why no new work is accepted; empty when all is well
	Draining        string   `json:"draining,omitempty"`  // why the server is about to stop; empty when it is not
	Servers         []string `json:"servers,omitempty"`   // base URLs of all servers of the crowd; empty when there is one
	Attention       []string `json:"attention"`           // what needs a person
}

// Role is what a token may do.
type Role string

const (
	RoleRequester Role = "requester"    // submit and see own jobs, own account
	RoleOwner     Role = "worker-owner" // invite and see own workers, own account
	RoleOperator  Role = "operator"     // everything
)

// Token is a bearer token's public part. The secret is shown once, at creation; the store keeps its SHA-256.
type Token struct {
	ID        string    `json:"id"`
	Account   AccountID `json:"account"`
	Role      Role      `json:"role"`
	Note      string    `json:"note,omitempty"`
	CreatedAt Time      `json:"created_at"`
	ExpiresAt Time      `json:"expires_at,omitempty"`
}

// Invite lets workers join. The secret is part of the join link and shown once.
type Invite struct {
	ID        string    `json:"id"`
	Owner     AccountID `json:"owner"`    // account the joining workers earn for
	MaxUses   int       `json:"max_uses"` // 0: no bound; 1: single use
	Uses      int       `json:"uses"`
	Revoked   bool      `json:"revoked"`
	CreatedAt Time      `json:"created_at"`
	ExpiresAt Time      `json:"expires_at,omitempty"`
}
