package wasm

import (
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/windows"
)

// childMemoryBytes is the most memory a child may commit on Windows, where nothing watches it from outside.
const childMemoryBytes = 6 << 30

// wall is what the parent puts around a child from outside: a Job Object that ends it with its parent, keeps it alone and bounds its memory.
type wall struct {
	job windows.Handle
}

func (w *wall) prepare(*exec.Cmd) {}

func (w *wall) started(p *os.Process) error {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return err
	}
	w.job = job
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	limits.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS |
		windows.JOB_OBJECT_LIMIT_PROCESS_MEMORY | windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION
	limits.BasicLimitInformation.ActiveProcessLimit = 1
	limits.ProcessMemoryLimit = childMemoryBytes
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return err
	}
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err != nil {
		return err
	}
	defer windows.CloseHandle(process)
	return windows.AssignProcessToJobObject(job, process)
}

func (w *wall) close() {
	if w.job != 0 {
		_ = windows.CloseHandle(w.job)
		w.job = 0
	}
}

func (w *wall) residentBytes() int64 { return 0 }

func childEnvironment() []string { return []string{"SystemRoot=" + os.Getenv("SystemRoot")} }

func ownExecutable() (string, error) { return os.Executable() }
