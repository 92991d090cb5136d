package store_test

import (
	"reflect"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// position is the key of a list, of every kind of field that keys have.
type position struct {
	At    int64
	Job   cloudcrowd.JobID
	Index int32
}

// Whatever a client passes as a cursor is refused with code Invalid, or is the position of this very list; and what was given out is taken back.
func FuzzCursor(f *testing.F) {
	for _, p := range []position{{}, {1, "j0123", 7}, {-1 << 63, "\"\n\xff", -1}} {
		f.Add(store.EncodeCursor("jobs", p), p.At, string(p.Job), p.Index)
	}
	f.Add("", int64(0), "", int32(0))
	f.Add("W10", int64(0), "", int32(0))
	f.Add(store.EncodeCursor("transfers", position{}), int64(0), "", int32(0))
	f.Add(store.EncodeCursor("jobs", "text"), int64(0), "", int32(0))
	f.Fuzz(func(t *testing.T, cursor string, at int64, job string, index int32) {
		var p position
		more, err := store.DecodeCursor("jobs", cursor, &p)
		switch {
		case err != nil && cloudcrowd.CodeOf(err) != cloudcrowd.Invalid:
			t.Fatalf("%q: %v", cursor, err)
		case err == nil && more:
			var q position
			if more, err := store.DecodeCursor("jobs", store.EncodeCursor("jobs", p), &q); !more || err != nil || !reflect.DeepEqual(p, q) {
				t.Fatalf("%q: %+v, then %+v, %v", cursor, p, q, err)
			}
			if _, err := store.DecodeCursor("transfers", cursor, &q); err == nil {
				t.Fatalf("%q is taken by two lists", cursor)
			}
		case err == nil && cursor != "":
			t.Fatalf("%q is taken as the first page", cursor)
		}
		want := position{at, cloudcrowd.JobID(job), index}
		if more, err := store.DecodeCursor("jobs", store.EncodeCursor("jobs", want), &p); !more || err != nil || p.At != at || p.Index != index {
			t.Fatalf("%+v reads back as %+v, %v", want, p, err)
		}
	})
}
