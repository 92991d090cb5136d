package draw

import (
	"fmt"
	"html/template"
	"strings"
)

// Matrix is a square picture of black and white cells, such as a QR code.
type Matrix interface {
	Black(x, y int) bool
}

// QR draws a code of size×size cells with the quiet zone of four cells that scanners need. It is dark on light in both themes, as scanners want it.
func QR(label string, code Matrix, size int) template.HTML {
	const quiet = 4
	total := float64(size + 2*quiet)
	c := open("", "qr", total, total, label, "")
	c.rect("paper", 0, 0, total, total, "")
	var d strings.Builder
	for y := range size {
		for x := 0; x < size; x++ {
			if !code.Black(x, y) {
				continue
			}
			n := 1
			for x+n < size && code.Black(x+n, y) {
				n++
			}
			fmt.Fprintf(&d, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, n, n)
			x += n
		}
	}
	c.path("ink", d.String())
	return c.done()
}
