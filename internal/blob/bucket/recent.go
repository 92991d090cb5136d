package bucket

import (
	"container/list"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob/sums"
)

// recentBytes bounds the sums kept in memory: those of 256 GiB of blobs.
const recentBytes = 16 << 20

// recent keeps the sums that were used last, so that many tasks that read ranges of one blob need them fetched once. They stay true while the blob is
// gone, since it can only come back with the same bytes. The zero value is empty. Safe for concurrent use.
type recent struct {
	mu    sync.Mutex
	byKey map[cloudcrowd.Digest]*list.Element
	order list.List // of recentSums, used last first
	bytes int64
}

type recentSums struct {
	d    cloudcrowd.Digest
	sums sums.Sums
}

func (e recentSums) bytes() int64 { return sums.EncodedBytes(e.sums.SizeBytes) + 256 }

func (r *recent) get(d cloudcrowd.Digest) (sums.Sums, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.byKey[d]
	if !ok {
		return sums.Sums{}, false
	}
	r.order.MoveToFront(e)
	return e.Value.(recentSums).sums, true
}

func (r *recent) put(d cloudcrowd.Digest, v sums.Sums) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = map[cloudcrowd.Digest]*list.Element{}
	}
	r.remove(d)
	e := recentSums{d, v}
	r.byKey[d] = r.order.PushFront(e)
	r.bytes += e.bytes()
	for r.bytes > recentBytes && r.order.Len() > 1 {
		r.remove(r.order.Back().Value.(recentSums).d)
	}
}

func (r *recent) drop(d cloudcrowd.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(d)
}

// remove forgets an entry. r.mu is held.
func (r *recent) remove(d cloudcrowd.Digest) {
	if e, ok := r.byKey[d]; ok {
		delete(r.byKey, d)
		r.bytes -= r.order.Remove(e).(recentSums).bytes()
	}
}
