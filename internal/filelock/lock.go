// Package filelock lets one process at a time use a folder: the server its data, a worker its device.
package filelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// ErrLocked is what Take fails with, wrapped, when another process has the lock.
var ErrLocked = errors.New("locked by another process")

// Lock is an operating system's lock on a file. It goes when its process ends, however it ends. The file stays and holds the number of the
// process that locked it last.
type Lock struct{ f *os.File }

// Take locks the file at path, which it makes. If another process has the lock it answers that process in words, and ErrLocked.
func Take(path string) (lock *Lock, owner string, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, "", err
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, ErrLocked) {
			return nil, "", err
		}
		owner := "another process"
		if b, err := io.ReadAll(io.LimitReader(f, 32)); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				owner = fmt.Sprintf("pid %d", pid)
			}
		}
		return nil, owner, fmt.Errorf("%s: %w", path, ErrLocked)
	}
	// The number is for people; the lock holds without it, so a full disk does not matter here.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &Lock{f}, "", nil
}

// Release gives the lock up. A nil lock has nothing to give up.
func (l *Lock) Release() error {
	if l == nil {
		return nil
	}
	return errors.Join(unlock(l.f), l.f.Close())
}
