package jobfile

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// MaxBytes is the largest job description.
const MaxBytes = 1 << 20

// Options change a description as it is read.
type Options struct {
	Params map[string]string // replace values of params, by name
	Inputs map[string]string // replace inputs, by name: a path relative to the working directory, a glob or sha256:DIGEST
	Source Source            // where files are looked for; nil: the operating system's
	Name   string            // of the description in errors; Load sets it
}

// File is a job description that was read and checked, its files not yet uploaded.
type File struct {
	Spec    cloudcrowd.JobSpec // normalised; digests of what Uploads lists are empty
	Uploads []Upload           // in the order they are first used
	Notes   []string           // plain sentences the requester should know
}

// Load reads the job description at path. Paths inside it are relative to its folder.
func Load(path string, opt Options) (*File, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "%s is a folder", path).WithHint("name the job description in it: %s", filepath.Join(path, "job.yaml"))
	}
	if err == nil && info.Size() > MaxBytes {
		return nil, tooLarge(path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, &cloudcrowd.Error{Code: cloudcrowd.NotFound, Msg: "the job description cannot be read", Err: err}
	}
	if opt.Name == "" {
		opt.Name = filepath.Base(path)
	}
	return Parse(data, filepath.Dir(path), opt)
}

func tooLarge(name string) error {
	return cloudcrowd.Errorf(cloudcrowd.TooLarge, "%s is larger than %s", name, cloudcrowd.Bytes(MaxBytes)).WithHint("put long lists in an input file, or let a program list the units")
}

// Parse reads a job description in YAML or JSON. dir is the folder that paths are relative to. Mistakes come back as Problems.
func Parse(data []byte, dir string, opt Options) (*File, error) {
	if opt.Source == nil {
		opt.Source = OS{}
	}
	if opt.Name == "" {
		opt.Name = "job description"
	}
	if len(data) > MaxBytes {
		return nil, tooLarge(opt.Name)
	}
	p := &parser{reader: reader{problems: problems{file: opt.Name, lines: map[string]int{}}, params: map[string]string{}}, dir: dir, opt: opt, file: &File{}}
	root, err := p.root(data)
	if err != nil {
		return nil, err
	}
	p.job(root)
	if err := p.err(); err != nil {
		return nil, err
	}
	spec := &p.file.Spec
	normalise(spec, &p.problems)
	if err := p.err(); err != nil {
		return nil, err
	}
	check(spec, &p.problems, false)
	if err := p.err(); err != nil {
		return nil, err
	}
	p.notes(spec)
	return p.file, nil
}

// parser decodes a description and collects what must be uploaded.
type parser struct {
	reader
	dir  string
	opt  Options
	file *File
}

var yamlLine = regexp.MustCompile(`at L(\d+)[^:]*: (.*)$`)

// root parses the text to its one document.
func (p *parser) root(data []byte) (*yaml.Node, error) {
	var docs []yaml.Node
	if err := yaml.Load(data, &docs, yaml.WithAllDocuments()); err != nil {
		e := &Problem{File: p.opt.Name, Err: cloudcrowd.Errorf(cloudcrowd.Invalid, "%s", strings.TrimPrefix(err.Error(), "yaml: "))}
		if m := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " ")); m != nil {
			e.Line, _ = strconv.Atoi(m[1])
			e.Err.Msg = m[2]
		}
		e.Err.Msg = "not YAML: " + e.Err.Msg
		return nil, Problems{e}
	}
	if len(docs) != 1 || docs[0].Kind == 0 {
		return nil, Problems{{File: p.opt.Name, Err: cloudcrowd.Errorf(cloudcrowd.Invalid, "expected one YAML document, found %d", len(docs))}}
	}
	root := &docs[0]
	if root.Kind == yaml.DocumentNode {
		if len(root.Content) == 0 {
			return nil, Problems{{File: p.opt.Name, Err: cloudcrowd.Errorf(cloudcrowd.Invalid, "the description is empty")}}
		}
		root = root.Content[0]
	}
	return root, nil
}

