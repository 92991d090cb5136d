package scheduler

import "cloudcrowd.dev/cloudcrowd"

// Leases are what one worker holds, in no particular order. Most workers hold few, so they lie side by side and are looked through; from many on there is an index.
// The zero value holds none.
type Leases struct {
	list  []Held
	index map[cloudcrowd.AttemptID]int32 // where in list; nil for few
}

// Held is one lease a worker holds.
type Held struct {
	ID          cloudcrowd.AttemptID
	MemoryBytes int64
	Expected    float64         // seconds it takes there, from its start
	LeasedAt    cloudcrowd.Time // start, as far as known
	Expires     cloudcrowd.Time
	Until       cloudcrowd.Time // no heartbeat extends it beyond; 0: no limit
	Fraction    float64         // progress as the worker says
	Missing     int             // beats in a row that did not mention it
}

const (
	fewLeases  = 16  // so many are found without an index
	keptLeases = 512 // room for so many is kept when there are none
)

// Len is how many there are; nil holds none.
func (l *Leases) Len() int { return len(l.All()) }

// All are the leases themselves; none may be added or removed meanwhile.
func (l *Leases) All() []Held {
	if l == nil {
		return nil
	}
	return l.list
}

func (l *Leases) find(id cloudcrowd.AttemptID) int {
	if l.index != nil {
		if i, ok := l.index[id]; ok {
			return int(i)
		}
		return -1
	}
	for i := range l.list {
		if h := &l.list[i]; h.ID.Task.Index == id.Task.Index && h.ID == id {
			return i
		}
	}
	return -1
}

// Get finds a lease, nil if it is not held. What it returns is valid until the next Put or Delete.
func (l *Leases) Get(id cloudcrowd.AttemptID) *Held {
	if l == nil {
		return nil
	}
	if i := l.find(id); i >= 0 {
		return &l.list[i]
	}
	return nil
}

// Put adds a lease, in the place of the one with its id if there is one.
func (l *Leases) Put(h Held) {
	if i := l.find(h.ID); i >= 0 {
		l.list[i] = h
		return
	}
	l.list = append(l.list, h)
	switch n := len(l.list); {
	case l.index != nil:
		l.index[h.ID] = int32(n - 1)
	case n > fewLeases:
		l.index = make(map[cloudcrowd.AttemptID]int32, 2*n)
		for i := range l.list {
			l.index[l.list[i].ID] = int32(i)
		}
	}
}

// Delete removes a lease and reports whether it was held.
func (l *Leases) Delete(id cloudcrowd.AttemptID) bool {
	i := l.find(id)
	if i < 0 {
		return false
	}
	last := len(l.list) - 1
	if l.index != nil {
		delete(l.index, id)
		if i < last {
			l.index[l.list[last].ID] = int32(i)
		}
	}
	l.list[i] = l.list[last]
	l.list[last] = Held{}
	l.list = l.list[:last]
	if last == 0 && cap(l.list) > keptLeases { // a worker that was given much once does not keep the room for ever
		*l = Leases{}
	}
	return true
}
