// Package machine says how much of this machine a process may have: in a container that is less than there is.
package machine

import (
	"runtime"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/shirou/gopsutil/v4/mem"
)

// MemoryBytes is the memory this process and its children may use together: the machine's, or the limit of their container (cgroup) if that is lower. 0 if unknown.
func MemoryBytes() int64 {
	var total int64
	if m, err := mem.VirtualMemory(); err == nil {
		total = int64(m.Total)
	}
	return lower(total, memlimit.FromCgroup)
}

// lower is the limit if there is one below total.
func lower(total int64, limit func() (uint64, error)) int64 {
	if bytes, err := limit(); err == nil && bytes > 0 && (total <= 0 || bytes < uint64(total)) {
		return int64(bytes)
	}
	return total
}

// Cores is how many processors this process may keep busy: the machine's, or what the quota of its container, rounded up, or GOMAXPROCS leaves.
func Cores() int { return runtime.GOMAXPROCS(0) }
