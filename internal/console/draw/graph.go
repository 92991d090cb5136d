package draw

import (
	"fmt"
	"html"
	"html/template"
	"slices"
	"strings"
)

// Node is one stage of a graph.
type Node struct {
	Name   string
	Kind   string // second line
	Detail string // third line: counts
	Right  string // third line, right: time
	State  string // class and icon: waiting, running, done, failed
	Segment
	After []int // positions of the nodes it comes after; only earlier ones count
}

const (
	nodeW, nodeH = 240.0, 74.0
	gapX, gapY   = 48.0, 18.0
)

// Graph draws stages in layers from left to right, in the order their dependencies allow. Layers of more than eight stages are drawn with one line a stage.
func Graph(id, title, desc string, nodes []Node) template.HTML {
	all, edges := withBends(nodes)
	layer := layers(all)
	columns := order(all, layer)
	compact := false
	for _, col := range columns {
		compact = compact || len(col) > 8
	}
	height := func(n int) float64 {
		switch {
		case n >= len(nodes):
			return 12
		case compact:
			return 32
		}
		return nodeH
	}
	gap := gapY
	if compact {
		gap = 8
	}
	w, h := float64(len(columns))*(nodeW+gapX)-gapX+4, 0.0
	tall := make([]float64, len(columns))
	for i, col := range columns {
		for _, n := range col {
			tall[i] += height(n) + gap
		}
		h = max(h, tall[i]-gap+4)
	}
	x, y := make([]float64, len(all)), make([]float64, len(all))
	for i, col := range columns {
		at := (h - tall[i] + gap) / 2
		for _, n := range col {
			x[n], y[n] = 2+float64(i)*(nodeW+gapX), at
			at += height(n) + gap
		}
	}
	c := open(id, "graph", max(w, 1), max(h, 1), title, desc)
	for _, e := range edges {
		var d strings.Builder
		from := e[0]
		for k, n := range e {
			py := y[n] + height(n)/2
			switch {
			case k == 0:
				fmt.Fprintf(&d, "M%s %s", num(x[n]+nodeW), num(py))
				continue
			default:
				x1, y1 := x[from]+nodeW, y[from]+height(from)/2
				bend, end := gapX/2, x[n]
				if k == len(e)-1 {
					end -= 5
				}
				fmt.Fprintf(&d, "C%s %s %s %s %s %s", num(x1+bend), num(y1), num(x[n]-bend), num(py), num(end), num(py))
				if n >= len(nodes) {
					fmt.Fprintf(&d, "H%s", num(x[n]+nodeW))
				}
			}
			from = n
		}
		last := e[len(e)-1]
		c.path("edge", d.String())
		c.path("edge head", fmt.Sprintf("M%s %sl-6 -4v8z", num(x[last]), num(y[last]+height(last)/2)))
	}
	for i, n := range nodes {
		drawNode(c, n, x[i], y[i], compact)
	}
	return c.done()
}

// withBends adds a node without a box wherever an edge passes a layer, so that it gets a way of its own, and returns each edge as the nodes it passes.
func withBends(nodes []Node) ([]Node, [][]int) {
	layer := layers(nodes)
	all := make([]Node, len(nodes))
	for i, n := range nodes {
		all[i] = Node{Name: n.Name}
	}
	var edges [][]int
	for i, n := range nodes {
		for _, a := range n.After {
			if a < 0 || a >= i {
				continue
			}
			edge, from := []int{a}, a
			for l := layer[a] + 1; l < layer[i]; l++ {
				all = append(all, Node{After: []int{from}})
				from = len(all) - 1
				edge = append(edge, from)
			}
			all[i].After = append(all[i].After, from)
			edges = append(edges, append(edge, i))
		}
	}
	return all, edges
}

func drawNode(c *canvas, n Node, x, y float64, compact bool) {
	fmt.Fprintf(c, `<g class="node %s"><title>%s</title>`, html.EscapeString(n.State), html.EscapeString(n.Name+": "+n.State+", "+n.Detail))
	if compact {
		c.rect("box", x+0.5, y+0.5, nodeW-1, 31, ` rx="3"`)
		Icon(c, n.State, x+14, y+14)
		c.text("name", "start", x+26, y+18, clip(n.Name, 18))
		c.text("detail", "end", x+nodeW-8, y+18, n.Right)
		bar(c, x+1, y+26, nodeW-2, 5, n.Segment)
		c.WriteString("</g>")
		return
	}
	c.rect("box", x+0.5, y+0.5, nodeW-1, nodeH-1, ` rx="3"`)
	Icon(c, n.State, x+17, y+20)
	c.text("name", "start", x+30, y+24, clip(n.Name, 24))
	c.text("kind", "start", x+12, y+42, clip(n.Kind, 32))
	c.text("detail", "start", x+12, y+58, clip(n.Detail, 28))
	c.text("detail", "end", x+nodeW-12, y+58, n.Right)
	bar(c, x+1, y+nodeH-8, nodeW-2, 7, n.Segment)
	c.WriteString("</g>")
}

