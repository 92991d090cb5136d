package draw

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
)

// canvas collects one picture.
type canvas struct{ strings.Builder }

// open starts an svg element of w×h units. id must be unique on the page; an empty id names the picture by aria-label instead of by elements.
func open(id, class string, w, h float64, title, desc string) *canvas {
	c := &canvas{}
	fmt.Fprintf(c, `<svg class="%s" viewBox="0 0 %s %s" width="%s" height="%s" role="img"`, class, num(w), num(h), num(w), num(h))
	if id == "" {
		label := title
		if desc != "" {
			label += ": " + desc
		}
		fmt.Fprintf(c, ` aria-label="%s">`, html.EscapeString(label))
		return c
	}
	id = html.EscapeString(id)
	fmt.Fprintf(c, ` aria-labelledby="%s-t" aria-describedby="%s-d"><title id="%s-t">%s</title><desc id="%s-d">%s</desc>`,
		id, id, id, html.EscapeString(title), id, html.EscapeString(desc))
	return c
}

// done ends the picture.
func (c *canvas) done() template.HTML {
	c.WriteString("</svg>")
	return template.HTML(c.String())
}

// rect draws a rectangle; extra holds further attributes, already escaped.
func (c *canvas) rect(class string, x, y, w, h float64, extra string) {
	fmt.Fprintf(c, `<rect class="%s" x="%s" y="%s" width="%s" height="%s"%s/>`, class, num(x), num(y), num(math.Max(w, 0)), num(math.Max(h, 0)), extra)
}

func (c *canvas) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(c, `<path class="%s" d="M%s %sL%s %s"/>`, class, num(x1), num(y1), num(x2), num(y2))
}

func (c *canvas) path(class, d string) {
	if d != "" {
		fmt.Fprintf(c, `<path class="%s" d="%s"/>`, class, d)
	}
}

// text writes one line; anchor is start, middle or end.
func (c *canvas) text(class, anchor string, x, y float64, s string) {
	fmt.Fprintf(c, `<text class="%s" text-anchor="%s" x="%s" y="%s">%s</text>`, class, anchor, num(x), num(y), html.EscapeString(s))
}

// num prints a coordinate with at most one decimal.
func num(f float64) string {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return "0"
	}
	s := strconv.FormatFloat(f, 'f', 1, 64)
	return strings.TrimSuffix(s, ".0")
}

// clip shortens s to n runes with an ellipsis.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return strings.TrimRight(string(r[:n-1]), " ") + "…"
}

// share forces a fraction into 0..1.
func share(f float64) float64 {
	if math.IsNaN(f) || f < 0 {
		return 0
	}
	return math.Min(f, 1)
}

// ticks returns about n round values covering lo..hi.
func ticks(lo, hi float64, n int) []float64 {
	if !(hi > lo) || n < 1 {
		return []float64{lo}
	}
	raw := (hi - lo) / float64(n)
	mag := math.Pow(10, math.Floor(math.Log10(raw)))
	step := mag
	for _, m := range []float64{1, 2, 5, 10} {
		if m*mag >= raw {
			step = m * mag
			break
		}
	}
	var out []float64
	for i := math.Ceil(lo / step); i*step <= hi+step*1e-9 && len(out) < 50; i++ {
		out = append(out, i*step)
	}
	return out
}

// short prints a number for an axis: 1,200 → "1.2k".
func short(f float64) string {
	a := math.Abs(f)
	for _, u := range []struct {
		v float64
		s string
	}{{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if a >= u.v {
			return strconv.FormatFloat(f/u.v, 'g', 3, 64) + u.s
		}
	}
	if a > 0 && a < 1 && a >= 1e-6 {
		digits := 2 - int(math.Floor(math.Log10(a)))
		return strings.TrimRight(strconv.FormatFloat(f, 'f', digits, 64), "0")
	}
	return strconv.FormatFloat(f, 'g', 3, 64)
}

// seconds prints a span for an axis.
func seconds(s float64) string {
	switch {
	case s == 0:
		return "0"
	case s < 1:
		return strconv.FormatFloat(s*1000, 'g', 3, 64) + " ms"
	case s < 120:
		return strconv.FormatFloat(s, 'g', 3, 64) + " s"
	case s < 7200:
		return strconv.FormatFloat(s/60, 'g', 3, 64) + " min"
	case s < 48*3600:
		return strconv.FormatFloat(s/3600, 'g', 3, 64) + " h"
	}
	return strconv.FormatFloat(s/86400, 'g', 3, 64) + " d"
}

// timeTicks returns about n round times in 0..hi seconds, in steps people count in.
func timeTicks(hi float64, n int) []float64 {
	steps := []float64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800}
	if hi <= 5 {
		return ticks(0, hi, n)
	}
	step := steps[len(steps)-1]
	for _, s := range steps {
		if hi/s <= float64(n)+1 {
			step = s
			break
		}
	}
	var out []float64
	for v := 0.0; v <= hi && len(out) < 50; v += step {
		out = append(out, v)
	}
	return out
}
