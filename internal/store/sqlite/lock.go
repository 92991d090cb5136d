package sqlite

import (
	"errors"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/filelock"
)

// lockFile takes the lock beside the database or answers code Conflict naming the process that has it.
func lockFile(path string) (*filelock.Lock, error) {
	lock, owner, err := filelock.Take(path)
	switch {
	case errors.Is(err, filelock.ErrLocked):
		return nil, &cloudcrowd.Error{Code: cloudcrowd.Conflict, Msg: "the data directory is already in use by " + owner + ": " + strings.TrimSuffix(path, ".lock"), Hint: "stop that process first, or give this one another data directory"}
	case err != nil:
		return nil, unusable(path, err)
	}
	return lock, nil
}
