package examples

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/examples/internal/exampletest"
	"cloudcrowd.dev/cloudcrowd/examples/internal/wasmbuild"
	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
)

// The committed modules are what the sources compile to.
func TestModulesAreCurrent(t *testing.T) {
	t.Parallel()
	if Toolchain() != runtime.Version() {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatalf("the modules were made by %s, this is %s: run go generate ./examples", Toolchain(), runtime.Version())
		}
		t.Skipf("NOT CHECKED: the modules were made by %s, this is %s, which compiles to other bytes", Toolchain(), runtime.Version())
	}
	for _, e := range List() {
		committed, err := e.Module()
		if err != nil {
			t.Fatal(err)
		}
		built, err := wasmbuild.Build(".", e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(committed, built) {
			t.Errorf("%s: the module is not what its source compiles to: run go generate ./examples", e.Name)
		}
	}
}

// An extracted example is complete: its job descriptions name files that are there, and no source to compile.
func TestExtract(t *testing.T) {
	t.Parallel()
	for _, e := range List() {
		dir := filepath.Join(t.TempDir(), "new", e.Name)
		job, err := e.Extract(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Extract(dir); err != nil {
			t.Errorf("%s: a second time: %v", e.Name, err)
		}
		if job != filepath.Join(dir, "job.yaml") {
			t.Errorf("job path %s", job)
		}
		descriptions, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range descriptions {
			checkFiles(t, path)
		}
		for _, name := range []string{"README.md", e.Name + "/main.go"} {
			if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
				t.Error(err)
			}
		}
	}
	if _, err := (Example{Name: "../kmers"}).Extract(t.TempDir()); err == nil {
		t.Error("an unknown example was extracted")
	}
}

// checkFiles checks that a job description is right, that its inputs and modules are files, and that nothing is left to
// compile.
func checkFiles(t *testing.T, path string) {
	t.Helper()
	file, err := jobfile.Load(path, jobfile.Options{})
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	if len(file.Notes) > 0 {
		t.Errorf("%s: %q", path, file.Notes)
	}
	for _, upload := range file.Uploads {
		if upload.Kind == jobfile.UploadGoDir {
			t.Errorf("%s: %+v is left to compile", path, upload)
		}
	}
}

// Names, folders and outputs agree, and everything together stays small enough for the binary.
func TestList(t *testing.T) {
	t.Parallel()
	var names []string
	for _, e := range List() {
		names = append(names, e.Name)
		if found, ok := Find(e.Name); !ok || found.Title != e.Title || e.Title == "" || e.Summary == "" || len(e.Outputs) == 0 {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(names, wasmbuild.Names) {
		t.Errorf("examples %v, programs %v", names, wasmbuild.Names)
	}
	if _, ok := Find("nothing"); ok {
		t.Error("found an example that is not there")
	}
	var total int64
	for _, pattern := range []string{"*.*", "*/*.*", "*/*/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && !info.IsDir() {
				total += info.Size()
			}
		}
	}
	if total > 6<<20 {
		t.Errorf("%d bytes in all, more than 6 MiB", total)
	}
}

// runner runs one task of a program.
type runner func(inputs exampletest.Files, args ...string) exampletest.Files

