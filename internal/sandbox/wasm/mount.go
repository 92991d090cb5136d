package wasm

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	esys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// mount is a writable file system of a program, /out or /tmp, in one host directory. Links and device files cannot be made. Sizes are limited by
// what the files could hold (a hole counts), and the number of entries is limited.
type mount struct {
	esys.UnimplementedFS
	root       *os.Root
	dev        uint64
	top        *node
	lastIno    uint64
	used       int64 // bytes of all files, also unlinked ones that are still open
	entries    int   // files and directories without the top
	maxBytes   int64
	maxEntries int
	full       bool  // a limit was reached
	broken     error // the host failed
	stop       bool  // end the program when a limit is reached
}

// limitReached ends the program from inside a host call; the engine turns it into the error of the run.
type limitReached struct{}

func (limitReached) Error() string { return "output limit reached" }

func newMount(root *os.Root, dev uint64, maxBytes int64, maxEntries int, stop bool) *mount {
	return &mount{root: root, dev: dev, top: &node{children: map[string]*node{}, ino: 1}, lastIno: 1,
		maxBytes: maxBytes, maxEntries: maxEntries, stop: stop}
}

// over notes that a limit was reached. WASI has a code for "no space", the engine has not: the program of a full /tmp sees EIO.
func (m *mount) over() esys.Errno {
	m.full = true
	if m.stop {
		panic(limitReached{})
	}
	return esys.EIO
}

// reserve accounts for n more bytes.
func (m *mount) reserve(n int64) esys.Errno {
	if n > m.maxBytes-m.used {
		return m.over()
	}
	m.used += n
	return 0
}

// room checks that one more entry fits and that its name may exist.
func (m *mount) room(parent *node, name string) esys.Errno {
	if errno := portable(name); errno != 0 {
		return errno
	}
	if len(parent.path())+1+len(name) > maxPathLength {
		return esys.ENAMETOOLONG
	}
	if m.entries >= m.maxEntries {
		return m.over()
	}
	return 0
}

// hostError maps an error of the host to one for the program. What is not the program's doing is remembered.
func (m *mount) hostError(err error) esys.Errno {
	if err == nil {
		return 0
	}
	if errors.Is(err, syscall.EMFILE) {
		return esys.EIO // too many open files: the program's doing
	}
	if m.broken == nil {
		m.broken = err
	}
	return esys.EIO
}

// OpenFile implements esys.FS.
func (m *mount) OpenFile(name string, flag esys.Oflag, _ fs.FileMode) (esys.File, esys.Errno) {
	n, parent, last, errno := m.walk(name)
	if errno != 0 {
		return nil, errno
	}
	access := flag & (esys.O_RDWR | esys.O_WRONLY)
	if n != nil && n.isDir() {
		if flag&esys.O_CREAT != 0 && flag&esys.O_EXCL != 0 {
			return nil, esys.EEXIST
		}
		if flag&esys.O_DIRECTORY == 0 && (access != 0 || flag&(esys.O_CREAT|esys.O_TRUNC) != 0) {
			return nil, esys.EISDIR
		}
		n.open++
		return &openDir{list: n.list, stat: func() sys.Stat_t { return n.stat(m.dev) }, close: func() { n.open-- }}, 0
	}
	if flag&esys.O_DIRECTORY != 0 && n != nil {
		return nil, esys.ENOTDIR
	}
	created := false
	switch {
	case n != nil && flag&esys.O_CREAT != 0 && flag&esys.O_EXCL != 0:
		return nil, esys.EEXIST
	case n == nil && flag&esys.O_CREAT == 0:
		return nil, esys.ENOENT
	case n == nil && (flag&esys.O_DIRECTORY != 0 || strings.HasSuffix(name, "/")):
		return nil, esys.EISDIR
	case n == nil:
		if errno := m.room(parent, last); errno != 0 {
			return nil, errno
		}
		n, created = m.attach(parent, last, false), true
	}
	// The host's flags are our own: never O_APPEND (positions are kept here), never a link (there are none).
	hostFlag := os.O_RDWR
	if created {
		hostFlag |= os.O_CREATE | os.O_EXCL
	}
	f, err := m.root.OpenFile(n.path(), hostFlag, 0o600)
	if err != nil {
		if created {
			m.detach(n)
		}
		return nil, m.hostError(err)
	}
	n.open++
	file := &openFile{m: m, n: n, f: f, reads: access != esys.O_WRONLY, writes: access != 0, appends: flag&esys.O_APPEND != 0}
	if flag&esys.O_TRUNC != 0 && file.writes {
		if errno := file.Truncate(0); errno != 0 {
			file.Close()
			return nil, errno
		}
	}
	return file, 0
}

