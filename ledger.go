package cloudcrowd

// Accounts every ledger has.
const (
	IssuerAccount AccountID = "issuer" // the only one whose balance may be negative: minus all credits in being
	FeeAccount    AccountID = "fee"    // the platform's share
)

// Account is a row of the ledger. Balance - Held is what can be spent.
type Account struct {
	ID      AccountID `json:"id"`
	Balance Credits   `json:"balance_microcredits"` // posted credits less posted debits
	Held    Credits   `json:"held_microcredits"`    // pending debits
}

// TransferKind says what a transfer does.
type TransferKind string

const (
	TransferIssue TransferKind = "issue" // issuer → account; made by an operator
	TransferPost  TransferKind = "post"  // requester → worker owner or fee, against a job's hold
)

// Transfer moves credits from one account to another, once. Transfers are immutable. Those of one commit are netted per pair of accounts and
// job; the journal row (Shard, Seq) they cite lists the tasks.
type Transfer struct {
	ID     string       `json:"id"` // "shard-seq-n": the idempotency key
	Kind   TransferKind `json:"kind"`
	Debit  AccountID    `json:"debit"`               // pays
	Credit AccountID    `json:"credit"`              // receives
	Amount Credits      `json:"amount_microcredits"` // > 0
	Job    JobID        `json:"job,omitempty"`
	Shard  int          `json:"shard"`
	Seq    int64        `json:"seq"`
	At     Time         `json:"at"`
	Note   string       `json:"note,omitempty"`
}

// HoldState is the life of a hold on credits.
type HoldState string

const (
	HoldPending HoldState = "pending" // may still be posted against
	HoldPosted  HoldState = "posted"  // ended, everything was posted
	HoldVoided  HoldState = "voided"  // ended, the rest went back
	HoldExpired HoldState = "expired" // ended by the job's deadline, the rest went back
)

// Hold is a pending debit for a job's budget.
type Hold struct {
	Job     JobID     `json:"job"`
	Account AccountID `json:"account"`
	Amount  Credits   `json:"amount_microcredits"` // at submit
	Posted  Credits   `json:"posted_microcredits"` // so far, ≤ Amount
	State   HoldState `json:"state"`
	At      Time      `json:"at"`
}

// Charge is one paid attempt: a line of a statement.
type Charge struct {
	Attempt     AttemptID `json:"attempt"`
	Worker      WorkerID  `json:"worker"`
	Requester   AccountID `json:"requester"`
	Owner       AccountID `json:"owner"`
	Gross       Credits   `json:"gross_microcredits"` // what the requester paid
	Fee         Credits   `json:"fee_microcredits"`   // the platform's part of it
	CoreSeconds float64   `json:"core_seconds"`       // normalised
	At          Time      `json:"at"`
	Shard       int       `json:"shard"`
	Seq         int64     `json:"seq"`
}

// Prices is the posted price vector, in micro-credits.
type Prices struct {
	CoreSecond      float64 `json:"core_second"`       // per second of the reference core
	MemoryGiBSecond float64 `json:"memory_gib_second"` // per GiB of peak memory and second
	StorageGiB      float64 `json:"storage_gib"`       // per GiB of output kept
	Minimum         Credits `json:"minimum"`           // of one accepted attempt
	FeePercent      float64 `json:"fee_percent"`       // of gross, to the platform, 0–100
}

// DefaultPrices: one credit buys about three hours of the reference core.
var DefaultPrices = Prices{CoreSecond: 100, MemoryGiBSecond: 10, StorageGiB: 1000, Minimum: 1, FeePercent: 5}
