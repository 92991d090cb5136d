//go:build unix && !linux

package wasm

import (
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// systemWalls are the walls that a child has on this system.
var systemWalls = []string{"rlimits"}

// wallIn sets what resource limits this system has; there is no further wall.
func wallIn(bind) (walls []string, err error) {
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE)
	for resource, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: 4096} {
		var old unix.Rlimit
		if err := unix.Getrlimit(resource, &old); err != nil {
			return nil, err
		}
		old.Cur = least(most, old.Max)
		if err := unix.Setrlimit(resource, &old); err != nil {
			return nil, err
		}
	}
	return []string{"rlimits"}, nil
}

// least is min over the types systems use for limits.
func least[T int64 | uint64](most uint64, limit T) T { return min(T(most), limit) }

func limitFiles(most int64) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) == nil {
		limit.Cur = least(uint64(most), limit.Max)
		_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	}
}

func limitData(int64) {}
