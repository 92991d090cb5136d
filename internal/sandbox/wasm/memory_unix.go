//go:build unix

package wasm

import "golang.org/x/sys/unix"

// block is address space reserved once, of which a growing front part may be used: growing never copies.
type block struct {
	space []byte
	open  int
}

// grow makes the first size bytes usable, reserving limit bytes at the first call. It returns nil if the system refuses.
func (b *block) grow(size, limit uint64) []byte {
	if b.space == nil {
		if limit == 0 {
			return []byte{}
		}
		space, err := unix.Mmap(-1, 0, int(limit), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|mapNoReserve)
		if err != nil {
			return nil
		}
		b.space = space
	}
	if int(size) > b.open {
		page := unix.Getpagesize()
		end := min((int(size)+page-1)/page*page, len(b.space))
		if unix.Mprotect(b.space[:end], unix.PROT_READ|unix.PROT_WRITE) != nil {
			return nil
		}
		b.open = end
	}
	return b.space[:size:size]
}

// free gives everything back; the memory must not be touched any more.
func (b *block) free() {
	if b.space != nil {
		_ = unix.Munmap(b.space)
		b.space, b.open = nil, 0
	}
}
