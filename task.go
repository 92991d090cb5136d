package cloudcrowd

import "time"

// JobState is where a job stands. docs/state-machines.md draws the moves.
type JobState string

const (
	JobRunning   JobState = "running"   // accepted, hold placed, work going on or waiting
	JobDone      JobState = "done"      // every output stage is complete
	JobFailed    JobState = "failed"    // with a reason
	JobCancelled JobState = "cancelled" // by its owner or an operator
)

// Ended reports whether the state is final.
func (s JobState) Ended() bool { return s != JobRunning }

// StageState is where a stage stands.
type StageState string

const (
	StageWaiting   StageState = "waiting"   // for the stages before it
	StagePreparing StageState = "preparing" // its input is being indexed
	StageRunning   StageState = "running"
	StageMerging   StageState = "merging" // a built-in merge is being performed
	StageDone      StageState = "done"
)

// TaskState is where a task stands.
type TaskState string

const (
	TaskWaiting TaskState = "waiting" // needs (more) attempts
	TaskRunning TaskState = "running" // has all the attempts it needs for now
	TaskDone    TaskState = "done"    // a canonical result was accepted
	TaskFailed  TaskState = "failed"  // out of tries
)

// AttemptState is where an attempt stands.
type AttemptState string

const (
	AttemptLeased    AttemptState = "leased"    // held by a worker
	AttemptReported  AttemptState = "reported"  // result in, verdict pending
	AttemptAccepted  AttemptState = "accepted"  // agrees with the canonical result; paid
	AttemptRefused   AttemptState = "refused"   // disagrees with the canonical result; unpaid, held against the worker
	AttemptFailed    AttemptState = "failed"    // the program failed: exit status, trap, a limit
	AttemptLost      AttemptState = "lost"      // the lease expired or the worker forgot it
	AttemptReturned  AttemptState = "returned"  // handed back by a worker that is leaving
	AttemptCancelled AttemptState = "cancelled" // no longer wanted
)

// Ended reports whether the state is final.
func (s AttemptState) Ended() bool { return s != AttemptLeased && s != AttemptReported }

// Unit is the half-open span of positions of a stage's input that a task covers.
type Unit struct {
	Lo int64 `json:"lo" cbor:"1,keyasint,omitempty"`
	Hi int64 `json:"hi" cbor:"2,keyasint,omitempty"`
}

// OutputFile is one file a task left in /out.
type OutputFile struct {
	Path      string `json:"path" cbor:"1,keyasint"` // slash-separated, relative to /out, no "..", at most 255 bytes
	Digest    Digest `json:"digest" cbor:"2,keyasint"`
	SizeBytes int64  `json:"size_bytes" cbor:"3,keyasint,omitempty"`
}

// Usage is what an attempt consumed, as its worker measured it.
type Usage struct {
	CPUSeconds      float64 `json:"cpu_seconds" cbor:"1,keyasint,omitempty"`
	WallSeconds     float64 `json:"wall_seconds" cbor:"2,keyasint,omitempty"`
	PeakMemoryBytes int64   `json:"peak_memory_bytes" cbor:"3,keyasint,omitempty"`
	InputBytes      int64   `json:"input_bytes" cbor:"4,keyasint,omitempty"`  // fetched, not found in the cache
	OutputBytes     int64   `json:"output_bytes" cbor:"5,keyasint,omitempty"` // left in /out
}

// Outcome is how an attempt ended on its worker.
type Outcome string

const (
	Succeeded   Outcome = "succeeded"     // exit status 0, output within limits
	Exited      Outcome = "exited"        // exit status other than 0
	Trapped     Outcome = "trapped"       // WASM trap: unreachable, out of bounds, division by zero, stack overflow
	TimedOut    Outcome = "timed-out"     // killed at its time limit
	OutOfMemory Outcome = "out-of-memory" // wanted more than its memory limit
	OutputLimit Outcome = "output-limit"  // wrote more than its output limit
	Broken      Outcome = "broken"        // not the program's fault: input not fetched, disk full, sandbox died
	Stopped     Outcome = "stopped"       // cancelled on the worker
)

// ProgramFault reports whether the program (not the machine) ended the attempt badly.
func (o Outcome) ProgramFault() bool {
	switch o {
	case Exited, Trapped, TimedOut, OutOfMemory, OutputLimit:
		return true
	}
	return false
}

// Result is what an attempt returned.
type Result struct {
	Outcome    Outcome      `json:"outcome" cbor:"1,keyasint"`
	ExitCode   int          `json:"exit_code" cbor:"2,keyasint,omitempty"`
	Reason     string       `json:"reason,omitempty" cbor:"3,keyasint,omitempty"`  // one sentence
	Outputs    []OutputFile `json:"outputs,omitempty" cbor:"4,keyasint,omitempty"` // sorted by path
	Usage      Usage        `json:"usage" cbor:"5,keyasint,omitempty"`
	StderrTail string       `json:"stderr_tail,omitempty" cbor:"6,keyasint,omitempty"` // last 4 KiB, only when the program failed
	Log        Digest       `json:"log,omitempty" cbor:"7,keyasint,omitempty"`         // blob: stdout and stderr; none if both are empty
}

