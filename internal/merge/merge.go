// Package merge performs the built-in merges: it joins the output files of a stage's tasks to one result.
//
// It reads and writes streams that the caller opens, and touches neither disk nor network itself. Outputs come from strangers' programs, so
// sizes are checked before anything is held in memory; the limits are constants of this package. The result does not depend on
// the order in which tasks finished: parts are taken in the order of the input, and sums are exact.
package merge

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// Limits of what is held in memory.
const (
	maxRecord = 16 << 20  // bytes of one CSV record or JSON element
	maxHeld   = 256 << 20 // bytes held at once: rows to sort, groups of a reduction
	maxTree   = 64 << 20  // bytes of one JSON file to reduce
	maxDepth  = 200       // nesting of a JSON file to reduce
	maxPixels = 32 << 20  // pixels held at once: a row of tiles, a frame
)

// Part is the outputs of one task of the merged stage.
type Part struct {
	Index   int32           // the task's number in its stage
	Unit    cloudcrowd.Unit // what it covered
	Outputs []cloudcrowd.OutputFile
}

// Files is where outputs are read and the result is written.
type Files interface {
	Open(d cloudcrowd.Digest) (io.ReadCloser, error)
	// Create makes a file of the result. path is relative and slash-separated. When Run fails, what was created is incomplete and must be discarded.
	Create(path string) (io.WriteCloser, error)
}

// Run performs merge m over the parts of a stage cut by split (nil: one task). A file that does not fit is Invalid (or TooLarge), and the message names the
// task; errors of files and ctx come back as they are.
func Run(ctx context.Context, m *cloudcrowd.Merge, split *cloudcrowd.Split, parts []Part, files Files) error {
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b Part) int {
		return cmp.Or(cmp.Compare(a.Unit.Lo, b.Unit.Lo), cmp.Compare(a.Index, b.Index))
	})
	r := &run{ctx: ctx, merge: m, split: split, parts: parts, files: files}
	if len(parts) == 0 {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "there is nothing to merge: the stage before has no tasks")
	}
	switch m.Kind {
	case cloudcrowd.MergeConcat:
		return r.concat()
	case cloudcrowd.MergeCSV:
		return r.csv()
	case cloudcrowd.MergeJSON:
		return r.json()
	case cloudcrowd.MergeReduce:
		return r.reduce()
	case cloudcrowd.MergeTiles:
		return r.tiles()
	case cloudcrowd.MergeFrames:
		return r.frames()
	}
	return cloudcrowd.Errorf(cloudcrowd.Internal, "%q is not a built-in merge", m.Kind)
}

// run is one merge being performed.
type run struct {
	ctx   context.Context
	merge *cloudcrowd.Merge
	split *cloudcrowd.Split
	parts []Part
	files Files
}

// pick finds the one file of a part that is merged.
func (r *run) pick(p Part) (cloudcrowd.OutputFile, error) {
	if r.merge.File == "" {
		if len(p.Outputs) != 1 {
			return cloudcrowd.OutputFile{}, wrong(p, "", "it left %d files (%s); say with file: which one to merge", len(p.Outputs), names(p))
		}
		return p.Outputs[0], nil
	}
	for _, o := range p.Outputs {
		if o.Path == r.merge.File {
			return o, nil
		}
	}
	return cloudcrowd.OutputFile{}, wrong(p, "", "it left no file %s (it left: %s)", r.merge.File, names(p))
}

// name is the path of the merged file.
func (r *run) name() (string, error) {
	if r.merge.As != "" {
		return r.merge.As, nil
	}
	o, err := r.pick(r.parts[0])
	return o.Path, err
}

// each calls do with the picked file of every part, in order.
func (r *run) each(do func(p Part, name string, in io.Reader) error) error {
	for _, p := range r.parts {
		o, err := r.pick(p)
		if err != nil {
			return err
		}
		if err := r.open(o, func(in io.Reader) error { return do(p, o.Path, in) }); err != nil {
			return err
		}
	}
	return nil
}

// open reads one blob. It stops when ctx ends.
func (r *run) open(o cloudcrowd.OutputFile, do func(in io.Reader) error) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	in, err := r.files.Open(o.Digest)
	if err != nil {
		return err
	}
	defer in.Close()
	source := &source{ctx: r.ctx, r: in}
	err = do(source)
	if source.err != nil { // not the task's fault
		return source.err
	}
	return err
}

// create writes one file of the result.
func (r *run) create(name string, write func(out io.Writer) error) error {
	out, err := r.files.Create(name)
	if err != nil {
		return err
	}
	if err := write(out); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// source remembers an error of what it reads, so that a failing store is told from a task's bad file, and ends with ctx.
type source struct {
	ctx context.Context
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// concat joins files as they are.
func (r *run) concat() error {
	name, err := r.name()
	if err != nil {
		return err
	}
	return r.create(name, func(out io.Writer) error {
		buf := make([]byte, 256<<10)
		return r.each(func(_ Part, _ string, in io.Reader) error {
			_, err := io.CopyBuffer(onlyWriter{out}, in, buf)
			return err
		})
	})
}

// onlyWriter hides ReadFrom, so that CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// wrong says what is wrong with the output of a task.
func wrong(p Part, file, format string, args ...any) error {
	return fault(cloudcrowd.Invalid, p, file, format, args...)
}

func fault(code cloudcrowd.Code, p Part, file, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if file != "" {
		what = file + ": " + what
	}
	return cloudcrowd.Errorf(code, "task %d: %s", p.Index, strings.ToValidUTF8(what, "\uFFFD"))
}

// names lists a part's files for a message.
func names(p Part) string {
	var list []string
	for i, o := range p.Outputs {
		if i == 5 {
			list = append(list, "…")
			break
		}
		list = append(list, o.Path)
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// extension is the lower-case suffix of a name: ".csv".
func extension(name string) string { return strings.ToLower(path.Ext(name)) }
