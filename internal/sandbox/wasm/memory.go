package wasm

import "github.com/tetratelabs/wazero/experimental"

// memory is one program's linear memory: it grows in place up to a limit and remembers its peak and whether it was ever refused.
type memory struct {
	limit   uint64
	peak    uint64
	refused bool
	block   block
}

// Allocate implements experimental.MemoryAllocator.
func (m *memory) Allocate(_, most uint64) experimental.LinearMemory {
	m.limit = min(m.limit, most)
	return m
}

// Reallocate implements experimental.LinearMemory: nil says no to the program.
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		m.refused = true
		return nil
	}
	b := m.block.grow(size, m.limit)
	if b == nil {
		m.refused = true
		return nil
	}
	m.peak = max(m.peak, size)
	return b
}

// Free implements experimental.LinearMemory.
func (m *memory) Free() { m.block.free() }
