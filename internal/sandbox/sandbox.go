// Package sandbox is the contract of what confines a program of an attempt: it runs somebody else's program on somebody's machine, shows it
// /in, /out and /tmp, and hands back an Outcome. Implementations live beside it (wasm, fake) and all pass sandboxtest.
package sandbox

import (
	"context"
	"time"
)

// Sandbox runs attempts. Run may be called concurrently; calls beyond the implementation's slots wait for a free one (or for ctx).
// Order of use: Run any number of times, then Close once; Run after Close returns an error.
type Sandbox interface {
	// Name is the word a job and a worker's offer use for this sandbox: "wasm".
	Name() string

	// Run runs one attempt to its end. Whatever the program does is an Outcome with a nil error; an error means that the sandbox could not do
	// its work (bad Spec, In or Out missing, module unreadable, closed) and nothing is known about the program. Cancelling ctx stops the program
	// and gives Status Cancelled, soon. When Run returns, no code of the attempt runs any more and In and Out are in their place again.
	Run(ctx context.Context, s Spec) (Outcome, error)

	// Close kills what still runs (those Runs return) and frees everything. Safe to call twice.
	Close() error
}

// Spec is everything an attempt needs. Paths are host paths prepared by the caller.
type Spec struct {
	// ID is the attempt's id. It appears in errors and logs only.
	ID string
	// Module is the host path of the program.
	Module string
	// ModuleDigest is the lower-case hexadecimal SHA-256 of the file at Module and the key of all caches. Bytes that do not match are refused.
	ModuleDigest string
	// Args are the program's arguments without argv[0]. No NUL bytes.
	Args []string
	// Env is KEY=VALUE, in the order the program sees it. Nothing of the host's environment is added. No NUL bytes.
	Env []string
	// Stdin is what the program reads from standard input; then it is at end of file.
	Stdin []byte
	// In is the host directory shown read-only as /in; "" shows an empty one. It belongs to this attempt until Run returns: a sandbox may move
	// it to a walled place and back, so two attempts never share one. Regular files may be hard links of files elsewhere: they are never
	// written. Symbolic links that lead out of In are refused to the program.
	In string
	// Out is the host directory shown as /out. It must exist and be empty, and belongs to this attempt until Run returns, as In does.
	// Afterwards it holds only regular files and directories, within the limits. If the program succeeded, left nothing in /out and printed
	// something, Out holds one file "stdout" with everything it printed.
	Out string
	// Seed is what the program's clock and random bytes derive from: same program, same input, same Seed, same bytes.
	Seed uint64
	// Limits bound the attempt; zero fields mean the defaults.
	Limits Limits
}

// Limits of one attempt. A zero or negative field means its default.
type Limits struct {
	// Time is the longest run, on the wall clock, without the time to compile or load the program. Default 10 minutes.
	Time time.Duration
	// MemoryBytes is the most memory the program may have. Default 256 MiB, at most 4 GiB.
	MemoryBytes int64
	// OutputBytes is the most /out may hold at any time, and the most that is printed when that becomes the output. Default 256 MiB.
	OutputBytes int64
	// TmpBytes is the most /tmp may hold at any time. Default 1 GiB.
	TmpBytes int64
	// OutputFiles is the most files and directories in /out, and likewise in /tmp. Default 10,000.
	OutputFiles int
	// LogBytes is how much of the end of stdout and of stderr is kept. Default 64 KiB each.
	LogBytes int
}

// Defaults of Limits.
const (
	DefaultTime        = 10 * time.Minute
	DefaultMemoryBytes = 256 << 20
	DefaultOutputBytes = 256 << 20
	DefaultTmpBytes    = 1 << 30
	DefaultOutputFiles = 10_000
	DefaultLogBytes    = 64 << 10
)

// WithDefaults returns l with every unset field at its default.
func (l Limits) WithDefaults() Limits {
	if l.Time <= 0 {
		l.Time = DefaultTime
	}
	if l.MemoryBytes <= 0 {
		l.MemoryBytes = DefaultMemoryBytes
	}
	if l.OutputBytes <= 0 {
		l.OutputBytes = DefaultOutputBytes
	}
	if l.TmpBytes <= 0 {
		l.TmpBytes = DefaultTmpBytes
	}
	if l.OutputFiles <= 0 {
		l.OutputFiles = DefaultOutputFiles
	}
	if l.LogBytes <= 0 {
		l.LogBytes = DefaultLogBytes
	}
	return l
}

// Status says how an attempt ended.
type Status string

const (
	Succeeded   Status = "succeeded"     // exit status 0; Out holds the result
	Exited      Status = "exited"        // the program ended itself with another status
	Trapped     Status = "trapped"       // the program crashed, or is no program this sandbox can run
	TimedOut    Status = "timed-out"     // killed at Limits.Time
	OutOfMemory Status = "out-of-memory" // wanted more than Limits.MemoryBytes
	OutputLimit Status = "output-limit"  // wanted to leave more than Limits.OutputBytes or OutputFiles
	Cancelled   Status = "cancelled"     // the caller's ctx ended
	Broken      Status = "broken"        // the sandbox failed under the program; says nothing about the program
)

// Usage is what an attempt consumed.
type Usage struct {
	// CPUSeconds is processor time of the run, user and system, without compiling or loading the program. After a kill it may be less exact.
	CPUSeconds float64
	// WallSeconds is the time of the run on the wall clock, without compiling or loading the program.
	WallSeconds float64
	// PeakMemoryBytes is the most memory the program had.
	PeakMemoryBytes int64
	// OutputBytes is the size of all files in Out after the run.
	OutputBytes int64
}

// Outcome is what became of an attempt.
type Outcome struct {
	Status Status
	// ExitCode is the program's exit status when Status is Succeeded or Exited, and also for OutOfMemory when the program noticed itself; else 0.
	ExitCode int
	// Reason is one sentence for people; empty when Status is Succeeded.
	Reason string
	// Stdout and Stderr are the ends of what the program printed, at most Limits.LogBytes each.
	Stdout, Stderr []byte
	Usage          Usage
	// Empty says that Out holds nothing at all, so that the caller need not look. False where the sandbox does not know.
	Empty bool
}
