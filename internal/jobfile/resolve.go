package jobfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// UploadKind says what an upload is.
type UploadKind string

const (
	UploadFile   UploadKind = "file"   // an input, sent as it is
	UploadModule UploadKind = "module" // a WASM module
	UploadGoDir  UploadKind = "godir"  // a folder of Go source; Resolve compiles it, and Path is the module when put is called
	UploadDigest UploadKind = "digest" // a blob that must be there already: put confirms it and tells its size
)

// Upload is something local that a job needs as a blob.
type Upload struct {
	Kind    UploadKind
	Path    string            // local file or folder; empty for a digest
	Digest  cloudcrowd.Digest // of a digest only
	Name    string            // as the description calls it
	Targets []Target          // where the blob's digest and size go
}

// Target is a place in a spec that names a blob.
type Target struct {
	Field string // dotted path in the description
	input string // an input's file, or
	file  int
	stage string // a stage's program
	role  programRole
}

// upload adds u, or a further target to the same thing.
func (p *parser) upload(u Upload, field string, t Target) {
	if u.Kind == UploadDigest && !u.Digest.Valid() {
		p.add(field, "sha256: is followed by 64 lower-case hexadecimal digits, found %q", string(u.Digest))
		return
	}
	for i := range p.file.Uploads {
		known := &p.file.Uploads[i]
		if known.Kind == u.Kind && known.Path == u.Path && known.Digest == u.Digest && u.Kind != UploadFile {
			known.Targets = append(known.Targets, t)
			return
		}
	}
	u.Targets = []Target{t}
	p.file.Uploads = append(p.file.Uploads, u)
}

// Resolve compiles and uploads everything the description points to, by put, which answers with digest and size, and returns the finished, checked spec.
// The File stays as it is, so Resolve may be called again.
func (f *File) Resolve(put func(Upload) (cloudcrowd.Digest, int64, error)) (cloudcrowd.JobSpec, error) {
	spec := clone(&f.Spec)
	for _, u := range f.Uploads {
		digest, size, err := put1(u, put)
		if err != nil {
			return cloudcrowd.JobSpec{}, fmt.Errorf("%s: %w", u.Targets[0].Field, err)
		}
		for _, t := range u.Targets {
			t.set(&spec, digest, size)
		}
	}
	return spec, Validate(&spec)
}

// put1 hands one upload to put, compiled if need be.
func put1(u Upload, put func(Upload) (cloudcrowd.Digest, int64, error)) (cloudcrowd.Digest, int64, error) {
	if u.Kind == UploadGoDir {
		dir, err := os.MkdirTemp("", "cloudcrowd-build-")
		if err != nil {
			return "", 0, err
		}
		defer os.RemoveAll(dir)
		module := filepath.Join(dir, filepath.Base(u.Path)+".wasm")
		if err := Compile(u.Path, module); err != nil {
			return "", 0, err
		}
		u.Path = module
	}
	return put(u)
}

// set puts a digest where it belongs.
func (t Target) set(spec *cloudcrowd.JobSpec, digest cloudcrowd.Digest, size int64) {
	if t.input != "" {
		file := &spec.Inputs[t.input].Files[t.file]
		file.Digest, file.SizeBytes = digest, size
		return
	}
	name := t.stage
	if t.role == splitProgram {
		name += splitSuffix
	}
	i := spec.StageIndex(name)
	if i < 0 {
		return
	}
	program := spec.Stages[i].Run
	if t.role == mergeProgram {
		program = spec.Stages[i].Merge.Program
	}
	program.Module, program.ModuleSize = digest, size
}

// clone copies everything that Resolve changes.
func clone(spec *cloudcrowd.JobSpec) cloudcrowd.JobSpec {
	c := *spec
	c.Inputs = make(map[string]cloudcrowd.Input, len(spec.Inputs))
	for name, in := range spec.Inputs {
		in.Files = slices.Clone(in.Files)
		c.Inputs[name] = in
	}
	c.Stages = slices.Clone(spec.Stages)
	for i := range c.Stages {
		st := &c.Stages[i]
		if st.Run != nil {
			run := *st.Run
			st.Run = &run
		}
		if st.Merge != nil {
			merge := *st.Merge
			if merge.Program != nil {
				program := *merge.Program
				merge.Program = &program
			}
			st.Merge = &merge
		}
	}
	return c
}

// Compile builds the Go program in dir to a WASI module at out. Equal sources and compilers give equal bytes, wherever the folder is.
func Compile(dir, out string) error {
	compiler, err := exec.LookPath("go")
	if err != nil {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "%s is Go source and there is no Go toolchain here to compile it", dir).
			WithHint("install Go from https://go.dev/dl, or compile elsewhere with GOOS=wasip1 GOARCH=wasm go build and write wasm: FILE")
	}
	abs, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	cmd := exec.Command(compiler, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", abs, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			return err
		}
		text := strings.TrimSpace(output.String())
		if len(text) > 4<<10 {
			text = text[:4<<10] + "\n…"
		}
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s does not compile to WASM:\n%s", dir, strings.ToValidUTF8(text, "\uFFFD"))
	}
	// Of a package that is no program, the compiler makes an archive.
	head := make([]byte, 4)
	file, err := os.Open(abs)
	if err == nil {
		_, err = io.ReadFull(file, head)
		file.Close()
	}
	if err != nil || string(head) != "\x00asm" {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s is no program: its package is not main", dir).
			WithHint("name the folder that holds func main")
	}
	return nil
}