// Stat implements esys.FS.
func (m *mount) Stat(name string) (sys.Stat_t, esys.Errno) {
	n, errno := m.find(name)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	return n.stat(m.dev), 0
}

// Lstat implements esys.FS; there are no links.
func (m *mount) Lstat(name string) (sys.Stat_t, esys.Errno) { return m.Stat(name) }

// Mkdir implements esys.FS.
func (m *mount) Mkdir(name string, _ fs.FileMode) esys.Errno {
	n, parent, last, errno := m.walk(name)
	switch {
	case errno != 0:
		return errno
	case n != nil:
		return esys.EEXIST
	}
	if errno := m.room(parent, last); errno != 0 {
		return errno
	}
	n = m.attach(parent, last, true)
	if err := m.root.Mkdir(n.path(), 0o700); err != nil {
		m.detach(n)
		return m.hostError(err)
	}
	return 0
}

// Rmdir implements esys.FS.
func (m *mount) Rmdir(name string) esys.Errno {
	n, errno := m.find(name)
	switch {
	case errno != 0:
		return errno
	case !n.isDir():
		return esys.ENOTDIR
	case n == m.top:
		return esys.EPERM
	case len(n.children) > 0:
		return esys.ENOTEMPTY
	}
	return m.remove(n)
}

// Unlink implements esys.FS.
func (m *mount) Unlink(name string) esys.Errno {
	n, errno := m.find(name)
	switch {
	case errno != 0:
		return errno
	case n.isDir():
		return esys.EISDIR
	}
	return m.remove(n)
}

func (m *mount) remove(n *node) esys.Errno {
	if err := m.root.Remove(n.path()); err != nil {
		return m.hostError(err)
	}
	m.detach(n)
	return 0
}

// Rename implements esys.FS.
func (m *mount) Rename(from, to string) esys.Errno {
	n, errno := m.find(from)
	if errno != 0 {
		return errno
	}
	target, parent, last, errno := m.walk(to)
	switch {
	case errno != 0:
		return errno
	case n == m.top || target == m.top:
		return esys.EPERM
	case n == target:
		return 0
	case parent.inside(n):
		return esys.EINVAL
	case target == nil && !n.isDir() && strings.HasSuffix(to, "/"):
		return esys.ENOTDIR
	case target != nil && n.isDir() && !target.isDir():
		return esys.ENOTDIR
	case target != nil && !n.isDir() && target.isDir():
		return esys.EISDIR
	case target != nil && len(target.children) > 0:
		return esys.ENOTEMPTY
	}
	if errno := portable(last); errno != 0 {
		return errno
	}
	if len(parent.path())+1+len(last)+n.longest()-len(n.name) > maxPathLength {
		return esys.ENAMETOOLONG
	}
	destination := last
	if parent != m.top {
		destination = parent.path() + "/" + last
	}
	if err := m.root.Rename(n.path(), destination); err != nil {
		return m.hostError(err)
	}
	if target != nil {
		m.detach(target)
	}
	delete(n.parent.children, n.name)
	n.name, n.parent = last, parent
	parent.children[last] = n
	return 0
}

// Chmod implements esys.FS: modes do not exist here.
func (m *mount) Chmod(name string, _ fs.FileMode) esys.Errno {
	_, errno := m.find(name)
	return errno
}

// Utimens implements esys.FS: times do not exist here, setting them has no effect.
func (m *mount) Utimens(name string, _, _ int64) esys.Errno {
	_, errno := m.find(name)
	return errno
}

// Link implements esys.FS: refused.
func (m *mount) Link(string, string) esys.Errno { return esys.EPERM }

// Symlink implements esys.FS: refused.
func (m *mount) Symlink(string, string) esys.Errno { return esys.EPERM }

// Readlink implements esys.FS: nothing here is a link.
func (m *mount) Readlink(name string) (string, esys.Errno) {
	if _, errno := m.find(name); errno != 0 {
		return "", errno
	}
	return "", esys.EINVAL
}