// perform runs a whole job by the tasks that its description makes; a small one does a corner of each.
func perform(t testing.TB, name string, small bool, run runner) exampletest.Files {
	t.Helper()
	var parts []exampletest.Files
	merge := func(args ...string) exampletest.Files {
		for {
			final := len(parts) <= 16
			var merged []exampletest.Files
			for start := 0; start < len(parts); start += 16 {
				inputs := exampletest.Files{}
				for i, part := range parts[start:min(start+16, len(parts))] {
					for file, data := range part {
						inputs[fmt.Sprintf("parts/%06d/%s", i, file)] = data
					}
				}
				merged = append(merged, run(inputs, append([]string{"merge", fmt.Sprintf("-final=%t", final)}, args...)...))
			}
			if parts = merged; final {
				return parts[0]
			}
		}
	}
	switch name {
	case "kmers":
		genome := exampletest.Load(t, "kmers/ecoli-k12-mg1655.fasta.gz")
		if small {
			genome = genome[:250_000]
		}
		for _, piece := range exampletest.FASTA(genome, 150_000, 20) {
			parts = append(parts, run(exampletest.Files{"genome": piece}, "count", "-k", "21", "-overlap", "20"))
		}
		return merge()
	case "finance":
		prices := exampletest.Load(t, "finance/sp500-monthly.csv")
		paths, size := 2_000_000, 50_000
		if small {
			paths, size = 5000, 2000
		}
		for from := 0; from < paths; from += size {
			parts = append(parts, run(exampletest.Files{"prices": prices}, "simulate", "-from", fmt.Sprint(from),
				"-to", fmt.Sprint(min(from+size, paths)), "-seed", "2026", "-since", "1950"))
		}
		return merge()
	case "render":
		mesh := exampletest.Files{"mesh": exampletest.Load(t, "render/spot.obj")}
		if small {
			return run(mesh, "tile", "-width", "64", "-height", "36", "-samples", "3", "-seed", "1")
		}
		all := exampletest.Files{}
		for y := 0; y < 360; y += 64 {
			for x := 0; x < 640; x += 64 {
				tile := run(mesh, "tile", "-x", fmt.Sprint(x), "-y", fmt.Sprint(y), "-w", "64", "-h", fmt.Sprint(min(64, 360-y)),
					"-width", "640", "-height", "360", "-samples", "16", "-seed", "1")
				all[fmt.Sprintf("tile-%d-%d.png", y, x)] = tile["tile.png"]
			}
		}
		return all
	case "logs":
		lines := bytes.SplitAfter(exampletest.Load(t, "logs/apache-access.log.gz"), []byte("\n"))
		if small {
			lines = lines[:900]
		}
		for piece := range slices.Chunk(lines, 400) {
			parts = append(parts, run(exampletest.Files{"log": bytes.Join(piece, nil)}, "scan"))
		}
		return merge("-window", "10", "-burst", "8", "-top", "10")
	case "physics":
		temperatures := []string{"0.5", "0.7", "0.9", "1.1", "1.3", "1.5", "1.8", "2.1"}
		densities := []string{"0.05", "0.2", "0.35", "0.5", "0.65", "0.8", "0.95", "1.1"}
		steps := "1000"
		if small {
			temperatures, densities, steps = temperatures[2:4], densities[4:6], "200"
		}
		var table []byte
		for _, temperature := range temperatures {
			for _, density := range densities {
				point := run(nil, "simulate", "-temperature", temperature, "-density", density, "-cells", "3", "-steps", steps, "-seed", "2026")["point.csv"]
				if len(table) > 0 {
					_, point, _ = bytes.Cut(point, []byte("\n"))
				}
				table = append(table, point...)
			}
		}
		return run(exampletest.Files{"table/000000/phase.csv": table}, "plot")
	}
	t.Fatalf("no job for example %s", name)
	return nil
}

// The committed modules give, in the WASM engine, the same bytes as the programs compiled for this machine.
func TestWasmEqualsNative(t *testing.T) {
	t.Parallel()
	for _, e := range List() {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			program := filepath.Join(t.TempDir(), e.Name+".exe")
			if output, err := exec.Command("go", "build", "-o", program, "./"+e.Name+"/"+e.Name).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			native := perform(t, e.Name, true, func(inputs exampletest.Files, args ...string) exampletest.Files {
				return exampletest.Task(t, inputs, func(in, out string) error {
					command := exec.Command(program, append([]string{args[0], "-in", in, "-out", out}, args[1:]...)...)
					output, err := command.CombinedOutput()
					if err != nil {
						return fmt.Errorf("%v: %w\n%s", args, err, output)
					}
					return nil
				})
			})
			module, err := e.Module()
			if err != nil {
				t.Fatal(err)
			}
			exampletest.Same(t, perform(t, e.Name, true, exampletest.Wasm(t, module)), native)
			for _, output := range e.Outputs {
				if _, ok := native[output]; !ok && e.Name != "render" { // the platform joins the tiles
					t.Errorf("no output %s", output)
				}
			}
		})
	}
}

// BenchmarkWholeJob measures every example's whole job in the WASM engine on one core, without splitting, verifying and
// merging by the platform. With EXAMPLES_OUT set it leaves the results below that folder.
func BenchmarkWholeJob(b *testing.B) {
	for _, e := range List() {
		b.Run(e.Name, func(b *testing.B) {
			module, err := e.Module()
			if err != nil {
				b.Fatal(err)
			}
			run := exampletest.Wasm(b, module)
			tasks := 0
			for b.Loop() {
				result := perform(b, e.Name, false, func(inputs exampletest.Files, args ...string) exampletest.Files {
					tasks++
					return run(inputs, args...)
				})
				if dir := os.Getenv("EXAMPLES_OUT"); dir != "" {
					for name := range result {
						if strings.Contains(name, "tile-") {
							delete(result, name)
						}
					}
					exampletest.Write(b, filepath.Join(dir, e.Name), result)
				}
			}
			b.ReportMetric(float64(tasks)/float64(b.N), "tasks/op")
		})
	}
}
