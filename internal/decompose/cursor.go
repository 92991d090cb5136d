package decompose

import "cloudcrowd.dev/cloudcrowd"

// NeedsIndex reports whether the split's input must be read once by BuildIndex before its first task can be carved. For a splitting program it
// is the list of units that is read.
func NeedsIndex(split *cloudcrowd.Split) bool {
	if split == nil {
		return false
	}
	switch split.Kind {
	case cloudcrowd.SplitLines, cloudcrowd.SplitCSV, cloudcrowd.SplitTSV, cloudcrowd.SplitNDJSON, cloudcrowd.SplitFASTA, cloudcrowd.SplitFASTQ, cloudcrowd.SplitProgram:
		return true
	}
	return false
}

// Divisible reports whether sizes of tasks are chosen as they are carved. Every task of any other split is Step units.
func Divisible(split *cloudcrowd.Split) bool {
	if split == nil || split.Size > 0 {
		return false
	}
	switch split.Kind {
	case cloudcrowd.SplitRange, cloudcrowd.SplitLines, cloudcrowd.SplitCSV, cloudcrowd.SplitTSV, cloudcrowd.SplitNDJSON, cloudcrowd.SplitFASTA, cloudcrowd.SplitFASTQ:
		return true
	}
	return false
}

// Step is the number of units of a task where sizes are fixed, at least 1.
func Step(split *cloudcrowd.Split) int64 {
	if split == nil {
		return 1
	}
	return max(1, split.Size)
}

// Total is the number of units of a stage. known is false while it depends on an index (ix nil) or on an earlier stage: upstream is the
// number of tasks of the stage that `each` follows, upstreamFinal whether it will not grow. files is the number of files of the split's input.
func Total(split *cloudcrowd.Split, ix *Index, files int, upstream int64, upstreamFinal bool) (n int64, known bool) {
	if split == nil {
		return 1, true
	}
	if NeedsIndex(split) {
		if ix == nil {
			return 0, false
		}
		return ix.Units, true
	}
	switch split.Kind {
	case cloudcrowd.SplitRange, cloudcrowd.SplitFrames:
		return max(0, split.To-split.From), true
	case cloudcrowd.SplitGrid:
		n = 1
		for _, axis := range split.Grid {
			n *= int64(len(axis.Values))
		}
		return n, true
	case cloudcrowd.SplitTiles:
		columns, rows := tiling(split)
		return columns * rows, true
	case cloudcrowd.SplitFiles:
		return int64(files), true
	case cloudcrowd.SplitEach:
		return upstream, upstreamFinal
	}
	return 0, false
}

// NextHi returns the end of the task that starts at unit lo and holds about want units: more than lo, at most total, within the split's
// size, min and max, and at a mark where there is an index. A remainder smaller than half a task is joined to it. Marks are
// coarser than units, so an input whose records are tiny may give more than want.
func NextHi(split *cloudcrowd.Split, ix *Index, total, lo, want int64) int64 {
	if lo >= total {
		return total
	}
	left := total - lo
	if !Divisible(split) {
		return lo + min(left, Step(split))
	}
	most := split.Max
	if most <= 0 {
		most = left
	}
	want = min(max(want, split.Min, 1), most)
	joined := func(n int64) bool { // whether n units leave too few for another task
		return left <= most && (left-n < (n+1)/2 || left-n < split.Min)
	}
	if want >= left || joined(want) {
		return total
	}
	hi := lo + want
	if ix != nil && len(ix.Marks) > 0 {
		if hi = ix.nearest(lo, hi, lo+min(most, left), total); hi < total && joined(hi-lo) {
			return total
		}
	}
	return hi
}

// nearest returns the mark after lo that is nearest to hi and not beyond most, or the first one after lo when that is beyond most.
func (ix *Index) nearest(lo, hi, most, total int64) int64 {
	i := ix.search(hi)
	above, below := total, lo
	if i < len(ix.Marks) {
		above = ix.Marks[i].Unit
	}
	if i > 0 {
		below = ix.Marks[i-1].Unit
	}
	if below > lo && (above > most || hi-below <= above-hi) {
		return below
	}
	return above
}

// UnitName says in one plural word what a stage is counted in.
func UnitName(split *cloudcrowd.Split) string {
	if split == nil {
		return "tasks"
	}
	switch split.Kind {
	case cloudcrowd.SplitRange:
		return "numbers"
	case cloudcrowd.SplitLines:
		return "lines"
	case cloudcrowd.SplitCSV, cloudcrowd.SplitTSV, cloudcrowd.SplitNDJSON, cloudcrowd.SplitFASTQ:
		return "records"
	case cloudcrowd.SplitFASTA:
		if split.Overlap > 0 {
			return "bases"
		}
		return "records"
	case cloudcrowd.SplitGrid:
		return "combinations"
	case cloudcrowd.SplitFiles:
		return "files"
	case cloudcrowd.SplitTiles:
		return "tiles"
	case cloudcrowd.SplitFrames:
		return "frames"
	case cloudcrowd.SplitProgram:
		return "units"
	}
	return "tasks"
}
