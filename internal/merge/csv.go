package merge

import (
	"bufio"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// errTooLong ends the reading of a record that is over its limit.
var errTooLong = errors.New("the record is too long")

// budget is a reader that gives at most n bytes until it is refilled.
type budget struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (b *budget) Read(p []byte) (int, error) {
	if b.n <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.n)])
	b.n -= int64(n)
	return n, err
}

// comma is the separator that a file's name tells.
func comma(name string) rune {
	if ext := extension(name); ext == ".tsv" || ext == ".tab" {
		return '\t'
	}
	return ','
}

// table reads one task's CSV or TSV record by record.
type table struct {
	part   Part
	name   string
	budget *budget
	reader *csv.Reader
	header []string // nil: the file is empty
}

func openTable(p Part, name string, in io.Reader) (*table, error) {
	text := bufio.NewReader(in)
	if mark, _ := text.Peek(3); string(mark) == "\ufeff" {
		_, _ = text.Discard(len(mark)) // a byte order mark is no part of the first column's name
	}
	t := &table{part: p, name: name, budget: &budget{r: text, n: maxRecord}}
	t.reader = csv.NewReader(t.budget)
	t.reader.Comma, t.reader.LazyQuotes, t.reader.ReuseRecord = comma(name), true, true
	header, err := t.next()
	if err == io.EOF {
		return t, nil
	}
	t.header = slices.Clone(header)
	return t, err
}

// next returns the next record, valid until the call after, or io.EOF.
func (t *table) next() ([]string, error) {
	t.budget.n = maxRecord
	record, err := t.reader.Read()
	switch {
	case err == nil || err == io.EOF:
		return record, err
	case errors.Is(err, errTooLong):
		return nil, fault(cloudcrowd.TooLarge, t.part, t.name, "a record is longer than %s", cloudcrowd.Bytes(maxRecord))
	}
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		if errors.Is(err, csv.ErrFieldCount) {
			return nil, wrong(t.part, t.name, "line %d: %d fields where the header has %d", e.StartLine, len(record), len(t.header))
		}
		return nil, wrong(t.part, t.name, "line %d: %v", e.Line, e.Err)
	}
	return nil, err
}

// line is where the record just read starts.
func (t *table) line() int {
	n, _ := t.reader.FieldPos(0)
	return n
}

// sameHeader compares the header of a file with that of the first.
func (t *table) sameHeader(first []string) error {
	if slices.Equal(t.header, first) {
		return nil
	}
	return wrong(t.part, t.name, "its header is %q, other tasks have %q", short(strings.Join(t.header, string(t.reader.Comma))), short(strings.Join(first, string(t.reader.Comma))))
}

// csv writes one table: the header once, then the rows of all tasks, in order or sorted.
func (r *run) csv() error {
	name, err := r.name()
	if err != nil {
		return err
	}
	return r.create(name, func(out io.Writer) error {
		w := csv.NewWriter(out)
		w.Comma = comma(name)
		var (
			header []string
			rows   [][]string
			held   int64
		)
		err := r.each(func(p Part, name string, in io.Reader) error {
			t, err := openTable(p, name, in)
			if err != nil || t.header == nil {
				return err
			}
			if header == nil {
				header = t.header
				if err := w.Write(header); err != nil {
					return err
				}
			} else if err := t.sameHeader(header); err != nil {
				return err
			}
			for {
				record, err := t.next()
				switch {
				case err == io.EOF:
					return nil
				case err != nil:
					return err
				case len(r.merge.Sort) == 0:
					if err := w.Write(record); err != nil {
						return err
					}
					continue
				}
				for _, field := range record {
					held += int64(len(field)) + 16
				}
				if held > maxHeld {
					return fault(cloudcrowd.TooLarge, p, name, "with its rows there is more than %s to sort", cloudcrowd.Bytes(maxHeld))
				}
				rows = append(rows, cloneRecord(record))
			}
		})
		if err != nil {
			return err
		}
		if len(r.merge.Sort) > 0 && header != nil {
			columns, err := find(header, r.merge.Sort)
			if err != nil {
				return err
			}
			slices.SortStableFunc(rows, func(a, b []string) int { return compareBy(columns, a, b) })
			for _, row := range rows {
				if err := w.Write(row); err != nil {
					return err
				}
			}
		}
		w.Flush()
		return w.Error()
	})
}

// cloneRecord copies a record and the text its fields share.
func cloneRecord(record []string) []string {
	out := slices.Clone(record)
	for i := range out {
		out[i] = strings.Clone(out[i])
	}
	return out
}

// find returns the positions of columns in a header.
func find(header, columns []string) ([]int, error) {
	var out []int
	for _, c := range columns {
		i := slices.Index(header, c)
		if i < 0 {
			return nil, cloudcrowd.Errorf(cloudcrowd.Invalid, "there is no column %q (there are: %s)", c, short(strings.Join(header, ", ")))
		}
		out = append(out, i)
	}
	return out, nil
}

// compareBy orders records by some columns, numbers by value before text.
func compareBy(columns []int, a, b []string) int {
	for _, i := range columns {
		if c := compareValues(a[i], b[i]); c != 0 {
			return c
		}
	}
	return 0
}

func short(s string) string {
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
