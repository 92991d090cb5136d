package sandbox

// Tail is an io.Writer that keeps the last bytes written to it in bounded memory. Not safe for concurrent use.
type Tail struct {
	limit int
	ring  []byte // grows to limit, then wraps
	next  int    // where the next byte goes once the ring is full
	total int64
}

// NewTail keeps the last limit bytes; limit is at least 1.
func NewTail(limit int) *Tail { return &Tail{limit: max(limit, 1)} }

// Write never fails.
func (t *Tail) Write(p []byte) (int, error) {
	n := len(p)
	t.total += int64(n)
	if len(p) >= t.limit {
		t.ring = append(t.ring[:0], p[len(p)-t.limit:]...)
		t.next = 0
		return n, nil
	}
	if room := t.limit - len(t.ring); room > 0 {
		k := min(room, len(p))
		t.ring = append(t.ring, p[:k]...)
		p = p[k:]
	}
	for len(p) > 0 {
		k := copy(t.ring[t.next:], p)
		t.next = (t.next + k) % t.limit
		p = p[k:]
	}
	return n, nil
}

// Total is how many bytes were ever written.
func (t *Tail) Total() int64 { return t.total }

// Bytes returns a copy of what is kept, oldest first; nil when nothing was written.
func (t *Tail) Bytes() []byte {
	if len(t.ring) == 0 {
		return nil
	}
	b := make([]byte, 0, len(t.ring))
	if len(t.ring) < t.limit {
		return append(b, t.ring...)
	}
	b = append(b, t.ring[t.next:]...)
	return append(b, t.ring[:t.next]...)
}
