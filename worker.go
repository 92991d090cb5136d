package cloudcrowd

// WorkerInfo is what a worker says of itself when it connects. Measured once by the worker, claimed, never trusted for payment beyond a task's reservation.
type WorkerInfo struct {
	Name        string   `json:"name"`         // chosen by its owner; default the host name
	Version     string   `json:"version"`      // of the agent
	OS          string   `json:"os"`           // GOOS
	Arch        string   `json:"arch"`         // GOARCH
	CPU         string   `json:"cpu"`          // model name
	Cores       int      `json:"cores"`        // of the machine
	Slots       int      `json:"slots"`        // attempts it runs at once
	Speed       float64  `json:"speed"`        // of one slot, 1.0 = the reference core (worker.ReferenceKernel)
	MemoryBytes int64    `json:"memory_bytes"` // for all slots together
	DiskBytes   int64    `json:"disk_bytes"`   // for cache and attempts
	Sandboxes   []string `json:"sandboxes"`    // that passed their probe: "wasm"
}

// Worker is a registered device.
type Worker struct {
	ID           WorkerID  `json:"id"`
	Name         string    `json:"name"`
	Owner        AccountID `json:"owner"` // who is paid
	RegisteredAt Time      `json:"registered_at"`
	Revoked      bool      `json:"revoked"`
	Invite       string    `json:"invite,omitempty"` // id of the invite it joined by
}

// Record is a worker's standing, changed only by verified outcomes. It is replayed from the journal.
type Record struct {
	Valid       int64   `json:"valid" cbor:"1,keyasint,omitempty"`     // results that agreed with a canonical result of a quorum of two or more
	Unchecked   int64   `json:"unchecked" cbor:"2,keyasint,omitempty"` // results accepted alone
	Invalid     int64   `json:"invalid" cbor:"3,keyasint,omitempty"`   // results refused
	Failed      int64   `json:"failed" cbor:"4,keyasint,omitempty"`    // attempts whose program failed there
	Lost        int64   `json:"lost" cbor:"5,keyasint,omitempty"`      // leases let expire
	Streak      int64   `json:"streak" cbor:"6,keyasint,omitempty"`    // valid results in a row since the last invalid one
	Earned      Credits `json:"earned_microcredits" cbor:"7,keyasint,omitempty"`
	LastInvalid Time    `json:"last_invalid,omitempty" cbor:"8,keyasint,omitempty"`
}

// Add is what two parts of a record make together. Of streaks that an invalid result has ended, the one since the latest of these counts.
func (r Record) Add(o Record) Record {
	sum := Record{Valid: r.Valid + o.Valid, Unchecked: r.Unchecked + o.Unchecked, Invalid: r.Invalid + o.Invalid, Failed: r.Failed + o.Failed, Lost: r.Lost + o.Lost,
		Streak: r.Streak + o.Streak, Earned: r.Earned + o.Earned, LastInvalid: max(r.LastInvalid, o.LastInvalid)}
	if sum.LastInvalid != 0 {
		if sum.Streak = r.Streak; o.LastInvalid > r.LastInvalid {
			sum.Streak = o.Streak
		}
	}
	return sum
}
