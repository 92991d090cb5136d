package sandbox

import (
	"fmt"
	"io/fs"
	"os"
)

// Contents is what Inspect found in a directory.
type Contents struct {
	Files   int   // regular files
	Entries int   // files and directories, without the directory itself
	Bytes   int64 // sum of the sizes of the files
}

// Inspect walks dir without following links and counts what it holds. It fails at the first entry that is neither a regular file nor a
// directory, and after more than maxEntries entries. Sandboxes call it on Out after every run, so that a caller may trust what it finds there.
func Inspect(dir string, maxEntries int) (Contents, error) {
	var c Contents
	root, err := os.OpenRoot(dir)
	if err != nil {
		return c, err
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == "." {
			return nil
		}
		if c.Entries++; c.Entries > maxEntries {
			return fmt.Errorf("more than %d files and directories", maxEntries)
		}
		if entry.IsDir() {
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%q is neither a regular file nor a directory", path)
		}
		c.Files++
		c.Bytes += info.Size()
		return nil
	})
	return c, err
}
