package main

import (
	"fmt"
	"io"
	"math"
)

// plot draws a spectrum as SVG: one point for each multiplicity, both axes logarithmic.
func plot(w io.Writer, k int, multiplicities []uint64, distinct map[uint64]uint64) {
	const left, top, width, height = 80.0, 50.0, 600.0, 330.0
	mostCopies, mostKmers := uint64(1), uint64(1)
	for _, m := range multiplicities {
		mostCopies, mostKmers = max(mostCopies, m), max(mostKmers, distinct[m])
	}
	decadesX, decadesY := decades(mostCopies), decades(mostKmers)
	x := func(v float64) float64 { return left + width*math.Log10(v)/float64(decadesX) }
	// Half a unit stands below a single k-mer, so that its point stays above the axis.
	low := math.Log10(0.5)
	y := func(v float64) float64 { return top + height*(1-(math.Log10(v)-low)/(float64(decadesY)-low)) }

	fmt.Fprint(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 450" font-family="system-ui, sans-serif" font-size="13" fill="#334155">
<rect width="720" height="450" fill="#ffffff"/>
`)
	fmt.Fprintf(w, "<text x=\"80\" y=\"30\" font-size=\"17\" font-weight=\"600\" fill=\"#0f172a\">Spectrum of %d-mers</text>\n", k)
	for d := 0; d <= decadesX; d++ {
		at := x(math.Pow10(d))
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#e2e8f0\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n",
			at, top, top+height, at, top+height+20, power(d))
	}
	for d := 0; d <= decadesY; d++ {
		at := y(math.Pow10(d))
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#e2e8f0\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n",
			left, at, left+width, left-10, at+4, power(d))
	}
	for _, m := range multiplicities {
		fmt.Fprintf(w, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#93c5fd\" stroke-width=\"1.5\"/><circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"#2563eb\"/>\n",
			x(float64(m)), top+height, y(float64(distinct[m])), x(float64(m)), y(float64(distinct[m])))
	}
	fmt.Fprintf(w, "<path d=\"M%.1f %.1fV%.1fH%.1f\" fill=\"none\" stroke=\"#64748b\"/>\n", left, top, top+height, left+width)
	fmt.Fprintf(w, "<text x=\"%.1f\" y=\"435\" text-anchor=\"middle\">multiplicity: occurrences of a k-mer, both strands</text>\n", left+width/2)
	fmt.Fprintf(w, "<text transform=\"translate(20 %.1f) rotate(-90)\" text-anchor=\"middle\">distinct k-mers</text>\n</svg>\n", top+height/2)
}

// decades is the smallest power of ten, at least the first, that is not below n.
func decades(n uint64) int {
	d := 1
	for limit := uint64(10); limit < n && d < 19; limit *= 10 {
		d++
	}
	return d
}

// power prints 10 to the d as an axis label.
func power(d int) string {
	if d < 4 {
		return fmt.Sprintf("%.0f", math.Pow10(d))
	}
	return fmt.Sprintf("10<tspan dy=\"-5\" font-size=\"10\">%d</tspan>", d)
}
