package main

import (
	"fmt"
	"image"
	"image/color"
	_ "image/png" // pictures of results
	"os"
	"strings"
)

// pictureText draws a picture with half blocks, two pixels a character, at most width characters wide. Without colour it only says its size.
func pictureText(k ink, picture image.Image, width int) string {
	size := picture.Bounds().Size()
	if !k.on || size.X == 0 || size.Y == 0 {
		return fmt.Sprintf("  a picture of %d × %d pixels\n", size.X, size.Y)
	}
	columns := min(width, size.X)
	rows := max(size.Y*columns/size.X, 2) / 2 * 2
	var b strings.Builder
	for y := 0; y < rows; y += 2 {
		for x := range columns {
			top, bottom := average(picture, x, y, columns, rows), average(picture, x, y+1, columns, rows)
			fmt.Fprintf(&b, "\x1b[38;2;%d;%d;%dm\x1b[48;2;%d;%d;%dm▀", top.R, top.G, top.B, bottom.R, bottom.G, bottom.B)
		}
		b.WriteString("\x1b[0m\n")
	}
	return b.String()
}

// average is the mean colour of the part of a picture that falls on cell x, y of a grid of the given size.
func average(picture image.Image, x, y, columns, rows int) color.RGBA {
	bounds := picture.Bounds()
	left, right := bounds.Min.X+x*bounds.Dx()/columns, bounds.Min.X+max((x+1)*bounds.Dx()/columns, x*bounds.Dx()/columns+1)
	top, bottom := bounds.Min.Y+y*bounds.Dy()/rows, bounds.Min.Y+max((y+1)*bounds.Dy()/rows, y*bounds.Dy()/rows+1)
	var r, g, b, n uint64
	for py := top; py < bottom; py++ {
		for px := left; px < right; px++ {
			pr, pg, pb, _ := picture.At(px, py).RGBA()
			r, g, b, n = r+uint64(pr>>8), g+uint64(pg>>8), b+uint64(pb>>8), n+1
		}
	}
	if n == 0 {
		return color.RGBA{}
	}
	return color.RGBA{R: uint8(r / n), G: uint8(g / n), B: uint8(b / n), A: 255}
}

// readPicture decodes a picture file.
func readPicture(path string) (image.Image, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	picture, _, err := image.Decode(f)
	return picture, err
}
