package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"cloudcrowd.dev/cloudcrowd"
)

// history is what clients and devices asked for and were told, and when. models_test.go says what is right.
type history struct {
	begun time.Time

	mu    sync.Mutex
	parts map[part][]*operation
}

// part is what an operation is about: histories of different parts are independent.
type part struct{ kind, id string }

func accountPart(id cloudcrowd.AccountID) part { return part{"account", string(id)} }
func jobPart(id cloudcrowd.JobID) part         { return part{"job", string(id)} }
func taskPart(id cloudcrowd.TaskID) part       { return part{"task", id.String()} }

// operation is one request. One without an answer may have come about at any time after its call, or never.
type operation struct {
	client    int
	call, end int64 // nanoseconds since the history began
	in        any   // one of models_test.go
	out       answer
}

// answer is what came back.
type answer struct {
	unknown       bool            // nothing
	code          cloudcrowd.Code // refused
	job           cloudcrowd.JobID
	state         cloudcrowd.JobState
	balance, held cloudcrowd.Credits
	paid          []cloudcrowd.AttemptID
}

func newHistory() *history { return &history{begun: time.Now(), parts: map[part][]*operation{}} }

func (h *history) now() int64 { return int64(time.Since(h.begun)) }

// begin notes that something is asked for.
func (h *history) begin(client int, in any, parts ...part) *operation {
	op := &operation{client: client, call: h.now(), end: math.MaxInt64, in: in, out: answer{unknown: true}}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range parts {
		h.parts[p] = append(h.parts[p], op)
	}
	return op
}

// finish notes the answer.
func (h *history) finish(op *operation, out answer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op.end, op.out = h.now(), out
}

// forget takes an operation out that surely did not come about.
func (h *history) forget(op *operation, parts ...part) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range parts {
		h.parts[p] = slices.DeleteFunc(h.parts[p], func(o *operation) bool { return o == op })
	}
}

// verdict is what checking has found.
type verdict struct {
	operations, unknown, parts int
	wrong                      []string // parts whose history no order of its operations explains
	undecided                  []string
}

// check looks, for every part, for an order of its operations that its model allows and that keeps to the clock.
func (h *history) check() verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := verdict{parts: len(h.parts)}
	for p, list := range h.parts {
		ops := make([]porcupine.Operation, len(list))
		for i, op := range list {
			ops[i] = porcupine.Operation{ClientId: op.client, Input: op.in, Call: op.call, Output: op.out, Return: op.end}
			if op.out.unknown {
				v.unknown++
			}
		}
		v.operations += len(ops)
		switch porcupine.CheckOperationsTimeout(models[p.kind], ops, patience) {
		case porcupine.Illegal:
			_, info := porcupine.CheckOperationsVerbose(models[p.kind], ops, patience)
			v.wrong = append(v.wrong, p.kind+" "+p.id+"\n"+told(list, explainedUpTo(info)))
		case porcupine.Unknown:
			v.undecided = append(v.undecided, p.kind+" "+p.id)
		}
	}
	return v
}

// explainedUpTo is how many operations of a history the longest order explains that could be found.
func explainedUpTo(info porcupine.LinearizationInfo) (most int) {
	for _, orders := range info.PartialLinearizations() {
		for _, order := range orders {
			most = max(most, len(order))
		}
	}
	return most
}

// told prints a part's history around the operation, by the time of its call, from which on nothing explains it.
func told(list []*operation, at int) string {
	var b strings.Builder
	sorted := slices.SortedFunc(slices.Values(list), func(x, y *operation) int { return int(x.call - y.call) })
	fmt.Fprintf(&b, "%d of %d operations are explained; those around:\n", at, len(sorted))
	for _, op := range sorted[max(0, at-40):min(len(sorted), at+20)] {
		fmt.Fprintf(&b, "%12d … %-12d client %d: %T%+v → %+v\n", op.call, op.end, op.client, op.in, op.in, op.out)
	}
	return b.String()
}
