package store

import (
	"cmp"
	"encoding/base64"
	"encoding/json"

	"cloudcrowd.dev/cloudcrowd"
)

// Bounds of Page.Limit.
const (
	DefaultLimit = 100
	MaximumLimit = 1000
)

// Size is the number of items the page may hold: Limit within its bounds.
func (p Page) Size() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return min(p.Limit, MaximumLimit)
}

// TaskList is the name of the lists of a job's tasks, for cursors. Their key is a Position, in every implementation: a list may begin with tasks that are not in a
// store yet, and go on there.
const TaskList = "tasks"

// Position is where a task or an attempt stands in its job.
type Position struct {
	Stage int32 `json:"s"`
	Index int32 `json:"i"`
	N     int32 `json:"n,omitempty"` // of the attempt; 0 for the task
}

// PositionOf is an attempt's position; that of its task with N 0.
func PositionOf(id cloudcrowd.AttemptID) Position {
	return Position{id.Task.Stage, id.Task.Index, id.N}
}

// Compare orders positions by stage, index and number.
func (p Position) Compare(o Position) int {
	return cmp.Or(cmp.Compare(p.Stage, o.Stage), cmp.Compare(p.Index, o.Index), cmp.Compare(p.N, o.N))
}

// EncodeCursor makes the opaque cursor of a list: the list's name and the key of the last item given out, so that items inserted or removed
// meanwhile neither repeat nor hide others. For implementations of Store.
func EncodeCursor(list string, key any) string {
	b, err := json.Marshal([]any{list, key})
	if err != nil {
		panic("store: a cursor key that cannot be encoded: " + err.Error())
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// DecodeCursor reads a cursor into key, a pointer. It reports false for the empty cursor (the first page) and answers code Invalid to one
// that another list made.
func DecodeCursor(list, cursor string, key any) (bool, error) {
	if cursor == "" {
		return false, nil
	}
	bad := cloudcrowd.Fieldf("cursor", "the cursor does not belong to this list").
		WithHint("pass the cursor of the previous page unchanged, or none for the first page")
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return false, bad
	}
	var parts []json.RawMessage
	if json.Unmarshal(b, &parts) != nil || len(parts) != 2 {
		return false, bad
	}
	var name string
	if json.Unmarshal(parts[0], &name) != nil || name != list || json.Unmarshal(parts[1], key) != nil {
		return false, bad
	}
	return true, nil
}
