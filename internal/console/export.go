package console

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// export answers ?format=csv|json with a whole table, row by row, and reports whether it did. Without ?table= the page's first table is meant.
func (c *Console) export(w http.ResponseWriter, r *http.Request, name string, specs ...tableSpec) (bool, error) {
	format := r.URL.Query().Get("format")
	if format == "" {
		return false, nil
	}
	spec := specs[0]
	if want := r.URL.Query().Get("table"); want != "" {
		found := false
		for _, s := range specs {
			if s.Name == want {
				spec, found = s, true
			}
		}
		if !found {
			return true, cloudcrowd.Errorf(cloudcrowd.NotFound, "This page has no table %q", want)
		}
	}
	var write func(rows [][]Cell) error
	var end func() error
	file := name + "-" + spec.Name
	switch format {
	case "csv":
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		out := csv.NewWriter(w)
		head := make([]string, len(spec.Columns))
		for i, col := range spec.Columns {
			head[i] = col.Key
		}
		started := false
		write = func(rows [][]Cell) error {
			if !started {
				started = true
				if err := out.Write(head); err != nil {
					return err
				}
			}
			for _, row := range rows {
				line := make([]string, len(row))
				for i, cell := range row {
					line[i] = plain(cell)
				}
				if err := out.Write(line); err != nil {
					return err
				}
			}
			out.Flush()
			return out.Error()
		}
		end = func() error { out.Flush(); return out.Error() }
	case "json":
		w.Header().Set("Content-Type", "application/json")
		first := true
		write = func(rows [][]Cell) error {
			for _, row := range rows {
				lead := ",\n"
				if first {
					lead, first = "[\n", false
				}
				b, err := rowJSON(spec.Columns, row)
				if err != nil {
					return err
				}
				if _, err := fmt.Fprintf(w, "%s%s", lead, b); err != nil {
					return err
				}
			}
			return nil
		}
		end = func() error {
			tail := "\n]\n"
			if first {
				tail = "[]\n"
			}
			_, err := w.Write([]byte(tail))
			return err
		}
	default:
		return true, cloudcrowd.Fieldf("format", "%q is not a format of exports", format).WithHint("Use format=csv or format=json.")
	}
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", fileName(file)+"."+format))
	w.Header().Set("Cache-Control", "no-store")
	p := store.Page{Limit: 1000}
	for page := 0; ; page++ {
		rows, next, err := spec.Rows(r.Context(), p)
		if err != nil && page == 0 {
			w.Header().Del("Content-Disposition")
			return true, err
		}
		if err == nil {
			err = write(rows)
		}
		if err != nil {
			panic(http.ErrAbortHandler) // half is written: break the connection rather than pass for the whole
		}
		if next == "" || next == p.Cursor {
			break
		}
		p.Cursor = next
	}
	return true, end()
}

// rowJSON writes a row as an object with its columns' keys, in order.
func rowJSON(columns []Column, row []Cell) ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	for i, cell := range row {
		if i > 0 {
			b.WriteString(", ")
		}
		v, err := json.Marshal(raw(cell))
		if err != nil {
			return nil, err
		}
		k, _ := json.Marshal(columns[i].Key)
		b.Write(k)
		b.WriteString(": ")
		b.Write(v)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// raw is a cell's value for programs: times as Unix microseconds, amounts as micro-credits.
func raw(cell Cell) any {
	switch {
	case cell.Raw != nil:
		return cell.Raw
	case cell.Time != 0:
		return cell.Time
	}
	return cell.Text
}

// plain is a cell's value as CSV text. Text that a spreadsheet would take for a formula is preceded by an apostrophe.
func plain(cell Cell) string {
	switch v := raw(cell).(type) {
	case string:
		return unformula(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case cloudcrowd.Credits:
		return strconv.FormatInt(int64(v), 10)
	case cloudcrowd.Time:
		if v == 0 {
			return ""
		}
		return v.Time().Format("2006-01-02T15:04:05.000000Z")
	default:
		return unformula(fmt.Sprint(v))
	}
}

func unformula(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		if _, err := strconv.ParseFloat(s, 64); err != nil {
			return "'" + s
		}
	}
	return s
}

// fileName keeps only what every file system takes.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, s)
}

func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

func itoa(n int) string { return strconv.Itoa(n) }
