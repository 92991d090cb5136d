package memory

import (
	"slices"

	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// page sorts a list by its keys and cuts out the page after the cursor.
func page[T, K any](list []T, p store.Page, name string, key func(T) K, compare func(a, b K) int) ([]T, string, error) {
	var after K
	more, err := store.DecodeCursor(name, p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	if more {
		list = slices.DeleteFunc(list, func(v T) bool { return compare(key(v), after) <= 0 })
	}
	slices.SortFunc(list, func(a, b T) int { return compare(key(a), key(b)) })
	if len(list) <= p.Size() {
		return list, "", nil
	}
	list = list[:p.Size():p.Size()]
	return list, store.EncodeCursor(name, key(list[len(list)-1])), nil
}
