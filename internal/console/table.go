package console

import (
	"context"
	"html/template"
	"net/http"
	"net/url"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Column heads a column of a table.
type Column struct {
	Key      string // name in exports
	Title    string // for people
	Number   bool   // right-aligned
	Priority int    // 1: always shown, 2: not on a phone, 3: only on a wide screen, 4: only in exports; 0 means 1
}

// Cell is one value of a table, as people see it and as programs get it.
type Cell struct {
	Text  string
	Title string        // on hover
	Href  string        // makes the text a link
	State string        // draws the state's icon before the text
	Copy  string        // adds a button that copies this
	Pic   template.HTML // drawn in place of the text
	Time  cloudcrowd.Time
	Raw   any // for exports; nil means Text
	Sub   string
}

// Table is what the template "table" draws.
type Table struct {
	Name    string
	Caption string
	Columns []Column
	Rows    [][]Cell
	Empty   Empty
	Next    string // address of the next page
	First   string // address of the first page, when this is a later one
	CSV     string // addresses of the exports
	JSON    string
	Note    string // said below: what is left out
}

// Empty is what stands in place of nothing: a sentence and, if it helps, the command that would change that.
type Empty struct {
	Text     string
	Commands []string
}

// rowSource returns one page of rows and the cursor of the next.
type rowSource func(ctx context.Context, p store.Page) ([][]Cell, string, error)

// tableSpec says how a table is filled.
type tableSpec struct {
	Name    string
	Caption string
	Columns []Column
	Rows    rowSource
	Empty   Empty
	Limit   int // rows a page; 0 means 100
}

// rowsOf is the source of a table that is already in memory. Its pages are cut by position.
func rowsOf(rows [][]Cell) rowSource {
	return func(_ context.Context, p store.Page) ([][]Cell, string, error) {
		from := min(atoi(p.Cursor), len(rows))
		to := min(from+p.Limit, len(rows))
		next := ""
		if to < len(rows) {
			next = itoa(to)
		}
		return rows[from:to], next, nil
	}
}

// table fills one page of a table. The cursor is in the address, so a page has a link.
func (c *Console) table(r *http.Request, s tableSpec) (Table, error) {
	t := Table{Name: s.Name, Caption: s.Caption, Columns: s.Columns, Empty: s.Empty}
	limit := s.Limit
	if limit == 0 {
		limit = 100
	}
	param := s.Name + ".after"
	cursor := r.URL.Query().Get(param)
	rows, next, err := s.Rows(r.Context(), store.Page{Limit: limit, Cursor: cursor})
	if err != nil {
		return t, err
	}
	t.Rows = rows
	if next != "" {
		t.Next = c.with(r, param, next) + "#" + s.Name
	}
	if cursor != "" {
		t.First = c.with(r, param, "") + "#" + s.Name
	}
	t.CSV = c.with(r, "table", s.Name, "format", "csv", param, "")
	t.JSON = c.with(r, "table", s.Name, "format", "json", param, "")
	return t, nil
}

// with returns this page's address with some query parameters changed; an empty value removes one.
func (c *Console) with(r *http.Request, pairs ...string) string {
	q := url.Values{}
	for k, v := range r.URL.Query() {
		q[k] = v
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		} else {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	u := c.url(r.URL.Path)
	if len(q) > 0 {
		u += "?" + q.Encode()
	}
	return u
}
