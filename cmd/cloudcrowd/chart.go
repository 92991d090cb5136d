package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// bin is one bar of a chart: a span of whole numbers and how many things fall into it.
type bin struct {
	low, high int64 // both included
	count     int64
}

func (b bin) label() string {
	switch {
	case b.high == math.MaxInt64:
		return fmt.Sprintf("%d+", b.low)
	case b.low == b.high:
		return strconv.FormatInt(b.low, 10)
	}
	return fmt.Sprintf("%d–%d", b.low, b.high)
}

// readSpectrum reads a table of two columns, number and count, apart by a tab. A first line that holds no numbers is a heading.
func readSpectrum(r io.Reader) (map[int64]int64, error) {
	spectrum := map[int64]int64{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		if lines.Text() == "" || strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		left, right, _ := strings.Cut(lines.Text(), "\t")
		number, err1 := strconv.ParseInt(left, 10, 64)
		count, err2 := strconv.ParseInt(right, 10, 64)
		if err1 != nil || err2 != nil {
			if n == 1 {
				continue
			}
			return nil, fmt.Errorf("line %d: %q is not two numbers", n, lines.Text())
		}
		spectrum[number] += count
	}
	return spectrum, lines.Err()
}

// bins gathers a spectrum into the numbers 1 to 10 and, beyond, spans that double: 11–20, 21–40, …
func bins(spectrum map[int64]int64) []bin {
	var list []bin
	for n := int64(1); n <= 10; n++ {
		list = append(list, bin{n, n, 0})
	}
	for low := int64(11); low <= 640; low = list[len(list)-1].high + 1 {
		list = append(list, bin{low, (low - 1) * 2, 0})
	}
	list = append(list, bin{list[len(list)-1].high + 1, math.MaxInt64, 0})
	last := 0
	for number, count := range spectrum {
		for i := range list {
			if number >= list[i].low && number <= list[i].high {
				list[i].count += count
				last = max(last, i)
			}
		}
	}
	return list[:last+1]
}

// barChart draws bins as horizontal bars on a logarithmic scale, because spectra fall by powers of ten. The lines fit in width characters.
func barChart(k ink, title string, list []bin, width int) string {
	labels, counts, most := textWidth("times"), 5, int64(0)
	for _, b := range list {
		labels = max(labels, textWidth(b.label()))
		counts = max(counts, len(grouped(b.count)))
		most = max(most, b.count)
	}
	room := max(width-labels-counts-6, 10)
	var s strings.Builder
	fmt.Fprintf(&s, "%s\n\n", k.bold(title))
	for _, b := range list {
		fraction := 0.0
		if b.count > 0 {
			fraction = math.Log10(float64(b.count)*2) / math.Log10(float64(most)*2) // ×2: one of a kind is still seen
		}
		fmt.Fprintf(&s, "  %s %s %s\n", pad(b.label(), labels, true), k.blue(bar(fraction, room)), pad(grouped(b.count), counts, true))
	}
	return s.String()
}
