package platform

import (
	"os"
	"runtime/debug"
	"sync"

	"github.com/shirou/gopsutil/v4/mem"
)

// tuneMemory lets the collector run less often than it does by itself: most of what a server allocates lives for one batch, and what it keeps is small, so
// tracing it at every doubling costs a tenth of the processor for little. Near six tenths of the machine's memory it collects as hard as it must. Whoever
// sets GOGC or GOMEMLIMIT has his way.
var tuneMemory = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if m, err := mem.VirtualMemory(); err == nil && m.Total > 0 {
			debug.SetMemoryLimit(int64(m.Total / 10 * 6))
		}
	}
})
