package lifecycle

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// Event is one fact. Exactly one field is set. Field numbers are part of the journal's format: they are never reused.
type Event struct {
	JobSubmitted    *JobSubmitted    `cbor:"1,keyasint,omitempty"`
	StageIndexed    *StageIndexed    `cbor:"2,keyasint,omitempty"`
	TaskCarved      *TaskCarved      `cbor:"3,keyasint,omitempty"`
	AttemptLeased   *AttemptLeased   `cbor:"4,keyasint,omitempty"`
	AttemptReported *AttemptReported `cbor:"5,keyasint,omitempty"`
	AttemptEnded    *AttemptEnded    `cbor:"6,keyasint,omitempty"`
	TaskDone        *TaskDone        `cbor:"7,keyasint,omitempty"`
	TaskFailed      *TaskFailed      `cbor:"8,keyasint,omitempty"`
	TaskReopened    *TaskReopened    `cbor:"9,keyasint,omitempty"`
	StageMerged     *StageMerged     `cbor:"10,keyasint,omitempty"`
	JobEnded        *JobEnded        `cbor:"11,keyasint,omitempty"`
	CreditsIssued   *CreditsIssued   `cbor:"12,keyasint,omitempty"`
	QuorumSet       *QuorumSet       `cbor:"13,keyasint,omitempty"`
	AttemptCompared *AttemptCompared `cbor:"14,keyasint,omitempty"`
	HalfLifeSet     *HalfLifeSet     `cbor:"15,keyasint,omitempty"`
}

// JobSubmitted: a job was accepted and its budget is held.
type JobSubmitted struct {
	Job      cloudcrowd.JobID     `cbor:"1,keyasint"`
	Account  cloudcrowd.AccountID `cbor:"2,keyasint"`
	Key      string               `cbor:"3,keyasint,omitempty"`
	Spec     cloudcrowd.JobSpec   `cbor:"4,keyasint"`
	Deadline cloudcrowd.Time      `cbor:"5,keyasint,omitempty"`
}

// StageIndexed: a divisible input was read; the stage can be cut.
type StageIndexed struct {
	Job   cloudcrowd.JobID `cbor:"1,keyasint"`
	Stage int32            `cbor:"2,keyasint,omitempty"`
	Index *decompose.Index `cbor:"3,keyasint"`
}

// TaskCarved: the next task of a stage exists.
type TaskCarved struct {
	Task   cloudcrowd.TaskID `cbor:"1,keyasint"`
	Unit   cloudcrowd.Unit   `cbor:"2,keyasint,omitempty"`
	Level  int32             `cbor:"3,keyasint,omitempty"`
	Pos    int32             `cbor:"4,keyasint,omitempty"`
	Final  bool              `cbor:"5,keyasint,omitempty"`
	Quorum int               `cbor:"6,keyasint"`
	Start  int               `cbor:"7,keyasint"`
	Alone  bool              `cbor:"8,keyasint,omitempty"`
	Need   string            `cbor:"9,keyasint,omitempty"`
}

// AttemptLeased: a worker holds a new attempt and budget is reserved for it.
type AttemptLeased struct {
	ID       cloudcrowd.AttemptID `cbor:"1,keyasint"`
	Worker   cloudcrowd.WorkerID  `cbor:"2,keyasint"`
	Owner    cloudcrowd.AccountID `cbor:"3,keyasint"`
	Trusted  bool                 `cbor:"4,keyasint,omitempty"`
	Reserve  cloudcrowd.Credits   `cbor:"5,keyasint,omitempty"`
	Expected float64              `cbor:"6,keyasint,omitempty"`
	Speed    float64              `cbor:"7,keyasint,omitempty"`
	Why      cloudcrowd.Why       `cbor:"8,keyasint"`
	Copy     bool                 `cbor:"9,keyasint,omitempty"` // a second copy of a task whose attempt is late
}

// AttemptReported: a successful result is in and votes. Of its reserve no more is kept than what it claims to have cost.
type AttemptReported struct {
	ID          cloudcrowd.AttemptID `cbor:"1,keyasint"`
	Result      cloudcrowd.Result    `cbor:"2,keyasint"`
	Digest      cloudcrowd.Digest    `cbor:"3,keyasint"`
	CoreSeconds float64              `cbor:"4,keyasint,omitempty"`
	Reserve     cloudcrowd.Credits   `cbor:"5,keyasint,omitempty"`
}

