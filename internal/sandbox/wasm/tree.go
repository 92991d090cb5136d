package wasm

import (
	"io/fs"
	"path"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"

	esys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// Bounds on names in /out and /tmp, the same on every system so that replicas agree.
const (
	maxNameLength = 255
	maxPathLength = 1000
)

// node is one file or directory of a writable mount. The tree of nodes is the truth about names and sizes; the host's files follow it. Nothing else
// writes there, there are no links, and so no path ever has to be resolved by the host's rules.
type node struct {
	name     string
	parent   *node            // nil for the root and for what was unlinked
	children map[string]*node // nil for a file
	ino      uint64
	size     int64
	open     int // handles
	unlinked bool
}

func (n *node) isDir() bool { return n.children != nil }

// path is the path from the root of the mount, "." for the root itself.
func (n *node) path() string {
	if n.parent == nil {
		return "."
	}
	parts := []string{}
	for ; n.parent != nil; n = n.parent {
		parts = append(parts, n.name)
	}
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return strings.Join(parts, "/")
}

// longest is the length of the longest path below n, counted from n's own name.
func (n *node) longest() int {
	most := 0
	for _, c := range n.children {
		most = max(most, 1+c.longest())
	}
	return len(n.name) + most
}

// inside says whether n is a or below a.
func (n *node) inside(a *node) bool {
	for ; n != nil; n = n.parent {
		if n == a {
			return true
		}
	}
	return false
}

func (n *node) stat(dev uint64) sys.Stat_t {
	if n.isDir() {
		return stat(dev, n.ino, fs.ModeDir|0o700, 0)
	}
	return stat(dev, n.ino, 0o600, n.size)
}

// stat is what a program may know of a file: nothing that differs from host to host. All times are the epoch of the program's clock.
func stat(dev, ino uint64, mode fs.FileMode, size int64) sys.Stat_t {
	at := epoch.UnixNano()
	return sys.Stat_t{Dev: dev, Ino: sys.Inode(ino), Mode: mode, Nlink: 1, Size: size, Atim: at, Mtim: at, Ctim: at}
}

// cleaned turns what the WASI layer hands over into a path from the root of the mount, without "..", and says whether it must be a directory.
func cleaned(name string) (clean string, wantDir bool, errno esys.Errno) {
	if len(name) > 4*maxPathLength {
		return "", false, esys.ENAMETOOLONG
	}
	wantDir = strings.HasSuffix(name, "/")
	clean = path.Clean(strings.TrimLeft(name, "/"))
	if !fs.ValidPath(clean) {
		return "", false, esys.EPERM
	}
	return clean, wantDir, 0
}

// portable refuses names that could mean something else on some host.
func portable(name string) esys.Errno {
	if len(name) > maxNameLength {
		return esys.ENAMETOOLONG
	}
	if name == "" || name == "." || name == ".." || !utf8.ValidString(name) {
		return esys.EINVAL
	}
	for _, r := range name {
		if unicode.IsControl(r) || r == '\\' || r == '/' || (r == ':' && runtime.GOOS == "windows") {
			return esys.EINVAL
		}
	}
	return 0
}

// walk finds the node at name, or its parent and last name when only the last part is missing.
func (m *mount) walk(name string) (n, parent *node, last string, errno esys.Errno) {
	clean, wantDir, errno := cleaned(name)
	if errno != 0 {
		return nil, nil, "", errno
	}
	n = m.top
	if clean == "." {
		return n, nil, "", 0
	}
	for rest := clean; ; {
		part, more, found := strings.Cut(rest, "/")
		if !n.isDir() {
			return nil, nil, "", esys.ENOTDIR
		}
		child := n.children[part]
		if !found {
			if child == nil {
				return nil, n, part, 0
			}
			if wantDir && !child.isDir() {
				return nil, nil, "", esys.ENOTDIR
			}
			return child, n, part, 0
		}
		if child == nil {
			return nil, nil, "", esys.ENOENT
		}
		n, rest = child, more
	}
}

// find is walk for what must exist.
func (m *mount) find(name string) (*node, esys.Errno) {
	n, _, _, errno := m.walk(name)
	if errno == 0 && n == nil {
		errno = esys.ENOENT
	}
	return n, errno
}

// attach adds a new node below parent.
func (m *mount) attach(parent *node, name string, dir bool) *node {
	m.lastIno++
	n := &node{name: name, parent: parent, ino: m.lastIno}
	if dir {
		n.children = map[string]*node{}
	}
	parent.children[name] = n
	m.entries++
	return n
}

// detach takes n out of the tree; a file's bytes count until its last handle is closed.
func (m *mount) detach(n *node) {
	delete(n.parent.children, n.name)
	n.parent = nil
	n.unlinked = true
	m.entries--
	m.forget(n)
}

func (m *mount) forget(n *node) {
	if n.unlinked && n.open == 0 {
		m.used -= n.size
		n.size = 0
	}
}