// Segment is a run of bytes of an input file: given inline, or a span of a blob.
type Segment struct {
	Inline []byte `json:"inline,omitempty"`
	Blob   Digest `json:"blob,omitempty"`
	Offset int64  `json:"offset,omitempty"`
	Length int64  `json:"length,omitempty"` // bytes of the span
	Whole  bool   `json:"whole,omitempty"`  // the span is the entire blob, so its digest can be checked by the worker
}

// TaskFile is an input file of a task: its segments joined.
type TaskFile struct {
	Path     string    `json:"path"` // relative to /in
	Segments []Segment `json:"segments"`
}

// Payload is everything a worker needs to run a task. Replicas of a task get equal payloads.
type Payload struct {
	Module     Digest     `json:"module"`
	ModuleSize int64      `json:"module_size"`
	Args       []string   `json:"args,omitempty"`
	Env        []string   `json:"env,omitempty"` // NAME=VALUE
	Stdin      []byte     `json:"stdin,omitempty"`
	Files      []TaskFile `json:"files,omitempty"`
	Seed       uint64     `json:"seed"`
	Resources  Resources  `json:"resources"`
	Timeout    Duration   `json:"timeout"`
}

// InputBytes is the number of bytes of all segments.
func (p *Payload) InputBytes() int64 {
	var n int64
	for _, f := range p.Files {
		for _, s := range f.Segments {
			n += s.Length + int64(len(s.Inline))
		}
	}
	return n
}

// Why records how an attempt came to its worker, so that "job explain" can say it later.
type Why struct {
	FinishSeconds float64 `json:"finish_seconds" cbor:"1,keyasint,omitempty"` // estimated seconds until it finishes there: wait + fetch + run
	WaitSeconds   float64 `json:"wait_seconds" cbor:"2,keyasint,omitempty"`   // until a slot is free
	FetchSeconds  float64 `json:"fetch_seconds" cbor:"3,keyasint,omitempty"`  // to get the bytes it lacks
	RunSeconds    float64 `json:"run_seconds" cbor:"4,keyasint,omitempty"`
	Rank          float64 `json:"rank" cbor:"5,keyasint,omitempty"`       // longest remaining path of the job, seconds
	Candidates    int     `json:"candidates" cbor:"6,keyasint,omitempty"` // workers that could have taken it
	RunnerUp      string  `json:"runner_up,omitempty" cbor:"7,keyasint,omitempty"`
	RunnerUpSecs  float64 `json:"runner_up_seconds,omitempty" cbor:"8,keyasint,omitempty"`
	Purpose       string  `json:"purpose,omitempty" cbor:"9,keyasint,omitempty"` // "first", "replica", "retry", "redo", "tie-break", "copy"
	Turn          *Turn   `json:"turn,omitempty" cbor:"10,keyasint,omitempty"`   // why it was this job's turn; nil: no other wanted anything
	Late          *Late   `json:"late,omitempty" cbor:"11,keyasint,omitempty"`   // of a second copy: the attempt that is late
}

// Turn is what decided that a job came before others. Figures of its requester come before those of the job: priority and deadline count among the jobs of one requester.
type Turn struct {
	UsageCoreSeconds float64 `json:"usage_core_seconds" cbor:"1,keyasint,omitempty"`      // what its requester had used lately, older use counting less
	Running          int64   `json:"running" cbor:"2,keyasint,omitempty"`                 // attempts its requester had running
	Quota            int64   `json:"quota,omitempty" cbor:"3,keyasint,omitempty"`         // most of them; 0: no bound
	Weight           float64 `json:"weight,omitempty" cbor:"4,keyasint,omitempty"`        // of its requester's share; 0: 1
	Requesters       int     `json:"requesters" cbor:"5,keyasint,omitempty"`              // who had work to be done, itself included
	Priority         int     `json:"priority" cbor:"6,keyasint,omitempty"`                // of the job, with what it had gained by waiting
	Slack            float64 `json:"slack_seconds,omitempty" cbor:"7,keyasint,omitempty"` // until all workers must be at work for it to meet its deadline; 0: it has none
}

// Late is an attempt of which a second copy was started.
type Late struct {
	N                int32   `json:"attempt" cbor:"1,keyasint,omitempty"`
	ElapsedSeconds   float64 `json:"elapsed_seconds" cbor:"2,keyasint,omitempty"`
	ExpectedSeconds  float64 `json:"expected_seconds" cbor:"3,keyasint,omitempty"`  // from lease to end, by what was believed when it was leased
	RemainingSeconds float64 `json:"remaining_seconds" cbor:"4,keyasint,omitempty"` // believed when the copy was started
}

// Time is a convenience for events: Unix microseconds, so that encodings stay small and exact.
type Time int64

// TimeOf converts t.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Time converts back, in UTC.
func (t Time) Time() time.Time { return time.UnixMicro(int64(t)).UTC() }
