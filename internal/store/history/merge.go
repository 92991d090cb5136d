package history

import (
	"slices"

	"cloudcrowd.dev/cloudcrowd"
)

// Merge makes one segment of several of one block, of which the later ones in the list are the later versions. Its key is that of the last.
func Merge(list []*Segment) *Segment {
	last := list[len(list)-1]
	if len(list) == 1 {
		return last
	}
	return &Segment{Key: last.Key, Shard: last.Shard,
		Tasks:    merged(list, func(s *Segment) []cloudcrowd.Task { return s.Tasks }, taskID),
		Attempts: merged(list, func(s *Segment) []cloudcrowd.Attempt { return s.Attempts }, attemptID),
		Charges:  merged(list, func(s *Segment) []cloudcrowd.Charge { return s.Charges }, chargeID),
	}
}

func merged[T any](list []*Segment, items func(*Segment) []T, id func(*T) cloudcrowd.AttemptID) []T {
	var all []T
	for _, s := range list {
		all = append(all, items(s)...)
	}
	order := make([]ordered, len(all))
	for i := range all {
		order[i] = orderOf(id(&all[i]), i)
	}
	return arrange(all, order)
}

// Held is what is known of a stored segment without opening it.
type Held struct {
	Key
	Items int    // tasks, attempts and charges
	Bytes int    // as stored
	Head  []byte // the first HeadBytes of them
}

const (
	// MaxSegments is how many small segments of one block are left alone.
	MaxSegments = 8
	// LookBelow is the number of items from which on a new segment does not make a block worth looking at: so few of that size fit in one that
	// they need no merging.
	LookBelow = 3 * BlockTasks / MaxSegments
	// mergeBytes bounds what is merged at once, as stored.
	mergeBytes = MaxPlain / 4
)

// Plan chooses which segments of a block are to be merged: list[from:to], neighbours, so that the order of versions stays; none if from == to. list
// is in the order of their keys. The newest are merged with older ones up to the first that is more than twice as large as all that came after
// it: an item is written again a number of times that grows with the logarithm of what the block holds.
func Plan(list []Held) (from, to int) {
	if len(list) <= MaxSegments {
		return 0, 0
	}
	best := [2]int{}
	for to = len(list); to > 0; to = from {
		from = to - 1
		items, bytes := list[from].Items, list[from].Bytes
		for from > 0 && list[from-1].Items <= 2*items && bytes+list[from-1].Bytes <= mergeBytes && items+list[from-1].Items <= MaxItems/4 {
			from--
			items, bytes = items+list[from].Items, bytes+list[from].Bytes
		}
		if to-from > best[1]-best[0] {
			best = [2]int{from, to}
		}
	}
	if best[1]-best[0] < 2 {
		return 0, 0
	}
	return best[0], best[1]
}

// Open decodes stored segments and merges them. They are of one block, in the order of their keys.
func Open(list []Stored) (*Segment, error) {
	opened := make([]*Segment, 0, len(list))
	for _, s := range slices.Clip(list) {
		d, err := Decode(s)
		if err != nil {
			return nil, err
		}
		opened = append(opened, d)
	}
	return Merge(opened), nil
}
