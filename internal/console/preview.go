package console

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"html/template"
	"io"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
)

// Bounds of previews.
const (
	previewFiles = 6         // files of a job that are shown in place
	previewBytes = 256 << 10 // read of each
	previewRows  = 200       // of a table
	previewText  = 16 << 10  // of text and JSON
	imageBytes   = 32 << 20  // larger pictures are only for downloading
)

// Preview is one result file as it is shown in place.
type Preview struct {
	Name, Note string
	Size       string
	URL        string // download
	Image      string // address of the picture, if it is one
	Head       []string
	Rows       [][]string
	Numeric    []bool // columns that hold numbers
	Plot       template.HTML
	Text       string
}

// outputURL is where a result file is downloaded: from the API unless the configuration says otherwise.
func (c *Console) outputURL(job cloudcrowd.JobID, o cloudcrowd.StageOutput) string {
	if c.cfg.OutputURL != nil {
		return c.cfg.OutputURL(job, o)
	}
	return "/v1/jobs/" + url.PathEscape(string(job)) + "/outputs/" + escapePath(o.Stage) + "/" + strconv.Itoa(int(o.Task)) + "/" + escapePath(o.Path)
}

// fileURL is where the console itself serves a result file.
func (c *Console) fileURL(job cloudcrowd.JobID, o cloudcrowd.StageOutput) string {
	return c.jobURL(job) + "/files/" + escapePath(o.Stage) + "/" + strconv.Itoa(int(o.Task)) + "/" + escapePath(o.Path)
}

// previews shows the first files of a finished or running job; the second result counts what was left out. A file that cannot be read says so.
func (c *Console) previews(ctx context.Context, j cloudcrowd.Job) ([]Preview, int) {
	if c.cfg.Blobs == nil {
		return nil, 0
	}
	outputs := slices.Clone(j.Outputs)
	slices.SortStableFunc(outputs, func(a, b cloudcrowd.StageOutput) int { return rankOf(a.Path) - rankOf(b.Path) })
	shown := outputs[:min(len(outputs), previewFiles)]
	var out []Preview
	for _, o := range shown {
		out = append(out, c.preview(ctx, j.ID, o))
	}
	return out, len(outputs) - len(shown)
}

// rankOf puts pictures first, then tables, then the rest.
func rankOf(name string) int {
	switch kindOf(name) {
	case "image":
		return 0
	case "table":
		return 1
	case "json":
		return 2
	}
	return 3
}

func kindOf(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".png", ".jpg", ".jpeg", ".gif", ".webp", ".svg", ".apng":
		return "image"
	case ".tsv", ".csv":
		return "table"
	case ".json", ".ndjson":
		return "json"
	}
	return "text"
}

func (c *Console) preview(ctx context.Context, job cloudcrowd.JobID, o cloudcrowd.StageOutput) Preview {
	p := Preview{Name: o.Path, Size: cloudcrowd.Bytes(o.SizeBytes), URL: c.outputURL(job, o)}
	if kindOf(o.Path) == "image" {
		if o.SizeBytes > imageBytes {
			p.Note = "This picture is too large to show here; download it."
			return p
		}
		p.Image = c.fileURL(job, o) + "?inline=1"
		return p
	}
	b, err := c.read(ctx, o.Digest, min(o.SizeBytes, previewBytes))
	if err != nil {
		p.Note = "The file could not be read from the blob store: " + string(cloudcrowd.CodeOf(err)) + "."
		return p
	}
	fillPreview(&p, o, b)
	return p
}

func (c *Console) read(ctx context.Context, d cloudcrowd.Digest, n int64) ([]byte, error) {
	rc, err := c.cfg.Blobs.Open(ctx, d, 0, n)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(io.LimitReader(rc, n))
}

