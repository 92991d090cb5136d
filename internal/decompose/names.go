package decompose

import (
	"slices"
	"strconv"

	"cloudcrowd.dev/cloudcrowd"
)

// alwaysNames are known in every template of a stage, beside the job's params.
var alwaysNames = []string{"index", "seed", "job", "stage"}

// splitNames are what a splitter adds to the template.
var splitNames = map[cloudcrowd.SplitKind][]string{
	cloudcrowd.SplitRange:   {"start", "end", "count"},
	cloudcrowd.SplitLines:   {"start", "count"},
	cloudcrowd.SplitCSV:     {"start", "count"},
	cloudcrowd.SplitTSV:     {"start", "count"},
	cloudcrowd.SplitNDJSON:  {"start", "count"},
	cloudcrowd.SplitFASTA:   {"start", "count"},
	cloudcrowd.SplitFASTQ:   {"start", "count"},
	cloudcrowd.SplitFiles:   {"file"},
	cloudcrowd.SplitTiles:   {"x", "y", "w", "h", "width", "height"},
	cloudcrowd.SplitFrames:  {"start", "end", "count", "frame"},
	cloudcrowd.SplitEach:    {"part"},
	cloudcrowd.SplitProgram: {"unit"},
}

// StageNames are the template names a stage itself adds: the always known ones, those of its splitter, those of its merge tree.
func StageNames(stage *cloudcrowd.Stage) []string {
	names := append([]string(nil), alwaysNames...)
	if stage.Split != nil {
		names = append(names, splitNames[stage.Split.Kind]...)
		for _, axis := range stage.Split.Grid {
			names = append(names, axis.Name)
		}
	}
	if stage.Merge != nil {
		names = append(names, "final", "level", "parts")
	}
	return names
}

// Names are all template names known in a stage, sorted. A splitter's name hides a param of that name; a param named seed takes the place of the
// derived one.
func Names(spec *cloudcrowd.JobSpec, stage int) []string {
	names := StageNames(&spec.Stages[stage])
	for _, p := range spec.Params {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// values gives every template name of a task its value.
func values(f *Facts) map[string]string {
	stage := &f.Spec.Stages[f.Stage]
	v := make(map[string]string, len(f.Spec.Params)+12)
	for _, p := range f.Spec.Params {
		v[p.Name] = p.Value
	}
	v["index"], v["job"], v["stage"] = text(int64(f.Index)), string(f.Job), stage.Name
	if _, given := v["seed"]; !given {
		v["seed"] = strconv.FormatUint(Seed(f.Job, f.Stage, f.Index, f.Unit), 10)
	}
	if stage.Merge != nil {
		v["final"], v["level"], v["parts"] = strconv.FormatBool(f.Final), text(int64(f.Level)), text(int64(len(f.Parts)))
	}
	split := stage.Split
	if split == nil {
		return v
	}
	lo, hi := f.Unit.Lo, f.Unit.Hi
	switch split.Kind {
	case cloudcrowd.SplitRange, cloudcrowd.SplitFrames:
		v["start"], v["end"], v["count"] = text(split.From+lo), text(split.From+hi), text(hi-lo)
		if split.Kind == cloudcrowd.SplitFrames {
			v["frame"] = v["start"]
		}
	case cloudcrowd.SplitGrid:
		for i, value := range combination(split, lo) {
			v[split.Grid[i].Name] = value
		}
	case cloudcrowd.SplitFiles:
		v["file"] = f.Spec.Inputs[split.Input].Files[lo].Name
	case cloudcrowd.SplitTiles:
		x, y, w, h := Geometry(split, lo)
		v["x"], v["y"], v["w"], v["h"] = text(x), text(y), text(w), text(h)
		v["width"], v["height"] = text(split.Width), text(split.Height)
	case cloudcrowd.SplitEach:
		v["part"] = text(lo)
	case cloudcrowd.SplitProgram:
		v["unit"] = f.Input.List[lo]
	default:
		v["start"], v["count"] = text(lo), text(hi-lo)
	}
	return v
}
