package platform

import (
	"os"
	"runtime/debug"
	"sync"

	"cloudcrowd.dev/cloudcrowd/internal/machine"
)

// tuneMemory lets the collector run less often than it does by itself: most of what a server allocates lives for one batch, and what it keeps is small, so
// tracing it at every doubling costs a tenth of the processor for little. Near six tenths of the memory of the machine, or of the container, it collects as
// hard as it must. Whoever sets GOGC or GOMEMLIMIT has his way.
var tuneMemory = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		if total := machine.MemoryBytes(); total > 0 {
			debug.SetMemoryLimit(total / 10 * 6)
		}
	}
})
