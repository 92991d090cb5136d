package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

var errLocked = errors.New("locked by another process")

// fileLock is an operating system's lock on a file beside the database. It goes when its process ends, however it ends. The file stays and
// holds the number of the process that locked it last.
type fileLock struct{ f *os.File }

// lockFile takes the lock or answers code Conflict naming the process that has it.
func lockFile(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, unusable(path, err)
	}
	if err := tryLock(f); err != nil {
		defer f.Close()
		if !errors.Is(err, errLocked) {
			return nil, unusable(path, err)
		}
		owner := "another process"
		if b, err := io.ReadAll(io.LimitReader(f, 32)); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				owner = fmt.Sprintf("pid %d", pid)
			}
		}
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: "the data directory is already in use by " + owner + ": " + strings.TrimSuffix(path, ".lock"), Hint: "stop that process first, or give this one another data directory"}
	}
	// The number is for people; the lock holds without it, so a full disk does not matter here.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &fileLock{f}, nil
}

func (l *fileLock) release() error {
	if l == nil { // a store opened for reading only
		return nil
	}
	return l.f.Close()
}
