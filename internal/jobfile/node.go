package jobfile

import (
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// maxNodes bounds how much of a description is looked at, anchors expanded.
const maxNodes = 200_000

// reader decodes YAML nodes and notes every mistake. Every method returns a usable zero value after noting one.
type reader struct {
	problems
	params map[string]string // values for {{name}} in numbers
	nodes  int
}

// fields maps the keys an object may have to what reads their values.
type fields map[string]func(n *yaml.Node, path string)

// member is one key of a mapping with its value.
type member struct {
	key   string
	value *yaml.Node
}

// follow returns what an alias stands for, and counts nodes.
func (r *reader) follow(n *yaml.Node) *yaml.Node {
	r.nodes++
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// note remembers where a field stands.
func (r *reader) note(path string, n *yaml.Node) {
	if _, ok := r.lines[path]; !ok && n != nil && n.Line > 0 {
		r.lines[path] = n.Line
	}
}

// members returns the keys of a mapping in order, with merged ones (<<) that are not overridden.
func (r *reader) members(n *yaml.Node, path string) []member {
	var out []member
	r.collect(n, path, &out, map[string]bool{}, 0)
	return out
}

func (r *reader) collect(n *yaml.Node, path string, out *[]member, seen map[string]bool, depth int) {
	n = r.follow(n)
	if n == nil || n.Kind != yaml.MappingNode {
		r.add(path, "expected keys with values, found %s", describe(n))
		return
	}
	if depth > 8 || r.nodes > maxNodes {
		r.add(path, "too many nested anchors")
		return
	}
	own := map[string]bool{}
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := r.follow(n.Content[i]), n.Content[i+1]
		if k.Kind != yaml.ScalarNode {
			r.add(path, "a key must be text, found %s", describe(k))
			continue
		}
		if k.Value == "<<" && k.ShortTag() == "!!merge" {
			merged = append(merged, v)
			continue
		}
		field := join(path, k.Value)
		if own[k.Value] {
			p := r.add(field, "the key is there twice")
			p.Line = k.Line
			continue
		}
		own[k.Value] = true
		if seen[k.Value] {
			continue
		}
		seen[k.Value] = true
		r.note(field, k)
		*out = append(*out, member{k.Value, v})
	}
	for _, m := range merged {
		if m = r.follow(m); m.Kind == yaml.SequenceNode {
			for _, one := range m.Content {
				r.collect(one, path, out, seen, depth+1)
			}
			continue
		}
		r.collect(m, path, out, seen, depth+1)
	}
}

// object reads a mapping whose keys are known.
func (r *reader) object(n *yaml.Node, path string, known fields) {
	for _, m := range r.members(n, path) {
		field := join(path, m.key)
		if read, ok := known[m.key]; ok {
			read(m.value, field)
			continue
		}
		r.unknownKey(field, m.key, known)
	}
}

func (r *reader) unknownKey(field, key string, known fields) {
	names := make([]string, 0, len(known))
	for name := range known {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := decompose.Nearest(key, names); near != "" {
		r.add(field, "unknown key; did you mean %q?", near).hint("known here: %s", strings.Join(names, ", "))
		return
	}
	r.add(field, "unknown key; known here: %s", strings.Join(names, ", "))
}

// list reads a sequence.
func (r *reader) list(n *yaml.Node, path string, read func(n *yaml.Node, path string)) {
	if n = r.follow(n); n.Kind != yaml.SequenceNode {
		r.add(path, "expected a list, found %s", describe(n))
		return
	}
	for i, item := range n.Content {
		if r.nodes > maxNodes {
			r.add(path, "the description is too large")
			return
		}
		field := path + "[" + strconv.Itoa(i) + "]"
		r.note(field, item)
		read(item, field)
	}
}

// text reads a scalar as it is written.
func (r *reader) text(n *yaml.Node, path string) string {
	n = r.follow(n)
	if n == nil || n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		r.add(path, "expected text, found %s", describe(n))
		return ""
	}
	return n.Value
}

// texts reads a list of scalars.
func (r *reader) texts(n *yaml.Node, path string) (out []string) {
	r.list(n, path, func(n *yaml.Node, path string) { out = append(out, r.text(n, path)) })
	return out
}

// oneOrMore reads a scalar or a list of them.
func (r *reader) oneOrMore(n *yaml.Node, path string) []string {
	if f := r.follow(n); f.Kind == yaml.ScalarNode {
		return []string{r.text(n, path)}
	}
	return r.texts(n, path)
}

// value reads a scalar for a template: text as it is, whole numbers in decimal, other numbers in the shortest form that reads back the same.
func (r *reader) value(n *yaml.Node, path string) string {
	s := r.text(n, path)
	if n = r.follow(n); n.Kind != yaml.ScalarNode {
		return s
	}
	switch n.ShortTag() {
	case "!!int":
		if v, ok := new(big.Int).SetString(s, 0); ok {
			return v.String()
		}
	case "!!float":
		if f, err := strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64); err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) {
			return number(f)
		}
	}
	return s
}

