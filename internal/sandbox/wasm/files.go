package wasm

import (
	"io"
	"io/fs"
	"math"
	"os"
	"sort"

	esys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// position is int64 under a name: go vet takes any Seek(int64, int) for a broken io.Seeker, and the engine's interface demands one.
type position = int64

// openFile is a program's handle of a file in a writable mount. It keeps its own position, so that one accounting covers every way to write.
type openFile struct {
	esys.UnimplementedFile
	m             *mount
	n             *node
	f             *os.File
	offset        int64
	reads, writes bool
	appends       bool
	closed        bool
}

// Dev implements esys.File.
func (o *openFile) Dev() (uint64, esys.Errno) { return o.m.dev, 0 }

// Ino implements esys.File.
func (o *openFile) Ino() (sys.Inode, esys.Errno) { return sys.Inode(o.n.ino), 0 }

// IsAppend implements esys.File.
func (o *openFile) IsAppend() bool { return o.appends }

// SetAppend implements esys.File.
func (o *openFile) SetAppend(enable bool) esys.Errno {
	o.appends = enable
	return 0
}

// Stat implements esys.File.
func (o *openFile) Stat() (sys.Stat_t, esys.Errno) {
	if o.closed {
		return sys.Stat_t{}, esys.EBADF
	}
	return o.n.stat(o.m.dev), 0
}

// Read implements esys.File.
func (o *openFile) Read(p []byte) (int, esys.Errno) {
	n, errno := o.Pread(p, o.offset)
	o.offset += int64(n)
	return n, errno
}

// Pread implements esys.File.
func (o *openFile) Pread(p []byte, at int64) (int, esys.Errno) {
	switch {
	case o.closed || !o.reads:
		return 0, esys.EBADF
	case at < 0:
		return 0, esys.EINVAL
	case len(p) == 0 || at >= o.n.size:
		return 0, 0
	}
	n, err := o.f.ReadAt(p, at)
	if err != nil && err != io.EOF {
		return n, o.m.hostError(err)
	}
	return n, 0
}

// Seek implements esys.File.
func (o *openFile) Seek(offset position, whence int) (int64, esys.Errno) {
	base := int64(0)
	switch {
	case o.closed:
		return 0, esys.EBADF
	case whence == io.SeekCurrent:
		base = o.offset
	case whence == io.SeekEnd:
		base = o.n.size
	case whence != io.SeekStart:
		return 0, esys.EINVAL
	}
	if offset > math.MaxInt64-base || base+offset < 0 {
		return 0, esys.EINVAL
	}
	o.offset = base + offset
	return o.offset, 0
}

// Write implements esys.File.
func (o *openFile) Write(p []byte) (int, esys.Errno) {
	if o.appends {
		o.offset = o.n.size
	}
	n, errno := o.Pwrite(p, o.offset)
	o.offset += int64(n)
	return n, errno
}

// Pwrite implements esys.File.
func (o *openFile) Pwrite(p []byte, at int64) (int, esys.Errno) {
	switch {
	case o.closed || !o.writes:
		return 0, esys.EBADF
	case at < 0 || at > math.MaxInt64-int64(len(p)):
		return 0, esys.EINVAL
	case len(p) == 0:
		return 0, 0
	}
	before := o.n.size
	if grown := at + int64(len(p)) - before; grown > 0 {
		if errno := o.m.reserve(grown); errno != 0 {
			return 0, errno
		}
		o.n.size += grown
	}
	n, err := o.f.WriteAt(p, at)
	if err != nil {
		o.m.used -= o.n.size - before
		o.n.size = before
		_ = o.f.Truncate(before)
		return 0, o.m.hostError(err)
	}
	return n, 0
}

// Truncate implements esys.File, for growing and shrinking.
func (o *openFile) Truncate(size int64) esys.Errno {
	switch {
	case o.closed || !o.writes:
		return esys.EBADF
	case size < 0:
		return esys.EINVAL
	}
	grown := size - o.n.size
	if grown > 0 {
		if errno := o.m.reserve(grown); errno != 0 {
			return errno
		}
	}
	if err := o.f.Truncate(size); err != nil {
		o.m.used -= max(grown, 0)
		return o.m.hostError(err)
	}
	if grown < 0 {
		o.m.used += grown
	}
	o.n.size = size
	return 0
}

// Utimens implements esys.File: times do not exist here.
func (o *openFile) Utimens(int64, int64) esys.Errno { return 0 }

// Close implements esys.File.
func (o *openFile) Close() esys.Errno {
	if o.closed {
		return 0
	}
	o.closed = true
	o.n.open--
	o.m.forget(o.n)
	_ = o.f.Close()
	return 0
}

// list names a directory's entries in order.
func (n *node) list() ([]esys.Dirent, esys.Errno) {
	entries := make([]esys.Dirent, 0, len(n.children))
	for name, c := range n.children {
		mode := fs.FileMode(0)
		if c.isDir() {
			mode = fs.ModeDir
		}
		entries = append(entries, esys.Dirent{Name: name, Ino: sys.Inode(c.ino), Type: mode})
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, 0
}

// openDir is a program's handle of a directory. It lists what was there at the last rewind, sorted by name.
type openDir struct {
	esys.DirFile
	list    func() ([]esys.Dirent, esys.Errno)
	stat    func() sys.Stat_t
	close   func()
	entries []esys.Dirent
	listed  bool
	closed  bool
}

// Dev implements esys.File.
func (d *openDir) Dev() (uint64, esys.Errno) { return d.stat().Dev, 0 }

// Ino implements esys.File.
func (d *openDir) Ino() (sys.Inode, esys.Errno) { return d.stat().Ino, 0 }

// IsDir implements esys.File.
func (d *openDir) IsDir() (bool, esys.Errno) { return true, 0 }

// Stat implements esys.File.
func (d *openDir) Stat() (sys.Stat_t, esys.Errno) {
	if d.closed {
		return sys.Stat_t{}, esys.EBADF
	}
	return d.stat(), 0
}

// Seek implements esys.File: only to the start.
func (d *openDir) Seek(offset position, whence int) (int64, esys.Errno) {
	if d.closed {
		return 0, esys.EBADF
	}
	if offset != 0 || whence != io.SeekStart {
		return 0, esys.EISDIR
	}
	d.listed = false
	return 0, 0
}

// Readdir implements esys.File.
func (d *openDir) Readdir(n int) ([]esys.Dirent, esys.Errno) {
	if d.closed {
		return nil, esys.EBADF
	}
	if !d.listed {
		entries, errno := d.list()
		if errno != 0 {
			return nil, errno
		}
		d.entries, d.listed = entries, true
	}
	if n <= 0 || n > len(d.entries) {
		n = len(d.entries)
	}
	batch := d.entries[:n]
	d.entries = d.entries[n:]
	return batch, 0
}

// Sync implements esys.File.
func (d *openDir) Sync() esys.Errno { return 0 }

// Datasync implements esys.File.
func (d *openDir) Datasync() esys.Errno { return 0 }

// Utimens implements esys.File.
func (d *openDir) Utimens(int64, int64) esys.Errno { return 0 }

// Close implements esys.File.
func (d *openDir) Close() esys.Errno {
	if !d.closed {
		d.closed = true
		d.close()
	}
	return 0
}
