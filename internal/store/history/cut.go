package history

import (
	"cmp"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// ordered is an item's place in an order and where it lies.
type ordered struct {
	offset, n int32 // of the task in its block, and of the attempt
	at        int32 // in the list it comes from; of two that are the same the later one counts
}

func byNumber(a, b ordered) int {
	return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.n, b.n), cmp.Compare(a.at, b.at))
}

// arrange puts the list's items in the order, each once. list may be shared; what is returned is not.
func arrange[T any](list []T, order []ordered) []T {
	if len(order) == 0 {
		return nil
	}
	if !slices.IsSortedFunc(order, byNumber) {
		slices.SortFunc(order, byNumber)
	}
	out := make([]T, 0, len(order))
	for i, o := range order {
		if i+1 == len(order) || order[i+1].offset != o.offset || order[i+1].n != o.n {
			out = append(out, list[o.at])
		}
	}
	return out
}

func taskID(t *cloudcrowd.Task) cloudcrowd.AttemptID { return cloudcrowd.AttemptID{Task: t.ID} }

func attemptID(a *cloudcrowd.Attempt) cloudcrowd.AttemptID { return a.ID }

func chargeID(c *cloudcrowd.Charge) cloudcrowd.AttemptID { return c.Attempt }

// share is what a stretch has for one block, as places in its lists.
type share struct {
	place                    Place
	tasks, attempts, charges []ordered
	size                     int // estimated
}

// shares finds the share of a place, in the order in which places first occur. Neighbours mostly share a block.
type shares struct {
	list []*share
	of   map[Place]*share
	last *share
}

func (s *shares) at(t cloudcrowd.TaskID) *share {
	p := PlaceOf(t)
	if s.last != nil && s.last.place == p {
		return s.last
	}
	if s.last = s.of[p]; s.last == nil {
		s.last = &share{place: p}
		s.of[p] = s.last
		s.list = append(s.list, s.last)
	}
	return s.last
}

func orderOf(id cloudcrowd.AttemptID, at int) ordered {
	return ordered{id.Task.Index & (BlockTasks - 1), id.N, int32(at)}
}

// Cut makes segments of what a stretch made final. A block's share above MaxPlain is cut in parts, by index.
func Cut(p store.Projected) []Segment {
	s := shares{of: map[Place]*share{}}
	for i := range p.Tasks {
		t := &p.Tasks[i]
		to := s.at(t.ID)
		to.tasks = append(to.tasks, orderOf(taskID(t), i))
		to.size += taskSizeOf(t)
	}
	for i := range p.Attempts {
		a := &p.Attempts[i]
		to := s.at(a.ID.Task)
		to.attempts = append(to.attempts, orderOf(a.ID, i))
		to.size += attemptSizeOf(a)
	}
	for i := range p.Charges {
		to := s.at(p.Charges[i].Attempt.Task)
		to.charges = append(to.charges, orderOf(p.Charges[i].Attempt, i))
		to.size += chargeSize
	}
	out := make([]Segment, 0, len(s.list))
	for _, b := range s.list {
		whole := Segment{Key: Key{Place: b.place, Seq: p.To}, Shard: p.Shard, Tasks: arrange(p.Tasks, b.tasks), Attempts: arrange(p.Attempts, b.attempts), Charges: arrange(p.Charges, b.charges)}
		for i := range whole.Tasks {
			whole.Tasks[i].Attempts = nil
		}
		out = whole.parts(b.size, 0, BlockTasks, out)
	}
	return out
}

// parts appends the segment's items of the tasks at [lo, hi), as one segment if they are not too large or of one task alone.
func (s *Segment) parts(size int, lo, hi int32, out []Segment) []Segment {
	if size > MaxPlain && hi-lo > 1 {
		middle := (lo + hi) / 2
		for _, r := range [2][2]int32{{lo, middle}, {middle, hi}} {
			half := Segment{Key: s.Key, Shard: s.Shard, Tasks: between(s.Tasks, taskID, r), Attempts: between(s.Attempts, attemptID, r), Charges: between(s.Charges, chargeID, r)}
			if half.Items() > 0 {
				out = half.parts(half.size(), r[0], r[1], out)
			}
		}
		return out
	}
	if n := len(out); n > 0 && out[n-1].Place == s.Place {
		s.Part = out[n-1].Part + 1
	}
	return append(out, *s)
}

// between returns the items of tasks at the offsets [r0, r1) of an ordered list.
func between[T any](list []T, id func(*T) cloudcrowd.AttemptID, r [2]int32) []T {
	at := func(offset int32) int {
		n, _ := slices.BinarySearchFunc(list, offset, func(v T, offset int32) int { return cmp.Compare(id(&v).Task.Index&(BlockTasks-1), offset) })
		return n
	}
	return list[at(r[0]):at(r[1])]
}

// Estimated sizes before compression.
const (
	taskSizeLeast    = 60
	attemptSizeLeast = 120
	chargeSize       = 50
)

func taskSizeOf(t *cloudcrowd.Task) int {
	return taskSizeLeast + len(t.Label) + len(t.Reason) + outputsSize(t.Outputs)
}

func attemptSizeOf(a *cloudcrowd.Attempt) int {
	n := attemptSizeLeast + len(a.Verdict)
	if r := a.Result; r != nil {
		n += len(r.Reason) + len(r.StderrTail) + outputsSize(r.Outputs)
	}
	return n
}

func outputsSize(list []cloudcrowd.OutputFile) (n int) {
	for i := range list {
		n += len(list[i].Path) + 40
	}
	return n
}

func (s *Segment) size() int {
	n := chargeSize * len(s.Charges)
	for i := range s.Tasks {
		n += taskSizeOf(&s.Tasks[i])
	}
	for i := range s.Attempts {
		n += attemptSizeOf(&s.Attempts[i])
	}
	return n
}
