package main

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The chart of a spectrum counts every number once, in ascending bins without gaps.
func TestBins(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		spectrum := rapid.MapOf(rapid.Int64Range(1, 1<<40), rapid.Int64Range(0, 1e6)).Draw(t, "spectrum")
		want, got, next := int64(0), int64(0), int64(1)
		for _, n := range spectrum {
			want += n
		}
		for _, b := range bins(spectrum) {
			if b.low != next || b.high < b.low {
				t.Fatalf("bin %d–%d, want one that begins at %d", b.low, b.high, next)
			}
			got, next = got+b.count, b.high+1
		}
		if got != want {
			t.Fatalf("%d in bins, want %d", got, want)
		}
	})
}

// Bars fall with the count and stay within the width; one of a kind is still seen.
func TestBarChart(t *testing.T) {
	t.Parallel()
	spectrum, err := readSpectrum(strings.NewReader("multiplicity\tkmers\n1\t4000000\n2\t10\n3\t1\n12\t3\n"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(barChart(ink{}, "title", bins(spectrum), 60), "\n"), "\n")
	if len(lines) != 2+11 {
		t.Fatalf("%d lines:\n%s", len(lines), strings.Join(lines, "\n"))
	}
	last := 1000
	for _, line := range lines[2:5] {
		full := strings.Count(line, "█")
		if textWidth(line) > 60 || full >= last {
			t.Errorf("%d characters, %d full after %d: %q", textWidth(line), full, last, line)
		}
		last = full
	}
	if last == 0 {
		t.Errorf("one of a kind is not seen: %q", lines[4])
	}
	if !strings.HasSuffix(lines[2], "4,000,000") || !strings.Contains(lines[12], "11–20") {
		t.Errorf("labels: %q, %q", lines[2], lines[12])
	}
}

// A table that is no spectrum is refused with the line.
func TestReadSpectrumRefuses(t *testing.T) {
	t.Parallel()
	if _, err := readSpectrum(strings.NewReader("1\t2\nx\ty\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
}
