package cloudcrowd

// JobSpec is a job as the server accepts it: normalised (defaults filled in, stages in topological order) and self-contained (every file is a blob).
// internal/jobfile makes one from the YAML a person writes; docs/jobs.md describes that form. JSON names are part of the API.
type JobSpec struct {
	Name     string           `json:"name"`
	Inputs   map[string]Input `json:"inputs,omitempty"`
	Params   []Param          `json:"params,omitempty"` // sorted by name
	Stages   []Stage          `json:"stages"`           // topological: a stage comes after all it is `after`
	Budget   Credits          `json:"budget"`           // micro-credits held at submit; 0 asks for the plan's upper estimate
	Deadline Duration         `json:"deadline,omitempty"`
	Outputs  []string         `json:"outputs"` // stages whose outputs are the job's result; never empty once normalised

	Priority  int      `json:"priority,omitempty"`  // -100..100; of a requester's jobs the higher goes first. It never counts between requesters
	Speculate *float64 `json:"speculate,omitempty"` // share of its work that may go into second copies of stragglers, 0..1; 0: none; nil: DefaultSpeculate
}

// SpeculateShare is the share of a job's work that may go into second copies of stragglers.
func (s *JobSpec) SpeculateShare() float64 {
	if s.Speculate == nil {
		return DefaultSpeculate
	}
	return *s.Speculate
}

// Bounds and defaults of a job, as docs/jobs.md states them.
const (
	LowestPriority   = -100
	HighestPriority  = 100
	DefaultSpeculate = 0.1
)

// Input is a named input of a job: one file, or a set of files.
type Input struct {
	Set   bool        `json:"set,omitempty"` // a directory or a glob; false means exactly one file
	Files []InputFile `json:"files"`
}

// InputFile is one uploaded file.
type InputFile struct {
	Name      string `json:"name"` // base name, or slash-separated path below the set's folder
	Digest    Digest `json:"digest"`
	SizeBytes int64  `json:"size_bytes"`
}

// Param is one template value of the job.
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Stage is one node of the job's graph. Exactly one of Run and Merge is set.
type Stage struct {
	Name      string    `json:"name"`
	After     []string  `json:"after,omitempty"`
	Split     *Split    `json:"split,omitempty"` // nil: one task
	Run       *Program  `json:"run,omitempty"`
	Merge     *Merge    `json:"merge,omitempty"`
	Inputs    []string  `json:"inputs,omitempty"` // job inputs every task gets whole
	Resources Resources `json:"resources"`
	Timeout   Duration  `json:"timeout"` // longest time of one attempt
	Retries   int       `json:"retries"` // further tries after a failed one
	Target    Duration  `json:"target"`  // aimed duration of a task of a divisible stage
	Verify    Verify    `json:"verify"`
}

// Program is a WASM module with its arguments. Args, Env values and Stdin may hold {{name}}.
type Program struct {
	Module     Digest   `json:"module"`
	ModuleName string   `json:"module_name,omitempty"` // for people: the file or folder it came from
	ModuleSize int64    `json:"module_size,omitempty"` // bytes
	Args       []string `json:"args,omitempty"`
	Env        []EnvVar `json:"env,omitempty"` // sorted by name
	Stdin      string   `json:"stdin,omitempty"`
	Inputs     []string `json:"inputs,omitempty"` // of a splitting program: job inputs it gets whole
}

// EnvVar is one environment variable of a program.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SplitKind names a splitter; docs/jobs.md lists them.
type SplitKind string

const (
	SplitRange   SplitKind = "range"
	SplitLines   SplitKind = "lines"
	SplitCSV     SplitKind = "csv"
	SplitTSV     SplitKind = "tsv"
	SplitNDJSON  SplitKind = "ndjson"
	SplitFASTA   SplitKind = "fasta"
	SplitFASTQ   SplitKind = "fastq"
	SplitGrid    SplitKind = "grid"
	SplitFiles   SplitKind = "files"
	SplitTiles   SplitKind = "tiles"
	SplitFrames  SplitKind = "frames"
	SplitEach    SplitKind = "each"
	SplitProgram SplitKind = "program"
)

