//go:build !unix

package wasm

// block is memory from Go's heap, grown by copying.
type block struct {
	space []byte
}

// grow makes the first size bytes usable.
func (b *block) grow(size, limit uint64) []byte {
	if size > uint64(cap(b.space)) {
		larger := make([]byte, size, min(limit, max(size, 2*uint64(cap(b.space)))))
		copy(larger, b.space)
		b.space = larger
	}
	b.space = b.space[:size]
	return b.space
}

func (b *block) free() { b.space = nil }
