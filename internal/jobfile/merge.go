package jobfile

import (
	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
)

// merge reads a built-in merge, by name alone or with keys, or a program that runs as a tree.
func (p *parser) merge(n *yaml.Node, path, stage string) *cloudcrowd.Merge {
	m := &cloudcrowd.Merge{}
	text := func(to *string) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) { *to = p.text(n, path) }
	}
	texts := func(to *[]string) func(*yaml.Node, string) {
		return func(n *yaml.Node, path string) { *to = p.oneOrMore(n, path) }
	}
	file := fields{"file": text(&m.File), "as": text(&m.As)}
	kinds := map[string]fields{
		"concat": file, "json": file, "tiles": file, "frames": file,
		"csv":    {"file": text(&m.File), "as": text(&m.As), "sort": texts(&m.Sort)},
		"reduce": {"file": text(&m.File), "as": text(&m.As), "op": text(&m.Op), "by": texts(&m.By)},
	}
	f := p.follow(n)
	if f.Kind == yaml.ScalarNode {
		m.Kind = cloudcrowd.MergeKind(p.text(n, path))
		known := fields{}
		for kind := range kinds {
			known[kind] = nil
		}
		if _, ok := kinds[string(m.Kind)]; !ok {
			p.unknownKey(path, string(m.Kind), known)
		}
		return m
	}
	known, found := fields{}, 0
	for kind, keys := range kinds {
		known[kind] = func(n *yaml.Node, path string) {
			found++
			m.Kind = cloudcrowd.MergeKind(kind)
			if f := p.follow(n); f.Kind == yaml.ScalarNode && f.ShortTag() == "!!null" {
				return
			}
			p.object(n, path, keys)
		}
	}
	for _, member := range p.members(n, path) {
		if member.key == "wasm" {
			m.Kind = cloudcrowd.MergeProgram
			m.Program = p.program(n, path, stage, mergeProgram, fields{"fan_in": func(n *yaml.Node, path string) {
				if m.FanIn = p.count(n, path); m.FanIn == 0 {
					p.add(path, "must be 2 or more")
				}
			}})
			return m
		}
	}
	skip := func(*yaml.Node, string) {}
	for _, key := range []string{"wasm", "args", "env", "stdin", "fan_in"} { // of a program: named among the known keys
		known[key] = skip
	}
	before := len(p.problems.list)
	p.object(n, path, known)
	if found != 1 && len(p.problems.list) == before {
		p.add(path, "expected one merge (concat, csv, json, reduce, tiles, frames) or a program with wasm; found %d", found)
	}
	return m
}
