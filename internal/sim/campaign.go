package sim

import (
	"context"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// Campaign runs many seeds of one profile.
type Campaign struct {
	Profile  Profile
	From, To uint64        // seeds, both included
	Parallel int           // runs at once
	Progress func(Summary) // called after each run, one call at a time; nil: not
}

// Summary is what a campaign has come to.
type Summary struct {
	Profile  string          `json:"profile"`
	Seeds    int             `json:"seeds"` // run so far
	Events   int64           `json:"events"`
	Commits  int64           `json:"commits"`
	Tasks    int64           `json:"tasks"`
	Copies   int64           `json:"second_copies"`
	Compared int64           `json:"late_compared"`
	Wrong    int64           `json:"wrong_accepted"`
	Faults   int64           `json:"faults"` // all kinds together
	ByKind   map[Fault]int64 `json:"faults_by_kind"`
	Virtual  float64         `json:"virtual_seconds"`
	Seconds  float64         `json:"seconds"` // real
	Rate     float64         `json:"events_per_s"`
	Speedup  float64         `json:"speedup"`    // virtual over real time
	Trace    string          `json:"trace_hash"` // of everything that happened: of one seed its own, of several all of theirs together, in whatever order they ran
	Failures []Failure       `json:"failures"`
}

// Failure is a seed that broke an invariant.
type Failure struct {
	Seed  uint64 `json:"seed"`
	Error string `json:"error"`
}

// shareSeeds are needed to speak of a share of wrong results: in a single one, a liar may be lucky until he is believed.
const shareSeeds = 100

// maxFailures is how many failing seeds are enough.
const maxFailures = 20

// Run runs the campaign to its end, until ctx ends, or until too many seeds have failed.
func (c Campaign) Run(ctx context.Context) Summary {
	began := time.Now()
	s := Summary{Profile: c.Profile.Name, ByKind: map[Fault]int64{}, Failures: []Failure{}}
	var mu sync.Mutex
	next := c.From
	var wg sync.WaitGroup
	for range max(c.Parallel, 1) {
		wg.Go(func() {
			for {
				mu.Lock()
				seed, enough := next, next > c.To || len(s.Failures) >= maxFailures
				next++
				mu.Unlock()
				if enough || ctx.Err() != nil {
					return
				}
				r, err := runSafely(seed, c.Profile)
				mu.Lock()
				s.add(r, seed, err)
				s.Seconds = time.Since(began).Seconds()
				s.Rate, s.Speedup = float64(s.Events)/s.Seconds, s.Virtual/s.Seconds
				if c.Progress != nil {
					c.Progress(s)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	slices.SortFunc(s.Failures, func(a, b Failure) int { return int(a.Seed) - int(b.Seed) })
	if share := float64(s.Wrong) / float64(max(s.Tasks, 1)); s.Seeds >= shareSeeds && share > c.Profile.MaxWrong {
		s.Failures = append(s.Failures, Failure{Error: fmt.Sprintf("%d of %d accepted results are wrong; a share of %g is promised", s.Wrong, s.Tasks, c.Profile.MaxWrong)})
	}
	return s
}

// runSafely turns a panic of the platform into a failure.
func runSafely(seed uint64, p Profile) (r Report, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("seed %d, profile %s: panic: %v\n%s", seed, p.Name, v, debug.Stack())
		}
	}()
	return Run(seed, p, Options{})
}

func (s *Summary) add(r Report, seed uint64, err error) {
	s.Seeds++
	s.Events += r.Events
	s.Commits += r.Commits
	s.Tasks += r.Tasks
	s.Copies += r.Copies
	s.Compared += r.Compared
	s.Wrong += r.Wrong
	s.Virtual += r.Virtual
	s.Trace = MixTraces(s.Trace, r.Trace)
	for kind, n := range r.Faults {
		s.ByKind[kind] += n
		s.Faults += n
	}
	if err != nil {
		s.Failures = append(s.Failures, Failure{seed, err.Error()})
	}
}

// MixTraces puts two hashes of traces together; their order does not matter, and an empty one is nothing.
func MixTraces(a, b string) string {
	x, _ := hex.DecodeString(a)
	y, _ := hex.DecodeString(b)
	if len(x) < len(y) {
		x, y = y, x
	}
	for i := range y {
		x[i] ^= y[i]
	}
	return hex.EncodeToString(x)
}
