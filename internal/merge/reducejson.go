package merge

import (
	"bufio"
	"encoding/json"
	"io"
	"slices"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// tree is what several JSON values have in common: their structure, and the reduction of the numbers at each place.
type tree struct {
	kind   byte // 'n' number, 'o' object, 'a' array, 'v' other value, 0 nothing yet
	number accumulator
	object map[string]*tree
	array  []*tree
	other  string // JSON text
}

// kindNames say what a place of a tree holds.
var kindNames = map[byte]string{'n': "a number", 'o': "an object", 'a': "an array", 'v': "another value"}

// reduceJSON reduces the numbers at the same place of all tasks' files. A key that some lack is reduced over those that have it.
func (r *run) reduceJSON(name string) error {
	if len(r.merge.By) > 0 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "by: names columns, and %s is JSON: its numbers are reduced by place", name)
	}
	var root tree
	held := int64(0)
	err := r.each(func(p Part, name string, in io.Reader) error {
		limited := &budget{r: in, n: maxTree}
		dec := json.NewDecoder(limited)
		dec.UseNumber()
		f := &folder{part: p, name: name, dec: dec, op: r.merge.Op, held: &held}
		if err := f.fold(&root, "", 0); err != nil {
			if limited.n <= 0 {
				return fault(cloudcrowd.TooLarge, p, name, "longer than %s", cloudcrowd.Bytes(maxTree))
			}
			return err
		}
		if _, err := dec.Token(); err != io.EOF {
			return wrong(p, name, "there is more behind its JSON value")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.create(name, func(out io.Writer) error {
		w := bufio.NewWriter(out)
		root.write(w, r.merge.Op, "\n")
		w.WriteByte('\n')
		return w.Flush()
	})
}

// folder adds one file to the tree.
type folder struct {
	part Part
	name string
	dec  *json.Decoder
	op   string
	held *int64
}

// fold reads one value into t. at is its place, for messages.
func (f *folder) fold(t *tree, at string, depth int) error {
	token, err := f.dec.Token()
	if err != nil {
		return jsonFault(f.part, f.name, err)
	}
	if depth > maxDepth {
		return wrong(f.part, f.name, "nested deeper than %d", maxDepth)
	}
	switch v := token.(type) {
	case json.Number:
		if err := f.settle(t, 'n', at); err != nil {
			return err
		}
		n, ok := parseNumber(v.String())
		if !ok {
			return wrong(f.part, f.name, "%s: %s is out of range", place(at), short(v.String()))
		}
		t.number.add(f.op, n)
		return nil
	case json.Delim:
		if v == '{' {
			return f.foldObject(t, at, depth)
		}
		return f.foldArray(t, at, depth)
	}
	text, err := json.Marshal(token)
	if err != nil {
		return err
	}
	fresh := t.kind == 0
	if err := f.settle(t, 'v', at); err != nil {
		return err
	}
	if fresh {
		t.other = string(text)
		*f.held += int64(len(text))
	} else if t.other != string(text) {
		return wrong(f.part, f.name, "%s: it has %s where other tasks have %s", place(at), short(string(text)), short(t.other))
	}
	return nil
}

// settle gives a new place its kind, or compares.
func (f *folder) settle(t *tree, kind byte, at string) error {
	if t.kind == 0 {
		t.kind = kind
		if *f.held += 400; *f.held > maxHeld {
			return fault(cloudcrowd.TooLarge, f.part, f.name, "with its values there is more than %s to reduce", cloudcrowd.Bytes(maxHeld))
		}
	}
	if t.kind != kind {
		return wrong(f.part, f.name, "%s: it has %s where other tasks have %s", place(at), kindNames[kind], kindNames[t.kind])
	}
	return nil
}

func (f *folder) foldObject(t *tree, at string, depth int) error {
	if err := f.settle(t, 'o', at); err != nil {
		return err
	}
	if t.object == nil {
		t.object = map[string]*tree{}
	}
	seen := map[string]bool{}
	for f.dec.More() {
		token, err := f.dec.Token()
		if err != nil {
			return jsonFault(f.part, f.name, err)
		}
		key, _ := token.(string)
		if seen[key] {
			return wrong(f.part, f.name, "%s: the key %q is there twice", place(at), short(key))
		}
		seen[key] = true
		child := t.object[key]
		if child == nil {
			child = &tree{}
			t.object[key] = child
			*f.held += int64(len(key))
		}
		if err := f.fold(child, at+"."+key, depth+1); err != nil {
			return err
		}
	}
	return f.end()
}

func (f *folder) foldArray(t *tree, at string, depth int) error {
	fresh := t.kind == 0
	if err := f.settle(t, 'a', at); err != nil {
		return err
	}
	n := 0
	for ; f.dec.More(); n++ {
		if fresh {
			t.array = append(t.array, &tree{})
		}
		if n >= len(t.array) {
			return wrong(f.part, f.name, "%s: more than the %d elements of other tasks", place(at), len(t.array))
		}
		if err := f.fold(t.array[n], at+"["+strconv.Itoa(n)+"]", depth+1); err != nil {
			return err
		}
	}
	if n != len(t.array) {
		return wrong(f.part, f.name, "%s: %d elements where other tasks have %d", place(at), n, len(t.array))
	}
	return f.end()
}

// end reads the closing bracket.
func (f *folder) end() error {
	if _, err := f.dec.Token(); err != nil {
		return jsonFault(f.part, f.name, err)
	}
	return nil
}

func place(at string) string {
	if at == "" {
		return "the value"
	}
	return short(strings.TrimPrefix(at, "."))
}

// write prints the reduced tree, keys sorted.
func (t *tree) write(w *bufio.Writer, op, newline string) {
	inner := newline + "  "
	switch t.kind {
	case 'n':
		w.WriteString(t.number.result(op))
	case 'v':
		w.WriteString(t.other)
	case 'a':
		w.WriteByte('[')
		for i, child := range t.array {
			if i > 0 {
				w.WriteByte(',')
			}
			w.WriteString(inner)
			child.write(w, op, inner)
		}
		if len(t.array) > 0 {
			w.WriteString(newline)
		}
		w.WriteByte(']')
	case 'o':
		keys := make([]string, 0, len(t.object))
		for key := range t.object {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		w.WriteByte('{')
		for i, key := range keys {
			if i > 0 {
				w.WriteByte(',')
			}
			text, _ := json.Marshal(key)
			w.WriteString(inner)
			w.Write(text)
			w.WriteString(": ")
			t.object[key].write(w, op, inner)
		}
		if len(keys) > 0 {
			w.WriteString(newline)
		}
		w.WriteByte('}')
	}
}
