package merge

import (
	"encoding/csv"
	"io"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// reduce computes sum, mean, min, max or count over the tasks' numbers: of tables by key columns, of JSON by place.
func (r *run) reduce() error {
	name, err := r.name()
	if err != nil {
		return err
	}
	first, err := r.pick(r.parts[0])
	if err != nil {
		return err
	}
	if extension(first.Path) == ".json" {
		return r.reduceJSON(name)
	}
	return r.reduceTable(name)
}

// group is the rows of one key.
type group struct {
	key    []string // values of the key columns
	values []accumulator
}

// reduceTable makes one row of all rows with equal key columns. Empty fields are no numbers and are left out.
func (r *run) reduceTable(name string) error {
	var (
		header       []string
		keys, others []int
		groups       = map[string]*group{}
		order        []*group
		held         int64
		op           = r.merge.Op
	)
	err := r.each(func(p Part, name string, in io.Reader) error {
		t, err := openTable(p, name, in)
		if err != nil || t.header == nil {
			return err
		}
		if header == nil {
			header = t.header
			if keys, err = find(header, r.merge.By); err != nil {
				return err
			}
			for i := range header {
				if !slices.Contains(keys, i) {
					others = append(others, i)
				}
			}
		} else if err := t.sameHeader(header); err != nil {
			return err
		}
		var id strings.Builder
		for {
			record, err := t.next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			id.Reset()
			for _, i := range keys {
				id.WriteString(record[i])
				id.WriteByte(0)
			}
			g := groups[id.String()]
			if g == nil {
				g = &group{values: make([]accumulator, len(others))}
				for _, i := range keys {
					g.key = append(g.key, strings.Clone(record[i]))
				}
				if held += int64(2*id.Len() + 300*len(others) + 200); held > maxHeld {
					return fault(cloudcrowd.TooLarge, p, name, "with its rows there are more than %d groups", len(order))
				}
				groups[id.String()] = g
				order = append(order, g)
			}
			for k, i := range others {
				if record[i] == "" {
					continue
				}
				v, ok := parseNumber(record[i])
				if !ok && op != "count" {
					return wrong(p, name, "line %d: %q in column %s is not a number", t.line(), short(record[i]), short(header[i]))
				}
				g.values[k].add(op, v)
			}
		}
	})
	if err != nil {
		return err
	}
	columns := make([]int, len(keys))
	for i := range columns {
		columns[i] = i
	}
	slices.SortStableFunc(order, func(a, b *group) int { return compareBy(columns, a.key, b.key) })
	return r.create(name, func(out io.Writer) error {
		w := csv.NewWriter(out)
		w.Comma = comma(name)
		if header != nil {
			if err := w.Write(header); err != nil {
				return err
			}
		}
		row := make([]string, len(header))
		for _, g := range order {
			for k, i := range keys {
				row[i] = g.key[k]
			}
			for k, i := range others {
				row[i] = g.values[k].result(op)
			}
			if err := w.Write(row); err != nil {
				return err
			}
		}
		w.Flush()
		return w.Error()
	})
}
