package history

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Source gives a Reader the rows that a store keeps. Each call sees the rows of one moment.
type Source interface {
	// Segments calls fn for the segments of a job from a place on, ordered by stage, block, Seq and Part, until fn answers an error, which it returns,
	// or ErrStop. What fn is given belongs to it. fn does not call the Source.
	Segments(ctx context.Context, from Place, fn func(Stored) error) error
	// Block is Segments for one block.
	Block(ctx context.Context, p Place, fn func(Stored) error) error
	// Segment returns one segment; false if there is none.
	Segment(ctx context.Context, k Key) (Stored, bool, error)
	// Versions lists the segments of a block in the order of their keys.
	Versions(ctx context.Context, p Place) ([]Held, error)
	// Listings returns at most limit listings of a list and a level whose Latest is at most upTo, ordered by Latest, job, stage, block, Seq and Part, all
	// descending; those behind after if it is not nil.
	Listings(ctx context.Context, l List, level int, upTo cloudcrowd.Time, after *Listing, limit int) ([]Listing, error)
}

// Reader answers the lists of store.Projections from a Source. It is safe for concurrent use as far as the Source is.
type Reader struct {
	src Source

	mu     sync.Mutex
	recent []recent // segments opened last for Task, the newest at the end
}

// recent is a segment opened whole, and the beginning of its bytes, which holds a checksum: by that it is known again.
type recent struct {
	key  Key
	head string
	seg  *Segment
}

// keptOpen is how many segments a Reader keeps open, for callers who ask for a block's tasks one by one.
const keptOpen = 4

// NewReader returns a reader of a source.
func NewReader(src Source) *Reader { return &Reader{src: src} }

// open reads and decodes a segment whole, or takes it from those opened before.
func (r *Reader) open(ctx context.Context, h Held) (*Segment, error) {
	known := recent{key: h.Key, head: string(h.Head)}
	r.mu.Lock()
	i := slices.IndexFunc(r.recent, func(v recent) bool { return v.key == known.key && v.head == known.head })
	if i >= 0 {
		known.seg = r.recent[i].seg
	}
	r.mu.Unlock()
	if i >= 0 {
		return known.seg, nil
	}
	s, ok, err := r.src.Segment(ctx, h.Key)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, moved(h.Key)
	}
	if known.seg, err = Decode(s); err != nil {
		return nil, err
	}
	known.head = string(s.Bytes[:HeadBytes])
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.recent) >= keptOpen {
		r.recent = slices.Delete(r.recent, 0, 1)
	}
	r.recent = append(r.recent, known)
	return known.seg, nil
}

// Tasks lists a job's tasks by stage and index; stage -1 means all stages.
func (r *Reader) Tasks(ctx context.Context, job cloudcrowd.JobID, stage int32, p store.Page) ([]cloudcrowd.Task, string, error) {
	return inOrder(ctx, r, job, stage, p, store.TaskList, tasks, func(s *Segment) []cloudcrowd.Task { return s.Tasks }, taskID)
}

// JobAttempts lists a job's attempts by task and number.
func (r *Reader) JobAttempts(ctx context.Context, job cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	return inOrder(ctx, r, job, -1, p, "job-attempts", attempts, func(s *Segment) []cloudcrowd.Attempt { return s.Attempts }, attemptID)
}

