package decompose

import (
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
)

// addFiles gives the task its input files: the piece of the split's input, whole inputs, outputs of earlier stages.
func addFiles(p *cloudcrowd.Payload, f *Facts, stage *cloudcrowd.Stage) error {
	split := stage.Split
	if split != nil {
		switch {
		case split.Kind == cloudcrowd.SplitFiles:
			p.Files = append(p.Files, cloudcrowd.TaskFile{Path: split.Input, Segments: whole(f.Spec.Inputs[split.Input].Files[f.Unit.Lo])})
		case split.Kind != cloudcrowd.SplitProgram && NeedsIndex(split):
			segments, err := piece(f.Input, f.Unit)
			if err != nil {
				return fmt.Errorf("stage %s: %w", stage.Name, err)
			}
			p.Files = append(p.Files, cloudcrowd.TaskFile{Path: split.Input, Segments: segments})
		}
	}
	for _, name := range stage.Inputs {
		input, ok := f.Spec.Inputs[name]
		if !ok {
			return internalf("stage %s: there is no input %q", stage.Name, name)
		}
		for _, file := range input.Files {
			path := name
			if input.Set {
				path = name + "/" + file.Name
			}
			p.Files = append(p.Files, cloudcrowd.TaskFile{Path: path, Segments: whole(file)})
		}
	}
	for i, part := range f.Parts {
		folder := fmt.Sprintf("%s/%06d/", part.Stage, part.Index)
		switch {
		case part.Stage == MergeParts && stage.Merge != nil:
			folder = fmt.Sprintf("%s/%06d/", MergeParts, i)
		case split != nil && split.Kind == cloudcrowd.SplitEach && split.Stage == part.Stage:
			if int64(part.Index) != f.Unit.Lo {
				continue
			}
			folder = part.Stage + "/"
		}
		for _, out := range part.Outputs {
			p.Files = append(p.Files, cloudcrowd.TaskFile{Path: folder + out.Path,
				Segments: whole(cloudcrowd.InputFile{Digest: out.Digest, SizeBytes: out.SizeBytes})})
		}
	}
	return nil
}

// whole is all of a blob.
func whole(file cloudcrowd.InputFile) []cloudcrowd.Segment {
	return []cloudcrowd.Segment{{Blob: file.Digest, Length: file.SizeBytes, Whole: true}}
}

// piece is the part of an indexed input that a unit covers: the header that every piece repeats, the bytes between the two marks, and the overlap.
func piece(ix *Index, u cloudcrowd.Unit) ([]cloudcrowd.Segment, error) {
	from, ok1 := ix.at(u.Lo)
	to, ok2 := ix.at(u.Hi)
	if !ok1 || !ok2 {
		return nil, internalf("units %d–%d are not between two marks", u.Lo, u.Hi)
	}
	var segments []cloudcrowd.Segment
	add := func(s Span) {
		if s.Length > 0 {
			segments = append(segments, cloudcrowd.Segment{Blob: ix.Data, Offset: s.Offset, Length: s.Length, Whole: s.Offset == 0 && s.Length == ix.Bytes})
		}
	}
	header := ix.Header
	if from.Header.Length > 0 {
		header = from.Header
	}
	body := Span{Offset: from.Offset, Length: to.Offset + to.Ext - from.Offset}
	if header.Length > 0 && header.Offset+header.Length == body.Offset { // adjacent: one span
		header, body = Span{}, Span{Offset: header.Offset, Length: header.Length + body.Length}
	}
	add(header)
	add(body)
	return segments, nil
}
