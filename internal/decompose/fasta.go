package decompose

import (
	"bytes"

	"cloudcrowd.dev/cloudcrowd"
)

// fastaScanner finds FASTA records or, with an overlap, places inside long sequences too. A base is any byte of a sequence line that is not white space.
// Lines that start with ';' are comments.
type fastaScanner struct {
	split   *cloudcrowd.Split
	marker  *marker
	overlap int64 // 0: records are never cut
	offset  int64
	line    int64
	records int64
	bases   int64
	header  Span
	state   fastaState
	pending []pendingMark // marks whose overlap is not complete yet, in order
}

// pendingMark is a mark that was made at base unit, offset bytes into the input.
type pendingMark struct{ unit, offset int64 }

// fastaState says which kind of line the scanner is in.
type fastaState byte

const (
	lineStart fastaState = iota
	headerLine
	commentLine
	sequenceLine
)

func newFASTAScanner(split *cloudcrowd.Split, l limits) *fastaScanner {
	return &fastaScanner{split: split, marker: newMarker(split, l), overlap: split.Overlap, line: 1}
}

func (s *fastaScanner) feed(chunk []byte) error {
	for len(chunk) > 0 {
		if s.state == lineStart {
			if err := s.begin(chunk[0]); err != nil {
				return err
			}
		}
		n := bytes.IndexByte(chunk, '\n')
		text := chunk
		if n >= 0 {
			text = chunk[:n+1]
		}
		if s.state == sequenceLine && s.records == 0 && len(bytes.TrimSpace(text)) > 0 {
			return s.headless(bytes.TrimSpace(text)[0])
		}
		if s.state == sequenceLine && s.overlap > 0 {
			s.sequence(text)
		}
		s.offset += int64(len(text))
		if n >= 0 {
			s.line++
			if s.state == headerLine {
				s.header.Length = s.offset - s.header.Offset
			}
			s.state = lineStart
		}
		chunk = chunk[len(text):]
	}
	return nil
}

// begin sees the first byte of a line.
func (s *fastaScanner) begin(c byte) error {
	switch {
	case c == '>':
		s.state = headerLine
		s.resolve(s.offset)
		s.header = Span{Offset: s.offset}
		unit := s.records
		if s.overlap > 0 {
			unit = s.bases
		}
		s.marker.offer(Mark{Unit: unit, Offset: s.offset})
		s.records++
	case c == ';':
		s.state = commentLine
	case c > ' ' && s.records == 0:
		return s.headless(c)
	default:
		s.state = sequenceLine
	}
	return nil
}

// sequence counts bases and offers places to cut before them.
func (s *fastaScanner) sequence(text []byte) {
	for i, c := range text {
		if c <= ' ' {
			continue
		}
		offset := s.offset + int64(i)
		for len(s.pending) > 0 && s.bases >= s.pending[0].unit+s.overlap {
			s.extend(s.pending[0], offset)
			s.pending = s.pending[1:]
		}
		m := s.marker
		if s.bases > m.last.Unit && (m.size > 0 && s.bases%m.size == 0 ||
			m.size == 0 && (offset-m.last.Offset >= m.spacing || m.max > 0 && s.bases-m.last.Unit >= m.max)) {
			m.keep(Mark{Unit: s.bases, Offset: offset, Header: s.header})
			s.pending = append(s.pending, pendingMark{s.bases, offset})
		}
		s.bases++
	}
}

// resolve ends the overlap of all pending marks at offset: the sequence ends there.
func (s *fastaScanner) resolve(offset int64) {
	for _, p := range s.pending {
		s.extend(p, offset)
	}
	s.pending = s.pending[:0]
}

// extend notes that the overlap of the mark made at p ends before offset. A mark that was forgotten since is left alone.
func (s *fastaScanner) extend(p pendingMark, offset int64) {
	marks := Index{Marks: s.marker.marks}
	if i := marks.search(p.unit); i < len(s.marker.marks) && s.marker.marks[i].Unit == p.unit {
		s.marker.marks[i].Ext = offset - p.offset
	}
}

func (s *fastaScanner) finish(ix *Index) error {
	s.resolve(s.offset)
	if s.records == 0 {
		return malformed(s.split.Input, 0, "it holds no records")
	}
	if s.overlap == 0 {
		return s.marker.finish(ix, s.records, s.split.Input, "records")
	}
	if s.bases == 0 {
		return malformed(s.split.Input, 0, "its records hold no bases")
	}
	// A cut at the very end would leave a piece without bases: trailing empty records belong to the last piece.
	if n := len(s.marker.marks); s.marker.marks[n-1].Unit == s.bases {
		s.marker.marks = s.marker.marks[:n-1]
	}
	return s.marker.finish(ix, s.bases, s.split.Input, "bases")
}

func (s *fastaScanner) headless(c byte) error {
	return malformed(s.split.Input, s.line, "a FASTA file starts with '>', this one with %q", c)
}