// AttemptEnded: an attempt will not bring a result.
type AttemptEnded struct {
	ID          cloudcrowd.AttemptID    `cbor:"1,keyasint"`
	State       cloudcrowd.AttemptState `cbor:"2,keyasint"` // failed, lost, returned or cancelled
	Result      *cloudcrowd.Result      `cbor:"3,keyasint,omitempty"`
	Verdict     string                  `cbor:"4,keyasint,omitempty"`
	CoreSeconds float64                 `cbor:"5,keyasint,omitempty"`
}

// Paid is a charge for one attempt.
type Paid struct {
	N           int32              `cbor:"1,keyasint"`
	Gross       cloudcrowd.Credits `cbor:"2,keyasint"`
	Fee         cloudcrowd.Credits `cbor:"3,keyasint,omitempty"`
	CoreSeconds float64            `cbor:"4,keyasint,omitempty"`
	Deferred    bool               `cbor:"5,keyasint,omitempty"` // owed now, posted when the job ends
}

// TaskDone: the quorum was reached. Reported attempts that are neither paid nor refused agree and were paid before.
type TaskDone struct {
	Task      cloudcrowd.TaskID `cbor:"1,keyasint"`
	Canonical int32             `cbor:"2,keyasint"`
	Paid      []Paid            `cbor:"3,keyasint,omitempty"`
	Refused   []int32           `cbor:"4,keyasint,omitempty"`
}

// TaskFailed: the task is out of tries; its job ends with it.
type TaskFailed struct {
	Task   cloudcrowd.TaskID `cbor:"1,keyasint"`
	Reason string            `cbor:"2,keyasint"`
	Paid   []Paid            `cbor:"3,keyasint,omitempty"` // workers who agree that the program is at fault
}

// TaskReopened: a result that was accepted alone is checked again, because its worker was caught; or, with Redo, work done on a wrong result is done
// again in a new round, because the canonical result of an earlier stage has changed.
type TaskReopened struct {
	Task   cloudcrowd.TaskID `cbor:"1,keyasint"`
	Quorum int               `cbor:"2,keyasint"`
	Redo   bool              `cbor:"3,keyasint,omitempty"`
	Reason string            `cbor:"4,keyasint,omitempty"`
}

// StageMerged: a built-in merge was performed; or, with Redo, its result is no longer valid.
type StageMerged struct {
	Job     cloudcrowd.JobID        `cbor:"1,keyasint"`
	Stage   int32                   `cbor:"2,keyasint,omitempty"`
	Outputs []cloudcrowd.OutputFile `cbor:"3,keyasint,omitempty"`
	Redo    bool                    `cbor:"4,keyasint,omitempty"`
}

// JobEnded: final. Deferred charges are posted, the rest of the hold goes back.
type JobEnded struct {
	Job    cloudcrowd.JobID     `cbor:"1,keyasint"`
	State  cloudcrowd.JobState  `cbor:"2,keyasint"`
	Reason string               `cbor:"3,keyasint,omitempty"`
	Hold   cloudcrowd.HoldState `cbor:"4,keyasint"`
}

// CreditsIssued: an operator created credits.
type CreditsIssued struct {
	To     cloudcrowd.AccountID `cbor:"1,keyasint"`
	Amount cloudcrowd.Credits   `cbor:"2,keyasint"`
	By     cloudcrowd.AccountID `cbor:"3,keyasint"`
	Note   string               `cbor:"4,keyasint,omitempty"`
	Key    string               `cbor:"5,keyasint,omitempty"`
}

// QuorumSet: another number of agreeing results is needed than was decided when the task was cut, or the only one needed is owed and not paid until the job ends.
type QuorumSet struct {
	Task   cloudcrowd.TaskID `cbor:"1,keyasint"`
	Quorum int               `cbor:"2,keyasint"`
	Reason string            `cbor:"3,keyasint,omitempty"`
	Alone  bool              `cbor:"4,keyasint,omitempty"`
}

// AttemptCompared: the result of an attempt that lost to the other copy of its task came in after all, and was held against the accepted one.
type AttemptCompared struct {
	ID     cloudcrowd.AttemptID `cbor:"1,keyasint"`
	Digest cloudcrowd.Digest    `cbor:"2,keyasint"`
}

// HalfLifeSet: the operator chose another half-life of what requesters have used.
type HalfLifeSet struct {
	HalfLife cloudcrowd.Duration `cbor:"1,keyasint"`
}
