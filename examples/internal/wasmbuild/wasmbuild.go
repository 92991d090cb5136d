// Package wasmbuild compiles the programs of the examples to WASM modules whose bytes depend on source and Go version
// alone.
package wasmbuild

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Names are the examples in the order in which they are shown.
var Names = []string{"kmers", "finance", "render", "logs", "physics"}

// Path is where the packed module of an example lies, below the folder examples.
func Path(name string) string { return name + "/" + name + ".wasm.gz" }

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

// Pack compresses a module; the same module packs to the same bytes under the same Go version.
func Pack(module []byte) ([]byte, error) {
	var buffer bytes.Buffer
	w, err := gzip.NewWriterLevel(&buffer, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(module); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}

// Unpack undoes Pack.
func Unpack(packed []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