// number prints a number as templates do.
func number(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1e21 {
		if f == 0 {
			return "0"
		}
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// filled reads a scalar and replaces {{param}} in it.
func (r *reader) filled(n *yaml.Node, path string) string {
	s, err := decompose.Expand(r.text(n, path), r.params)
	if err != nil {
		r.add(path, "%v", err)
	}
	return strings.TrimSpace(s)
}

// integer reads a whole number.
func (r *reader) integer(n *yaml.Node, path string) int64 {
	before := len(r.problems.list)
	s := r.filled(n, path)
	plain := strings.ReplaceAll(s, "_", "")
	if v, err := strconv.ParseInt(plain, 10, 64); err == nil {
		return v
	}
	if f, err := strconv.ParseFloat(plain, 64); err == nil && f == math.Trunc(f) && math.Abs(f) <= 1<<53 {
		return int64(f)
	}
	if len(r.problems.list) == before {
		r.add(path, "expected a whole number, found %q", s)
	}
	return 0
}

// count reads a whole number that is not negative and fits an int.
func (r *reader) count(n *yaml.Node, path string) int {
	v := r.integer(n, path)
	if v < 0 || v > math.MaxInt32 {
		r.add(path, "%d is out of range", v)
		return 0
	}
	return int(v)
}

// float reads a number.
func (r *reader) float(n *yaml.Node, path string) float64 {
	before := len(r.problems.list)
	s := r.filled(n, path)
	f, err := strconv.ParseFloat(s, 64)
	if (err != nil || math.IsInf(f, 0) || math.IsNaN(f)) && len(r.problems.list) == before {
		r.add(path, "expected a number, found %q", s)
		return 0
	}
	return f
}

// rational reads a number exactly as it is written.
func (r *reader) rational(n *yaml.Node, path string) *big.Rat {
	before := len(r.problems.list)
	s := r.filled(n, path)
	if f, err := strconv.ParseFloat(s, 64); err == nil && math.Abs(f) < 1e100 && (f == 0 || math.Abs(f) > 1e-100) && len(s) < 100 && !strings.ContainsAny(s, "xXpP_") {
		if v, ok := new(big.Rat).SetString(s); ok {
			return v
		}
	}
	if len(r.problems.list) == before {
		r.add(path, "expected a number, found %q", s)
	}
	return new(big.Rat)
}

// boolean reads true or false.
func (r *reader) boolean(n *yaml.Node, path string) bool {
	s := r.text(n, path)
	if s != "true" && s != "false" {
		r.add(path, "expected true or false, found %q", s)
	}
	return s == "true"
}

// sizeUnits are what a size may end with.
var sizeUnits = []struct {
	suffix string
	bytes  float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"kB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1}}

// size reads a number of bytes: 256MiB, 1.5GB, or a plain number.
func (r *reader) size(n *yaml.Node, path string) int64 {
	before := len(r.problems.list)
	s := r.filled(n, path)
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if err == nil && f >= 0 && f*u.bytes < 1<<60 && f*u.bytes == math.Trunc(f*u.bytes) {
			return int64(f * u.bytes)
		}
		break
	}
	if len(r.problems.list) == before {
		r.add(path, "%q is not a size; write for example 256MiB", s)
	}
	return 0
}

// duration reads a time span: 90s, 10m, 1h30m.
func (r *reader) duration(n *yaml.Node, path string) cloudcrowd.Duration {
	before := len(r.problems.list)
	s := r.filled(n, path)
	d, err := time.ParseDuration(s)
	if err != nil && len(r.problems.list) == before {
		r.add(path, "%q is not a duration; write for example 90s, 10m or 1h30m", s)
	}
	return cloudcrowd.Duration(d)
}

// describe says what a node is.
func describe(n *yaml.Node) string {
	switch {
	case n == nil || n.Kind == 0:
		return "nothing"
	case n.Kind == yaml.MappingNode:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.ShortTag() == "!!null":
		return "nothing"
	}
	v := []rune(n.Value)
	if len(v) > 40 {
		return strconv.Quote(string(v[:40])) + "…"
	}
	return strconv.Quote(n.Value)
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
