package main

import (
	"os"

	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
	"cloudcrowd.dev/cloudcrowd/internal/sandbox/wasm"
)

// checkProgram refuses, before anything is sent, a module that the sandbox could not run, naming the import it lacks. Other files pass.
func checkProgram(u jobfile.Upload) error {
	if u.Kind != jobfile.UploadModule && u.Kind != jobfile.UploadGoDir {
		return nil
	}
	info, err := os.Stat(u.Path)
	if err != nil {
		return err
	}
	if info.Size() > wasm.MaxModuleBytes {
		return wasm.Check(make([]byte, wasm.MaxModuleBytes+1)) // says that it is too large
	}
	module, err := os.ReadFile(u.Path)
	if err != nil {
		return err
	}
	return wasm.Check(module)
}
