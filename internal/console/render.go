package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
)

//go:embed templates/*.html
var templateFiles embed.FS

// page is what every template gets. V is the page's own view.
type page struct {
	Title   string
	Section string // which entry of the navigation is current
	Viewer  viewer
	Theme   string // "", "light", "dark"
	Events  string // address of the live feed; "" on a page that stands still
	Now     time.Time
	Version string
	Style   string // address of the style sheet, with its hash
	Script  string
	Base    string
	Path    string // of this page, to come back to
	SignOut string
	V       any
}

// parse reads the templates once, with functions bound to this console's base path and clock.
func (c *Console) parse() *template.Template {
	funcs := template.FuncMap{
		"url":        c.url,
		"jobURL":     c.jobURL,
		"taskURL":    c.taskURL,
		"workerURL":  c.workerURL,
		"accountURL": c.accountURL,
		"amount":     amount,
		"aligned":    alignedAmount,
		"count":      func(n int64) string { return count(n) },
		"counti":     func(n int) string { return count(n) },
		"bytes":      cloudcrowd.Bytes,
		"span":       span,
		"percent":    percent,
		"icon":       draw.IconSVG,
		"time":       c.timeTag,
		"lower":      strings.ToLower,
		"join":       strings.Join,
		"cell":       func(t Table, i int, row []Cell) Column { return t.Columns[i] },
	}
	return template.Must(template.New("").Funcs(funcs).ParseFS(templateFiles, "templates/*.html"))
}

// timeTag draws a relative time with the exact one on hover; nothing for the zero time.
func (c *Console) timeTag(t cloudcrowd.Time) template.HTML {
	if t == 0 {
		return `<span class="quiet">–</span>`
	}
	at := t.Time()
	return template.HTML(`<time datetime="` + at.Format(time.RFC3339Nano) + `" title="` + exact(at) + `">` + ago(at, c.cfg.Now()) + `</time>`)
}

// wanted says which fragments of a page a request asks for.
type wanted struct{ names []string }

func wants(r *http.Request) wanted {
	h := r.Header.Get("X-Fragment")
	if h == "" {
		return wanted{}
	}
	var out []string
	for _, n := range strings.Split(h, ",") {
		out = append(out, strings.TrimSpace(n))
	}
	return wanted{out}
}

// any reports whether one of the fragments is to be drawn; a full page draws all.
func (w wanted) any(names ...string) bool {
	if w.names == nil {
		return true
	}
	for _, n := range names {
		if slices.Contains(w.names, n) {
			return true
		}
	}
	return false
}

// show writes a page, or only the fragments that the request asks for. fragments lists the ones the page has; events, when not empty, is the query
// that narrows the page's live feed.
func (c *Console) show(w http.ResponseWriter, r *http.Request, status int, name string, fragments []string, p page) error {
	p.Now, p.Version, p.Base, p.SignOut = c.cfg.Now(), c.cfg.Version, c.cfg.Base, c.cfg.SignOut
	p.Style, p.Script = c.url("/assets/console.css?v="+assetHash("console.css")), c.url("/assets/console.js?v="+assetHash("console.js"))
	p.Theme = themeOf(r)
	p.Path = c.url(r.URL.RequestURI())
	if len(fragments) == 0 || c.cfg.EventsURL == "-" {
		p.Events = ""
	} else {
		p.Events = c.cfg.EventsURL + p.Events
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Vary", "X-Fragment, Cookie, Authorization")
	var b bytes.Buffer
	if want := wants(r); want.names != nil {
		for _, f := range fragments {
			if !slices.Contains(want.names, f) {
				continue
			}
			if err := c.templates.ExecuteTemplate(&b, f, p); err != nil {
				return err
			}
		}
		sum := sha256.Sum256(b.Bytes())
		tag := `"` + hex.EncodeToString(sum[:8]) + `"`
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	} else if err := c.templates.ExecuteTemplate(&b, name, p); err != nil {
		return err
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
	return nil
}

// problem is the view of the error page.
type problem struct {
	Status    int
	Heading   string
	Msg, Hint string
}

// fail shows an error. Causes stay in the log.
func (c *Console) fail(w http.ResponseWriter, r *http.Request, v viewer, err error) {
	code := cloudcrowd.CodeOf(err)
	p := problem{Status: code.HTTPStatus(), Heading: "Something went wrong", Msg: "The server could not answer this.", Hint: "Try again; if it stays, look at the server's log."}
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok && code != cloudcrowd.Internal {
		p.Msg, p.Hint = e.Msg, e.Hint
	}
	switch code {
	case cloudcrowd.NotFound:
		p.Heading = "Not here"
		if p.Hint == "" {
			p.Hint = "It may belong to another account, or the address may be cut short."
		}
	case cloudcrowd.Conflict:
		p.Heading = "Not possible now"
	case cloudcrowd.Forbidden:
		p.Heading = "Not yours to do"
	case cloudcrowd.Unavailable:
		p.Heading = "Not available now"
	case cloudcrowd.Invalid:
		p.Heading = "That does not fit"
	case cloudcrowd.Internal:
		c.cfg.Log.ErrorContext(r.Context(), "console: page failed", "path", r.URL.Path, "err", err)
	}
	if r.URL.Query().Get("format") == "json" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(p.Status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": p.Status, "title": p.Heading, "detail": p.Msg, "code": code, "hint": p.Hint})
		return
	}
	shown := c.show(w, r, p.Status, "problem", nil, page{Title: p.Heading, Viewer: v, V: p})
	if shown != nil {
		c.cfg.Log.ErrorContext(r.Context(), "console: error page failed", "err", shown)
		http.Error(w, p.Msg, p.Status)
	}
}
