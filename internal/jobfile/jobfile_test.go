package jobfile

import (
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/rogpeppe/go-internal/txtar"

	"cloudcrowd.dev/cloudcrowd"
)

var update = flag.Bool("update", false, "write what the tests get to testdata")

// memory is a Source over files in memory, all below the folder "dir".
type memory fstest.MapFS

func (m memory) name(name string) string { return path.Clean(filepath.ToSlash(name)) }

func (m memory) Stat(name string) (fs.FileInfo, error) { return fs.Stat(fstest.MapFS(m), m.name(name)) }

func (m memory) Glob(pattern string) ([]string, error) {
	return fs.Glob(fstest.MapFS(m), m.name(pattern))
}

func (m memory) Walk(dir string) (names []string, err error) {
	for name := range m {
		if rest, ok := strings.CutPrefix(name, m.name(dir)+"/"); ok {
			names = append(names, rest)
		}
	}
	slices.Sort(names)
	return names, nil
}

var testFiles = memory{
	"dir/prog.wasm": {}, "dir/prog/main.go": {}, "dir/table.csv": {}, "dir/genome.fa.gz": {}, "dir/many/a.txt": {}, "dir/many/sub/b.txt": {}, "other.csv": {},
	"dir/pipe": {Mode: fs.ModeNamedPipe},
}

func parse(data string, opt Options) (*File, error) {
	opt.Source, opt.Name = testFiles, "job.yaml"
	return Parse([]byte(data), "dir", opt)
}

