package draw

import (
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// wellFormed fails unless a picture is XML without a number that is none.
func wellFormed(t *testing.T, what, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%s is not well formed: %v\n%.400s", what, err, svg)
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") || strings.Contains(svg, "e+") {
		t.Fatalf("%s holds a number no browser draws\n%.400s", what, svg)
	}
}

// Whatever it is given, a picture is well formed, escapes names, and stays bounded.
func TestPicturesAreWellFormed(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	nasty := `<b>&"'` + "\x00"
	odd := func() float64 {
		return []float64{0, 1, -1, 1e-9, 1e12, math.NaN(), math.Inf(1), rng.Float64() * 100}[rng.IntN(8)]
	}
	for range 300 {
		n := rng.IntN(30)
		values, points, nodes := make([]float64, n), make([]Point, n), make([]Node, n)
		segs, links := make([]Segment, n), make([]FlowLink, n)
		tl := Timeline{Title: nasty, Seconds: odd()}
		for i := range n {
			values[i] = rng.Float64() * 1e6
			points[i] = Point{odd(), odd()}
			segs[i] = Segment{nasty, odd(), odd(), odd(), odd()}
			nodes[i] = Node{Name: nasty, Kind: nasty, State: "running", Segment: segs[i], After: []int{rng.IntN(n+4) - 2, i}}
			links[i] = FlowLink{rng.IntN(4) - 1, fmt.Sprint(rng.IntN(4)), nasty, rng.Float64()*10 - 1, nasty, "pay"}
			tl.Bars = append(tl.Bars, Bar{Lane: nasty, From: rng.Float64() * 10, To: rng.Float64() * 20, State: "refused", Task: nasty, Title: nasty, Critical: i%2 == 0})
		}
		for what, svg := range map[string]string{
			"sparkline": string(Sparkline("a", "b", values)), "strip": string(Strip("a", segs)), "meter": string(Meter("a", Segment{Done: odd(), Running: odd(), Failed: odd()})),
			"graph": string(Graph("g", "a", "b", nodes)), "plot": string(XY("p", "a", "b", "x", "y", points)), "slots": string(Slots("a", rng.IntN(200)-2, rng.IntN(200), n%2 == 0)),
			"timeline": string(tl.Draw("t")), "spending": string(Spending("s", "a", "b", []Point{{1, 2}, {3, 4}}, rng.Float64()*100, rng.Float64()*10)),
			"flow": string(Flow("f", "a", "b", []string{"x", "y", "z"}, links, short)),
		} {
			wellFormed(t, what, strings.ReplaceAll(svg, "\x00", ""))
			if strings.Contains(svg, "<b>") {
				t.Fatalf("%s passes a name on as markup", what)
			}
		}
	}
}

// A timeline of 50,000 attempts on 1,000 workers is aggregated to a picture that a phone can draw.
func TestHugeTimelineIsBounded(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(3, 4))
	tl := Timeline{Title: "huge", Seconds: 1000}
	for range 50_000 {
		from := rng.Float64() * 990
		tl.Bars = append(tl.Bars, Bar{Lane: fmt.Sprint(rng.IntN(1000)), From: from, To: from + rng.Float64()*10, State: stateOrder[rng.IntN(len(stateOrder))]})
	}
	svg := string(tl.Draw("t"))
	if len(svg) > 1_000_000 {
		t.Errorf("the picture has %d bytes, want at most 1 MB", len(svg))
	}
	if n := strings.Count(svg, "<path") + strings.Count(svg, "<rect"); n > 200 {
		t.Errorf("the picture has %d elements, want at most 200", n)
	}
}

// A stage stands right of all it comes after, and edges that pass a layer get a bend there.
func TestGraphLayers(t *testing.T) {
	t.Parallel()
	nodes := []Node{{Name: "a"}, {Name: "b", After: []int{0}}, {Name: "c", After: []int{1}}, {Name: "d", After: []int{0, 2}}}
	all, edges := withBends(nodes)
	layer := layers(all)
	for i, want := range []int{0, 1, 2, 3} {
		if layer[i] != want {
			t.Errorf("%s stands in layer %d, want %d", nodes[i].Name, layer[i], want)
		}
	}
	if len(all) != 6 || len(edges) != 4 {
		t.Errorf("%d places and %d edges, want 6 (two bends on the edge from a to d) and 4", len(all), len(edges))
	}
	for _, e := range edges {
		for k := 1; k < len(e); k++ {
			if layer[e[k]] != layer[e[k-1]]+1 {
				t.Errorf("edge %v jumps from layer %d to %d", e, layer[e[k-1]], layer[e[k]])
			}
		}
	}
}

// Axis marks are few, ascending and inside the range.
func TestTicks(t *testing.T) {
	t.Parallel()
	for _, r := range [][2]float64{{0, 1}, {0, 7}, {-3, 4}, {0, 1e-6}, {1e9, 3e9}, {5, 5}, {0, 123456}} {
		list := ticks(r[0], r[1], 5)
		if len(list) == 0 || len(list) > 12 {
			t.Errorf("%d marks for %v", len(list), r)
		}
		for i, v := range list {
			if v < r[0]-1e-9 || v > r[1]*(1+1e-9)+1e-9 || (i > 0 && v <= list[i-1]) {
				t.Errorf("marks %v for %v", list, r)
			}
		}
	}
	for v, want := range map[float64]string{0: "0", 0.00005: "0.00005", 0.25: "0.25", 12: "12", 1500: "1.5k", 4.6e6: "4.6M"} {
		if got := short(v); got != want {
			t.Errorf("short(%g) = %q, want %q", v, got, want)
		}
	}
}
