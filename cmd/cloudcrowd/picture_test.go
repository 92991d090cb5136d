package main

import (
	"image"
	"image/color"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// A picture is as wide as asked at most, keeps its proportions, and every line ends its colours.
func TestPictureText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 90).Draw(t, "w"), rapid.IntRange(1, 90).Draw(t, "h")
		width := rapid.IntRange(1, 60).Draw(t, "width")
		lines := strings.Split(strings.TrimSuffix(pictureText(ink{on: true}, image.NewRGBA(image.Rect(5, 5, 5+w, 5+h)), width), "\n"), "\n")
		if want := max(1, h*min(w, width)/w/2); len(lines) != want {
			t.Fatalf("%d lines of a picture of %d × %d in %d columns, want %d", len(lines), w, h, width, want)
		}
		for _, line := range lines {
			if textWidth(line) != min(w, width) || !strings.HasSuffix(line, "\x1b[0m") {
				t.Fatalf("%d characters: %q", textWidth(line), line)
			}
		}
	})
}

// The upper half of a cell shows the upper pixel, the lower half the lower one; without colour there is a sentence.
func TestPictureHalves(t *testing.T) {
	t.Parallel()
	picture := image.NewRGBA(image.Rect(0, 0, 1, 2))
	picture.Set(0, 0, color.RGBA{R: 255, A: 255})
	picture.Set(0, 1, color.RGBA{B: 255, A: 255})
	if got, want := pictureText(ink{on: true}, picture, 9), "\x1b[38;2;255;0;0m\x1b[48;2;0;0;255m▀\x1b[0m\n"; got != want {
		t.Errorf("drew %q, want %q", got, want)
	}
	if got := pictureText(ink{}, picture, 9); got != "  a picture of 1 × 2 pixels\n" {
		t.Errorf("said %q", got)
	}
}
