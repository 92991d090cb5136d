package api

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strings"
)

// withoutNulls returns v with every nil slice that would be printed as null replaced by an empty one, so that a list is always a list for
// readers in other languages. What v points to is shared with others and never changed: what must differ is copied.
func withoutNulls(v any) any {
	if v == nil {
		return v
	}
	out, _ := fillValue(reflect.ValueOf(v))
	return out.Interface()
}

var (
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
)

func fillValue(v reflect.Value) (out reflect.Value, changed bool) {
	t := v.Type()
	if t.Implements(jsonMarshaler) || t.Implements(textMarshaler) {
		return v, false
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v, false
		}
		inner, changed := fillValue(v.Elem())
		if !changed {
			return v, false
		}
		p := reflect.New(t.Elem())
		p.Elem().Set(inner)
		return p, true
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Tag.Get("json") == "-" {
				continue
			}
			if v.Field(i).Kind() == reflect.Slice && v.Field(i).IsNil() && strings.Contains(f.Tag.Get("json"), ",omitempty") {
				continue
			}
			inner, differs := fillValue(v.Field(i))
			if !differs {
				continue
			}
			if !changed {
				whole := reflect.New(t).Elem()
				whole.Set(v)
				v, changed = whole, true
			}
			v.Field(i).Set(inner)
		}
		return v, changed
	case reflect.Slice:
		if v.IsNil() {
			if t.Elem().Kind() == reflect.Uint8 {
				return v, false
			}
			return reflect.MakeSlice(t, 0, 0), true
		}
		switch t.Elem().Kind() {
		case reflect.Struct, reflect.Slice, reflect.Pointer:
		default:
			return v, false
		}
		for i := range v.Len() {
			inner, differs := fillValue(v.Index(i))
			if !differs {
				continue
			}
			if !changed {
				whole := reflect.MakeSlice(t, v.Len(), v.Len())
				reflect.Copy(whole, v)
				v, changed = whole, true
			}
			v.Index(i).Set(inner)
		}
		return v, changed
	}
	return v, false
}
