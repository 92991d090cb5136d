package draw

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"sort"
	"strings"
)

// Bar is one attempt on a timeline. Times are seconds since the picture's start.
type Bar struct {
	Lane     string // worker
	From, To float64
	State    string // attempt state: class and mark
	Task     string // replicas share it; empty when not wanted
	Title    string // shown on hover
	Critical bool   // on the longest chain of the job
}

// Timeline is a picture of who did what when: a lane a worker, a bar an attempt.
type Timeline struct {
	Title, Desc string
	Seconds     float64 // length of the axis
	Bars        []Bar
	Held        []Span // when lanes had work at all: a thin line
}

// Span is a time of one lane, in seconds since the picture's start.
type Span struct {
	Lane     string
	From, To float64
}

// Bounds of a timeline's size.
const (
	maxBars  = 2000 // more are aggregated
	maxLanes = 40   // further lanes are joined in one
	buckets  = 240  // time steps of an aggregated picture
)

var stateOrder = []string{"accepted", "reported", "leased", "returned", "cancelled", "lost", "failed", "refused"}

// Draw makes the picture. With more than 2,000 bars each lane shows, step by step, how much of its time went to which outcome.
func (t Timeline) Draw(id string) template.HTML {
	lanes, index := laneOrder(t.Bars, t.Held)
	rows, tall := packRows(t, index, len(lanes))
	const left, right, top = 132.0, 8.0, 22.0
	const w = 1080.0
	span := math.Max(t.Seconds, 1e-3)
	scale := (w - left - right) / span
	aggregated := len(t.Bars) > maxBars
	rowH := 14.0
	laneY := make([]float64, len(lanes)+1)
	laneY[0] = top
	for i := range lanes {
		n := tall[i]
		if aggregated {
			n = 1
		}
		laneY[i+1] = laneY[i] + float64(n)*rowH + 8
		if aggregated {
			laneY[i+1] += 6
		}
	}
	h := laneY[len(lanes)] + 6
	class := "timeline"
	if aggregated {
		class += " aggregated"
	}
	c := open(id, class, w, h, t.Title, t.Desc)
	for _, v := range timeTicks(span, 8) {
		x := left + v*scale
		c.line("grid", x, top-4, x, h-4)
		anchor := "middle"
		if x > w-30 {
			anchor = "end"
		}
		c.text("tick", anchor, x, 12, seconds(v))
	}
	for i, lane := range lanes {
		if i%2 == 1 {
			c.rect("band", 0, laneY[i], w, laneY[i+1]-laneY[i], "")
		}
		c.text("lane", "end", left-8, (laneY[i]+laneY[i+1])/2+4, clip(lane, 17))
	}
	for _, s := range t.Held {
		i, ok := index[s.Lane]
		if !ok || len(t.Held) > maxBars {
			continue
		}
		fmt.Fprintf(c, `<g class="held"><title>%s held leases for %s</title>`, html.EscapeString(s.Lane), seconds(s.To-s.From))
		c.rect("", left+s.From*scale, laneY[i+1]-3.5, math.Max((s.To-s.From)*scale, 1), 2, "")
		c.WriteString("</g>")
	}
	if aggregated {
		t.aggregate(c, index, laneY, left, scale, span)
		return c.done()
	}
	for i, b := range t.Bars {
		y := laneY[index[b.Lane]] + 4 + float64(rows[i])*rowH
		x, bw := left+b.From*scale, math.Max((b.To-b.From)*scale, 1.5)
		extra := ""
		if b.Task != "" {
			extra = ` data-task="` + html.EscapeString(b.Task) + `"`
		}
		class := "bar " + html.EscapeString(b.State)
		if b.Critical {
			class += " critical"
		}
		fmt.Fprintf(c, `<g class="%s"%s><title>%s</title>`, class, extra, html.EscapeString(b.Title))
		fmt.Fprintf(c, `<rect x="%s" y="%s" width="%s" height="%s"/>`, num(x), num(y), num(bw), num(rowH-3))
		if d := marks[b.State]; d != "" {
			fmt.Fprintf(c, `<path class="mark" transform="translate(%s %s)" d="%s"/>`, num(x+bw-5), num(y+(rowH-3)/2), d)
		}
		if b.Critical {
			fmt.Fprintf(c, `<path class="chain" d="M%s %sh%s"/>`, num(x), num(y+rowH-2), num(bw))
		}
		c.WriteString("</g>")
	}
	return c.done()
}

