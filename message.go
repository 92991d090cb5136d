package cloudcrowd

// The messages of the worker protocol as values. internal/wire gives them their protobuf form and docs/worker-protocol.md states the contract:
// who sends what when, and what may be lost. Losing any message only delays work.

// Up is one batch from a worker to the server.
type Up struct {
	Hello    *Hello      // first message of a connection, and whenever Refresh asked for it
	Beat     *Beat       // every HeartbeatSeconds, and at once when capacity changes
	Reports  []Report    // results; repeated until acknowledged
	Returned []AttemptID // leases handed back unstarted or unfinished, without blame
	Leaving  bool        // with Returned: no new leases, please
}

// Hello says who is there, what it holds and what it has.
type Hello struct {
	Session     string // random, new at each start of the agent
	Info        WorkerInfo
	Holding     []AttemptID // leased attempts it has queued or running
	Spooled     []AttemptID // finished attempts not acknowledged yet; reports follow
	Cached      []Digest    // blobs in its cache, most recently used first, at most 4,096
	CachedBytes int64
}

// Beat extends the leases it lists and asks for work.
type Beat struct {
	Session     string
	Holding     []Progress
	Want        int      // further leases it can take now
	Unable      string   `json:",omitempty"` // why it takes none now, however little it holds ("its disk is full"); empty if it does
	Cached      []Digest // newly cached since the last message
	CachedBytes int64
}

// Progress is how far one attempt is.
type Progress struct {
	Attempt  AttemptID
	Running  bool    // false: queued
	Fraction float64 // 0..1; 0 if unknown
	Elapsed  float64 // seconds since it started
}

// Report is one attempt's result.
type Report struct {
	Attempt AttemptID
	Result  Result
}

// Down is one batch from the server to a worker.
type Down struct {
	Welcome *Welcome // answer to Hello
	Refresh bool     // the server does not know this session: say Hello again
	Leases  []Lease
	Acks    []AttemptID // reports recorded durably (or no longer wanted): the worker may forget them
	Cancels []AttemptID // stop these; no report wanted
	Refused string      // the worker may not work here: reason; it should stop
}

// Welcome tells a worker how to behave.
type Welcome struct {
	HeartbeatSeconds float64
	LeaseSeconds     float64 // a lease not mentioned by a Beat for so long expires
	Ahead            int     // leases it may queue beyond its slots
	// Servers are the base URLs ("https://host:8443") of all servers of the crowd, this one included, in no order: where the worker may go on when this
	// one is gone. They share certificate, devices and blobs. Empty: not told, which an older server does; the worker keeps to what it knows.
	Servers []string `json:",omitempty"`
}

// Lease is the right to run one attempt until it expires.
type Lease struct {
	Attempt AttemptID
	Payload Payload
	Grants  []Grant // one per distinct blob of the payload
	Upload  string  // token for storing outputs and the log of this attempt
}

// Grant lets its holder read one blob.
type Grant struct {
	Blob  Digest
	Token string
}
