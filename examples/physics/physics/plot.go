package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// readTable reads the columns that the plot needs.
func readTable(data []byte) ([]point, error) {
	rows, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("%d rows: needs a header and at least one point", len(rows))
	}
	var columns [5]int
	for i, name := range []string{"temperature", "density", "pressure", "diffusion", "phase"} {
		if columns[i] = slices.Index(rows[0], name); columns[i] < 0 {
			return nil, fmt.Errorf("no column %s in %q", name, rows[0])
		}
	}
	var points []point
	for i, row := range rows[1:] {
		p := point{phase: row[columns[4]]}
		for j, v := range []*float64{&p.temperature, &p.density, &p.pressure, &p.diffusion} {
			*v, err = strconv.ParseFloat(row[columns[j]], 64)
			if err != nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
				return nil, fmt.Errorf("row %d: %s is %q: must be a number", i+1, rows[0][columns[j]], row[columns[j]])
			}
		}
		points = append(points, p)
	}
	return points, nil
}

// phases in the order of the legend, with their colours.
var phases = [][2]string{{"gas", "#fde68a"}, {"coexistence", "#bbf7d0"}, {"liquid", "#7dd3fc"}, {"fluid", "#fecdd3"}, {"solid", "#a5b4fc"}}

// plot draws the phases over density and temperature, and the pressure along lines of equal temperature, as SVG.
func plot(points []point) []byte {
	var w bytes.Buffer
	w.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 500" font-family="system-ui, sans-serif" font-size="13" fill="#334155">
<rect width="1000" height="500" fill="#ffffff"/>
<g font-size="16" font-weight="600" fill="#0f172a"><text x="70" y="30">Lennard-Jones phases</text><text x="590" y="30">Pressure along isotherms</text></g>
`)
	temperatures := distinct(points, func(p point) float64 { return p.temperature })
	densities := distinct(points, func(p point) float64 { return p.density })
	plotPhases(&w, points, temperatures, densities)
	plotPressure(&w, points, temperatures, densities)
	w.WriteString("</svg>\n")
	return w.Bytes()
}

// frame is a panel: its place in the picture and the values at its edges.
type frame struct{ left, top, width, height, x0, x1, y0, y1 float64 }

func (f frame) x(v float64) float64 { return f.left + f.width*(v-f.x0)/(f.x1-f.x0) }
func (f frame) y(v float64) float64 { return f.top + f.height*(1-(v-f.y0)/(f.y1-f.y0)) }

// axes draws border, ticks and names.
func (f frame) axes(w *bytes.Buffer, nameX, nameY string) {
	fmt.Fprintf(w, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#64748b\"/>\n", f.left, f.top, f.width, f.height)
	for _, v := range ticks(f.x0, f.x1) {
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fv5\" stroke=\"#64748b\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
			f.x(v), f.top+f.height, f.x(v), f.top+f.height+20, short(v))
	}
	for _, v := range ticks(f.y0, f.y1) {
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fh-5\" stroke=\"#64748b\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			f.left, f.y(v), f.left-9, f.y(v)+4, short(v))
	}
	fmt.Fprintf(w, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n", f.left+f.width/2, f.top+f.height+42, nameX)
	fmt.Fprintf(w, "<text transform=\"translate(%.1f %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", f.left-44, f.top+f.height/2, nameY)
}

func plotPhases(w *bytes.Buffer, points []point, temperatures, densities []float64) {
	edgesX, edgesY := edges(densities), edges(temperatures)
	f := frame{70, 50, 420, 350, edgesX[0], edgesX[len(edgesX)-1], edgesY[0], edgesY[len(edgesY)-1]}
	fastest := 0.0
	for _, p := range points {
		fastest = max(fastest, p.diffusion)
	}
	for _, p := range points {
		i, _ := slices.BinarySearch(densities, p.density)
		j, _ := slices.BinarySearch(temperatures, p.temperature)
		left, right, top, bottom := f.x(edgesX[i]), f.x(edgesX[i+1]), f.y(edgesY[j+1]), f.y(edgesY[j])
		colour := "#e2e8f0"
		for _, phase := range phases {
			if phase[0] == p.phase {
				colour = phase[1]
			}
		}
		fmt.Fprintf(w, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" stroke=\"#ffffff\"/>", left, top, right-left, bottom-top, colour)
		// The area of the dot grows with the root of the diffusion coefficient, which spans decades.
		if fastest > 0 {
			radius := 0.45 * min(right-left, bottom-top) * math.Sqrt(math.Sqrt(p.diffusion/fastest))
			fmt.Fprintf(w, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"#0f172a\" fill-opacity=\"0.22\"/>", f.x(p.density), f.y(p.temperature), radius)
		}
		w.WriteByte('\n')
	}
	f.axes(w, "density ρσ³", "temperature kT/ε")
	if x, y := f.x(criticalDensity), f.y(criticalTemperature); x > f.left && x < f.left+f.width && y > f.top && y < f.top+f.height {
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fl10 10m0 -10l-10 10\" stroke=\"#b91c1c\" stroke-width=\"2\"/>\n", x-5, y-5)
	}
	at := f.left
	for _, phase := range phases {
		fmt.Fprintf(w, "<rect x=\"%.1f\" y=\"460\" width=\"12\" height=\"12\" fill=\"%s\" stroke=\"#94a3b8\"/><text x=\"%.1f\" y=\"471\">%s</text>\n", at, phase[1], at+17, phase[0])
		at += 34 + 7.5*float64(len(phase[0]))
	}
	fmt.Fprintf(w, "<path d=\"M%.1f 461l10 10m0 -10l-10 10\" stroke=\"#b91c1c\" stroke-width=\"2\"/><text x=\"%.1f\" y=\"471\">critical point</text>\n", at, at+16)
	fmt.Fprintf(w, "<text x=\"%.1f\" y=\"491\" font-size=\"12\" fill=\"#64748b\">dot: diffusion, largest %.2f σ(ε/m)^½</text>\n", f.left, fastest)
}

func plotPressure(w *bytes.Buffer, points []point, temperatures, densities []float64) {
	low, high := 0.0, 0.5
	for _, p := range points {
		low, high = min(low, p.pressure), max(high, p.pressure)
	}
	// The scale is that of the fluid: a dense crystal's pressure would flatten everything else.
	high = min(high, 12)
	low = max(low, -4)
	f := frame{590, 50, 330, 350, 0, densities[len(densities)-1] * 1.05, low, high * 1.05}
	fmt.Fprintf(w, "<clipPath id=\"panel\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"/></clipPath>\n", f.left, f.top, f.width, f.height)
	fmt.Fprintf(w, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#cbd5e1\"/>\n<g clip-path=\"url(#panel)\">\n", f.left, f.y(0), f.left+f.width)
	for j, temperature := range temperatures {
		var line []point
		for _, p := range points {
			if p.temperature == temperature {
				line = append(line, p)
			}
		}
		slices.SortFunc(line, func(a, b point) int { return int(math.Copysign(1, a.density-b.density)) })
		fmt.Fprintf(w, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", heat(j, len(temperatures)))
		for _, p := range line {
			fmt.Fprintf(w, "%.1f,%.1f ", f.x(p.density), f.y(p.pressure))
		}
		w.WriteString("\"/>\n")
		for _, p := range line {
			fmt.Fprintf(w, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>", f.x(p.density), f.y(p.pressure), heat(j, len(temperatures)))
		}
		w.WriteByte('\n')
	}
	w.WriteString("</g>\n")
	f.axes(w, "density ρσ³", "pressure Pσ³/ε")
	step := max(1, (len(temperatures)+15)/16)
	for i, row := len(temperatures)-1, 0; i >= 0; i, row = i-step, row+1 {
		y := f.top + 22 + 19*float64(row)
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fh18\" stroke=\"%s\" stroke-width=\"3\"/><text x=\"%.1f\" y=\"%.1f\">kT/ε = %s</text>\n",
			f.left+16, y-4, heat(i, len(temperatures)), f.left+41, y, short(temperatures[i]))
	}
}

// distinct lists the values of all points, ascending, each once.
func distinct(points []point, of func(point) float64) []float64 {
	var values []float64
	for _, p := range points {
		values = append(values, of(p))
	}
	slices.Sort(values)
	return slices.Compact(values)
}

// edges puts borders halfway between neighbouring values, and as far outside the first and the last.
func edges(values []float64) []float64 {
	if len(values) == 1 {
		return []float64{values[0] - 0.5, values[0] + 0.5}
	}
	var list []float64
	for i := 1; i < len(values); i++ {
		list = append(list, (values[i-1]+values[i])/2)
	}
	first, last := values[0], values[len(values)-1]
	return slices.Concat([]float64{first - (list[0] - first)}, list, []float64{last + (last - list[len(list)-1])})
}

// ticks are round numbers between low and high, about six.
func ticks(low, high float64) []float64 {
	step := math.Pow10(int(math.Floor(math.Log10((high - low) / 3))))
	for _, factor := range []float64{5, 2} {
		if (high-low)/(step*factor) >= 4 {
			step *= factor
			break
		}
	}
	var list []float64
	for i := math.Ceil(low/step - 1e-9); i*step <= high; i++ {
		list = append(list, i*step)
	}
	return list
}

// short prints a number with up to four digits.
func short(v float64) string {
	text := strconv.FormatFloat(v, 'g', 4, 64)
	if v == 0 {
		return "0"
	}
	return text
}

// heat is a colour from cold blue to hot red.
func heat(i, n int) string {
	share := float64(i) / float64(max(1, n-1))
	stops := [][3]float64{{37, 99, 235}, {6, 182, 212}, {34, 197, 94}, {245, 158, 11}, {220, 38, 38}}
	at := share * float64(len(stops)-1)
	k := min(int(at), len(stops)-2)
	var c [3]int
	for d := range c {
		c[d] = int(stops[k][d] + (at-float64(k))*(stops[k+1][d]-stops[k][d]) + 0.5)
	}
	return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2])
}
