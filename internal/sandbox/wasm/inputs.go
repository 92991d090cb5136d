package wasm

import (
	"errors"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"sort"
	"syscall"

	esys "github.com/tetratelabs/wazero/experimental/sys"
	"github.com/tetratelabs/wazero/sys"
)

// inputs is /in: a host directory, read-only, confined by os.Root. A symbolic link the host left there works while it stays inside; one that leads
// out, and anything that is neither file nor directory, is refused and not listed.
type inputs struct {
	esys.UnimplementedFS
	root *os.Root // nil shows an empty directory
	dev  uint64
}

const writing = esys.O_RDWR | esys.O_WRONLY | esys.O_APPEND | esys.O_CREAT | esys.O_TRUNC

// ino names a file by its path: inode numbers of the host differ from host to host.
func (in *inputs) ino(path string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(path))
	return h.Sum64() | 1
}

// look finds what is at name, following links that stay inside.
func (in *inputs) look(name string) (clean string, info fs.FileInfo, errno esys.Errno) {
	clean, wantDir, errno := cleaned(name)
	if errno != 0 {
		return "", nil, errno
	}
	if in.root == nil {
		if clean == "." {
			return clean, nil, 0
		}
		return "", nil, esys.ENOENT
	}
	info, err := in.root.Stat(clean)
	switch {
	case err != nil:
		return "", nil, inputError(err)
	case !info.IsDir() && !info.Mode().IsRegular():
		return "", nil, esys.EACCES
	case wantDir && !info.IsDir():
		return "", nil, esys.ENOTDIR
	}
	return clean, info, 0
}

// inputError maps errors of os.Root; an escape is its own kind of error there and means "not permitted" here.
func inputError(err error) esys.Errno {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, fs.ErrNotExist):
		return esys.ENOENT
	case errors.Is(err, syscall.ENOTDIR):
		return esys.ENOTDIR
	case errors.Is(err, syscall.ENAMETOOLONG):
		return esys.ENAMETOOLONG
	case errors.Is(err, syscall.ELOOP):
		return esys.ELOOP
	case errors.Is(err, syscall.EMFILE):
		return esys.EIO
	}
	return esys.EPERM
}

func (in *inputs) stat(clean string, info fs.FileInfo) sys.Stat_t {
	if info == nil || info.IsDir() {
		return stat(in.dev, in.ino(clean), fs.ModeDir|0o500, 0)
	}
	return stat(in.dev, in.ino(clean), 0o400, info.Size())
}

// OpenFile implements esys.FS.
func (in *inputs) OpenFile(name string, flag esys.Oflag, _ fs.FileMode) (esys.File, esys.Errno) {
	if flag&esys.O_DIRECTORY != 0 {
		flag &^= esys.O_RDWR | esys.O_WRONLY // some runtimes ask for every right on directories
	}
	if flag&writing != 0 {
		if _, info, errno := in.look(name); errno == 0 && (info == nil || info.IsDir()) {
			return nil, esys.EISDIR
		}
		return nil, esys.EROFS
	}
	clean, info, errno := in.look(name)
	if errno != 0 {
		return nil, errno
	}
	at := in.stat(clean, info)
	if info == nil || info.IsDir() {
		return &openDir{list: func() ([]esys.Dirent, esys.Errno) { return in.list(clean) }, stat: func() sys.Stat_t { return at }, close: func() {}}, 0
	}
	if flag&esys.O_DIRECTORY != 0 {
		return nil, esys.ENOTDIR
	}
	if flag&esys.O_NOFOLLOW != 0 {
		if link, err := in.root.Lstat(clean); err == nil && link.Mode()&fs.ModeSymlink != 0 {
			return nil, esys.ELOOP
		}
	}
	f, err := in.root.Open(clean)
	if err != nil {
		return nil, inputError(err)
	}
	return &inputFile{f: f, st: at}, 0
}

// list names a directory's entries in order, leaving out what could not be opened.
func (in *inputs) list(clean string) ([]esys.Dirent, esys.Errno) {
	if in.root == nil {
		return nil, 0
	}
	d, err := in.root.Open(clean)
	if err != nil {
		return nil, inputError(err)
	}
	defer d.Close()
	found, err := d.ReadDir(-1)
	if err != nil {
		return nil, esys.EIO
	}
	var entries []esys.Dirent
	for _, e := range found {
		path := e.Name()
		if clean != "." {
			path = clean + "/" + path
		}
		mode := e.Type()
		if mode != 0 && !mode.IsDir() {
			_, info, errno := in.look(path)
			if errno != 0 {
				continue
			}
			mode = info.Mode().Type()
		}
		entries = append(entries, esys.Dirent{Name: e.Name(), Ino: sys.Inode(in.ino(path)), Type: mode})
	}
	sort.Slice(entries, func(i, j int) bool { return entries[i].Name < entries[j].Name })
	return entries, 0
}

