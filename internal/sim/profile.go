package sim

import (
	"maps"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// Profile says how rough a run is. Chances are per occasion, in [0, 1]; rates are expected occurrences per virtual minute; shares are of the crowd.
// Within the bounds that a profile sets, each seed draws its own size and its own mix, so that many seeds are many different platforms.
type Profile struct {
	Name string
	Text string // what it is, for people

	Workers [2]int // least and most; every largeEvery-th seed has Large of them
	Large   int
	Jobs    [2]int
	Verify  []cloudcrowd.Verify // what jobs ask for, drawn per job; nil: comparing in every form
	Poor    bool                // some requesters ask for more than they can pay

	// Workers.
	Slow      float64 // share ten times slower than it claims
	Lying     float64 // share that returns wrong results, each in LieRate of its results
	Colluding float64 // share whose wrong results for a task are the same, likewise in LieRate; all of one owner
	LieRate   float64
	Vanishing float64 // share that goes away now and then, sometimes for ever
	Pausing   float64 // share that freezes beyond its leases and reports late
	Forgetful float64 // share that loses what it had, spool and all, when it goes away
	Greedy    float64 // share that takes everything and claims absurd usage

	// Bus.
	Delay      time.Duration // most messages take up to so long
	Drop       float64       // messages lost, both ways
	Duplicate  float64       // messages delivered twice, both ways
	Reorder    float64       // messages that take up to a hundred times Delay, and so come after later ones
	Partitions float64       // rate; some or all workers cut off from a server, one way or both

	// Servers. Where Servers is set, so many processes share so many shards; else there is one of each.
	Servers, Shards [2]int        // least and most
	Moves           float64       // rate at which a shard is given away
	Crashes         float64       // rate, at a random moment
	CrashHere       float64       // chance to die at each point between decision, commit and answer
	Pauses          float64       // rate; frozen, and often replaced meanwhile: then it is the old one that wakes
	Takeovers       float64       // rate; a second server starts beside the first
	Skew            time.Duration // clocks are off by up to so much
	Jumps           float64       // rate at which a server's clock is set
	Jump            time.Duration // back or forth, mostly by far less than this

	// Store.
	Latency     time.Duration // of a commit
	SlowDisk    float64       // rate of periods in which a commit takes up to a hundred times as long
	FullDisk    float64       // rate of periods in which nothing can be written
	FailCommits float64       // commits that fail before they are written
	LoseAnswers float64       // commits that are written but answer an error
	Damage      float64       // chance at each start that a bit of snapshot or journal has flipped

	Faults   time.Duration // no fault begins later than this
	Limit    time.Duration // virtual time by which every job must have ended
	MaxWrong float64       // share of accepted results, over many seeds, that may be wrong; verification promises it for the verify of the jobs
}

// largeEvery seeds one has a large crowd.
const largeEvery = 100

var compared = []cloudcrowd.Verify{{Replicas: 2, Quorum: 2}, {Replicas: 3, Quorum: 2}, {Confidence: 0.999}, {Confidence: 0.99}}

// Profiles by name.
var Profiles = map[string]Profile{
	"calm": {Name: "calm", Text: "nothing goes wrong",
		Workers: [2]int{4, 10}, Large: 200, Jobs: [2]int{1, 4}, Delay: 5 * time.Millisecond, Latency: time.Millisecond, Faults: time.Minute, Limit: 2 * time.Hour},
	"stormy": {Name: "stormy", Text: "a bad network and machines that come and go, all of them honest",
		Workers: [2]int{4, 16}, Large: 120, Jobs: [2]int{1, 4}, Slow: 0.2, Vanishing: 0.3, Pausing: 0.2, Forgetful: 0.1,
		Delay: 300 * time.Millisecond, Drop: 0.05, Duplicate: 0.05, Reorder: 0.05, Partitions: 2, Skew: 10 * time.Second, Jumps: 0.5, Jump: time.Hour,
		Latency: 5 * time.Millisecond, SlowDisk: 0.3, Faults: 4 * time.Minute, Limit: time.Hour},
	"hostile": {Name: "hostile", Text: "workers that lie, collude, hoard and forget, on a tolerable network",
		Workers: [2]int{6, 16}, Large: 200, Jobs: [2]int{1, 4}, Slow: 0.1, Lying: 0.2, Colluding: 0.2, LieRate: 0.3, Vanishing: 0.1, Pausing: 0.1, Forgetful: 0.1, Greedy: 0.1,
		Delay: 30 * time.Millisecond, Drop: 0.01, Duplicate: 0.05, Reorder: 0.01, Latency: 2 * time.Millisecond, Crashes: 0.1,
		Faults: 10 * time.Minute, Limit: 12 * time.Hour, MaxWrong: 0.01},
	"crashy": {Name: "crashy", Text: "servers that die anywhere, freeze, fight over the shard, with bad disks and clocks",
		Workers: [2]int{4, 12}, Large: 120, Jobs: [2]int{1, 4}, Lying: 0.1, LieRate: 0.3, Vanishing: 0.1, Pausing: 0.1, Forgetful: 0.05,
		Delay: 50 * time.Millisecond, Drop: 0.02, Duplicate: 0.03, Reorder: 0.02, Partitions: 0.3,
		Crashes: 1, CrashHere: 0.002, Pauses: 0.7, Takeovers: 0.7, Skew: 20 * time.Second, Jumps: 0.5, Jump: 3 * time.Hour,
		Latency: 10 * time.Millisecond, SlowDisk: 0.5, FullDisk: 0.3, FailCommits: 0.01, LoseAnswers: 0.01, Damage: 0.1,
		Faults: 5 * time.Minute, Limit: time.Hour, MaxWrong: 0.01},
	"servers": {Name: "servers", Text: "one to three servers that share one to three shards: they die, freeze, give shards away and take them from each other",
		Workers: [2]int{4, 12}, Large: 120, Jobs: [2]int{2, 6}, Lying: 0.1, LieRate: 0.3, Slow: 0.1, Vanishing: 0.1, Pausing: 0.1, Forgetful: 0.05,
		Delay: 50 * time.Millisecond, Drop: 0.02, Duplicate: 0.03, Reorder: 0.02, Partitions: 0.3,
		Servers: [2]int{1, 3}, Shards: [2]int{1, 3}, Moves: 3, Poor: true,
		Crashes: 1, CrashHere: 0.001, Pauses: 0.7, Takeovers: 1, Skew: 20 * time.Second, Jumps: 0.5, Jump: 3 * time.Hour,
		Latency: 10 * time.Millisecond, SlowDisk: 0.3, FullDisk: 0.2, FailCommits: 0.01, LoseAnswers: 0.01, Damage: 0.05,
		Faults: 5 * time.Minute, Limit: 2 * time.Hour, MaxWrong: 0.01},
	"overload": {Name: "overload", Text: "more work than the crowd, the disk and some purses can bear",
		Workers: [2]int{FewestWorkers, 16}, Large: 100, Jobs: [2]int{3, 10}, Poor: true, Slow: 0.4, Greedy: 0.1, Vanishing: 0.1,
		Delay: 200 * time.Millisecond, Drop: 0.02, Duplicate: 0.02, Reorder: 0.02, Crashes: 0.2, Latency: 40 * time.Millisecond, SlowDisk: 1, FullDisk: 0.2,
		Faults: 5 * time.Minute, Limit: 24 * time.Hour},
}

// FewestWorkers are those that stay honest and present, so that every job can end.
const FewestWorkers = 4

// Names lists the profiles.
func Names() []string { return slices.Sorted(maps.Keys(Profiles)) }

// Crowd returns the profile with a fixed number of workers, 0 for its own.
func (p Profile) Crowd(n int) Profile {
	if n > 0 {
		p.Workers, p.Large = [2]int{n, n}, n
	}
	return p
}
