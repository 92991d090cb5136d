package jobfile

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// Limits of a job description.
const (
	maxStages   = 200
	maxInputs   = 200
	maxFiles    = 100_000 // of one input
	maxParams   = 500
	maxArgs     = 1000
	maxText     = 64 << 10   // bytes of a program's arguments, environment and stdin together
	maxAxes     = 50         // of a grid
	maxAxis     = 10_000     // values of one axis
	maxColumns  = 100        // named by sort or by
	maxTasks    = 10_000_000 // of a stage whose tasks have a fixed size
	maxReplicas = 16
	maxRetries  = 100
	maxFanIn    = 256
)

var (
	stageName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}(\.split)?$`)
	inputName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,59}$`)
	paramName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,39}$`)
	envName   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,99}$`)
)

// Validate checks a normalised spec as strictly as if a stranger had sent it: names, graph, references, templates, limits, digests, paths. Mistakes
// come back as Problems, each with its field. A spec that passes can be planned and run.
func Validate(spec *cloudcrowd.JobSpec) error {
	ps := &problems{}
	check(spec, ps, true)
	return ps.err()
}

// check finds mistakes. Digests are checked once they are resolved.
func check(spec *cloudcrowd.JobSpec, ps *problems, resolved bool) {
	if !bounded(spec, ps) {
		return
	}
	c := &checker{problems: ps, spec: spec, resolved: resolved}
	if n := utf8.RuneCountInString(spec.Name); strings.TrimSpace(spec.Name) == "" || n > 200 || !printable(spec.Name) {
		ps.add("name", "a job needs a name of 1 to 200 characters on one line")
	}
	c.params()
	c.inputs()
	if len(spec.Stages) == 0 {
		ps.add("stages", "a job needs at least one stage")
	}
	for i := range spec.Stages {
		c.stage(i)
	}
	if len(spec.Outputs) == 0 && len(spec.Stages) > 0 {
		ps.add("outputs", "a job needs at least one output stage")
	}
	for i, name := range spec.Outputs {
		field := fmt.Sprintf("outputs[%d]", i)
		if spec.StageIndex(name) < 0 {
			c.noStage(field, name)
		}
		if slices.Index(spec.Outputs, name) < i {
			ps.add(field, "%s is there twice", name)
		}
	}
	if spec.Budget < 0 {
		ps.add("budget", "must not be negative")
	}
	if spec.Deadline < 0 {
		ps.add("deadline", "must not be negative")
	}
	if spec.Priority < cloudcrowd.LowestPriority || spec.Priority > cloudcrowd.HighestPriority {
		ps.add("priority", "%d is out of range; it must be between %d and %d", spec.Priority, cloudcrowd.LowestPriority, cloudcrowd.HighestPriority)
	}
	if v := spec.Speculate; v != nil && !(*v >= 0 && *v <= 1) {
		ps.add("speculate", "%v is no share of the work; it must be between 0 and 1", *v)
	}
}

// bounded checks how many there are of everything, before anything looks at all pairs.
func bounded(spec *cloudcrowd.JobSpec, ps *problems) bool {
	before := len(ps.list)
	most := func(field string, n, limit int) {
		if n > limit {
			ps.add(field, "there are %d; at most %d", n, limit)
		}
	}
	most("params", len(spec.Params), maxParams)
	most("inputs", len(spec.Inputs), maxInputs)
	most("outputs", len(spec.Outputs), maxStages)
	most("stages", len(spec.Stages), maxStages)
	if len(ps.list) > before {
		return false
	}
	for i := range spec.Stages {
		st := &spec.Stages[i]
		field := join("stages", shorten(st.Name))
		most(field+".after", len(st.After), maxStages)
		most(field+".inputs", len(st.Inputs), maxInputs)
		if st.Split != nil {
			most(field+".split.grid", len(st.Split.Grid), maxAxes)
		}
		if st.Merge != nil {
			most(field+".merge.sort", len(st.Merge.Sort), maxColumns)
			most(field+".merge.by", len(st.Merge.By), maxColumns)
		}
		for _, p := range programs(st) {
			most(field+".args", len(p.Args), maxArgs)
			most(field+".env", len(p.Env), maxArgs)
			most(field+".inputs", len(p.Inputs), maxInputs)
		}
	}
	return len(ps.list) == before
}

