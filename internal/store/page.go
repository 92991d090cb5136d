package store

import (
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
