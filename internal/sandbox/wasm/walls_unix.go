//go:build unix && !linux

package wasm

import (
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// wallIn sets what resource limits this system has; there is no further wall.
func wallIn(bind) (walls []string, err error) {
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE)
	for resource, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: 4096} {
		var old unix.Rlimit
		if err := unix.Getrlimit(resource, &old); err != nil {
			return nil, err
		}
		old.Cur = min(most, old.Max)
		if err := unix.Setrlimit(resource, &old); err != nil {
			return nil, err
		}
	}
	return []string{"rlimits"}, nil
}

func limitFiles(most int64) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_FSIZE, &limit) == nil {
		limit.Cur = min(uint64(most), limit.Max)
		_ = unix.Setrlimit(unix.RLIMIT_FSIZE, &limit)
	}
}

func limitData(int64) {}
