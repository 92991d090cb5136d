package jobfile

import (
	"fmt"
	"math"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// split checks how the stage at position i is cut. Fields that its kind does not use must be zero.
func (c *checker) split(i int, s *cloudcrowd.Split, field string) {
	rest := *s // what is left when the kind's own fields are taken away
	rest.Kind = ""
	at := field + "." + string(s.Kind)
	switch s.Kind {
	case cloudcrowd.SplitRange, cloudcrowd.SplitFrames:
		rest.From, rest.To, rest.Size = 0, 0, 0
		const most = math.MaxInt64 / 4
		switch {
		case s.From < -most || s.To > most:
			c.add(at, "numbers must be between %d and %d", int64(-most), int64(most))
		case s.To <= s.From:
			c.add(at+".to", "%d is not more than from, %d: there is nothing to do", s.To, s.From)
		default:
			c.fixed(at, s.To-s.From, s.Size)
		}
		if s.Kind == cloudcrowd.SplitRange {
			rest.Min, rest.Max = 0, 0
			c.sizes(s, at)
		} else if s.Size < 1 {
			c.add(at+".size", "must be 1 or more")
		}
	case cloudcrowd.SplitLines, cloudcrowd.SplitCSV, cloudcrowd.SplitTSV, cloudcrowd.SplitNDJSON, cloudcrowd.SplitFASTA, cloudcrowd.SplitFASTQ:
		rest.Input, rest.Size, rest.Min, rest.Max = "", 0, 0, 0
		c.sizes(s, at)
		c.single(s, at)
		switch s.Kind {
		case cloudcrowd.SplitCSV, cloudcrowd.SplitTSV:
			rest.NoHeader = false
		case cloudcrowd.SplitFASTA:
			if rest.Overlap = 0; s.Overlap < 0 || s.Overlap > 1<<30 {
				c.add(at+".overlap", "%d is out of range; it must be between 0 and %d", s.Overlap, 1<<30)
			}
		}
		if slices.Contains(c.spec.Stages[i].Inputs, s.Input) {
			c.add(field, "input %s is cut and also given whole; both would be /in/%s", s.Input, s.Input)
		}
	case cloudcrowd.SplitFiles:
		rest.Input = ""
		if _, ok := c.spec.Inputs[s.Input]; !ok {
			c.noInput(at, s.Input)
		}
		if slices.Contains(c.spec.Stages[i].Inputs, s.Input) {
			c.add(field, "input %s is given file by file and also whole; both would be /in/%s", s.Input, s.Input)
		}
	case cloudcrowd.SplitGrid:
		rest.Grid = nil
		c.grid(s, at)
	case cloudcrowd.SplitTiles:
		rest.Width, rest.Height, rest.TileW, rest.TileH = 0, 0, 0, 0
		const most = 1 << 17
		if s.Width < 1 || s.Height < 1 || s.Width > most || s.Height > most {
			c.add(at, "a picture is 1 to %d pixels wide and high, found %d × %d", most, s.Width, s.Height)
		} else if s.TileW < 1 || s.TileH < 1 {
			c.add(at+".tile", "must be 1 or more")
		} else if n, _ := decompose.Total(s, nil, 0, 0, true); n > maxTasks {
			c.add(at+".tile", "%d tiles; at most %d", n, maxTasks)
		}
	case cloudcrowd.SplitEach:
		rest.Stage = ""
		c.upstream(i, s.Stage, at)
		if j := c.spec.StageIndex(s.Stage); j >= 0 && c.spec.Stages[j].Merge != nil {
			c.add(at, "%s is a merge: it has one result, so a stage after it needs no split", s.Stage)
		}
	case cloudcrowd.SplitProgram:
		rest.Stage = ""
		c.upstream(i, s.Stage, at)
		if j := c.spec.StageIndex(s.Stage); j >= 0 && c.spec.Stages[j].Split != nil {
			c.add(at, "%s has many tasks; the list of units must come from one", s.Stage)
		}
		if s.Program != nil {
			rest.Program = nil
			c.add(at, "a splitting program must be a stage of its own")
		}
	default:
		c.add(field, "there is no splitter %q", shorten(string(s.Kind)))
		return
	}
	if !isZero(&rest) {
		c.add(field, "has keys that %s does not use", s.Kind)
	}
}

func isZero(s *cloudcrowd.Split) bool {
	return s.Input == "" && s.From == 0 && s.To == 0 && s.Size == 0 && s.Min == 0 && s.Max == 0 && !s.NoHeader && s.Overlap == 0 && len(s.Grid) == 0 &&
		s.Width == 0 && s.Height == 0 && s.TileW == 0 && s.TileH == 0 && s.Stage == "" && s.Program == nil
}

// sizes checks size, min and max.
func (c *checker) sizes(s *cloudcrowd.Split, at string) {
	switch {
	case s.Size < 0 || s.Min < 0 || s.Max < 0:
		c.add(at, "size, min and max must be 1 or more")
	case s.Size > 0 && (s.Min > 0 || s.Max > 0):
		c.add(at, "size is fixed, so min and max have no meaning; give one or the others")
	case s.Max > 0 && s.Min > s.Max:
		c.add(at+".min", "%d is more than max, %d", s.Min, s.Max)
	}
}

// fixed checks the number of tasks of fixed size.
func (c *checker) fixed(at string, units, size int64) {
	if size > 0 && (units-1)/size >= maxTasks {
		c.add(at+".size", "size %d makes %d tasks; at most %d", size, (units-1)/size+1, maxTasks)
	}
}

// single checks that the input of a splitter is one file.
func (c *checker) single(s *cloudcrowd.Split, at string) {
	in, ok := c.spec.Inputs[s.Input]
	switch {
	case !ok:
		c.noInput(at, s.Input)
	case in.Set:
		c.problems.add(at, "input %s is a set of %d files; %s cuts one file", s.Input, len(in.Files), s.Kind).hint("use {files: %s}, one task a file, or name one file", s.Input)
	}
}

func (c *checker) grid(s *cloudcrowd.Split, at string) {
	if len(s.Grid) == 0 {
		c.add(at, "a grid needs at least one axis")
	}
	combinations := 1.0
	seen := map[string]bool{}
	for _, axis := range s.Grid {
		field := join(at, axis.Name)
		switch {
		case !paramName.MatchString(axis.Name):
			c.add(field, "an axis' name is letters, digits, _ and -, at most 40, and does not start with a digit")
		case slices.Contains([]string{"index", "job", "stage"}, axis.Name):
			c.add(field, "{{%s}} always has a meaning of its own; choose another name", axis.Name)
		case seen[axis.Name]:
			c.add(field, "the axis is there twice")
		case len(axis.Values) == 0:
			c.add(field, "has no values")
		case len(axis.Values) > maxAxis:
			c.add(field, "has %d values; at most %d", len(axis.Values), maxAxis)
		}
		seen[axis.Name] = true
		combinations *= float64(len(axis.Values))
		for k, v := range axis.Values {
			c.textual(fmt.Sprintf("%s[%d]", field, k), v, 4<<10)
		}
	}
	if combinations > maxTasks {
		c.add(at, "%.0f combinations; at most %d", combinations, maxTasks)
	}
}

// upstream checks the stage that a split reads.
func (c *checker) upstream(i int, name, at string) {
	switch {
	case c.spec.StageIndex(name) < 0:
		c.noStage(at, name)
	case !slices.Contains(c.spec.Stages[i].After, name):
		c.add(at, "the stage must also be after %s", name)
	}
}

// mergeOps are what reduce can do.
var mergeOps = []string{"sum", "mean", "min", "max", "count"}

func (c *checker) merge(i int, st *cloudcrowd.Stage, field string) {
	m := st.Merge
	before := -1
	if len(st.After) != 1 {
		c.add("stages."+st.Name+".after", "a merge reads the one stage it comes after; found %d", len(st.After))
	} else {
		before = c.spec.StageIndex(st.After[0])
	}
	at := field + "." + string(m.Kind)
	if m.Kind == cloudcrowd.MergeProgram {
		at = field
	}
	follows := func(kind cloudcrowd.SplitKind) {
		if before >= 0 && (c.spec.Stages[before].Split == nil || c.spec.Stages[before].Split.Kind != kind) {
			c.add(at, "a %s merge comes after a stage split by %s; %s is not", m.Kind, kind, st.After[0])
		}
	}
	switch m.Kind {
	case cloudcrowd.MergeConcat, cloudcrowd.MergeJSON:
	case cloudcrowd.MergeCSV:
		if slices.Contains(m.Sort, "") {
			c.add(at+".sort", "a column needs a name")
		}
	case cloudcrowd.MergeReduce:
		if !slices.Contains(mergeOps, m.Op) {
			c.missing(at+".op", "operation", m.Op, mergeOps)
		}
	case cloudcrowd.MergeTiles:
		follows(cloudcrowd.SplitTiles)
	case cloudcrowd.MergeFrames:
		follows(cloudcrowd.SplitFrames)
	case cloudcrowd.MergeProgram:
		if m.Program == nil {
			c.add(field, "a merge by program needs a program")
		} else {
			c.program(m.Program, decompose.Names(c.spec, i), field)
		}
		if m.FanIn < 2 || m.FanIn > maxFanIn {
			c.add(field+".fan_in", "%d is out of range; it must be between 2 and %d", m.FanIn, maxFanIn)
		}
	default:
		c.missing(field, "merge", string(m.Kind), []string{"concat", "csv", "json", "reduce", "tiles", "frames"})
		return
	}
	if len(m.Sort) > 0 && m.Kind != cloudcrowd.MergeCSV || (m.Op != "" || len(m.By) > 0) && m.Kind != cloudcrowd.MergeReduce ||
		m.Kind != cloudcrowd.MergeProgram && (m.Program != nil || m.FanIn != 0) || m.Kind == cloudcrowd.MergeProgram && (m.File != "" || m.As != "") {
		c.add(field, "has keys that %s does not use", m.Kind)
	}
	for _, key := range []struct{ name, value string }{{"file", m.File}, {"as", m.As}} {
		if key.value != "" && !cleanPath(key.value) {
			c.add(at+"."+key.name, "%q is not a plain relative path of at most 255 bytes", shorten(key.value))
		}
	}
	if m.Builtin() && len(st.Inputs) > 0 {
		c.add("stages."+st.Name+".inputs", "a built-in merge reads no inputs")
	}
}