// marks tell bad outcomes apart without colour.
var marks = map[string]string{
	"refused":  "M-3 -3L3 3M3 -3L-3 3",
	"failed":   "M0 -4V1M0 2.6V4",
	"lost":     "M-2 -2A2 2 0 1 1 0.4 0.4L0 1.6M0 3V4",
	"returned": "M3 0H-3L0 -3M-3 0L0 3",
}

// laneOrder returns the lanes, busiest first, and the lane number of each name; beyond maxLanes all share the last one.
func laneOrder(bars []Bar, held []Span) ([]string, map[string]int) {
	count := map[string]int{}
	for _, b := range bars {
		count[b.Lane]++
	}
	for _, s := range held {
		if _, ok := count[s.Lane]; !ok {
			count[s.Lane] = 0 // a lane of its own, though nothing ran there yet
		}
	}
	names := make([]string, 0, len(count))
	for n := range count {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool {
		if count[names[i]] != count[names[j]] && len(names) > maxLanes {
			return count[names[i]] > count[names[j]]
		}
		return names[i] < names[j]
	})
	index := map[string]int{}
	for i, n := range names {
		index[n] = min(i, maxLanes-1)
	}
	if len(names) > maxLanes {
		others := len(names) - maxLanes + 1
		names = append(names[:maxLanes-1:maxLanes-1], fmt.Sprintf("%d others", others))
	}
	return names, index
}

// packRows puts overlapping bars of a lane (several slots) into rows, at most eight, and says how many rows each lane needs.
func packRows(t Timeline, index map[string]int, lanes int) (rows []int, tall []int) {
	rows, tall = make([]int, len(t.Bars)), make([]int, lanes)
	for i := range tall {
		tall[i] = 1
	}
	if len(t.Bars) > maxBars {
		return rows, tall
	}
	byStart := make([]int, len(t.Bars))
	for i := range byStart {
		byStart[i] = i
	}
	sort.SliceStable(byStart, func(a, b int) bool { return t.Bars[byStart[a]].From < t.Bars[byStart[b]].From })
	free := make([][]float64, lanes) // when each row of a lane ends
	for _, i := range byStart {
		b, l := t.Bars[i], index[t.Bars[i].Lane]
		row := -1
		for r, end := range free[l] {
			if end <= b.From+1e-9 {
				row = r
				break
			}
		}
		if row < 0 && len(free[l]) < 8 {
			free[l] = append(free[l], 0)
			row = len(free[l]) - 1
		}
		if row < 0 {
			row = i % 8
		}
		free[l][row] = math.Max(free[l][row], b.To)
		rows[i], tall[l] = row, max(tall[l], row+1)
	}
	return rows, tall
}

// aggregate draws one path an outcome: in each lane and time step a column whose height is that outcome's part of the lane's busiest step.
func (t Timeline) aggregate(c *canvas, index map[string]int, laneY []float64, left, scale, span float64) {
	lanes := len(laneY) - 1
	step := span / buckets
	busy := make(map[string][]float64, len(stateOrder)) // lane*buckets+bucket → seconds
	top := make([]float64, lanes)
	for _, s := range stateOrder {
		busy[s] = make([]float64, lanes*buckets)
	}
	for _, b := range t.Bars {
		cells, ok := busy[b.State]
		if !ok {
			continue
		}
		lane := index[b.Lane]
		first, last := int(b.From/step), int(b.To/step)
		for k := max(first, 0); k <= min(last, buckets-1); k++ {
			lo, hi := math.Max(b.From, float64(k)*step), math.Min(b.To, float64(k+1)*step)
			cells[lane*buckets+k] += math.Max(hi-lo, 0)
		}
	}
	sum := make([]float64, lanes*buckets)
	for _, s := range stateOrder {
		for i, v := range busy[s] {
			sum[i] += v
			top[i/buckets] = math.Max(top[i/buckets], sum[i])
		}
	}
	base := make([]float64, lanes*buckets) // height already drawn
	for _, s := range stateOrder {
		var d strings.Builder
		for i, v := range busy[s] {
			lane, k := i/buckets, i%buckets
			if v == 0 || top[lane] == 0 {
				continue
			}
			room := laneY[lane+1] - laneY[lane] - 6
			height := math.Max(v/top[lane]*room, 0.7)
			y := laneY[lane+1] - 3 - base[i]
			fmt.Fprintf(&d, "M%s %sv-%sh%sv%sz", num(left+float64(k)*step*scale), num(y), num(height), num(step*scale), num(height))
			base[i] += height
		}
		c.path("sum "+s, d.String())
	}
}