// job reads the top level.
func (p *parser) job(root *yaml.Node) {
	spec := &p.file.Spec
	skip := func(*yaml.Node, string) {}
	top := fields{
		"name":     func(n *yaml.Node, path string) { spec.Name = p.text(n, path) },
		"inputs":   p.inputs,
		"params":   skip, // read first: others may use them
		"stages":   p.stages,
		"budget":   func(n *yaml.Node, path string) { spec.Budget = p.credits(n, path) },
		"deadline": func(n *yaml.Node, path string) { spec.Deadline = p.duration(n, path) },
		"outputs":  func(n *yaml.Node, path string) { spec.Outputs = p.oneOrMore(n, path) },
		"priority": func(n *yaml.Node, path string) {
			v := p.integer(n, path)
			if v < cloudcrowd.LowestPriority || v > cloudcrowd.HighestPriority {
				p.add(path, "%d is out of range; it must be between %d and %d", v, cloudcrowd.LowestPriority, cloudcrowd.HighestPriority)
				return
			}
			spec.Priority = int(v)
		},
		"speculate": func(n *yaml.Node, path string) {
			before := len(p.problems.list)
			v := p.float(n, path)
			if (v < 0 || v > 1) && len(p.problems.list) == before {
				p.add(path, "%v is no share of the work; it must be between 0 and 1", v)
			}
			spec.Speculate = &v
		},
	}
	if f := p.follow(root); f.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(f.Content); i += 2 {
			if f.Content[i].Value == "params" {
				p.readParams(f.Content[i+1], "params")
			}
		}
	}
	for _, name := range sortedKeys(p.opt.Params) {
		if _, ok := p.params[name]; !ok {
			p.override("param", name, sortedKeys(p.params))
		}
	}
	p.object(root, "", top)
	for _, name := range sortedKeys(p.opt.Inputs) {
		if _, ok := spec.Inputs[name]; !ok {
			p.override("input", name, sortedKeys(spec.Inputs))
		}
	}
	for _, name := range sortedKeys(p.params) {
		spec.Params = append(spec.Params, cloudcrowd.Param{Name: name, Value: p.params[name]})
	}
}

// override reports a --param or --input that the description does not have.
func (p *parser) override(what, name string, known []string) {
	meant := ""
	if near := decompose.Nearest(name, known); near != "" {
		meant = fmt.Sprintf("; did you mean %s?", near)
	}
	if len(known) == 0 {
		known = []string{"none"}
	}
	p.put(cloudcrowd.Errorf(cloudcrowd.Invalid, "--%s %s: the job has no such %s%s (it has: %s)", what, name, what, meant, strings.Join(known, ", ")))
}

func (p *parser) readParams(n *yaml.Node, path string) {
	for _, m := range p.members(n, path) {
		value := p.value(m.value, join(path, m.key))
		if given, ok := p.opt.Params[m.key]; ok {
			value = given
		}
		p.params[m.key] = value
	}
}

func (p *parser) credits(n *yaml.Node, path string) cloudcrowd.Credits {
	before := len(p.problems.list)
	c, err := cloudcrowd.ParseCredits(p.filled(n, path))
	if err != nil && len(p.problems.list) == before {
		p.add(path, "%v", err)
	}
	return c
}

// notes says what is allowed but worth knowing.
func (p *parser) notes(spec *cloudcrowd.JobSpec) {
	params := map[string]bool{}
	for _, param := range spec.Params {
		params[param.Name] = true
	}
	for i := range spec.Stages {
		stage := &spec.Stages[i]
		for _, name := range decompose.StageNames(stage) {
			tile := stage.Split != nil && stage.Split.Kind == cloudcrowd.SplitTiles && (name == "width" || name == "height")
			if params[name] && name != "seed" && !tile {
				p.file.Notes = append(p.file.Notes, fmt.Sprintf("In stage %s {{%s}} is the splitter's or merge's own value; the param of that name is hidden there.", stage.Name, name))
			}
		}
		if stage.Verify.None && !stage.Merge.Builtin() {
			p.file.Notes = append(p.file.Notes, fmt.Sprintf("Stage %s is not verified: whatever a worker returns is accepted and paid.", stage.Name))
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
