package api

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"cloudcrowd.dev/cloudcrowd"
)

// maxDepth of nesting in a JSON body.
const maxDepth = 64

// decode reads a strict JSON body into out: one value, no unknown or repeated keys, exact spelling. The error names the field and, for an
// unknown key, the nearest known one.
func decode(body []byte, out any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the request has no body; send JSON")
	}
	if !utf8.Valid(body) {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	if err := walk(d, reflect.TypeOf(out), "", 0); err != nil {
		return syntax(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "something follows the JSON value in the body")
	}
	err := json.Unmarshal(body, out)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return cloudcrowd.Fieldf(wrong.Field, "a JSON %s does not fit here; wanted %s", wrong.Value, kindName(wrong.Type))
	}
	return syntax(err)
}

func syntax(err error) error {
	if err == nil || cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
		return err
	}
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the body is not JSON: %v at byte %d", s, s.Offset)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "the body is not JSON: it ends too early")
	}
	return cloudcrowd.Errorf(cloudcrowd.Invalid, "the body cannot be read: %v", err)
}

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// walk reads one JSON value and compares its keys with type t (nil: anything goes).
func walk(d *json.Decoder, t reflect.Type, path string, depth int) error {
	if depth > maxDepth {
		return cloudcrowd.Fieldf(path, "nested more than %d deep", maxDepth)
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t != nil && (reflect.PointerTo(t).Implements(jsonUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler)) {
		t = nil
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		var element reflect.Type
		if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
			element = t.Elem()
		}
		for i := 0; d.More(); i++ {
			if err := walk(d, element, path+"["+strconv.Itoa(i)+"]", depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
	case json.Delim('{'):
		var fields map[string]reflect.Type
		var element reflect.Type
		switch {
		case t != nil && t.Kind() == reflect.Struct:
			fields = fieldsOf(t)
		case t != nil && t.Kind() == reflect.Map:
			element = t.Elem()
		}
		seen := map[string]bool{}
		for d.More() {
			token, err := d.Token()
			if err != nil {
				return err
			}
			key := token.(string)
			below := key
			if path != "" {
				below = path + "." + key
			}
			if seen[key] {
				return cloudcrowd.Fieldf(below, "the key stands there twice")
			}
			seen[key] = true
			inner := element
			if fields != nil {
				f, ok := fields[key]
				if !ok {
					known := make([]string, 0, len(fields))
					for name := range fields {
						known = append(known, name)
					}
					return cloudcrowd.Fieldf(below, "unknown key %q", key).WithHint("%s", suggest(key, known))
				}
				inner = f
			}
			if err := walk(d, inner, below, depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
	}
	return err
}

// fieldsOf returns the JSON keys of a struct with their types, those of embedded structs included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	m := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported() || f.Anonymous && name == "":
			continue
		case name == "":
			name = f.Name
		}
		m[name] = f.Type
	}
	return m
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return fmt.Sprintf("a whole number (%s)", t.Kind())
}