// fillPreview shows the beginning of a file that is not a picture.
func fillPreview(p *Preview, o cloudcrowd.StageOutput, b []byte) {
	cut := int64(len(b)) < o.SizeBytes
	if len(b) == 0 {
		p.Note = "The file is empty."
		return
	}
	if cut && bytes.IndexByte(b, '\n') >= 0 {
		b = b[:bytes.LastIndexByte(b, '\n')+1]
	}
	for cut && len(b) > 0 && !utf8.Valid(b[max(0, len(b)-4):]) && len(b) > 4 {
		b = b[:len(b)-1]
	}
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		p.Note = "Binary data; download it to look at it."
		return
	}
	switch kindOf(o.Path) {
	case "table":
		if fillTable(p, o.Path, b, cut) {
			return
		}
	case "json":
		if !cut {
			var out bytes.Buffer
			if json.Indent(&out, b, "", "  ") == nil {
				b = out.Bytes()
			}
		}
	}
	if len(b) > previewText {
		b, cut = b[:previewText], true
		for len(b) > 0 && !utf8.Valid(b) {
			b = b[:len(b)-1]
		}
	}
	p.Text = string(b)
	if cut {
		p.Note = "Beginning of the file."
	}
}

// fillTable reads CSV or TSV, and plots the first two columns that hold numbers unless the first one repeats. It reports whether the file is a table.
func fillTable(p *Preview, name string, b []byte, cut bool) bool {
	r := csv.NewReader(bytes.NewReader(b))
	r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord = -1, true, false
	if strings.EqualFold(path.Ext(name), ".tsv") {
		r.Comma = '\t'
	}
	records, err := r.ReadAll()
	if err != nil || len(records) == 0 || len(records[0]) > 100 {
		return false
	}
	head, rows := records[0], records[1:]
	headed := false
	for _, h := range head {
		if _, err := strconv.ParseFloat(h, 64); err != nil {
			headed = true
		}
	}
	if !headed {
		rows = records
		head = make([]string, len(records[0]))
		for i := range head {
			head[i] = "column " + strconv.Itoa(i+1)
		}
	}
	p.Head, p.Numeric = head, make([]bool, len(head))
	var numeric []int
	for i := range head {
		if len(rows) > 0 && numbers(rows, i) {
			p.Numeric[i] = true
			numeric = append(numeric, i)
		}
	}
	if len(numeric) >= 2 && len(rows) >= 3 {
		x, y := numeric[0], numeric[1]
		points, values := make([]draw.Point, 0, len(rows)), map[float64]bool{}
		for _, row := range rows {
			px, _ := strconv.ParseFloat(row[x], 64)
			py, _ := strconv.ParseFloat(row[y], 64)
			points = append(points, draw.Point{X: px, Y: py})
			values[px] = true
		}
		if 5*len(values) < 4*len(points) {
			points = nil // the column repeats: a group or a grid, and a line over it would say nothing
		}
		if len(points) > 0 {
			p.Plot = draw.XY("plot-"+fileName(name), head[y]+" over "+head[x], plural(len(points), "point", "points")+" from "+name+"; the table beside it holds the numbers.", head[x], head[y], points)
		}
	}
	p.Rows = rows
	if len(rows) > previewRows {
		p.Rows, cut = rows[:previewRows], true
	}
	for i, row := range p.Rows {
		full := make([]string, len(head))
		for k := range full {
			if k < len(row) {
				full[k] = row[k]
				if len(full[k]) > 200 {
					full[k] = strings.ToValidUTF8(full[k][:200], "") + "…"
				}
			}
		}
		p.Rows[i] = full
	}
	if cut {
		p.Note = "First " + plural(len(p.Rows), "row", "rows") + "."
	}
	return true
}

// numbers reports whether every value of a column is a number.
func numbers(rows [][]string, col int) bool {
	for _, row := range rows {
		if col >= len(row) {
			return false
		}
		if _, err := strconv.ParseFloat(strings.TrimSpace(row[col]), 64); err != nil {
			return false
		}
	}
	return true
}