// Split says how a stage is cut into tasks. Fields that a kind does not use are zero.
type Split struct {
	Kind     SplitKind  `json:"kind"`
	Input    string     `json:"input,omitempty"`     // lines, csv, tsv, ndjson, fasta, fastq, files
	From     int64      `json:"from,omitempty"`      // range, frames: first number
	To       int64      `json:"to,omitempty"`        // range, frames: one past the last
	Size     int64      `json:"size,omitempty"`      // fixed units a task; 0: adaptive (frames: 1)
	Min      int64      `json:"min,omitempty"`       // fewest units a task
	Max      int64      `json:"max,omitempty"`       // most units a task; 0: no bound
	NoHeader bool       `json:"no_header,omitempty"` // csv, tsv: the first record is data
	Overlap  int64      `json:"overlap,omitempty"`   // fasta: bases repeated after a window
	Grid     []GridAxis `json:"grid,omitempty"`      // first axis varies slowest
	Width    int64      `json:"width,omitempty"`     // tiles: picture, pixels
	Height   int64      `json:"height,omitempty"`
	TileW    int64      `json:"tile_w,omitempty"` // tiles: largest tile, pixels
	TileH    int64      `json:"tile_h,omitempty"`
	Stage    string     `json:"stage,omitempty"`   // each
	Program  *Program   `json:"program,omitempty"` // program
}

// GridAxis is one parameter of a grid and its values in order, as text.
type GridAxis struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// MergeKind names a merge; docs/jobs.md lists them.
type MergeKind string

const (
	MergeConcat  MergeKind = "concat"
	MergeCSV     MergeKind = "csv"
	MergeJSON    MergeKind = "json"
	MergeReduce  MergeKind = "reduce"
	MergeTiles   MergeKind = "tiles"
	MergeFrames  MergeKind = "frames"
	MergeProgram MergeKind = "program"
)

// Merge joins the outputs of the one stage before it.
type Merge struct {
	Kind    MergeKind `json:"kind"`
	File    string    `json:"file,omitempty"` // which output file of the tasks; empty: their only one
	As      string    `json:"as,omitempty"`   // name of the merged file; empty: same name
	Sort    []string  `json:"sort,omitempty"` // csv: columns, numbers before text
	Op      string    `json:"op,omitempty"`   // reduce: sum, mean, min, max, count
	By      []string  `json:"by,omitempty"`   // reduce: key columns
	Program *Program  `json:"program,omitempty"`
	FanIn   int       `json:"fan_in,omitempty"` // program: inputs of one tree node, 2–256
}

// Builtin reports whether the server itself performs the merge.
func (m *Merge) Builtin() bool { return m != nil && m.Kind != MergeProgram }

// Resources are the limits of one attempt.
type Resources struct {
	MemoryBytes int64 `json:"memory_bytes"`
	DiskBytes   int64 `json:"disk_bytes"`   // /tmp
	OutputBytes int64 `json:"output_bytes"` // /out
	Cores       int   `json:"cores"`        // 1 for WASM
}

// Verify is the requester's demand on results. Exactly one form: None, Replicas with Quorum, or Confidence.
type Verify struct {
	None       bool    `json:"none,omitempty"`
	Replicas   int     `json:"replicas,omitempty"`   // attempts started at once
	Quorum     int     `json:"quorum,omitempty"`     // agreeing results needed, 1..Replicas
	Confidence float64 `json:"confidence,omitempty"` // wanted chance that an accepted result is right, in (0,1)
}

// Defaults of a stage, as docs/jobs.md states them.
const (
	DefaultMemoryBytes = 256 << 20
	DefaultDiskBytes   = 1 << 30
	DefaultOutputBytes = 256 << 20
	DefaultRetries     = 3
	DefaultConfidence  = 0.99
	DefaultFanIn       = 16
)

// StageIndex returns the position of the named stage, or -1.
func (s *JobSpec) StageIndex(name string) int {
	for i := range s.Stages {
		if s.Stages[i].Name == name {
			return i
		}
	}
	return -1
}