// Every kind of mistake is answered with its line, its field and what to do instead: testdata/mistakes.txtar holds pairs of a description and
// the exact answer (hints behind "hint:").
func TestMistakes(t *testing.T) {
	t.Parallel()
	const name = "testdata/mistakes.txtar"
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		input, want := archive.Files[i], &archive.Files[i+1]
		var opt Options
		for line := range strings.Lines(string(input.Data)) { // "# --param k=3" on top stands for the command line
			if rest, ok := strings.CutPrefix(line, "# --param "); ok {
				k, v, _ := strings.Cut(strings.TrimSpace(rest), "=")
				opt.Params = map[string]string{k: v}
			}
			if rest, ok := strings.CutPrefix(line, "# --input "); ok {
				k, v, _ := strings.Cut(strings.TrimSpace(rest), "=")
				opt.Inputs = map[string]string{k: v}
			}
		}
		file, err := parse(string(input.Data), opt)
		if err == nil {
			t.Errorf("%s: no mistake found: %+v", input.Name, file.Spec)
			continue
		}
		if code := cloudcrowd.CodeOf(err); code != cloudcrowd.Invalid {
			t.Errorf("%s: code %s", input.Name, code)
		}
		got := answer(err)
		if *update {
			want.Data = []byte(got)
		} else if got != string(want.Data) {
			t.Errorf("%s:\n%s\ngot:\n%swant:\n%s", input.Name, input.Data, got, want.Data)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func answer(err error) string {
	ps, ok := errors.AsType[Problems](err)
	if !ok {
		return err.Error() + "\n"
	}
	text := ""
	for _, p := range ps {
		text += p.Error() + "\n"
		if p.Err.Hint != "" {
			text += "  hint: " + p.Err.Hint + "\n"
		}
	}
	return text
}

// Descriptions that are right become exactly the specs of testdata/specs.txtar.
func TestSpecs(t *testing.T) {
	t.Parallel()
	const name = "testdata/specs.txtar"
	archive, err := txtar.ParseFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		input, want := archive.Files[i], &archive.Files[i+1]
		file, err := parse(string(input.Data), Options{})
		if err != nil {
			t.Errorf("%s: %s", input.Name, answer(err))
			continue
		}
		data, err := json.MarshalIndent(file.Spec, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got := string(data) + "\n"
		for _, u := range file.Uploads {
			got += "upload " + string(u.Kind) + " " + filepath.ToSlash(u.Path) + string(u.Digest) + "\n"
		}
		for _, n := range file.Notes {
			got += "note " + n + "\n"
		}
		if *update {
			want.Data = []byte(got)
		} else if got != string(want.Data) {
			t.Errorf("%s: got:\n%s", input.Name, got)
		}
		again := clone(&file.Spec)
		if err := Normalise(&again); err != nil {
			t.Fatal(err)
		}
		if twice, _ := json.MarshalIndent(again, "", "  "); string(twice) != string(data) {
			t.Errorf("%s: normalising twice changes the spec: %s", input.Name, twice)
		}
	}
	if *update {
		if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// examples are the job descriptions of the project.
func examples(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	return names
}

// The examples are right, and every one resolves to a spec that the server accepts.
func TestExamples(t *testing.T) {
	t.Parallel()
	for _, name := range examples(t) {
		file, err := Load(name, Options{})
		if err != nil {
			t.Errorf("%s: %s", name, answer(err))
			continue
		}
		for i := range file.Uploads {
			if file.Uploads[i].Kind == UploadGoDir { // compiled in TestCompile
				file.Uploads[i].Kind = UploadModule
			}
		}
		digest := cloudcrowd.Digest(strings.Repeat("ab", 32))
		spec, err := file.Resolve(func(u Upload) (cloudcrowd.Digest, int64, error) { return digest, 7, nil })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, st := range spec.Stages {
			for _, p := range programs(&st) {
				if p.Module != digest || p.ModuleSize != 7 {
					t.Errorf("%s: stage %s has module %q", name, st.Name, p.Module)
				}
			}
		}
	}
}

// Params and inputs can be replaced from outside; a splitting program's module reaches the stage made for it.
func TestOverrides(t *testing.T) {
	t.Parallel()
	file, err := parse(`
name: test
params: {n: 5, k: 1}
inputs: {table: table.csv}
stages:
  a:
    split: {program: {wasm: prog.wasm, inputs: table}}
    run: {wasm: prog.wasm, args: ["{{k}}", "{{unit}}"]}
  b:
    split: {range: {to: "{{n}}"}}
    run: {wasm: {go: prog}}
`, Options{Params: map[string]string{"n": "17", "k": "x y"}, Inputs: map[string]string{"table": "other.csv"}})
	if err != nil {
		t.Fatal(answer(err))
	}
	if file.Spec.Stages[2].Split.To != 17 || file.Spec.Params[0].Value != "x y" {
		t.Errorf("%+v", file.Spec)
	}
	var got []string
	for _, u := range file.Uploads {
		got = append(got, string(u.Kind)+":"+filepath.ToSlash(u.Path))
	}
	if s := strings.Join(got, " "); s != "file:other.csv module:dir/prog.wasm godir:dir/prog" {
		t.Errorf("uploads %s", s)
	}
	file.Uploads = file.Uploads[:2]
	_, err = file.Resolve(func(u Upload) (cloudcrowd.Digest, int64, error) {
		return cloudcrowd.Digest(strings.Repeat("0", 64)), 1, nil
	})
	if err == nil || err.Error() != `stages.b.run.wasm: a digest is 64 lower-case hexadecimal digits, found ""` {
		t.Errorf("a module that was not uploaded: %v", err)
	}
}

// A description that cannot be read is answered with the reason, and one in a folder of its own is found by its path.
func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("in.txt", "x")
	write("p.wasm", "x")
	file, err := Load(write("job.yaml", "name: x\ninputs: {in: in.txt, all: '*.txt'}\nstages: {a: {run: {wasm: p.wasm}, inputs: in}}\n"), Options{})
	if err != nil || len(file.Uploads) != 3 || file.Uploads[0].Path != filepath.Join(dir, "in.txt") {
		t.Errorf("%+v %v", file, err)
	}
	for path, want := range map[string]cloudcrowd.Code{
		dir: cloudcrowd.Invalid, filepath.Join(dir, "nothing.yaml"): cloudcrowd.NotFound,
		write("large.yaml", strings.Repeat("#", MaxBytes+1)): cloudcrowd.TooLarge,
		write("binary.yaml", "\x00\x01"):                     cloudcrowd.Invalid,
	} {
		if _, err := Load(path, Options{}); cloudcrowd.CodeOf(err) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A Go folder is compiled to a module; what does not compile is answered with the compiler's words, and a library is named as such.
func TestCompile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.org/prog\n\ngo 1.24\n")
	write("main.go", "package main\n\nfunc main() { println(oops) }\n")
	out := filepath.Join(dir, "out.wasm")
	err := Compile(dir, out)
	if cloudcrowd.CodeOf(err) != cloudcrowd.Invalid || !strings.Contains(err.Error(), "main.go:3:23: undefined: oops") {
		t.Fatalf("%v", err)
	}
	write("main.go", "package main\n\nfunc main() { println(1) }\n")
	if err := Compile(dir, out); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(out); err != nil || string(data[:4]) != "\x00asm" {
		t.Errorf("not a module: %v", err)
	}
	write("main.go", "package prog\n")
	if err := Compile(dir, out); cloudcrowd.CodeOf(err) != cloudcrowd.Invalid || !strings.Contains(err.Error(), "its package is not main") {
		t.Errorf("a library: %v", err)
	}
}

// Whatever the bytes, Parse answers with a spec that passes Validate once its blobs are known, or with a mistake; it never panics or runs away.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/mistakes.txtar", "testdata/specs.txtar"} {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for i := 0; i < len(archive.Files); i += 2 {
			f.Add(archive.Files[i].Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse(string(data), Options{})
		if err != nil {
			if err.Error() == "" {
				t.Error("a mistake without words")
			}
			return
		}
		for i := range file.Uploads {
			file.Uploads[i].Kind = UploadModule
		}
		if _, err := file.Resolve(func(Upload) (cloudcrowd.Digest, int64, error) {
			return cloudcrowd.Digest(strings.Repeat("0", 64)), 1, nil
		}); err != nil {
			t.Errorf("parsed, and then refused: %v", err)
		}
	})
}
