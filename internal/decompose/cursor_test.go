package decompose

import (
	"testing"

	"pgregory.net/rapid"

	"cloudcrowd.dev/cloudcrowd"
)

// Carving a range to its end covers every number once, within min and max where both can hold, and leaves no sliver.
func TestRangeIsCarvedWhole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.Int64Range(-1000, 1000).Draw(t, "from")
		split := &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, From: from, To: from + rapid.Int64Range(1, 5000).Draw(t, "numbers")}
		split.Min = rapid.Int64Range(0, 50).Draw(t, "min")
		if rapid.Bool().Draw(t, "bounded") {
			split.Max = max(1, split.Min) + rapid.Int64Range(0, 100).Draw(t, "max")
		}
		total, known := Total(split, nil, 0, 0, false)
		if !known || total != split.To-split.From {
			t.Fatalf("total %d %v", total, known)
		}
		last := int64(0)
		for lo := int64(0); lo < total; {
			want := rapid.Int64Range(-3, 400).Draw(t, "want")
			hi := NextHi(split, nil, total, lo, want)
			n := hi - lo
			if n < 1 || hi > total || split.Max > 0 && n > split.Max || n < split.Min && hi < total {
				t.Fatalf("%d–%d of %d with want %d, min %d, max %d", lo, hi, total, want, split.Min, split.Max)
			}
			if hi == total && last > 0 && split.Max == 0 && n < last/2 && n < split.Min {
				t.Fatalf("a sliver of %d after %d", n, last)
			}
			lo, last = hi, n
		}
	})
}

// Tiles cover every pixel of a picture exactly once, row by row.
func TestTilesCoverThePicture(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		split := &cloudcrowd.Split{Kind: cloudcrowd.SplitTiles, Width: rapid.Int64Range(1, 60).Draw(t, "width"), Height: rapid.Int64Range(1, 60).Draw(t, "height"),
			TileW: rapid.Int64Range(1, 70).Draw(t, "tile width"), TileH: rapid.Int64Range(1, 70).Draw(t, "tile height")}
		total, _ := Total(split, nil, 0, 0, false)
		seen := map[[2]int64]bool{}
		for lo := range total {
			if hi := NextHi(split, nil, total, lo, 99); hi != lo+1 {
				t.Fatalf("tile %d ends at %d", lo, hi)
			}
			x, y, w, h := Geometry(split, lo)
			for i := range w {
				for j := range h {
					p := [2]int64{x + i, y + j}
					if seen[p] || p[0] >= split.Width || p[1] >= split.Height {
						t.Fatalf("tile %d: pixel %v", lo, p)
					}
					seen[p] = true
				}
			}
		}
		if int64(len(seen)) != split.Width*split.Height {
			t.Fatalf("%d pixels of %d", len(seen), split.Width*split.Height)
		}
	})
}

// What a stage counts, and when that is known.
func TestTotals(t *testing.T) {
	t.Parallel()
	grid := []cloudcrowd.GridAxis{{Name: "T", Values: []string{"0.5", "1"}}, {Name: "rho", Values: []string{"a", "b", "c"}}}
	for _, c := range []struct {
		split     *cloudcrowd.Split
		files     int
		upstream  int64
		final     bool
		n         int64
		known     bool
		divisible bool
		index     bool
	}{
		{nil, 0, 0, false, 1, true, false, false},
		{&cloudcrowd.Split{Kind: "grid", Grid: grid}, 0, 0, false, 6, true, false, false},
		{&cloudcrowd.Split{Kind: "files"}, 7, 0, false, 7, true, false, false},
		{&cloudcrowd.Split{Kind: "each", Stage: "a"}, 0, 4, false, 4, false, false, false},
		{&cloudcrowd.Split{Kind: "each", Stage: "a"}, 0, 4, true, 4, true, false, false},
		{&cloudcrowd.Split{Kind: "frames", From: 2, To: 8, Size: 4}, 0, 0, false, 6, true, false, false},
		{&cloudcrowd.Split{Kind: "range", From: -3, To: 8}, 0, 0, false, 11, true, true, false},
		{&cloudcrowd.Split{Kind: "range", From: -3, To: 8, Size: 2}, 0, 0, false, 11, true, false, false},
		{&cloudcrowd.Split{Kind: "csv"}, 0, 0, false, 0, false, true, true},
		{&cloudcrowd.Split{Kind: "fasta", Size: 5}, 0, 0, false, 0, false, false, true},
		{&cloudcrowd.Split{Kind: "program"}, 0, 0, false, 0, false, false, true},
	} {
		n, known := Total(c.split, nil, c.files, c.upstream, c.final)
		if n != c.n || known != c.known || Divisible(c.split) != c.divisible || NeedsIndex(c.split) != c.index {
			t.Errorf("%+v: %d %v, divisible %v, index %v", c.split, n, known, Divisible(c.split), NeedsIndex(c.split))
		}
	}
}

// Labels are short, exact and say what a person would.
func TestLabels(t *testing.T) {
	t.Parallel()
	stage := func(s *cloudcrowd.Split) *cloudcrowd.JobSpec {
		return &cloudcrowd.JobSpec{Stages: []cloudcrowd.Stage{{Name: "a", Split: s}},
			Inputs: map[string]cloudcrowd.Input{"set": {Files: []cloudcrowd.InputFile{{Name: "one.csv"}, {Name: "two.csv"}}}}}
	}
	for want, c := range map[string]struct {
		split *cloudcrowd.Split
		unit  cloudcrowd.Unit
	}{
		"bases 0–147,455":  {&cloudcrowd.Split{Kind: "fasta", Overlap: 20}, cloudcrowd.Unit{Hi: 147456}},
		"records 5–9":      {&cloudcrowd.Split{Kind: "fasta"}, cloudcrowd.Unit{Lo: 5, Hi: 10}},
		"number -1,000":    {&cloudcrowd.Split{Kind: "range", From: -1000}, cloudcrowd.Unit{Hi: 1}},
		"tile 64,32 36×16": {&cloudcrowd.Split{Kind: "tiles", Width: 100, Height: 48, TileW: 64, TileH: 32}, cloudcrowd.Unit{Lo: 3, Hi: 4}},
		"T=1 rho=b":        {&cloudcrowd.Split{Kind: "grid", Grid: []cloudcrowd.GridAxis{{Name: "T", Values: []string{"0.5", "1"}}, {Name: "rho", Values: []string{"a", "b", "c"}}}}, cloudcrowd.Unit{Lo: 4, Hi: 5}},
		"two.csv":          {&cloudcrowd.Split{Kind: "files", Input: "set"}, cloudcrowd.Unit{Lo: 1, Hi: 2}},
		"frame 7":          {&cloudcrowd.Split{Kind: "frames", From: 5}, cloudcrowd.Unit{Lo: 2, Hi: 3}},
		"frames 5–8":       {&cloudcrowd.Split{Kind: "frames", From: 5}, cloudcrowd.Unit{Hi: 4}},
		"first 3":          {&cloudcrowd.Split{Kind: "each", Stage: "first"}, cloudcrowd.Unit{Lo: 3, Hi: 4}},
		"unit 3":           {&cloudcrowd.Split{Kind: "program", Stage: "first"}, cloudcrowd.Unit{Lo: 3, Hi: 4}},
	} {
		if got := Label(stage(c.split), 0, c.unit); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := Label(stage(nil), 0, cloudcrowd.Unit{Hi: 1}); got != "the whole stage" {
		t.Errorf("got %q", got)
	}
}
