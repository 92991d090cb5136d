package jobfile

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
)

// stages reads all stages, in the order of the description.
func (p *parser) stages(n *yaml.Node, path string) {
	for _, m := range p.members(n, path) {
		if len(p.file.Spec.Stages) >= maxStages {
			p.add(path, "more than %d stages", maxStages)
			return
		}
		p.stage(m.key, m.value, join(path, m.key))
	}
}

// stage reads one stage. Its position in the spec changes later, so uploads find it by name.
func (p *parser) stage(name string, n *yaml.Node, path string) {
	st := cloudcrowd.Stage{Name: name, Retries: -1}
	var runs, server []string // keys seen
	known := fields{
		"after": func(n *yaml.Node, path string) { st.After = p.oneOrMore(n, path) },
		"split": func(n *yaml.Node, path string) { st.Split = p.split(n, path, name) },
		"run": func(n *yaml.Node, path string) {
			runs = append(runs, "run")
			st.Run = p.program(n, path, name, runProgram, nil)
		},
		"merge": func(n *yaml.Node, path string) {
			runs = append(runs, "merge")
			st.Merge = p.merge(n, path, name)
		},
		"inputs":    func(n *yaml.Node, path string) { st.Inputs = p.oneOrMore(n, path) },
		"resources": func(n *yaml.Node, path string) { st.Resources = p.resources(n, path) },
		"timeout":   func(n *yaml.Node, path string) { st.Timeout = p.positive(n, path) },
		"retries":   func(n *yaml.Node, path string) { st.Retries = p.count(n, path) },
		"target":    func(n *yaml.Node, path string) { st.Target = p.positive(n, path) },
		"verify":    func(n *yaml.Node, path string) { st.Verify = p.verify(n, path) },
	}
	for _, key := range []string{"inputs", "resources", "timeout", "retries", "target", "verify"} {
		read := known[key]
		known[key] = func(n *yaml.Node, path string) {
			server = append(server, key)
			read(n, path)
		}
	}
	p.object(n, path, known)
	if len(runs) == 0 {
		p.add(path, "a stage has run or merge; this one has neither")
	}
	if st.Merge.Builtin() {
		for _, key := range server {
			p.add(join(path, key), "has no effect: the server itself performs %s merges; remove this key", st.Merge.Kind)
		}
	}
	if st.Retries < 0 {
		st.Retries = cloudcrowd.DefaultRetries
	}
	p.file.Spec.Stages = append(p.file.Spec.Stages, st)
}

// positive reads a duration that must be more than nothing, so that it is not taken for the default.
func (p *parser) positive(n *yaml.Node, path string) cloudcrowd.Duration {
	before := len(p.problems.list)
	d := p.duration(n, path)
	if d <= 0 && len(p.problems.list) == before {
		p.add(path, "must be more than 0")
	}
	return d
}

func (p *parser) resources(n *yaml.Node, path string) (res cloudcrowd.Resources) {
	size := func(to *int64) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) {
			before := len(p.problems.list)
			if *to = p.size(n, path); *to == 0 && len(p.problems.list) == before {
				p.add(path, "must be more than 0")
			}
		}
	}
	p.object(n, path, fields{
		"memory": size(&res.MemoryBytes), "disk": size(&res.DiskBytes), "output": size(&res.OutputBytes),
		"cores": func(n *yaml.Node, path string) {
			if res.Cores = p.count(n, path); res.Cores == 0 {
				p.add(path, "must be 1 or more")
			}
		},
	})
	return res
}

