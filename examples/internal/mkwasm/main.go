// Command mkwasm compiles the programs of the examples to WASM modules and stores them packed beside their sources, as
// NAME/NAME.wasm.zst, and in toolchain.txt the version of Go that made them. The same version makes the same modules.
//
//	go run ./internal/mkwasm        in the folder examples; go generate runs it
package main

import (
	"fmt"
	"os"
	"runtime"

	"cloudcrowd.dev/cloudcrowd/examples/internal/wasmbuild"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mkwasm:", err)
		os.Exit(1)
	}
}

func run() error {
	base, err := wasmbuild.Build(".", wasmbuild.Base)
	if err != nil {
		return err
	}
	for _, name := range wasmbuild.Names {
		module, against := base, []byte(nil)
		if name != wasmbuild.Base {
			if module, err = wasmbuild.Build(".", name); err != nil {
				return err
			}
			against = base
		}
		packed, err := wasmbuild.Pack(module, against)
		if err != nil {
			return err
		}
		path := wasmbuild.Path(name)
		if err := os.WriteFile(path, packed, 0o644); err != nil {
			return err
		}
		fmt.Printf("%s: %d bytes, %d packed\n", path, len(module), len(packed))
	}
	return os.WriteFile("toolchain.txt", []byte(runtime.Version()+"\n"), 0o644)
}
