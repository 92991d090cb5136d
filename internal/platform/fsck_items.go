package platform

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store/tables"
)

// item is one row of a table, in the form in which it is compared.
type item struct {
	subject string // names it for people, and no other one
	doc     []byte // a JSON object of its columns
	once    bool   // it is written once and never replaced
}

// expected holds what a table should contain, as hashes: a history may be longer than memory is large.
type expected struct {
	must  map[string]uint64   // by subject
	later map[string][]uint64 // versions that may have been written ahead of what the table says it contains
}

func newExpected() *expected {
	return &expected{must: map[string]uint64{}, later: map[string][]uint64{}}
}

func (e *expected) has(subject string) bool {
	_, ok := e.must[subject]
	return ok || len(e.later[subject]) > 0
}

// add takes an item that the table must contain, unless a later one replaces it, or may contain.
func (e *expected) add(it item, must bool) {
	h := maphash.Bytes(seed, it.doc)
	if must {
		e.must[it.subject] = h
	} else {
		e.later[it.subject] = append(e.later[it.subject], h)
	}
}

// found takes an item out that the table contains; false if it should not, or not so.
func (e *expected) found(it item) bool {
	h := maphash.Bytes(seed, it.doc)
	want, ok := e.must[it.subject]
	if ok && want == h || slices.Contains(e.later[it.subject], h) {
		delete(e.must, it.subject)
		delete(e.later, it.subject)
		return true
	}
	return false
}

func transferItem(t cloudcrowd.Transfer) item {
	doc, _ := json.Marshal(t) // plain values: cannot fail
	return item{subject: "transfer " + t.ID, doc: doc}
}

// tableItem puts the columns of a row into one object. Documents in it are kept as objects; workers' names are left out of them, for they are as
// they were when the row was written.
func tableItem(r tables.Row) item {
	columns, keys := tables.Columns(r.Table)
	it := item{once: r.Table == "charges"}
	name := make([]byte, 0, 64)
	switch r.Table {
	case "charges":
		name = append(name, "charge of attempt"...)
	case "records":
		name = append(name, "record of worker"...)
	default:
		name = append(name, strings.TrimSuffix(r.Table, "s")...)
	}
	doc := make([]byte, 0, 1024)
	for i, column := range columns {
		doc = append(doc, ',')
		if i == 0 {
			doc[0] = '{'
		}
		doc = append(append(append(doc, '"'), column...), '"', ':')
		at := len(doc)
		switch v := r.Values[i].(type) {
		case int64:
			doc = strconv.AppendInt(doc, v, 10)
		case string:
			if column == "doc" || column == "summary" || column == "detail" {
				doc = append(doc, nameless(r.Table, column, v)...)
				break
			}
			b, _ := json.Marshal(v) // a string: cannot fail
			doc = append(doc, b...)
		default:
			b, _ := json.Marshal(v) // a finite number, or nothing: cannot fail
			doc = append(doc, b...)
		}
		if i < keys {
			before := "-"
			switch {
			case i == 0:
				before = " "
			case column == "shard":
				before = " in shard "
			}
			name = append(append(name, before...), strings.Trim(string(doc[at:]), `"`)...)
		}
	}
	it.subject, it.doc = string(name), append(doc, '}')
	return it
}

// nameless is a document without workers' names, the sentences that hold them, and what tasks cover in words: words are the program's, not the
// journal's, and a later version may choose others.
func nameless(table, column, text string) string {
	switch {
	case table == "attempts":
		return without(text, `,"worker_name":"`)
	case table == "tasks":
		return without(text, `,"label":"`)
	case table == "jobs" && column == "detail":
		var j cloudcrowd.Job
		if json.Unmarshal([]byte(text), &j) != nil {
			return text
		}
		for i := range j.Workers {
			j.Workers[i].Name = ""
		}
		j.Notes = nil // sentences about what the other fields count, with names in them
		slices.SortFunc(j.Workers, func(a, b cloudcrowd.JobWorker) int { return strings.Compare(string(a.Worker), string(b.Worker)) })
		if b, err := json.Marshal(j); err == nil {
			return string(b)
		}
	}
	return text
}

// without is a JSON document without one member, a string, given as it begins. That cannot be inside of a string: there its quotes would have
// backslashes.
func without(text, member string) string {
	before, rest, ok := strings.Cut(text, member)
	if !ok {
		return text
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case '"':
			return before + rest[i+1:]
		}
	}
	return text
}

// differences says in which fields what is stored differs from what the journal says.
func differences(stored, derived []byte) string {
	a, b := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if json.Unmarshal(stored, &a) != nil || json.Unmarshal(derived, &b) != nil {
		return fmt.Sprintf("it is %s, the journal says %s", short(string(stored)), short(string(derived)))
	}
	fields := map[string]bool{}
	for _, m := range []map[string]json.RawMessage{a, b} {
		for k := range m {
			fields[k] = true
		}
	}
	var list []string
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		x, y := a[k], b[k]
		switch {
		case bytes.Equal(x, y):
		case len(x) > 0 && len(y) > 0 && x[0] == '{' && y[0] == '{':
			list = append(list, differences(x, y))
		default:
			list = append(list, fmt.Sprintf("its %s is %s, the journal says %s", k, orNothing(x), orNothing(y)))
		}
	}
	return short(strings.Join(list, "; "))
}

func orNothing(v json.RawMessage) string {
	if len(v) == 0 {
		return "nothing"
	}
	return short(string(v))
}
