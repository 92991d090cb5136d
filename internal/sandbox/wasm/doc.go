// Package wasm is the sandbox for WASI preview 1 modules: wazero inside child processes that are walled in and killed from outside.
//
// The parent (New, Run) never executes or compiles a program. It re-executes its own binary; main and TestMain call ChildMain first thing when
// IsChild says so. A child belongs to one module: a compile child turns the module into machine code in the module's own cache folder and ends; a
// run child loads that code (the cache is read-only to it) and runs one attempt after the other, each with fresh memory. Two programs never share
// a process.
//
// A run child sees one folder of the host: the parent moves an attempt's In and Out into it before the run and back after it, because Landlock rules
// cannot be changed once set. Inside the child, /in, /out and /tmp are file systems of our own (see mount) over os.Root.
//
// Parent and child speak length-prefixed frames over two pipes: bind → ready, then any number of run → started → done.
package wasm
