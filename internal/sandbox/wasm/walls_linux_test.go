package wasm

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// wallVariable makes the test binary a process that walls itself in as a child does and then, as native code that broke out of the engine would, tries
// the doors. It prints what opened.
const wallVariable = "SANDBOX_TEST_WALL"

func init() { otherMains[wallVariable] = wallMain }

// doors are what a walled process must not be able to do.
func doors(dir string) map[string]func() error {
	return map[string]func() error{
		"read a file of the system":   func() error { _, err := os.ReadFile("/etc/passwd"); return err },
		"list the root":               func() error { _, err := os.ReadDir("/"); return err },
		"read another slot":           func() error { _, err := os.ReadFile(filepath.Join(dir, "..", "other", "file")); return err },
		"write another slot":          func() error { return os.WriteFile(filepath.Join(dir, "..", "other", "file"), nil, 0o600) },
		"write an input":              func() error { return os.WriteFile(filepath.Join(dir, "in", "file"), []byte("x"), 0o600) },
		"write beside its folders":    func() error { return os.WriteFile(filepath.Join(dir, "file"), nil, 0o600) },
		"write compiled code":         func() error { return os.WriteFile(filepath.Join(dir, "..", "cache", "code"), nil, 0o600) },
		"move an input out":           func() error { return os.Rename(filepath.Join(dir, "in", "file"), filepath.Join(dir, "out", "file")) },
		"make a symbolic link":        func() error { return os.Symlink("/etc/passwd", filepath.Join(dir, "out", "l")) },
		"make a hard link":            func() error { return os.Link(filepath.Join(dir, "in", "file"), filepath.Join(dir, "out", "l")) },
		"make a device":               func() error { return unix.Mknod(filepath.Join(dir, "out", "d"), unix.S_IFCHR|0o666, 0x103) },
		"run a program":               func() error { return exec.Command("/bin/true").Run() },
		"replace itself by a program": func() error { return syscall.Exec("/bin/true", []string{"true"}, nil) },
		"fork": func() error {
			pid, _, errno := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0)
			if errno != 0 {
				return errno
			}
			if pid == 0 {
				syscall.RawSyscall(syscall.SYS_EXIT_GROUP, 0, 0, 0)
			}
			return nil
		},
		"clone3":              func() error { return raw(unix.SYS_CLONE3, 0, 0, 0) },
		"open a socket":       func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); return err },
		"open a local socket": func() error { _, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); return err },
		"connect":             func() error { _, err := net.Dial("tcp", "127.0.0.1:1"); return notRefused(err) },
		"signal its parent":   func() error { return unix.Kill(os.Getppid(), 0) },
		"trace its parent":    func() error { return unix.PtraceAttach(os.Getppid()) },
		"read its parent's memory": func() error {
			b := make([]byte, 1)
			local := []unix.Iovec{{Base: &b[0], Len: 1}}
			_, err := unix.ProcessVMReadv(os.Getppid(), local, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&b[0])), Len: 1}}, 0)
			return err
		},
		"mount":                func() error { return unix.Mount("none", filepath.Join(dir, "tmp"), "tmpfs", 0, "") },
		"make a namespace":     func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
		"change its root":      func() error { return unix.Chroot(filepath.Join(dir, "out")) },
		"load a bpf program":   func() error { return raw(unix.SYS_BPF, 0, 0, 0) },
		"set up io_uring":      func() error { return raw(unix.SYS_IO_URING_SETUP, 1, 0, 0) },
		"change its owner":     func() error { return os.Chown(filepath.Join(dir, "out"), 12345, 12345) },
		"become another user":  func() error { return raw(unix.SYS_SETUID, 12345, 0, 0) },
		"raise its file limit": func() error { return unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}) },
	}
}

func raw(number, a, b, c uintptr) error {
	if _, _, errno := unix.Syscall(number, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// notRefused tells a connection that nobody answers, which left the process, from one that was denied.
func notRefused(err error) error {
	if err != nil && strings.Contains(err.Error(), "refused") {
		return nil
	}
	return err
}

func wallMain(dir string) {
	for _, d := range []string{"in", "out", "tmp", "spool"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			panic(err)
		}
	}
	walls, err := wallIn(bind{Dir: dir, Cache: filepath.Join(dir, "..", "cache"), DataBytes: childDataBytes})
	if err != nil {
		panic(err)
	}
	report := map[string]string{"walls": strings.Join(walls, " ")}
	for name, try := range doors(dir) {
		if err := try(); err != nil {
			report[name] = err.Error()
		} else {
			report[name] = "OPEN"
		}
	}
	for _, d := range []string{"out", "tmp", "spool"} {
		if err := os.WriteFile(filepath.Join(dir, d, "file"), []byte("x"), 0o600); err != nil {
			report["write to "+d] = "OPEN: must work, but " + err.Error()
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "out", "sub"), 0o700); err != nil {
		report["make a folder"] = "OPEN: must work, but " + err.Error()
	}
	if err := os.Rename(filepath.Join(dir, "out", "file"), filepath.Join(dir, "out", "sub", "file")); err != nil {
		report["move between folders"] = "OPEN: must work, but " + err.Error()
	}
	if _, err := os.ReadFile(filepath.Join(dir, "..", "cache", "code")); err != nil {
		report["read compiled code"] = "OPEN: must work, but " + err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(report)
}

// What a sandbox says of its walls is what a child has, and what the system has not is missing.
func TestWallsAreTold(t *testing.T) {
	t.Parallel()
	s := open(t, Config{})
	walls, missing, err := s.Walls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	told := strings.Join(walls, " ")
	for _, wall := range systemWalls {
		if strings.Contains(told, wall) == slices.Contains(missing, wall) {
			t.Errorf("%s: walls are %q, missing %q", wall, walls, missing)
		}
	}
	if !strings.Contains(told, "no_new_privs") {
		t.Errorf("walls are %q", walls)
	}
	if left, err := os.ReadDir(filepath.Join(s.config.Root, "slots")); err != nil || len(left) > 0 {
		t.Errorf("%d folders are left, %v", len(left), err)
	}
}

// Native code inside a child, as if the engine had failed, reaches nothing but its own folders.
func TestWalls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, d := range []string{"slot", "other", "cache"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"other/file", "cache/code"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), fmt.Sprintf("%s=%s", wallVariable, filepath.Join(dir, "slot")))
	out, err := c.Output()
	var report map[string]string
	if err != nil || json.Unmarshal(out, &report) != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("walls: %s", report["walls"])
	for _, wall := range []string{"landlock", "seccomp"} {
		if !strings.Contains(report["walls"], wall) {
			if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
				t.Fatalf("this kernel offers no %s", wall)
			}
			t.Skipf("this kernel offers no %s: the wall cannot be tested here", wall)
		}
	}
	if len(report) < len(doors("")) {
		t.Errorf("only %d doors were tried", len(report))
	}
	for name, result := range report {
		if strings.HasPrefix(result, "OPEN") {
			t.Errorf("%s: %s", name, result)
		}
	}
}
