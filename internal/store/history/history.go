// Package history keeps finished work in segments, for the stores that are SQL databases: it packs what one stretch of the journal made final
// into few compressed rows, and reads them back as the ordered lists of store.Projections. It knows no SQL; a Source gives it rows.
//
// # Segments
//
// A stage's tasks are divided into blocks of 512 by their index. A segment holds what one stretch of the journal made final in one block: tasks,
// attempts and charges. Of two versions of one item, in two segments of a block, the one of the later stretch counts. So a list by index reads
// block after block, and everything that is to be known of a task lies in one block.
//
// # Listings
//
// For each list by time in which a segment's items appear (the attempts of a worker, the charges of an account) there is a listing: the segment's
// key, and the earliest and the latest time of those items. A list by time walks the listings, the latest first, and opens segments until none
// that is left can hold an item of the page. Listings are kept apart by the length of time they cover (Level), so that a page in the middle of a
// long history finds the segments that reach into it without passing those that came after it.
//
// # What it costs
//
// A page by index opens the segments of the blocks it covers, a page by time those whose times overlap it. In memory, a page needs one decoded segment
// (about MaxPlain, see Cut), its items twice over and those of one block, and a page by time the ids of what up to 64 blocks hold; a Reader
// keeps four segments open. A block that collects many small segments is merged as it grows (Plan), so that it never has many more than MaxSegments.
package history

import (
	"errors"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

const (
	blockBits = 9
	// BlockTasks is how many tasks' indexes share a block.
	BlockTasks = 1 << blockBits
	// MaxPlain is the size, in estimated bytes before compression, above which a segment is cut in parts and segments are not merged. One task's
	// items are never parted.
	MaxPlain = 1 << 20
)

// Place is a block of a stage.
type Place struct {
	Job   cloudcrowd.JobID
	Stage int32
	Block int32
}

// PlaceOf is where a task's items are kept.
func PlaceOf(t cloudcrowd.TaskID) Place { return Place{t.Job, t.Stage, t.Index >> blockBits} }

// task is the id of the task at an offset of the block.
func (p Place) task(offset int32) cloudcrowd.TaskID {
	return cloudcrowd.TaskID{Job: p.Job, Stage: p.Stage, Index: p.Block<<blockBits | offset}
}

// Key names a segment. Seq and Part order the versions of what is in a block: the later one counts.
type Key struct {
	Place
	Seq  int64 // last journal row of the stretch it is of; of merged ones that of the newest
	Part int32 // 0 unless the block's part of the stretch was too large for one segment
}

// String names a segment for people.
func (k Key) String() string {
	first := int64(k.Block) * BlockTasks
	return fmt.Sprintf("segment of tasks %s-%d-%d to %d up to journal row %d, part %d", k.Job, k.Stage, first, first+BlockTasks-1, k.Seq, k.Part)
}

// after reports whether what k holds replaces what o holds.
func (k Key) after(o Key) bool { return k.Seq > o.Seq || k.Seq == o.Seq && k.Part > o.Part }

// Segment is a segment in the open. Items are ordered by index and number; each occurs once.
type Segment struct {
	Key
	Shard    int
	Tasks    []cloudcrowd.Task // without Attempts
	Attempts []cloudcrowd.Attempt
	Charges  []cloudcrowd.Charge
}

// Items counts what the segment holds.
func (s *Segment) Items() int { return len(s.Tasks) + len(s.Attempts) + len(s.Charges) }

// Stored is a segment as it is kept.
type Stored struct {
	Key
	Shard int
	Items int
	Bytes []byte
}

// Stored encodes the segment.
func (s *Segment) Stored() Stored { return Stored{s.Key, s.Shard, s.Items(), s.encode()} }

// corrupt names a segment that cannot be read.
func corrupt(k Key, format string, args ...any) error {
	return &store.CorruptError{What: k.String(), Err: fmt.Errorf(format, args...)}
}

// ErrStop ends a walk of a Source without an error of the walk.
var ErrStop = errors.New("history: enough")
