package lifecycle

// queue is a heap whose members know their places, so that one that has changed is put right without being searched for.
type queue[T any] struct {
	list   []T
	before func(a, b T) bool
	place  func(T) *int // where a member keeps its place, counted from 1; 0: it is not in the queue. nil: nobody asks
}

func (q *queue[T]) len() int { return len(q.list) }

// put takes a member in, or puts one that has changed right.
func (q *queue[T]) put(x T) {
	at := 0
	if q.place != nil {
		at = *q.place(x)
	}
	if at == 0 {
		q.list = append(q.list, x)
		at = len(q.list)
	}
	q.settle(at - 1)
}

// drop takes a member out; nothing happens if it is not in.
func (q *queue[T]) drop(x T) {
	if at := *q.place(x); at > 0 {
		q.remove(at - 1)
	}
}

// pop takes out who is first. The queue must not be empty.
func (q *queue[T]) pop() T {
	x := q.list[0]
	q.remove(0)
	return x
}

func (q *queue[T]) remove(i int) {
	if q.place != nil {
		*q.place(q.list[i]) = 0
	}
	last := len(q.list) - 1
	x := q.list[last]
	clear(q.list[last:])
	q.list = q.list[:last]
	if i < last {
		q.list[i] = x
		q.settle(i)
	}
}

// sort puts everything right after many have changed.
func (q *queue[T]) sort() {
	for i := len(q.list) - 1; i >= 0; i-- {
		q.sink(i)
	}
}

// settle moves the member at i to where it belongs; all others are where they belong.
func (q *queue[T]) settle(i int) {
	x := q.list[i]
	for i > 0 && q.before(x, q.list[(i-1)/2]) {
		q.set(i, q.list[(i-1)/2])
		i = (i - 1) / 2
	}
	q.list[i] = x
	q.sink(i)
}

// sink moves the member at i behind those of the ones below it that come before it.
func (q *queue[T]) sink(i int) {
	x := q.list[i]
	for {
		child := 2*i + 1
		if child >= len(q.list) {
			break
		}
		if child+1 < len(q.list) && q.before(q.list[child+1], q.list[child]) {
			child++
		}
		if !q.before(q.list[child], x) {
			break
		}
		q.set(i, q.list[child])
		i = child
	}
	q.set(i, x)
}

func (q *queue[T]) set(i int, x T) {
	q.list[i] = x
	if q.place != nil {
		*q.place(x) = i + 1
	}
}

// walk goes through a queue in order and leaves it as it is: whoever looks at few of many does not pay for the others. The queue must not change meanwhile.
type walk[T any] struct {
	of   *queue[T]
	next queue[int] // places in the queue, of whom one is next
}

func (q *queue[T]) walk() walk[T] {
	w := walk[T]{of: q, next: queue[int]{before: func(a, b int) bool { return q.before(q.list[a], q.list[b]) }}}
	w.offer(0)
	return w
}

func (w *walk[T]) offer(place int) {
	if w.of != nil && place < len(w.of.list) {
		w.next.put(place)
	}
}

// peek is who comes next; false: nobody does.
func (w *walk[T]) peek() (x T, ok bool) {
	if w.next.len() == 0 {
		return x, false
	}
	return w.of.list[w.next.list[0]], true
}

// step goes past who came next.
func (w *walk[T]) step() {
	place := w.next.pop()
	w.offer(2*place + 1)
	w.offer(2*place + 2)
}
