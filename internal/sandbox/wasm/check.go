package wasm

import (
	"fmt"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// MaxModuleBytes is the largest module Check accepts.
const MaxModuleBytes = 128 << 20

// wasiModule is the only module a program may import from.
const wasiModule = "wasi_snapshot_preview1"

// wasiFunctions are the functions of WASI preview 1 the sandbox provides, in order.
var wasiFunctions = []string{
	"args_get", "args_sizes_get", "clock_res_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_advise", "fd_allocate",
	"fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags", "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size",
	"fd_filestat_set_times", "fd_pread", "fd_prestat_dir_name", "fd_prestat_get", "fd_pwrite", "fd_read", "fd_readdir", "fd_renumber",
	"fd_seek", "fd_sync", "fd_tell", "fd_write", "path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_link",
	"path_open", "path_readlink", "path_remove_directory", "path_rename", "path_symlink", "path_unlink_file", "poll_oneoff", "proc_exit",
	"proc_raise", "random_get", "sched_yield", "sock_accept", "sock_recv", "sock_send", "sock_shutdown",
}

// Check reads a module's outline and says whether this sandbox can run it: nil, or a *cloudcrowd.Error (Invalid or TooLarge) naming an import it
// lacks, a missing _start or memory, or where the bytes stop making sense. It is pure, runs and compiles nothing, and takes time and memory in
// proportion to the module's imports and exports at most, so a server may call it on strangers' bytes. Code inside functions is not looked at: a
// module that passes may still be refused as Trapped where it is compiled.
func Check(module []byte) error {
	_, err := outlineOf(module)
	return err
}

// outlineOf parses and applies the rules of Check.
func outlineOf(module []byte) (outline, error) {
	if len(module) > MaxModuleBytes {
		return outline{}, cloudcrowd.Errorf(cloudcrowd.TooLarge, "the module has %d bytes; at most %d are allowed", len(module), MaxModuleBytes)
	}
	o, err := parseOutline(module)
	if err != nil {
		return outline{}, &cloudcrowd.Error{Code: cloudcrowd.Invalid, Msg: "this is not a usable WASM module: " + err.Error(),
			Hint: "build a WASI preview 1 command module, for example with GOOS=wasip1 GOARCH=wasm go build"}
	}
	for _, im := range o.imports {
		switch {
		case im.module != wasiModule:
			return outline{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "the module imports %s, which the sandbox does not provide", im).
				WithHint("only functions of %s can be imported%s", wasiModule, importHint(im.module))
		case im.kind != kindFunction:
			return outline{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "the module imports %s, which is not a function", im)
		case !slices.Contains(wasiFunctions, im.name):
			return outline{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "the module imports %s, which the sandbox does not provide", im).
				WithHint("the sandbox has no such function of WASI preview 1")
		}
	}
	start, ok := o.exports["_start"]
	if !ok || start.kind != kindFunction {
		return outline{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "the module exports no function _start").
			WithHint("build a command, not a library: in Go a package main without -buildmode=c-shared, in C without -mexec-model=reactor")
	}
	if memory, ok := o.exports["memory"]; !ok || memory.kind != kindMemory || o.memories == 0 {
		return outline{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "the module exports no memory named \"memory\"")
	}
	return o, nil
}

// importHint explains well-known foreign imports.
func importHint(module string) string {
	switch {
	case module == "env":
		return "; \"env\" usually means that a C function was left undefined at link time or the program was built by Emscripten"
	case module == "wasi_unstable":
		return "; this is an older WASI, rebuild with a current toolchain"
	case module == "gojs" || module == "go":
		return "; build with GOOS=wasip1, not GOOS=js"
	case strings.HasPrefix(module, "wasi:"):
		return "; this is WASI preview 2, build for preview 1 (wasm32-wasip1)"
	}
	return ""
}

// String is "module.name", cut and quoted where it holds something unprintable.
func (im imported) String() string {
	s := im.module + "." + im.name
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '\ufffd' {
			return fmt.Sprintf("%q", s)
		}
	}
	return s
}
