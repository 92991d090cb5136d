package draw

import (
	"fmt"
	"html/template"
	"math"
	"strings"
)

// Point is one pair of numbers.
type Point struct{ X, Y float64 }

const (
	plotW, plotH               = 440.0, 200.0
	plotL, plotR, plotT, plotB = 52.0, 12.0, 20.0, 30.0
)

// Spending draws credits spent over time (a stair, seconds against credits) under the line of the budget.
func Spending(id, title, desc string, steps []Point, spanSeconds, budget float64) template.HTML {
	c := open(id, "plot spending", plotW, plotH, title, desc)
	spent := 0.0
	for _, p := range steps {
		spent = math.Max(spent, p.Y)
	}
	off := spent > 0 && budget > 5*spent // the line would flatten the curve: say where it is instead
	top := math.Max(budget, spent)
	if off {
		top = spent * 1.2
	}
	if top <= 0 {
		top = 1
	}
	top *= 1.08
	span := math.Max(spanSeconds, 1e-3)
	x := func(v float64) float64 { return plotL + v/span*(plotW-plotL-plotR) }
	y := func(v float64) float64 { return plotH - plotB - v/top*(plotH-plotT-plotB) }
	for _, v := range ticks(0, top, 4) {
		c.line("grid", plotL, y(v), plotW-plotR, y(v))
		c.text("tick", "end", plotL-6, y(v)+4, short(v))
	}
	for _, v := range timeTicks(span, 5) {
		c.text("tick", "middle", math.Min(x(v), plotW-plotR-12), plotH-plotB+16, seconds(v))
	}
	var d strings.Builder
	fmt.Fprintf(&d, "M%s %s", num(x(0)), num(y(0)))
	for _, p := range thin(steps, 300) {
		fmt.Fprintf(&d, "H%sV%s", num(x(p.X)), num(y(p.Y)))
	}
	fmt.Fprintf(&d, "H%s", num(x(span)))
	c.path("area", d.String()+fmt.Sprintf("V%sZ", num(y(0))))
	c.path("line", d.String())
	if off {
		c.text("label off", "end", plotW-plotR, plotT-6, "↑ budget "+short(budget))
	} else if budget > 0 {
		c.line("budget", plotL, y(budget), plotW-plotR, y(budget))
		at := y(budget) + 14
		if spent > budget*0.85 {
			at = y(budget) - 4
		}
		c.text("label", "end", plotW-plotR, at, "budget "+short(budget))
	}
	return c.done()
}

// thin keeps at most n points, the last one always.
func thin(p []Point, n int) []Point {
	if len(p) <= n {
		return p
	}
	out := make([]Point, 0, n)
	for i := range n {
		out = append(out, p[i*(len(p)-1)/(n-1)])
	}
	return out
}

// XY draws points joined by a line when x ascends, otherwise as dots. An axis whose positive values span more than a factor of 300 is logarithmic.
func XY(id, title, desc, xName, yName string, points []Point) template.HTML {
	c := open(id, "plot xy", plotW, plotH, title, desc)
	points = thin(finite(points), 600)
	xs, ys := newAxis(points, func(p Point) float64 { return p.X }), newAxis(points, func(p Point) float64 { return p.Y })
	x := func(v float64) float64 { return plotL + xs.at(v)*(plotW-plotL-plotR) }
	y := func(v float64) float64 { return plotH - plotB - ys.at(v)*(plotH-plotT-plotB) }
	for _, v := range ys.ticks(4) {
		c.line("grid", plotL, y(v), plotW-plotR, y(v))
		c.text("tick", "end", plotL-6, y(v)+4, short(v))
	}
	for _, v := range xs.ticks(5) {
		c.line("grid", x(v), plotT, x(v), plotH-plotB)
		c.text("tick", "middle", x(v), plotH-plotB+14, short(v))
	}
	c.text("label", "end", plotW-plotR, plotH-3, clip(xName, 30)+xs.suffix())
	c.text("label", "start", plotL-48, plotT-8, clip(yName, 30)+ys.suffix())
	ascending := len(points) > 1
	for i := 1; i < len(points); i++ {
		ascending = ascending && points[i].X > points[i-1].X
	}
	if ascending {
		var d strings.Builder
		for i, p := range points {
			verb := "L"
			if i == 0 {
				verb = "M"
			}
			fmt.Fprintf(&d, "%s%s %s", verb, num(x(p.X)), num(y(p.Y)))
		}
		c.path("line", d.String())
	}
	if !ascending || len(points) <= 40 {
		var d strings.Builder
		for _, p := range points {
			fmt.Fprintf(&d, "M%s %sh0", num(x(p.X)), num(y(p.Y)))
		}
		c.path("dots", d.String())
	}
	return c.done()
}

func finite(in []Point) []Point {
	out := make([]Point, 0, len(in))
	for _, p := range in {
		if !math.IsNaN(p.X+p.Y) && !math.IsInf(p.X+p.Y, 0) {
			out = append(out, p)
		}
	}
	return out
}

// axis maps values to 0..1, linearly or by logarithm.
type axis struct {
	lo, hi float64
	log    bool
}

func newAxis(points []Point, get func(Point) float64) axis {
	a := axis{lo: math.Inf(1), hi: math.Inf(-1)}
	for _, p := range points {
		a.lo, a.hi = math.Min(a.lo, get(p)), math.Max(a.hi, get(p))
	}
	if len(points) == 0 {
		return axis{lo: 0, hi: 1}
	}
	if a.lo > 0 && a.hi/a.lo > 300 {
		a.log = true
		return a
	}
	if a.lo > 0 && a.lo < a.hi/2 {
		a.lo = 0
	}
	if a.hi == a.lo {
		a.hi = a.lo + 1
	}
	return a
}

func (a axis) at(v float64) float64 {
	if a.log {
		return math.Log(v/a.lo) / math.Log(a.hi/a.lo)
	}
	return (v - a.lo) / (a.hi - a.lo)
}

func (a axis) ticks(n int) []float64 {
	if !a.log {
		return ticks(a.lo, a.hi, n)
	}
	var out []float64
	for e := math.Ceil(math.Log10(a.lo) - 1e-9); e <= math.Log10(a.hi)+1e-9; e++ {
		out = append(out, math.Pow(10, e))
	}
	for len(out) > n+1 {
		kept := out[:0:0]
		for i := 0; i < len(out); i += 2 {
			kept = append(kept, out[i])
		}
		out = kept
	}
	return out
}

func (a axis) suffix() string {
	if a.log {
		return " (log)"
	}
	return ""
}