// Icon draws the sign of a state around (x, y), so that states differ by shape and not by colour alone.
func Icon(c *canvas, state string, x, y float64) {
	d := icons[state]
	if d == "" {
		d = icons["waiting"]
	}
	fmt.Fprintf(c, `<path class="icon %s" transform="translate(%s %s)" d="%s"/>`, html.EscapeString(state), num(x), num(y), d)
}

// icons are drawn on a field of -6..6.
var icons = map[string]string{
	"waiting":   "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0M0 -3V0.5L2.2 2",
	"preparing": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0M0 -3V0.5L2.2 2",
	"running":   "M-4 -5L5 0L-4 5Z",
	"leased":    "M-4 -5L5 0L-4 5Z",
	"merging":   "M-5 -5L0 0V5M5 -5L0 0",
	"done":      "M-5 0.5L-1.5 4L5 -4",
	"accepted":  "M-5 0.5L-1.5 4L5 -4",
	"reported":  "M-5 -3H5M-5 0H5M-5 3H2",
	"refused":   "M-4 -4L4 4M4 -4L-4 4",
	"failed":    "M0 -5.5L5.5 4.5H-5.5ZM0 -2V1.2M0 2.6V3.2",
	"lost":      "M-3 -2.5A3 3 0 1 1 0.6 0.4Q0 1 0 2M0 4V4.8",
	"returned":  "M5 4V0A2.5 2.5 0 0 0 2.5 -2.5H-5M-2 -5.5L-5 -2.5L-2 0.5",
	"cancelled": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0M-3.5 3.5L3.5 -3.5",
	"online":    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
	"offline":   "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0M-3 0H3",
	"trusted":   "M-5 -4L0 -6L5 -4Q5 3 0 6Q-5 3 -5 -4M-2.5 0L-0.5 2L2.5 -2",
	"new":       "M0 -5V5M-5 0H5",
	"probation": "M0 -5.5L5.5 4.5H-5.5ZM0 -2V1.2M0 2.6V3.2",
}

// IconSVG is one sign on its own, hidden from readers who get the word beside it.
func IconSVG(state string) template.HTML {
	d := icons[state]
	if d == "" {
		d = icons["waiting"]
	}
	return template.HTML(`<svg class="icon ` + html.EscapeString(state) + `" viewBox="-7 -7 14 14" width="14" height="14" aria-hidden="true" focusable="false"><path d="` + d + `"/></svg>`)
}

// layers gives every node the length of the longest path to it.
func layers(nodes []Node) []int {
	layer := make([]int, len(nodes))
	for range nodes { // bends stand behind the nodes they lead to: repeat until nothing moves
		moved := false
		for i, n := range nodes {
			for _, a := range n.After {
				if a >= 0 && a < len(nodes) && a != i && layer[i] <= layer[a] && layer[a] < len(nodes) {
					layer[i], moved = layer[a]+1, true
				}
			}
		}
		if !moved {
			break
		}
	}
	return layer
}

// order arranges each layer by the mean position of its neighbours, swept a few times both ways (barycentre heuristic, Sugiyama 1981).
func order(nodes []Node, layer []int) [][]int {
	var columns [][]int
	for i, l := range layer {
		for len(columns) <= l {
			columns = append(columns, nil)
		}
		columns[l] = append(columns[l], i)
	}
	next := make([][]int, len(nodes))
	for i, n := range nodes {
		for _, a := range n.After {
			if a >= 0 && a < len(nodes) {
				next[a] = append(next[a], i)
			}
		}
	}
	pos := make([]float64, len(nodes))
	place := func(col []int) {
		for j, n := range col {
			pos[n] = (float64(j) + 0.5) / float64(len(col))
		}
	}
	for _, col := range columns {
		place(col)
	}
	for sweep := range 6 {
		for k := range columns {
			col := columns[k]
			near := func(n int) []int { return nodes[n].After }
			if sweep%2 == 1 {
				col = columns[len(columns)-1-k]
				near = func(n int) []int { return next[n] }
			}
			mean := make(map[int]float64, len(col))
			for _, n := range col {
				sum, count := 0.0, 0
				for _, m := range near(n) {
					if m >= 0 && m < len(nodes) {
						sum, count = sum+pos[m], count+1
					}
				}
				mean[n] = pos[n]
				if count > 0 {
					mean[n] = sum / float64(count)
				}
			}
			slices.SortStableFunc(col, func(a, b int) int {
				switch {
				case mean[a] < mean[b]:
					return -1
				case mean[a] > mean[b]:
					return 1
				}
				return a - b
			})
			place(col)
		}
	}
	return columns
}
