// Command escape tries to leave the sandbox in every way its author could think of. It prints one line per attempt: "held NAME: error" or
// "ESCAPED NAME", and one per thing that must work: "works NAME" or "FAILED NAME: error". Args: the host's path of a secret folder.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

//go:wasmimport wasi_snapshot_preview1 path_open
func pathOpen(fd int32, dirflags uint32, path *byte, n uint32, oflags uint32, base, inheriting uint64, fdflags uint32, opened *int32) uint32

//go:wasmimport wasi_snapshot_preview1 path_symlink
func pathSymlink(old *byte, oldLen uint32, fd int32, path *byte, n uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_link
func pathLink(oldFD int32, flags uint32, old *byte, oldLen uint32, fd int32, path *byte, n uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_rename
func pathRename(oldFD int32, old *byte, oldLen uint32, fd int32, path *byte, n uint32) uint32

//go:wasmimport wasi_snapshot_preview1 path_filestat_set_times
func pathSetTimes(fd int32, flags uint32, path *byte, n uint32, atim, mtim uint64, fst uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_renumber
func fdRenumber(from, to int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_accept
func sockAccept(fd int32, flags uint32, opened *int32) uint32

//go:wasmimport wasi_snapshot_preview1 sock_send
func sockSend(fd int32, data *byte, n uint32, flags uint32, sent *uint32) uint32

//go:wasmimport wasi_snapshot_preview1 fd_allocate
func fdAllocate(fd int32, offset, n uint64) uint32

const in, out, tmp = 3, 4, 5 // the preopened folders

func errno(code uint32) error {
	if code == 0 {
		return nil
	}
	return syscall.Errno(code)
}

func ptr(s string) (*byte, uint32) {
	b := append([]byte(s), 0)
	return unsafe.SliceData(b), uint32(len(s))
}

// open is path_open with all rights, bypassing the path handling of Go's library.
func open(fd int32, path string, oflags uint32, follow bool) error {
	_, err := openFD(fd, path, oflags, follow, 2|64) // FD_READ | FD_WRITE
	return err
}

func openFD(fd int32, path string, oflags uint32, follow bool, rights uint64) (int32, error) {
	p, n := ptr(path)
	flags := uint32(0)
	if follow {
		flags = 1
	}
	var opened int32
	err := errno(pathOpen(fd, flags, p, n, oflags, rights, rights, 0, &opened))
	return opened, err
}

func symlink(old string, fd int32, path string) error {
	o, on := ptr(old)
	p, n := ptr(path)
	return errno(pathSymlink(o, on, fd, p, n))
}

func link(fromFD int32, from string, toFD int32, to string) error {
	f, fn := ptr(from)
	p, n := ptr(to)
	return errno(pathLink(fromFD, 1, f, fn, toFD, p, n))
}

func rename(fromFD int32, from string, toFD int32, to string) error {
	f, fn := ptr(from)
	p, n := ptr(to)
	return errno(pathRename(fromFD, f, fn, toFD, p, n))
}

func read(path string) error {
	_, err := os.ReadFile(path)
	return err
}

func create(path string) error { return os.WriteFile(path, []byte("x"), 0o600) }

func must(name string, err error) {
	if err != nil {
		fmt.Printf("FAILED %s: %v\n", name, err)
		return
	}
	fmt.Printf("works %s\n", name)
}

func never(name string, err error) {
	if err == nil {
		fmt.Printf("ESCAPED %s\n", name)
		return
	}
	fmt.Printf("held %s: %v\n", name, err)
}

func same(got []byte, err error, want string) error {
	if err == nil && !bytes.Equal(got, []byte(want)) {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

func main() {
	secret := os.Args[1]
	up := strings.Repeat("../", 40)
	must("read /in/ok", read("/in/ok"))
	must("write /out/a", create("/out/a"))
	must("write /tmp/a", create("/tmp/a"))
	must("make /out/dir", os.Mkdir("/out/dir", 0o777))
	inside, err := os.ReadFile("/in/inside-link")
	must("a link that stays inside /in", same(inside, err, "ok"))

	// symbolic links
	never("absolute symlink in /out", os.Symlink(secret, "/out/l"))
	never("relative symlink in /out", os.Symlink("../../secret", "/out/l"))
	never("symlink in /tmp", os.Symlink("/", "/tmp/l"))
	never("symlink in /in", os.Symlink(secret, "/in/l"))
	never("symlink to a good file", os.Symlink("a", "/out/l"))
	never("raw symlink", symlink(up, out, "l"))
	never("raw symlink with a NUL", symlink("a\x00b", out, "l"))
	never("raw symlink through ..", symlink(secret, out, "dir/../../l"))
	never("raw symlink over a file", symlink(secret, tmp, "a"))
	never("read through the symlink that was not made", read("/out/l/secret"))
	for _, l := range []string{"out-link", "rel-link", "self"} {
		never("read /in/"+l, read("/in/"+l))
		never("write /in/"+l, create("/in/"+l))
		_, err = os.Stat("/in/" + l)
		never("stat /in/"+l, err)
		_, err = os.Readlink("/in/" + l)
		never("readlink /in/"+l, err)
	}
	never("read below a folder link in /in", read("/in/dir-link/secret"))
	never("write below a folder link in /in", create("/in/dir-link/new"))
	_, err = os.ReadDir("/in/dir-link")
	never("list a folder link in /in", err)
	never("open a pipe in /in", read("/in/pipe"))
	list, err := os.ReadDir("/in")
	names := ""
	for _, e := range list {
		names += e.Name() + " "
	}
	must("list /in without what leads out", same([]byte(names), err, "inside-link ok sub "))

	// hard links and renames
	never("hard link", os.Link("/out/a", "/out/b"))
	never("hard link of an input", link(in, "ok", in, "b"))
	never("hard link across folders", link(in, "ok", out, "b"))
	never("hard link of a secret", link(out, up+secret[1:]+"/secret", out, "b"))
	never("rename across folders", rename(in, "ok", out, "b"))
	never("rename out of /out", rename(out, "a", out, "../a"))
	never("rename into /out from above", rename(out, up+secret[1:]+"/secret", out, "b"))
	never("rename /out itself", rename(out, ".", out, "b"))
	never("rename over /out", rename(out, "a", out, "."))
	never("rename a folder into itself", rename(out, "dir", out, "dir/sub"))
	never("rename in /in", os.Rename("/in/ok", "/in/other"))
	never("rename an input over a file of /out", os.Rename("/in/ok", "/out/a"))
	never("a file as folder", rename(out, "a", out, "a/b"))
	never("a file over a folder", rename(out, "a", out, "dir"))
	never("a folder over a file", rename(out, "dir", out, "a"))

	// paths
	for _, p := range []string{"..", "../", "../in/ok", "/etc/passwd", "/", "//etc/passwd", up + "etc/passwd", "dir/../../in/ok", "./../in/ok",
		"dir/" + up + "etc/passwd", "a/../../in/ok", "a\x00b", "\x00", "", "a/b", "dir/..\\..\\x", "..\\..\\etc", "C:\\x", "x\\y", "new\nline",
		"\xff\xfe", strings.Repeat("n", 256), strings.Repeat("d/", 2000) + "x", "proc/self/mem", up + secret[1:] + "/secret"} {
		for _, fd := range []int32{in, out, tmp} {
			for _, follow := range []bool{true, false} {
				never(fmt.Sprintf("open %.40q at %d, follow %v", p, fd, follow), open(fd, p, 0, follow))
				never(fmt.Sprintf("create %.40q at %d, follow %v", p, fd, follow), open(fd, p, 1, follow))
			}
		}
	}
	for _, p := range []string{"/etc/passwd", "/proc/self/environ", "/proc/1/mem", "/dev/null", "/out/../in/../../etc/passwd", secret + "/secret", "/", ".",
		"/in/../../etc/passwd", "../../etc/passwd"} {
		never("read "+p, read(p))
		never("write "+p, create(p))
	}
	b, err := os.ReadFile("/out/../in/ok")
	must("/out/../in/ok is /in/ok", same(b, err, "ok"))

	// writing inputs
	never("create in /in", create("/in/new"))
	never("overwrite in /in", create("/in/ok"))
	never("truncate in /in", os.Truncate("/in/ok", 0))
	never("O_TRUNC in /in", open(in, "ok", 8, true))
	never("O_CREAT in /in", open(in, "ok", 1, true))
	never("O_EXCL in /in", open(in, "ok", 1|4, true))
	_, err = os.OpenFile("/in/ok", os.O_APPEND|os.O_WRONLY, 0)
	never("append in /in", err)
	never("remove in /in", os.Remove("/in/ok"))
	never("remove a folder in /in", os.Remove("/in/sub"))
	never("make a folder in /in", os.Mkdir("/in/new", 0o777))
	never("set times in /in", os.Chtimes("/in/ok", time.Unix(1, 0), time.Unix(1, 0)))
	p, n := ptr("ok")
	never("set times in /in, raw", errno(pathSetTimes(in, 0, p, n, 1, 1, 1|4)))
	never("set times above /out", func() error { p, n := ptr("../a"); return errno(pathSetTimes(out, 1, p, n, 1, 1, 1|4)) }())
	if fd, err := openFD(in, "ok", 0, true, 2); err != nil {
		must("open an input for reading", err)
	} else {
		never("allocate in /in", errno(fdAllocate(fd, 0, 1<<20)))
		_, err = syscall.Write(int(fd), []byte("x"))
		never("write to an input opened for reading", err)
		never("truncate an input opened for reading", syscall.Ftruncate(int(fd), 0))
		never("a file as the folder of a path", open(fd, "x", 1, true))
	}

	// descriptors and sockets
	never("renumber /in over /out", errno(fdRenumber(in, out)))
	never("renumber stdin over /in", errno(fdRenumber(0, in)))
	never("renumber to a negative number", errno(fdRenumber(out, -1)))
	never("accept on /in", func() error { var fd int32; return errno(sockAccept(in, 0, &fd)) }())
	never("accept on a free descriptor", func() error { var fd int32; return errno(sockAccept(77, 0, &fd)) }())
	never("send on /out", func() error { var sent uint32; p, _ := ptr("x"); return errno(sockSend(out, p, 1, 0, &sent)) }())
	never("open at a closed descriptor", open(1234, "a", 0, true))
	never("open at stdout", open(1, "a", 1, true))
	never("write to a folder", func() error { _, err := syscall.Write(out, []byte("x")); return err }())
	never("read from a folder", func() error { _, err := syscall.Read(out, make([]byte, 10)); return err }())
	never("read a folder as a file", read("/out/dir"))

	// names and depth
	deep := "/out"
	var deepErr error
	for range 2000 {
		deep += "/dddddddddd"
		if deepErr = os.Mkdir(deep, 0o777); deepErr != nil {
			break
		}
	}
	never("folders deeper than any path may be", deepErr)
	never("a deep folder moved below another", func() error {
		var err error
		for i := 0; i < 500 && err == nil; i++ {
			if err = os.MkdirAll("/out/x/"+strings.Repeat("e", 200), 0o777); err == nil {
				if err = os.Mkdir("/out/y", 0o777); err == nil {
					if err = os.Rename("/out/x", "/out/y/x"); err == nil {
						err = os.Rename("/out/y", "/out/x")
					}
				}
			}
		}
		return err
	}())
	must("clean up", errors.Join(os.RemoveAll("/out/x"), os.RemoveAll("/out/y"), os.RemoveAll("/out/dddddddddd")))

	// what must work in /out
	f, err := os.OpenFile("/out/file", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must("create exclusively", err)
	_, err = f.WriteAt([]byte("world"), 6)
	must("write behind a hole", err)
	_, err = f.WriteAt([]byte("hello "), 0)
	must("write at the start", err)
	must("rename an open file", os.Rename("/out/file", "/out/dir/renamed"))
	_, err = f.Seek(0, io.SeekStart)
	must("seek", err)
	b, err = io.ReadAll(f)
	must("read it all", same(b, err, "hello world"))
	must("truncate", f.Truncate(5))
	must("close", f.Close())
	must("set times in /out", os.Chtimes("/out/a", time.Unix(1, 0), time.Unix(1, 0)))
	f, err = os.OpenFile("/out/dir/renamed", os.O_APPEND|os.O_WRONLY, 0)
	must("open for appending", err)
	_, err = f.WriteString("!")
	must("append", err)
	must("remove an open file", os.Remove("/out/dir/renamed"))
	_, err = f.WriteString("still writable")
	must("write to a removed file", err)
	must("close it", f.Close())
	must("remove", os.Remove("/out/a"))
	must("list what is left", func() error {
		var names []string
		err := filepath.WalkDir("/out", func(p string, _ os.DirEntry, err error) error { names = append(names, p); return err })
		return same([]byte(strings.Join(names, " ")), err, "/out /out/dir")
	}())
	info, err := os.Stat("/in/ok")
	must("times are not the host's", func() error {
		if err == nil && info.ModTime().Year() != 2026 {
			err = errors.New(info.ModTime().String())
		}
		return err
	}())
	must("write the result", os.WriteFile("/out/result", []byte("done"), 0o600))
}