// checker holds what the checks of one spec share.
type checker struct {
	*problems
	spec     *cloudcrowd.JobSpec
	resolved bool
}

func (c *checker) params() {
	seen := map[string]bool{}
	for _, p := range c.spec.Params {
		field := join("params", p.Name)
		switch {
		case !paramName.MatchString(p.Name):
			c.add(field, "a param's name is letters, digits, _ and -, at most 40, and does not start with a digit")
		case p.Name == "index" || p.Name == "job" || p.Name == "stage":
			c.add(field, "{{%s}} always has a meaning of its own; choose another name", p.Name)
		case seen[p.Name]:
			c.add(field, "the param is there twice")
		}
		seen[p.Name] = true
		c.textual(field, p.Value, maxText)
	}
}

func (c *checker) inputs() {
	for _, name := range sortedKeys(c.spec.Inputs) {
		field, in := join("inputs", name), c.spec.Inputs[name]
		switch {
		case !inputName.MatchString(name):
			c.add(field, "an input's name is letters, digits, '.', _ and -, at most 60, and does not start with '.' or '-'")
		case name == decompose.MergeParts:
			c.add(field, "parts is where merges find their inputs; choose another name")
		case c.spec.StageIndex(name) >= 0:
			c.add(field, "an input and a stage have one name; both would be /in/%s", name)
		}
		switch {
		case len(in.Files) == 0:
			c.add(field, "holds no files")
		case len(in.Files) > maxFiles:
			c.add(field, "holds %d files; at most %d", len(in.Files), maxFiles)
			continue
		case !in.Set && len(in.Files) != 1:
			c.add(field, "holds %d files and is not a set", len(in.Files))
		}
		seen := map[string]bool{}
		for _, f := range in.Files {
			if !cleanPath(f.Name) {
				c.add(field, "%q is not a plain relative path of at most 255 bytes", f.Name)
			}
			if seen[f.Name] {
				c.add(field, "two files are called %s", f.Name)
			}
			seen[f.Name] = true
			c.digest(field, f.Digest)
			if f.SizeBytes < 0 {
				c.add(field, "%s has a negative size", f.Name)
			}
		}
		c.prefixes(field, seen)
	}
}

// prefixes refuses a file that would have to be a folder too.
func (c *checker) prefixes(field string, names map[string]bool) {
	for _, name := range sortedKeys(names) {
		for dir := path.Dir(name); dir != "." && dir != "/"; dir = path.Dir(dir) {
			if names[dir] {
				c.add(field, "%s is a file and a folder", dir)
			}
		}
	}
}

func (c *checker) digest(field string, d cloudcrowd.Digest) {
	if !d.Valid() && (c.resolved || d != "") {
		c.add(field, "a digest is 64 lower-case hexadecimal digits, found %q", shorten(string(d)))
	}
}

// textual refuses text that cannot be an argument.
func (c *checker) textual(field, s string, most int) {
	switch {
	case len(s) > most:
		c.add(field, "%d bytes; at most %d", len(s), most)
	case !utf8.ValidString(s) || strings.ContainsRune(s, 0):
		c.add(field, "must be UTF-8 text without NUL")
	}
}

func (c *checker) noStage(field, name string) {
	var names []string
	for _, st := range c.spec.Stages {
		names = append(names, st.Name)
	}
	c.missing(field, "stage", name, names)
}

func (c *checker) noInput(field, name string) {
	c.missing(field, "input", name, sortedKeys(c.spec.Inputs))
}

func (c *checker) missing(field, what, name string, known []string) {
	if near := decompose.Nearest(name, known); near != "" {
		c.add(field, "there is no %s %q; did you mean %q?", what, shorten(name), near)
		return
	}
	list := strings.Join(known, ", ")
	if list == "" {
		list = "none"
	}
	c.add(field, "there is no %s %q (there are: %s)", what, shorten(name), shorten(list))
}

// cleanPath reports whether name is a relative slash-separated path of at most 255 bytes that stays where it is put, on every system.
func cleanPath(name string) bool {
	if name == "" || len(name) > 255 || !utf8.ValidString(name) || path.Clean(name) != name || name == "." || name == ".." ||
		strings.HasPrefix(name, "../") || strings.HasPrefix(name, "/") || strings.ContainsAny(name, "\\:") {
		return false
	}
	return printable(name)
}

// printable reports whether s is one line of text without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
