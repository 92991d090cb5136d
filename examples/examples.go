// Package examples holds the example jobs, ready to run: descriptions, inputs, sources and compiled programs, all inside
// the binary.
package examples

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd/examples/internal/wasmbuild"
)

//go:generate go run ./internal/mkwasm

// files are the folders of all examples, without pictures.
//
//go:embed toolchain.txt */*.yaml */README.md */*.wasm.zst
//go:embed kmers/*.fasta.gz finance/*.csv render/*.obj logs/*.log.gz
//go:embed kmers/kmers/*.go finance/finance/*.go render/render/*.go logs/logs/*.go physics/physics/*.go
var files embed.FS

// Example is one job with everything it needs.
type Example struct {
	Name    string   `json:"name"`    // of its folder, as `cloudcrowd demo --example` takes it
	Title   string   `json:"title"`   // a few words
	Summary string   `json:"summary"` // a sentence or two on what is computed from what
	Outputs []string `json:"outputs"` // the result's files, the main one first
}

// List returns all examples, the one to begin with first.
func List() []Example {
	return []Example{
		{
			Name: "kmers", Title: "Genomics: k-mer spectrum of E. coli",
			Summary: "Counts every 21-mer of the complete genome of Escherichia coli K-12 (4.6 million bases), both strands as one, " +
				"and says how many occur how often.",
			Outputs: []string{"spectrum.tsv", "spectrum.svg", "summary.json"},
		},
		{
			Name: "finance", Title: "Finance: value at risk and option prices",
			Summary: "Estimates drift and volatility from the monthly S&P 500, simulates two million paths, and reports value at risk, " +
				"expected shortfall and the prices of a European and an Asian option.",
			Outputs: []string{"risk.json", "risk.svg"},
		},
		{
			Name: "render", Title: "Rendering: a path-traced picture",
			Summary: "Traces the light around the cow Spot, a mesh of 5,856 triangles, in tiles that make one picture.",
			Outputs: []string{"image.png"},
		},
		{
			Name: "logs", Title: "Operations: security report over an access log",
			Summary: "Reads 10,000 lines of a real web server's log and reports top talkers, bursts of errors, probing requests and bandwidth.",
			Outputs: []string{"report.json", "report.svg"},
		},
		{
			Name: "physics", Title: "Physics: phase diagram of the Lennard-Jones fluid",
			Summary: "Simulates 108 particles at 64 points of temperature and density and draws where they are gas, liquid and solid.",
			Outputs: []string{"phase.csv", "phase.svg"},
		},
	}
}

// Find returns the example of a name.
func Find(name string) (Example, bool) {
	list := List()
	i := slices.IndexFunc(list, func(e Example) bool { return e.Name == name })
	if i < 0 {
		return Example{}, false
	}
	return list[i], true
}

// Extract writes the example below dir, which is made if it is missing: job descriptions, inputs, sources, README, and
// the compiled program in place of its source folder in the job descriptions, so that no Go toolchain is needed to run
// it. It returns the path of job.yaml. Files that are already there are overwritten.
func (e Example) Extract(dir string) (jobPath string, err error) {
	if _, ok := Find(e.Name); !ok {
		return "", fmt.Errorf("no example %q", e.Name)
	}
	err = fs.WalkDir(files, e.Name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(path, e.Name)))
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if path == wasmbuild.Path(e.Name) || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := files.ReadFile(path)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, ".yaml") {
			text := strings.ReplaceAll(string(data), "wasm: {go: ./"+e.Name+"}", "wasm: ./"+e.Name+".wasm")
			data = []byte(text)
		}
		return os.WriteFile(target, data, 0o644)
	})
	if err != nil {
		return "", fmt.Errorf("extract example %s: %w", e.Name, err)
	}
	module, err := e.Module()
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, e.Name+".wasm"), module, 0o644); err != nil {
		return "", fmt.Errorf("extract example %s: %w", e.Name, err)
	}
	return filepath.Join(dir, "job.yaml"), nil
}

// Module returns the example's compiled program, a WASI preview 1 module.
func (e Example) Module() ([]byte, error) {
	unpack := func(name string, base []byte) ([]byte, error) {
		packed, err := files.ReadFile(wasmbuild.Path(name))
		if err != nil {
			return nil, err
		}
		module, err := wasmbuild.Unpack(packed, base)
		if err != nil {
			return nil, fmt.Errorf("unpack the program of example %s: %w", name, err)
		}
		return module, nil
	}
	base, err := unpack(wasmbuild.Base, nil)
	if err != nil || e.Name == wasmbuild.Base {
		return base, err
	}
	return unpack(e.Name, base)
}

// Toolchain is the version of Go that compiled the programs.
func Toolchain() string {
	data, err := files.ReadFile("toolchain.txt")
	if err != nil {
		panic(err) // embedded at compile time
	}
	return strings.TrimSpace(string(data))
}
