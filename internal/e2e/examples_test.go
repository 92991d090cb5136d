package e2e

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/examples"
	"cloudcrowd.dev/cloudcrowd/internal/jobfile"
)

// example is one of the examples in a small form.
type example struct {
	name   string
	params map[string]string
	inputs map[string]string // name → file below ../../examples, of which cut keeps a part
	cut    func([]byte) []byte
	edit   *strings.Replacer // of the job description
	files  []string          // of the answer
	whole  func(n native) map[string]string
}

var smallExamples = []example{
	{
		name: "kmers", inputs: map[string]string{"genome": "kmers/ecoli-k12-mg1655.fasta.gz"}, cut: func(b []byte) []byte { return b[:1_200_000] },
		files: []string{"spectrum.tsv", "summary.json"},
		whole: func(n native) map[string]string {
			return n.merged(n.run(n.input("genome"), "count", "-k", "21", "-overlap", "20"), "merge", "-final=true")
		},
	},
	{
		name: "finance", params: map[string]string{"paths": "600000"}, inputs: map[string]string{"prices": "finance/sp500-monthly.csv"},
		files: []string{"risk.json"},
		whole: func(n native) map[string]string {
			return n.merged(n.run(n.input("prices"), "simulate", "-from", "0", "-to", "600000", "-seed", "2026", "-horizon", "12", "-strike", "100", "-rate", "0.04",
				"-since", "1950"), "merge", "-final=true")
		},
	},
	{
		name: "render", params: map[string]string{"width": "192", "height": "108", "samples": "8"}, inputs: map[string]string{"mesh": "render/spot.obj"},
		edit: strings.NewReplacer("tile: 64", "tile: 32"), files: []string{"image.png"},
		whole: func(n native) map[string]string {
			tile := n.run(n.input("mesh"), "tile", "-x", "0", "-y", "0", "-w", "192", "-h", "108", "-width", "192", "-height", "108", "-samples", "8", "-turn", "0",
				"-paint", "cow", "-seed", "1")
			return map[string]string{"image.png": tile["tile.png"]}
		},
	},
	{
		name: "logs", inputs: map[string]string{"log": "logs/apache-access.log.gz"}, edit: strings.NewReplacer("max: 400", "max: 100"),
		cut:   func(b []byte) []byte { return bytes.Join(bytes.SplitAfterN(b, []byte("\n"), 2001)[:2000], nil) },
		files: []string{"report.json"},
		whole: func(n native) map[string]string {
			return n.merged(n.run(n.input("log"), "scan"), "merge", "-final=true", "-window", "10", "-burst", "8", "-top", "10")
		},
	},
	{
		name: "physics", params: map[string]string{"steps": "300"}, files: []string{"phase.csv", "phase.svg"},
		edit: strings.NewReplacer("[0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.8, 2.1]", "[0.7, 1.1, 1.8]", "[0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1]", "[0.2, 0.65, 0.95]"),
		whole: func(n native) map[string]string {
			table := ""
			for _, temperature := range []string{"0.7", "1.1", "1.8"} {
				for _, density := range []string{"0.2", "0.65", "0.95"} {
					point := n.run(nil, "simulate", "-temperature", temperature, "-density", density, "-cells", "3", "-steps", "300", "-seed", "2026")["point.csv"]
					if table != "" {
						_, point, _ = strings.Cut(point, "\n")
					}
					table += point
				}
			}
			return n.run(map[string]string{"table/000000/phase.csv": table}, "plot")
		},
	},
}

