package wasm

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"unsafe"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// systemWalls are the walls that a child has on this system, if kernel and container let it.
var systemWalls = []string{"rlimits", "landlock", "no_new_privs", "seccomp"}

// wallIn takes from this process, for good, everything it does not need. What an old kernel lacks is left out and missing from the answer.
func wallIn(b bind) (walls []string, err error) {
	runtime.LockOSThread() // no_new_privs and the filters must be asked for by one thread
	defer runtime.UnlockOSThread()
	signal.Ignore(syscall.SIGXFSZ, syscall.SIGPIPE)
	for resource, most := range map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxOpenFiles, unix.RLIMIT_DATA: uint64(b.DataBytes)} {
		if most == 0 && resource == unix.RLIMIT_DATA {
			continue
		}
		var old unix.Rlimit
		if err := unix.Getrlimit(resource, &old); err != nil {
			return nil, err
		}
		most = min(most, old.Max)
		if err := unix.Setrlimit(resource, &unix.Rlimit{Cur: most, Max: most}); err != nil {
			return nil, fmt.Errorf("setrlimit %d: %w", resource, err)
		}
	}
	walls = append(walls, "rlimits")
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return nil, err
	}

	var rules []landlock.Rule
	if b.Compile {
		rules = append(rules, landlock.RWDirs(b.Cache).WithRefer())
	} else {
		if b.Cache != "" {
			rules = append(rules, landlock.RODirs(b.Cache).IgnoreIfMissing()) // another process may have thrown it away
		}
		rules = append(rules, landlock.RODirs(filepath.Join(b.Dir, "in")),
			landlock.RWDirs(filepath.Join(b.Dir, "out"), filepath.Join(b.Dir, "tmp"), filepath.Join(b.Dir, "spool")).WithRefer())
	}
	if err := landlock.V6.BestEffort().Restrict(rules...); err != nil {
		return nil, fmt.Errorf("landlock: %w", err)
	}
	if version, err := llsys.LandlockGetABIVersion(); err == nil && version > 0 {
		walls = append(walls, fmt.Sprintf("landlock %d", version))
	}

	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	walls = append(walls, "no_new_privs")
	if !seccomp.Supported() {
		return walls, nil
	}
	if err := filterCalls(); err != nil {
		return nil, err
	}
	return append(walls, "seccomp"), nil
}

// maxOpenFiles is the most files a child may have open.
const maxOpenFiles = 4096

// deniedCalls are system calls neither the Go runtime nor the engine nor our file systems need.
var deniedCalls = []string{
	// network
	"socket", "socketpair", "connect", "bind", "listen", "accept", "accept4", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg",
	// other programs and processes
	"execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
	"kill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp", "setpgid", "setsid", "wait4", "waitid",
	// identity and limits of the machine
	"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset", "personality",
	"sethostname", "setdomainname", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "acct", "syslog", "reboot", "swapon", "swapoff",
	"quotactl", "quotactl_fd", "iopl", "ioperm", "vhangup", "sched_setscheduler", "sched_setattr", "setpriority", "ioprio_set",
	// mounts, namespaces, links, device files, owners
	"mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "fsopen", "fsconfig", "fsmount", "fspick", "pivot_root", "chroot",
	"unshare", "setns", "symlink", "symlinkat", "link", "linkat", "mknod", "mknodat", "chown", "fchown", "lchown", "fchownat", "name_to_handle_at",
	"open_by_handle_at", "setxattr", "lsetxattr", "fsetxattr", "fanotify_init", "inotify_init", "inotify_init1",
	// large or rarely used doors of the kernel
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key",
	"init_module", "finit_module", "delete_module", "create_module", "kexec_load", "kexec_file_load", "lookup_dcookie", "memfd_create",
	"memfd_secret", "shmget", "shmat", "shmctl", "msgget", "msgsnd", "msgrcv", "semget", "semop", "mq_open", "modify_ldt", "uselib", "vmsplice",
	"splice", "tee", "nfsservctl", "remap_file_pages", "move_pages", "migrate_pages", "mbind", "set_mempolicy", "seccomp",
}

// filterCalls installs two seccomp filters on all threads: calls of a foreign architecture (32-bit on 64-bit) end the process, denied ones fail.
// clone3 does not exist, as on an old kernel: its flags are out of a filter's sight, and the C library then uses clone.
func filterCalls() error {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil // an architecture the filter does not know
	}
	foreign := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 4}, // seccomp_data.arch
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: 1, K: uint32(info.ID)},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(seccomp.ActionKillProcess)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_CLONE3},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(seccomp.ActionErrno) | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: uint32(seccomp.ActionAllow)},
	}
	program := unix.SockFprog{Len: uint16(len(foreign)), Filter: &foreign[0]}
	const setModeFilter, tsync = 1, 1
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, setModeFilter, tsync, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return os.NewSyscallError("seccomp", errno)
	}
	var names []string
	for _, name := range deniedCalls {
		if _, known := info.SyscallNames[name]; known {
			names = append(names, name)
		}
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync, Policy: seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{{
			Action: seccomp.ActionErrno,
			Names:  names,
			NamesWithCondtions: []seccomp.NameWithConditions{{ // clone only for threads
				Name:       "clone",
				Conditions: []seccomp.Condition{{Argument: 0, Operation: seccomp.BitsNotSet, Value: unix.CLONE_THREAD}},
			}},
		}},
	}})
}

// limitFiles bounds the size of any one file from now on.
func limitFiles(most int64) { lowerTo(unix.RLIMIT_FSIZE, uint64(most)) }

// limitData bounds private memory: the program's own and what the sandbox needs beside it.
func limitData(program int64) { lowerTo(unix.RLIMIT_DATA, uint64(program)+1<<30) }

// lowerTo sets the soft limit; an error is of no consequence, the parent watches too.
func lowerTo(resource int, most uint64) {
	var limit unix.Rlimit
	if unix.Getrlimit(resource, &limit) == nil {
		limit.Cur = min(most, limit.Max)
		_ = unix.Setrlimit(resource, &limit)
	}
}
