package store

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"

	"cloudcrowd.dev/cloudcrowd"
)

// EncodeDoc makes the JSON of a value that an implementation keeps as a document. JSON has no infinity and no NaN; an estimate that is one becomes 0
// instead of stopping the projection.
func EncodeDoc[T any](v T) (string, error) {
	b, err := json.Marshal(v)
	if _, odd := errors.AsType[*json.UnsupportedValueError](err); odd {
		copied := reflect.New(reflect.TypeFor[T]()).Elem()
		copied.Set(reflect.ValueOf(v))
		clean(copied)
		b, err = json.Marshal(copied.Interface())
	}
	if err != nil {
		return "", &cloudcrowd.Error{Code: cloudcrowd.Internal, Msg: "a projected row cannot be encoded", Err: err}
	}
	return string(b), nil
}

// clean replaces the numbers that JSON cannot hold. What pointers and slices lead to is copied first: it belongs to the caller.
func clean(v reflect.Value) {
	switch v.Kind() {
	case reflect.Float64:
		v.SetFloat(Finite(v.Float()))
	case reflect.Struct:
		for i := range v.NumField() {
			clean(v.Field(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			clean(v.Index(i))
		}
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		copied := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(copied, v)
		v.Set(copied)
		for i := range v.Len() {
			clean(v.Index(i))
		}
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		copied := reflect.New(v.Type().Elem())
		copied.Elem().Set(v.Elem())
		v.Set(copied)
		clean(copied.Elem())
	}
}

// Finite is f, or 0 if it is no number of JSON.
func Finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}
