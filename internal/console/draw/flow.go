package draw

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"sort"
)

// FlowLink is an amount that went from a place in one column to a place in the next.
type FlowLink struct {
	Column   int // 0 or higher: From stands there, To in the column after it
	From, To string
	Amount   float64
	Label    string // the amount in words
	Class    string // issue, hold, pay, fee
}

// Flow draws amounts as bands between columns of places (a Sankey diagram): widths are in proportion to the amounts, heads name the columns, format prints
// a place's sum.
func Flow(id, title, desc string, heads []string, links []FlowLink, format func(float64) string) template.HTML {
	const w, top, barW, gap = 1080.0, 42.0, 10.0, 20.0
	type place struct {
		in, out float64
		y, size float64
		ty, fy  float64 // next free position for incoming and outgoing bands
	}
	columns := len(heads)
	at := make([]map[string]*place, columns)
	for i := range at {
		at[i] = map[string]*place{}
	}
	get := func(col int, name string) *place {
		p := at[col][name]
		if p == nil {
			p = &place{}
			at[col][name] = p
		}
		return p
	}
	for _, l := range links {
		if l.Column < 0 || l.Column+1 >= columns || l.Amount <= 0 {
			continue
		}
		get(l.Column, l.From).out += l.Amount
		get(l.Column+1, l.To).in += l.Amount
	}
	most, tall := 0.0, 0
	for _, col := range at {
		sum := 0.0
		for _, p := range col {
			sum += math.Max(p.in, p.out)
		}
		most, tall = math.Max(most, sum), max(tall, len(col))
	}
	room := math.Max(150, float64(tall)*16)
	names := make([][]string, columns)
	h := 0.0
	for i, col := range at {
		for n := range col {
			names[i] = append(names[i], n)
		}
		sort.Slice(names[i], func(a, b int) bool {
			pa, pb := col[names[i][a]], col[names[i][b]]
			sa, sb := math.Max(pa.in, pa.out), math.Max(pb.in, pb.out)
			if sa != sb {
				return sa > sb
			}
			return names[i][a] < names[i][b]
		})
		y := top
		for _, n := range names[i] {
			p := col[n]
			p.size = math.Max(math.Max(p.in, p.out)/most*room, 2)
			p.y, p.ty, p.fy = y, y, y
			y += p.size + gap
		}
		h = math.Max(h, y)
	}
	c := open(id, "flow", w, h, title, desc)
	x := func(col int) float64 {
		return 150 + float64(col)*(w-360-barW)/math.Max(float64(columns-1), 1)
	}
	for i := range at {
		anchor, tx := "middle", x(i)+barW/2
		if i == 0 {
			anchor, tx = "end", x(i)+barW
		} else if i == columns-1 {
			anchor, tx = "start", x(i)
		}
		c.text("head", anchor, tx, 14, heads[i])
	}
	ordered := append([]FlowLink(nil), links...)
	sort.SliceStable(ordered, func(a, b int) bool {
		la, lb := ordered[a], ordered[b]
		if la.Column != lb.Column {
			return la.Column < lb.Column
		}
		if la.Column < 0 || la.Column+1 >= columns || la.Amount <= 0 || lb.Amount <= 0 {
			return false
		}
		return get(la.Column+1, la.To).y < get(lb.Column+1, lb.To).y
	})
	for _, l := range ordered {
		if l.Column < 0 || l.Column+1 >= columns || l.Amount <= 0 {
			continue
		}
		f, t := get(l.Column, l.From), get(l.Column+1, l.To)
		size := math.Max(l.Amount/most*room, 1)
		x1, x2 := x(l.Column)+barW, x(l.Column+1)
		mid := (x1 + x2) / 2
		fmt.Fprintf(c, `<path class="band %s" d="M%s %sC%s %s %s %s %s %sv%sC%s %s %s %s %s %sZ"><title>%s</title></path>`, html.EscapeString(l.Class),
			num(x1), num(f.fy), num(mid), num(f.fy), num(mid), num(t.ty), num(x2), num(t.ty), num(size),
			num(mid), num(t.ty+size), num(mid), num(f.fy+size), num(x1), num(f.fy+size),
			html.EscapeString(l.From+" → "+l.To+": "+l.Label))
		f.fy, t.ty = f.fy+size, t.ty+size
	}
	for i, col := range at {
		for _, n := range names[i] {
			p := col[n]
			c.rect("place", x(i), p.y, barW, p.size, "")
			label := clip(n, 22) + " " + format(math.Max(p.in, p.out))
			switch {
			case i == 0:
				c.text("name", "end", x(i)-6, p.y+p.size/2+4, label)
			case i == columns-1:
				c.text("name", "start", x(i)+barW+6, p.y+p.size/2+4, label)
			default:
				c.text("name over", "middle", x(i)+barW/2, p.y-3, label)
			}
		}
	}
	return c.done()
}