func (p *parser) verify(n *yaml.Node, path string) (v cloudcrowd.Verify) {
	if f := p.follow(n); f.Kind == yaml.ScalarNode {
		if s := p.text(n, path); s != "none" {
			p.add(path, `expected none, {replicas: N, quorum: M} or {confidence: P}, found %q`, s)
		}
		return cloudcrowd.Verify{None: true}
	}
	seen := map[string]bool{}
	number := func(key string, to *int) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) {
			seen[key] = true
			if *to = p.count(n, path); *to == 0 {
				p.add(path, "must be 1 or more")
			}
		}
	}
	p.object(n, path, fields{
		"replicas": number("replicas", &v.Replicas), "quorum": number("quorum", &v.Quorum),
		"confidence": func(n *yaml.Node, path string) {
			seen["confidence"] = true
			if v.Confidence = p.float(n, path); v.Confidence <= 0 || v.Confidence >= 1 {
				p.add(path, "%v is not between 0 and 1, both excluded", v.Confidence)
			}
		},
	})
	switch {
	case seen["confidence"] && (seen["replicas"] || seen["quorum"]):
		p.add(path, "confidence already decides on replicas and quorum; give one or the other")
	case len(seen) == 0:
		p.add(path, "expected none, {replicas: N, quorum: M} or {confidence: P}")
	}
	if seen["replicas"] && !seen["quorum"] {
		v.Quorum = v.Replicas/2 + 1
	}
	if seen["quorum"] && !seen["replicas"] {
		v.Replicas = v.Quorum
	}
	return v
}

// which program of a stage is meant.
type programRole int

const (
	runProgram programRole = iota
	mergeProgram
	splitProgram
)

// program reads {wasm, args, env, stdin} and further keys of its role.
func (p *parser) program(n *yaml.Node, path, stage string, role programRole, further fields) *cloudcrowd.Program {
	prog := &cloudcrowd.Program{}
	module := false
	known := fields{
		"wasm": func(n *yaml.Node, path string) {
			module = true
			prog.ModuleName = p.module(n, path, stage, role)
		},
		"args":  func(n *yaml.Node, path string) { prog.Args = p.texts(n, path) },
		"stdin": func(n *yaml.Node, path string) { prog.Stdin = p.text(n, path) },
		"env": func(n *yaml.Node, path string) {
			for _, m := range p.members(n, path) {
				prog.Env = append(prog.Env, cloudcrowd.EnvVar{Name: m.key, Value: p.text(m.value, join(path, m.key))})
			}
		},
	}
	if role == splitProgram {
		known["inputs"] = func(n *yaml.Node, path string) { prog.Inputs = p.oneOrMore(n, path) }
	} else {
		known["inputs"] = func(_ *yaml.Node, path string) {
			p.add(path, "inputs belong to the stage: write them beside %s", roleKey[role])
		}
	}
	for key, read := range further {
		known[key] = read
	}
	before := len(p.problems.list)
	p.object(n, path, known)
	if !module && len(p.problems.list) == before {
		p.add(path, "wasm is missing: the program's module, or {go: DIR}")
	}
	return prog
}

var roleKey = map[programRole]string{runProgram: "run", mergeProgram: "merge", splitProgram: "split"}

// module reads what a program is: a WASM file, the digest of one, or a folder of Go source.
func (p *parser) module(n *yaml.Node, path, stage string, role programRole) string {
	target := Target{Field: path, stage: stage, role: role}
	f := p.follow(n)
	if f.Kind == yaml.ScalarNode {
		s := p.text(n, path)
		if digest, ok := strings.CutPrefix(s, "sha256:"); ok {
			p.upload(Upload{Kind: UploadDigest, Digest: cloudcrowd.Digest(digest), Name: s}, path, target)
			return s
		}
		local := p.local(s)
		info, err := p.opt.Source.Stat(local)
		switch {
		case err != nil:
			p.add(path, "there is no file %s", s).hint("paths are relative to the job description's folder")
		case info.IsDir():
			p.add(path, "%s is a folder; for a Go program write wasm: {go: %s}", s, s)
		}
		p.upload(Upload{Kind: UploadModule, Path: local, Name: s}, path, target)
		return s
	}
	name := ""
	p.object(n, path, fields{"go": func(n *yaml.Node, path string) {
		name = p.text(n, path)
		local := p.local(name)
		if info, err := p.opt.Source.Stat(local); err != nil || !info.IsDir() {
			p.add(path, "there is no folder %s", name).hint("paths are relative to the job description's folder")
		}
		p.upload(Upload{Kind: UploadGoDir, Path: local, Name: name}, path, target)
	}})
	if name == "" && len(p.problems.list) == 0 {
		p.add(path, "expected a file or {go: DIR}")
	}
	return name
}
