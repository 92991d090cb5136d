package main

import (
	"bytes"
	"fmt"
	"html"
	"time"
)

// plot draws the requests over time as SVG, errors below them, bursts shaded, and the most frequent kinds of probing.
func plot(r *report) []byte {
	const left, width = 70.0, 620.0
	const requestsTop, requestsHeight, errorsTop, errorsHeight = 66.0, 170.0, 262.0, 100.0
	var w bytes.Buffer
	w.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 450" font-family="system-ui, sans-serif" font-size="13" fill="#334155">
<rect width="720" height="450" fill="#ffffff"/>
`)
	fmt.Fprintf(&w, "<text x=\"70\" y=\"28\" font-size=\"17\" font-weight=\"600\" fill=\"#0f172a\">%d requests of %d hosts, %.1f MiB</text>\n",
		r.Requests, r.Hosts, float64(r.Bytes)/(1<<20))
	fmt.Fprintf(&w, "<text x=\"70\" y=\"48\">%d probing requests from %d hosts", r.Probing.Requests, r.Probing.Hosts)
	for i, kind := range r.Probing.Kinds[:min(3, len(r.Probing.Kinds))] {
		fmt.Fprintf(&w, "%s %s %d", []string{":", ",", ","}[i], html.EscapeString(kind.Kind), kind.Requests)
	}
	w.WriteString("</text>\n")
	if len(r.Bandwidth) > 0 {
		// A bar stands for as many hours as keep the number of bars below 120.
		first := r.Bandwidth[0].minute
		hours := (r.Bandwidth[len(r.Bandwidth)-1].minute-first)/60 + 1
		perBar := (hours + 119) / 120
		bars := (hours + perBar - 1) / perBar
		requests, client, server := make([]int64, bars), make([]int64, bars), make([]int64, bars)
		var mostRequests, mostErrors int64 = 1, 1
		for _, h := range r.Bandwidth {
			i := (h.minute - first) / 60 / perBar
			requests[i] += h.Requests
			client[i] += h.ClientErrors
			server[i] += h.ServerErrors
			mostRequests, mostErrors = max(mostRequests, requests[i]), max(mostErrors, client[i]+server[i])
		}
		x := func(minute int64) float64 { return left + width*float64(minute-first)/float64(60*perBar*bars) }
		axis(&w, left, requestsTop, width, requestsHeight, mostRequests, "requests")
		axis(&w, left, errorsTop, width, errorsHeight, mostErrors, "errors")
		for _, b := range r.Bursts {
			from := floorDiv(b.start-first, 60*perBar)
			to := floorDiv(b.end-1-first, 60*perBar) + 1
			fmt.Fprintf(&w, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"#fecaca\" fill-opacity=\"0.7\"/>\n",
				x(first+from*60*perBar), requestsTop, x(first+to*60*perBar)-x(first+from*60*perBar), errorsTop+errorsHeight-requestsTop)
		}
		for i := range bars {
			at, wide := x(first+i*60*perBar), width/float64(bars)-0.8
			bar := func(top, height float64, below, n, most int64, colour string) {
				if n > 0 {
					scale := height / float64(most)
					fmt.Fprintf(&w, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\"/>\n",
						at, top+height-float64(below+n)*scale, wide, float64(n)*scale, colour)
				}
			}
			bar(requestsTop, requestsHeight, 0, requests[i], mostRequests, "#60a5fa")
			bar(errorsTop, errorsHeight, 0, client[i], mostErrors, "#f59e0b")
			bar(errorsTop, errorsHeight, client[i], server[i], mostErrors, "#b91c1c")
		}
		step := max(1, bars/6)
		for i := int64(0); i < bars; i += step {
			minute := first + i*60*perBar
			fmt.Fprintf(&w, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-size=\"12\">%s</text>\n",
				x(minute), errorsTop+errorsHeight+20, time.Unix(minute*60, 0).UTC().Format("2 Jan 15:04"))
		}
	}
	y := errorsTop + errorsHeight + 58
	for i, item := range [][2]string{{"#60a5fa", "requests"}, {"#f59e0b", "errors of the client (4xx)"}, {"#b91c1c", "of the server (5xx)"}, {"#fecaca", "burst of errors"}} {
		at := left + []float64{0, 105, 300, 450}[i]
		fmt.Fprintf(&w, "<rect x=\"%.1f\" y=\"%.1f\" width=\"11\" height=\"11\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\">%s</text>\n", at, y-10, item[0], at+17, y, item[1])
	}
	w.WriteString("</svg>\n")
	return w.Bytes()
}

// axis draws the frame of one chart and its largest value.
func axis(w *bytes.Buffer, left, top, width, height float64, most int64, name string) {
	fmt.Fprintf(w, "<path d=\"M%.1f %.1fH%.1f\" stroke=\"#e2e8f0\"/><path d=\"M%.1f %.1fH%.1f\" stroke=\"#64748b\"/>\n",
		left, top, left+width, left, top+height, left+width)
	fmt.Fprintf(w, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%d</text><text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">0</text>\n",
		left-8, top+5, most, left-8, top+height+4)
	fmt.Fprintf(w, "<text transform=\"translate(%.1f %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", left-45, top+height/2, name)
}