// The server is killed in the middle of every example and started again: the answer is that of the same program run once over everything on this
// machine, nothing is paid twice, and fsck finds nothing.
func TestKillServer(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, nil, "ada", "grace", "linus")
	for _, e := range smallExamples {
		t.Run(e.name, func(t *testing.T) {
			c.in(t)
			n := newNative(t, e)
			id := c.midway(func() cloudcrowd.JobID { return c.submitExample(e, n) })
			c.server.kill()
			c.again()
			job := c.ended(id, cloudcrowd.JobDone)
			want := e.whole(n)
			for _, file := range e.files {
				if got := c.answer(job, file); got != want[file] {
					t.Errorf("%s has %d bytes and differs from the %d of the program run once", file, len(got), len(want[file]))
				}
			}
			c.audit(job)
			t.Logf("%d tasks, %d attempts, %d failed or lost", job.Tasks, job.Attempts, job.Failed)
		})
	}
}

// submitExample submits an example's own job description with small inputs.
func (c *crowd) submitExample(e example, n native) cloudcrowd.JobID {
	c.t.Helper()
	found, ok := examples.Find(e.name)
	if !ok {
		c.t.Fatalf("no example %s", e.name)
	}
	path, err := found.Extract(filepath.Join(c.t.TempDir(), e.name))
	if err != nil {
		c.t.Fatal(err)
	}
	if e.edit != nil {
		text, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		edited := e.edit.Replace(string(text))
		if edited == string(text) {
			c.t.Fatalf("nothing to make smaller in %s", path)
		}
		if err := os.WriteFile(path, []byte(edited), 0o644); err != nil {
			c.t.Fatal(err)
		}
	}
	inputs := map[string]string{}
	for name := range e.inputs {
		inputs[name] = n.path(name)
	}
	file, err := jobfile.Load(path, jobfile.Options{Params: e.params, Inputs: inputs})
	if err != nil {
		c.t.Fatal(err)
	}
	job, err := c.api.Submit(c.t.Context(), c.resolve(c.api, file), "")
	if err != nil {
		c.t.Fatal(err)
	}
	return job.ID
}

// native runs an example's program on this machine, outside of the platform.
type native struct {
	t       testing.TB
	program string
	dir     string // of the inputs
}

func newNative(t testing.TB, e example) native {
	t.Helper()
	programs, err := examplePrograms()
	if err != nil {
		t.Fatal(err)
	}
	n := native{t, filepath.Join(programs, e.name+suffix()), t.TempDir()}
	for name, source := range e.inputs {
		b, err := os.ReadFile(filepath.Join("..", "..", "examples", filepath.FromSlash(source)))
		if err == nil && strings.HasSuffix(source, ".gz") {
			var r *gzip.Reader
			if r, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
				b, err = io.ReadAll(r)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		if e.cut != nil {
			b = e.cut(b)
		}
		if err := os.WriteFile(n.path(name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n native) path(input string) string { return filepath.Join(n.dir, input) }

// input is the folder of a program that reads one input.
func (n native) input(name string) map[string]string {
	b, err := os.ReadFile(n.path(name))
	if err != nil {
		n.t.Fatal(err)
	}
	return map[string]string{name: string(b)}
}

// merged runs a merge over one part.
func (n native) merged(part map[string]string, args ...string) map[string]string {
	files := map[string]string{}
	for name, content := range part {
		files["parts/000000/"+name] = content
	}
	return n.run(files, args...)
}

// run runs the program once: files in, files out.
func (n native) run(in map[string]string, args ...string) map[string]string {
	n.t.Helper()
	from, to := n.t.TempDir(), n.t.TempDir()
	for name, content := range in {
		path := filepath.Join(from, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			n.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			n.t.Fatal(err)
		}
	}
	cmd := exec.Command(n.program, append([]string{args[0], "-in", from, "-out", to}, args[1:]...)...)
	if output, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("%v: %v\n%s", cmd.Args, err, output)
	}
	out := map[string]string{}
	entries, err := os.ReadDir(to)
	if err != nil {
		n.t.Fatal(err)
	}
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join(to, entry.Name()))
		if err != nil {
			n.t.Fatal(err)
		}
		out[entry.Name()] = string(b)
	}
	if len(out) == 0 {
		n.t.Fatal(fmt.Errorf("%v left nothing", cmd.Args))
	}
	return out
}
