package jobfile

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
)

// Source is how the parser sees files. Names are in the form of the operating system.
type Source interface {
	Stat(name string) (fs.FileInfo, error)
	// Glob lists what a pattern matches, sorted.
	Glob(pattern string) ([]string, error)
	// Walk lists the regular files below a folder, slash-separated and relative to it, sorted. Hidden ones (a name that starts with a dot) are left out.
	Walk(dir string) ([]string, error)
}

// OS is the operating system's files.
type OS struct{}

// Stat implements Source.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Glob implements Source.
func (OS) Glob(pattern string) ([]string, error) { return filepath.Glob(pattern) }

// Walk implements Source.
func (OS) Walk(dir string) (names []string, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case d.Type().IsRegular() && !strings.HasPrefix(d.Name(), "."):
			if names = append(names, name); len(names) > maxFiles {
				return fs.SkipAll
			}
		}
		return nil
	})
	return names, err
}

// local is the path of a file named in the description.
func (p *parser) local(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(p.dir, filepath.FromSlash(name))
}

// inputs reads all inputs.
func (p *parser) inputs(n *yaml.Node, path string) {
	p.file.Spec.Inputs = map[string]cloudcrowd.Input{}
	for _, m := range p.members(n, path) {
		field := join(path, m.key)
		if given, ok := p.opt.Inputs[m.key]; ok {
			if given == "" {
				p.add(field, "--input gives it no path")
				p.file.Spec.Inputs[m.key] = cloudcrowd.Input{}
				continue
			}
			local := given
			if !strings.HasPrefix(given, "sha256:") {
				local = filepath.Clean(given)
			}
			p.file.Spec.Inputs[m.key] = p.input(m.key, given, local, field, "paths on the command line are relative to the current folder")
			continue
		}
		if f := p.follow(m.value); f.Kind == yaml.SequenceNode {
			p.file.Spec.Inputs[m.key] = p.fileList(m.key, p.texts(m.value, field), field)
			continue
		}
		name := p.text(m.value, field)
		if name == "" {
			p.add(field, "expected a path, a glob, a list of files or sha256:DIGEST")
			continue
		}
		local := name
		if !strings.HasPrefix(name, "sha256:") {
			local = p.local(name)
		}
		p.file.Spec.Inputs[m.key] = p.input(m.key, name, local, field, "paths are relative to the job description's folder")
	}
}

// input finds the files of one input: a file, a folder, a glob, or the digest of a blob. shown is how it was written, hint
// says where relative paths begin.
func (p *parser) input(key, shown, local, field, hint string) (in cloudcrowd.Input) {
	if digest, ok := strings.CutPrefix(shown, "sha256:"); ok {
		p.addFile(&in, key, key, Upload{Kind: UploadDigest, Digest: cloudcrowd.Digest(digest), Name: shown}, field)
		return in
	}
	info, err := p.opt.Source.Stat(local)
	switch {
	case err == nil && info.IsDir():
		names, err := p.opt.Source.Walk(local)
		if err != nil {
			p.add(field, "the folder %s cannot be read: %v", shown, err)
			return in
		}
		in.Set = true
		for _, name := range names {
			p.addFile(&in, key, name, Upload{Kind: UploadFile, Path: filepath.Join(local, filepath.FromSlash(name)), Name: path.Join(filepath.ToSlash(shown), name)}, field)
		}
		p.checkSet(&in, shown, field)
	case err == nil && !info.Mode().IsRegular():
		// The client reads a file twice: for its digest and to send it.
		p.add(field, "%s is no regular file", shown).hint("write a pipe or a device to a file first")
	case err == nil:
		p.addFile(&in, key, filepath.Base(local), Upload{Kind: UploadFile, Path: local, Name: shown}, field)
	case strings.ContainsAny(shown, "*?["):
		names, err := p.opt.Source.Glob(local)
		if err != nil {
			p.add(field, "%s is not a pattern: %v", shown, err)
			return in
		}
		in.Set = true
		for _, name := range names {
			if info, err := p.opt.Source.Stat(name); err == nil && info.Mode().IsRegular() {
				p.addFile(&in, key, filepath.Base(name), Upload{Kind: UploadFile, Path: name, Name: filepath.Base(name)}, field)
			}
		}
		p.checkSet(&in, shown, field)
	case strings.Contains(shown, "://"):
		p.add(field, "%s is not fetched: an input is a local path or sha256:DIGEST", shown).hint("download the file and give its path")
	default:
		p.add(field, "there is no file %s", shown).hint("%s", hint)
	}
	return in
}

// fileList makes a set of files that are named one by one.
func (p *parser) fileList(key string, names []string, field string) (in cloudcrowd.Input) {
	in.Set = true
	for _, name := range names {
		local := p.local(name)
		if info, err := p.opt.Source.Stat(local); err != nil || !info.Mode().IsRegular() {
			p.add(field, "there is no file %s", name).hint("paths are relative to the job description's folder")
			continue
		}
		p.addFile(&in, key, filepath.Base(local), Upload{Kind: UploadFile, Path: local, Name: name}, field)
	}
	p.checkSet(&in, "the list", field)
	return in
}

func (p *parser) addFile(in *cloudcrowd.Input, key, name string, u Upload, field string) {
	p.upload(u, field, Target{Field: field, input: key, file: len(in.Files)})
	in.Files = append(in.Files, cloudcrowd.InputFile{Name: name})
}

// checkSet refuses sets without files and with two of one name.
func (p *parser) checkSet(in *cloudcrowd.Input, shown, field string) {
	if len(in.Files) == 0 {
		p.add(field, "%s holds no files", shown)
	}
	names := map[string]bool{}
	for _, f := range in.Files {
		if names[f.Name] {
			p.add(field, "two files are called %s", f.Name)
		}
		names[f.Name] = true
	}
}