// inOrder reads a page by index: block after block, until the page is full and its last block is done.
func inOrder[T any](ctx context.Context, r *Reader, job cloudcrowd.JobID, stage int32, p store.Page, name string, want part, items func(*Segment) []T, id func(*T) cloudcrowd.AttemptID) ([]T, string, error) {
	var after store.Position
	more, err := store.DecodeCursor(name, p.Cursor, &after)
	if err != nil {
		return nil, "", err
	}
	found := page[T, store.Position]{size: p.Size() + 1, compare: store.Position.Compare}
	from := Place{Job: job, Stage: max(stage, 0), Block: -1 << (31 - blockBits)}
	if more && after.Stage >= from.Stage {
		from = PlaceOf(cloudcrowd.TaskID{Job: job, Stage: after.Stage, Index: after.Index})
	}
	block := from
	err = r.src.Segments(ctx, from, func(s Stored) error {
		if s.Place != block {
			if block = s.Place; found.full() || stage >= 0 && s.Stage != stage {
				return ErrStop
			}
		}
		seg, err := decode(s, want)
		if err != nil {
			return err
		}
		list := items(seg)
		for i := range list {
			at := store.PositionOf(id(&list[i]))
			if !more || at.Compare(after) > 0 {
				found.add(at, id(&list[i]), s.Key, &list[i])
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	list, next := found.cut(name, p)
	return list, next, nil
}

// Task returns a task with its attempts; false if it is not there.
func (r *Reader) Task(ctx context.Context, id cloudcrowd.TaskID) (t cloudcrowd.Task, found bool, err error) {
	err = unmoved(func() error {
		t, found = cloudcrowd.Task{}, false
		held, err := r.src.Versions(ctx, PlaceOf(id))
		if err != nil {
			return err
		}
		var w whole
		for _, h := range held {
			seg, err := r.open(ctx, h)
			if err != nil {
				return err
			}
			w.take(seg, id)
		}
		t, found = w.task()
		return nil
	})
	return t, found, err
}

// WholeTasks returns tasks with their attempts, in the order of ids; code NotFound if one is not there. It reads each block they lie in once.
func (r *Reader) WholeTasks(ctx context.Context, ids []cloudcrowd.TaskID) ([]cloudcrowd.Task, error) {
	blocks := map[Place][]int{} // places in ids
	var order []Place
	for i, id := range ids {
		p := PlaceOf(id)
		if blocks[p] == nil {
			order = append(order, p)
		}
		blocks[p] = append(blocks[p], i)
	}
	list := make([]cloudcrowd.Task, len(ids))
	for _, p := range order {
		gathered := make([]whole, len(blocks[p]))
		err := r.src.Block(ctx, p, func(s Stored) error {
			seg, err := decode(s, tasks|attempts)
			if err != nil {
				return err
			}
			for k, i := range blocks[p] {
				gathered[k].take(seg, ids[i])
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		for k, i := range blocks[p] {
			var found bool
			if list[i], found = gathered[k].task(); !found {
				return nil, cloudcrowd.Errorf(cloudcrowd.NotFound, "there is no finished task %q", ids[i].String())
			}
		}
	}
	return list, nil
}

// whole is a task with its attempts, being gathered from the segments of its block in the order of their versions.
type whole struct {
	latest *cloudcrowd.Task
	tries  map[int32]cloudcrowd.Attempt
}

func (w *whole) take(seg *Segment, id cloudcrowd.TaskID) {
	offset := id.Index & (BlockTasks - 1)
	only := [2]int32{offset, offset + 1}
	for _, v := range between(seg.Tasks, taskID, only) {
		w.latest = &v
	}
	for _, a := range between(seg.Attempts, attemptID, only) {
		if w.tries == nil {
			w.tries = map[int32]cloudcrowd.Attempt{}
		}
		w.tries[a.ID.N] = a
	}
}

// task is what was gathered; false if the task itself was not among it.
func (w *whole) task() (t cloudcrowd.Task, found bool) {
	if w.latest == nil {
		return t, false
	}
	t = *w.latest
	if len(w.tries) > 0 {
		t.Attempts = slices.SortedFunc(maps.Values(w.tries), func(a, b cloudcrowd.Attempt) int { return cmp.Compare(a.ID.N, b.ID.N) })
	}
	return t, true
}

// page collects the first items of an order, each in its latest version. It keeps no more than twice as many as it is asked for.
type page[T, K any] struct {
	size    int
	compare func(a, b K) int
	list    []entry[T, K]
	end     *K // items behind it are not wanted any more
}

type entry[T, K any] struct {
	at      K
	id      cloudcrowd.AttemptID
	version Key
	item    T
}

func (p *page[T, K]) add(at K, id cloudcrowd.AttemptID, version Key, item *T) {
	if p.end != nil && p.compare(at, *p.end) > 0 {
		return
	}
	p.list = append(p.list, entry[T, K]{at, id, version, *item})
	if len(p.list) >= 2*p.size+BlockTasks {
		p.tidy()
	}
}

// tidy brings what was collected into order, and drops earlier versions and what is too much.
func (p *page[T, K]) tidy() {
	latest := make(map[cloudcrowd.AttemptID]int, len(p.list))
	kept := p.list[:0]
	for _, e := range p.list {
		if i, ok := latest[e.id]; !ok {
			latest[e.id] = len(kept)
			kept = append(kept, e)
		} else if e.version.after(kept[i].version) {
			kept[i] = e
		}
	}
	slices.SortFunc(kept, func(a, b entry[T, K]) int { return p.compare(a.at, b.at) })
	if len(kept) >= p.size {
		kept = kept[:p.size]
		p.end = &kept[p.size-1].at
		end := *p.end
		p.end = &end
	}
	clear(p.list[len(kept):])
	p.list = kept
}

// full tidies, and reports whether as many items were found as were asked for.
func (p *page[T, K]) full() bool {
	p.tidy()
	return len(p.list) >= p.size
}

// cut returns the page, which is one shorter than what was asked for, and the next one's cursor.
func (p *page[T, K]) cut(name string, q store.Page) (list []T, next string) {
	p.tidy()
	if len(p.list) > q.Size() {
		p.list = p.list[:q.Size()]
		next = store.EncodeCursor(name, p.list[len(p.list)-1].at)
	}
	for i := range p.list {
		list = append(list, p.list[i].item)
	}
	return list, next
}
