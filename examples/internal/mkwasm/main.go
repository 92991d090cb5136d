// Command mkwasm compiles the programs of the examples to WASM modules and stores them compressed beside their sources:
// NAME/NAME.wasm.gz, and in toolchain.txt the version of Go that made them. The same version makes the same bytes.
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
	for _, name := range wasmbuild.Names {
		module, err := wasmbuild.Build(".", name)
		if err != nil {
			return err
		}
		packed, err := wasmbuild.Pack(module)
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
