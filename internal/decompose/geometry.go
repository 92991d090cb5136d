package decompose

import (
	"strconv"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// tiling returns how many columns and rows of tiles the picture of a split has.
func tiling(split *cloudcrowd.Split) (columns, rows int64) {
	if split.TileW <= 0 || split.TileH <= 0 {
		return 0, 0
	}
	return (split.Width + split.TileW - 1) / split.TileW, (split.Height + split.TileH - 1) / split.TileH
}

// Geometry returns the rectangle of the picture that tile number lo covers, in pixels. Tiles go row by row from the top left; the last
// of a row and of a column may be smaller.
func Geometry(split *cloudcrowd.Split, lo int64) (x, y, w, h int64) {
	columns, _ := tiling(split)
	if columns == 0 {
		return 0, 0, 0, 0
	}
	x, y = lo%columns*split.TileW, lo/columns*split.TileH
	return x, y, min(split.TileW, split.Width-x), min(split.TileH, split.Height-y)
}

// combination returns the values of combination number n of a grid, one per axis. The first axis varies slowest.
func combination(split *cloudcrowd.Split, n int64) []string {
	values := make([]string, len(split.Grid))
	for i := len(split.Grid) - 1; i >= 0; i-- {
		axis := split.Grid[i].Values
		if len(axis) == 0 {
			continue
		}
		values[i] = axis[n%int64(len(axis))]
		n /= int64(len(axis))
	}
	return values
}

// Label names a unit of a stage for people: "bases 0–147,455", "tile 64,0 64×64", "T=0.5 rho=0.3".
func Label(spec *cloudcrowd.JobSpec, stage int, u cloudcrowd.Unit) string {
	if stage < 0 || stage >= len(spec.Stages) {
		return ""
	}
	st := &spec.Stages[stage]
	split := st.Split
	if split == nil {
		if st.Merge != nil {
			return "merge"
		}
		return "the whole stage"
	}
	switch split.Kind {
	case cloudcrowd.SplitGrid:
		s := ""
		for i, v := range combination(split, u.Lo) {
			if i > 0 {
				s += " "
			}
			s += split.Grid[i].Name + "=" + v
		}
		return s
	case cloudcrowd.SplitTiles:
		x, y, w, h := Geometry(split, u.Lo)
		return "tile " + text(x) + "," + text(y) + " " + text(w) + "×" + text(h)
	case cloudcrowd.SplitFiles:
		if files := spec.Inputs[split.Input].Files; u.Lo >= 0 && u.Lo < int64(len(files)) {
			return files[u.Lo].Name
		}
		return "file " + text(u.Lo)
	case cloudcrowd.SplitEach:
		return split.Stage + " " + text(u.Lo)
	case cloudcrowd.SplitProgram:
		return "unit " + text(u.Lo)
	case cloudcrowd.SplitFrames:
		return span("frames", split.From+u.Lo, split.From+u.Hi)
	case cloudcrowd.SplitRange:
		return span(UnitName(split), split.From+u.Lo, split.From+u.Hi)
	}
	return span(UnitName(split), u.Lo, u.Hi)
}

// span names the whole numbers lo..hi-1 of something counted, first and last: "lines 0–99", "line 7".
func span(plural string, lo, hi int64) string {
	b := make([]byte, 0, 64)
	if hi-lo <= 1 {
		b = append(append(b, strings.TrimSuffix(plural, "s")...), ' ')
		return string(grouped(b, lo))
	}
	b = append(append(b, plural...), ' ')
	b = append(grouped(b, lo), "–"...)
	return string(grouped(b, hi-1))
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

// grouped appends a number with commas between thousands.
func grouped(b []byte, n int64) []byte {
	var digits [20]byte
	d := strconv.AppendInt(digits[:0], n, 10)
	if d[0] == '-' {
		b, d = append(b, '-'), d[1:]
	}
	for i, c := range d {
		if i > 0 && (len(d)-i)%3 == 0 {
			b = append(b, ',')
		}
		b = append(b, c)
	}
	return b
}