// Stat implements esys.FS.
func (in *inputs) Stat(name string) (sys.Stat_t, esys.Errno) {
	clean, info, errno := in.look(name)
	if errno != 0 {
		return sys.Stat_t{}, errno
	}
	return in.stat(clean, info), 0
}

// Lstat implements esys.FS: a link shows as what it leads to.
func (in *inputs) Lstat(name string) (sys.Stat_t, esys.Errno) { return in.Stat(name) }

// Readlink implements esys.FS: where a link leads is the host's matter.
func (in *inputs) Readlink(name string) (string, esys.Errno) {
	if _, _, errno := in.look(name); errno != 0 {
		return "", errno
	}
	return "", esys.EINVAL
}

// Mkdir implements esys.FS.
func (in *inputs) Mkdir(string, fs.FileMode) esys.Errno { return esys.EROFS }

// Chmod implements esys.FS.
func (in *inputs) Chmod(string, fs.FileMode) esys.Errno { return esys.EROFS }

// Rename implements esys.FS.
func (in *inputs) Rename(string, string) esys.Errno { return esys.EROFS }

// Rmdir implements esys.FS.
func (in *inputs) Rmdir(string) esys.Errno { return esys.EROFS }

// Unlink implements esys.FS.
func (in *inputs) Unlink(string) esys.Errno { return esys.EROFS }

// Link implements esys.FS.
func (in *inputs) Link(string, string) esys.Errno { return esys.EROFS }

// Symlink implements esys.FS.
func (in *inputs) Symlink(string, string) esys.Errno { return esys.EROFS }

// Utimens implements esys.FS.
func (in *inputs) Utimens(string, int64, int64) esys.Errno { return esys.EROFS }

// inputFile is a program's handle of a file in /in.
type inputFile struct {
	esys.UnimplementedFile
	f      *os.File
	st     sys.Stat_t
	offset int64
	closed bool
}

// Dev implements esys.File.
func (i *inputFile) Dev() (uint64, esys.Errno) { return i.st.Dev, 0 }

// Ino implements esys.File.
func (i *inputFile) Ino() (sys.Inode, esys.Errno) { return i.st.Ino, 0 }

// Stat implements esys.File.
func (i *inputFile) Stat() (sys.Stat_t, esys.Errno) {
	if i.closed {
		return sys.Stat_t{}, esys.EBADF
	}
	return i.st, 0
}

// Read implements esys.File.
func (i *inputFile) Read(p []byte) (int, esys.Errno) {
	n, errno := i.Pread(p, i.offset)
	i.offset += int64(n)
	return n, errno
}

// Pread implements esys.File.
func (i *inputFile) Pread(p []byte, at int64) (int, esys.Errno) {
	switch {
	case i.closed:
		return 0, esys.EBADF
	case at < 0:
		return 0, esys.EINVAL
	case len(p) == 0:
		return 0, 0
	}
	n, err := i.f.ReadAt(p, at)
	if err != nil && err != io.EOF {
		return n, esys.EIO
	}
	return n, 0
}

// Seek implements esys.File.
func (i *inputFile) Seek(offset position, whence int) (int64, esys.Errno) {
	base := int64(0)
	switch {
	case i.closed:
		return 0, esys.EBADF
	case whence == io.SeekCurrent:
		base = i.offset
	case whence == io.SeekEnd:
		base = i.st.Size
	case whence != io.SeekStart:
		return 0, esys.EINVAL
	}
	if (offset > 0 && base > base+offset) || base+offset < 0 {
		return 0, esys.EINVAL
	}
	i.offset = base + offset
	return i.offset, 0
}

// Write implements esys.File.
func (i *inputFile) Write([]byte) (int, esys.Errno) { return 0, esys.EBADF }

// Pwrite implements esys.File.
func (i *inputFile) Pwrite([]byte, int64) (int, esys.Errno) { return 0, esys.EBADF }

// Truncate implements esys.File.
func (i *inputFile) Truncate(int64) esys.Errno { return esys.EBADF }

// Utimens implements esys.File.
func (i *inputFile) Utimens(int64, int64) esys.Errno { return esys.EROFS }

// Close implements esys.File.
func (i *inputFile) Close() esys.Errno {
	if !i.closed {
		i.closed = true
		_ = i.f.Close()
	}
	return 0
}
