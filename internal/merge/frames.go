package merge

import (
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// animationName is the file that PNG frames are joined to.
const animationName = "animation.png"

// frame is one picture of an animation.
type frame struct {
	part   Part
	file   cloudcrowd.OutputFile
	number int64
}

// frames renames the tasks' files by frame number and, if all are PNG pictures of one size, also makes an animation of them.
func (r *run) frames() error {
	if r.split == nil || r.split.Kind != cloudcrowd.SplitFrames {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "a frames merge comes after a stage split by frames")
	}
	frames, err := r.pickFrames()
	if err != nil {
		return err
	}
	stem := r.merge.As
	if stem == "" {
		if stem = "frame"; r.merge.File != "" && !strings.ContainsAny(r.merge.File, "*?[") {
			stem = strings.TrimSuffix(r.merge.File, path.Ext(r.merge.File))
		}
	}
	stem = strings.TrimSuffix(stem, path.Ext(frames[0].file.Path))
	buf := make([]byte, 256<<10)
	pictures := true
	for _, f := range frames {
		pictures = pictures && extension(f.file.Path) == ".png"
		err := r.create(fmt.Sprintf("%s-%06d%s", stem, f.number, path.Ext(f.file.Path)), func(out io.Writer) error {
			return r.open(f.file, func(in io.Reader) error {
				_, err := io.CopyBuffer(onlyWriter{out}, in, buf)
				return err
			})
		})
		if err != nil {
			return err
		}
	}
	if !pictures {
		return nil
	}
	return r.animate(frames)
}

// pickFrames finds the file of every frame. A task of several frames leaves one file for each, and their names sort in the order of the frames.
func (r *run) pickFrames() ([]frame, error) {
	var frames []frame
	for _, p := range r.parts {
		var files []cloudcrowd.OutputFile
		for _, o := range p.Outputs {
			matches := r.merge.File == "" || r.merge.File == o.Path
			if !matches {
				matches, _ = path.Match(r.merge.File, o.Path)
			}
			if matches {
				files = append(files, o)
			}
		}
		if want := p.Unit.Hi - p.Unit.Lo; int64(len(files)) != want {
			return nil, wrong(p, "", "it left %d files for %d frames (it left: %s); file: may be a pattern that matches only them", len(files), want, names(p))
		}
		slices.SortFunc(files, func(a, b cloudcrowd.OutputFile) int { return strings.Compare(a.Path, b.Path) })
		for i, o := range files {
			frames = append(frames, frame{part: p, file: o, number: r.split.From + p.Unit.Lo + int64(i)})
		}
	}
	return frames, nil
}
