package machine

import (
	"errors"
	"math"
	"testing"
)

// The memory is the least of what the machine has and what the container may take; no limit, and limits beyond everything, as an unlimited cgroup of version 1 has, change nothing.
func TestLower(t *testing.T) {
	t.Parallel()
	const total = 16 << 30
	for _, c := range []struct {
		total int64
		limit uint64
		err   error
		want  int64
	}{
		{total, 1 << 30, nil, 1 << 30},
		{total, 32 << 30, nil, total},
		{total, math.MaxUint64, nil, total},
		{total, 0, nil, total},
		{total, 0, errors.New("no cgroup"), total},
		{0, 1 << 30, nil, 1 << 30},
		{0, 0, errors.New("no cgroup"), 0},
	} {
		if got := lower(c.total, func() (uint64, error) { return c.limit, c.err }); got != c.want {
			t.Errorf("%d of the machine, limit %d, %v: %d, want %d", c.total, c.limit, c.err, got, c.want)
		}
	}
	if MemoryBytes() <= 0 || Cores() < 1 {
		t.Errorf("this machine has %d bytes and %d cores", MemoryBytes(), Cores())
	}
}
