// Package wasmbuild compiles the programs of the examples to WASM modules whose bytes depend on source and Go version
// alone.
package wasmbuild

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Names are the examples in the order in which they are shown.
var Names = []string{"kmers", "finance", "render", "logs", "physics"}

// Path is where the packed module of an example lies, below the folder examples.
func Path(name string) string { return name + "/" + name + ".wasm.zst" }

// Build compiles the program of the named example below root, the folder examples. It needs the Go toolchain; its
// output is part of the error.
func Build(root, name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "wasmbuild")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	target := filepath.Join(dir, name+".wasm")
	command := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", target, "./"+name+"/"+name)
	command.Dir = root
	command.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWASM=", "GOFLAGS=", "GOEXPERIMENT=", "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("compile %s: %w\n%s", name, err, output)
	}
	return os.ReadFile(target)
}
