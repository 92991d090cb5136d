package main

import (
	"bytes"
	"fmt"
	"math"
)

// plot draws the distribution of returns over the horizon as SVG, with the value at risk and the option prices.
func plot(r report, p partial) []byte {
	const left, top, width, height = 60.0, 74.0, 620.0, 300.0
	low := math.Floor(10*quantile(p, 0.0005)) / 10
	high := math.Ceil(10*quantile(p, 0.9995))/10 + 0.1
	bars := 80
	step := (high - low) / float64(bars)
	counts := make([]int64, bars)
	var most int64 = 1
	for _, bin := range p.Returns {
		i := int(math.Floor((float64(float64(bin[0])*returnUnit) - low + returnUnit/2) / step))
		if i < 0 || i >= bars {
			continue
		}
		counts[i] += bin[1]
		most = max(most, counts[i])
	}
	x := func(v float64) float64 { return left + width*(v-low)/(high-low) }
	y := func(n int64) float64 { return top + height*(1-float64(n)/float64(most)) }

	var w bytes.Buffer
	w.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 450" font-family="system-ui, sans-serif" font-size="13" fill="#334155">
<rect width="720" height="450" fill="#ffffff"/>
`)
	fmt.Fprintf(&w, "<text x=\"60\" y=\"30\" font-size=\"17\" font-weight=\"600\" fill=\"#0f172a\">Return of the index over %d months, %d paths</text>\n", r.HorizonMonths, r.Paths)
	fmt.Fprintf(&w, "<text x=\"60\" y=\"51\">European call %.2f (Black–Scholes %.2f), Asian call %.2f, index at %.2f</text>\n",
		float64(r.European.Price), float64(*r.European.BlackScholes), float64(r.Asian.Price), float64(r.Spot))
	tick := 0.1
	for (high-low)/tick > 12 {
		tick *= 2
	}
	for i := math.Ceil(low/tick - 1e-9); float64(i*tick) <= high+1e-9; i++ {
		at := x(float64(i * tick))
		fmt.Fprintf(&w, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"#e2e8f0\"/><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f %%</text>\n",
			at, top, top+height, at, top+height+20, 100*float64(i*tick)+0.0)
	}
	for i, n := range counts {
		from, to := x(low+float64(step*float64(i))), x(low+float64(step*float64(i+1)))
		colour := "#60a5fa"
		switch middle := low + float64(step*(float64(i)+0.5)); {
		case middle < -float64(r.VaR99):
			colour = "#dc2626"
		case middle < -float64(r.VaR95):
			colour = "#d97706"
		}
		fmt.Fprintf(&w, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\"/>\n", from, y(n), to-from-0.8, top+height-y(n), colour)
	}
	for i, mark := range []struct {
		name, colour string
		at           float64
	}{{"99 % value at risk", "#dc2626", float64(r.VaR99)}, {"95 % value at risk", "#d97706", float64(r.VaR95)}} {
		label := top + 30 + float64(24*i)
		fmt.Fprintf(&w, "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-width=\"1.5\" stroke-dasharray=\"5 4\"/>\n", x(-mark.at), top, top+height, mark.colour)
		fmt.Fprintf(&w, "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\">%s: loss of %.2f %%</text>\n",
			left+width-250, label-10, mark.colour, left+width-232, label, mark.name, 100*mark.at)
	}
	fmt.Fprintf(&w, "<text x=\"%.1f\" y=\"%.1f\">mean loss beyond 99 %%: %.2f %%</text>\n", left+width-250, top+78, 100*float64(r.Shortfall99))
	fmt.Fprintf(&w, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#64748b\"/>\n", left, top+height, left+width)
	fmt.Fprintf(&w, "<text x=\"%.1f\" y=\"425\" text-anchor=\"middle\">return after %d months; drift %.2f %% and volatility %.2f %% a year, estimated since %s</text>\n</svg>\n",
		left+width/2, r.HorizonMonths, 100*float64(r.DriftAnnual), 100*float64(r.VolatilityAnnual), r.Since)
	return w.Bytes()
}
