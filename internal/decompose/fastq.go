package decompose

import (
	"bytes"

	"cloudcrowd.dev/cloudcrowd"
)

// fastqScanner finds FASTQ records of exactly four lines: @name, bases, +, as many qualities as bases. Blank lines between records are skipped.
type fastqScanner struct {
	split   *cloudcrowd.Split
	marker  *marker
	offset  int64
	records int64
	line    int64
	phase   int   // which of the four lines
	length  int64 // bytes of the current line so far, without its end
	named   bool  // the current line is a first line that starts with '@'
	last    byte  // last byte of the current line so far
	bases   int64 // length of the record's second line
}

func (s *fastqScanner) feed(chunk []byte) error {
	for len(chunk) > 0 {
		n := bytes.IndexByte(chunk, '\n')
		text := chunk
		if n >= 0 {
			text = chunk[:n]
		}
		if len(text) > 0 {
			if s.length == 0 {
				if err := s.begin(text[0]); err != nil {
					return err
				}
			}
			s.length += int64(len(text))
			s.last = text[len(text)-1]
		}
		if n < 0 {
			s.offset += int64(len(chunk))
			return nil
		}
		if err := s.end(); err != nil {
			return err
		}
		s.offset += int64(n) + 1
		chunk = chunk[n+1:]
	}
	return nil
}

// begin sees the first byte of a line; offset is where the line begins.
func (s *fastqScanner) begin(c byte) error {
	switch {
	case s.phase == 0 && c == '\r':
	case s.phase == 0 && c != '@':
		return malformed(s.split.Input, s.line, "a FASTQ record starts with '@', this line with %q", c)
	case s.phase == 0:
		s.named = true
		s.marker.offer(Mark{Unit: s.records, Offset: s.offset})
	case s.phase == 2 && c != '+':
		return malformed(s.split.Input, s.line, "the third line of a FASTQ record starts with '+', this one with %q", c)
	}
	return nil
}

// end sees the end of a line.
func (s *fastqScanner) end() error {
	length := s.length
	if length > 0 && s.last == '\r' {
		length--
	}
	switch {
	case s.phase == 0 && length == 0: // blank line between records
	case s.phase == 0 && !s.named:
		return malformed(s.split.Input, s.line, "a FASTQ record starts with '@', this line with %q", '\r')
	case s.phase == 2 && length == 0:
		return malformed(s.split.Input, s.line, "the third line of a FASTQ record starts with '+', this one is empty")
	case s.phase == 3 && length != s.bases:
		return malformed(s.split.Input, s.line, "%d qualities for %d bases", length, s.bases)
	default:
		if s.phase == 1 {
			s.bases = length
		}
		if s.phase++; s.phase == 4 {
			s.phase = 0
			s.records++
		}
	}
	s.length = 0
	s.line++
	s.named = false
	return nil
}

func (s *fastqScanner) finish(ix *Index) error {
	if s.length > 0 || s.phase == 3 && s.bases == 0 {
		if err := s.end(); err != nil {
			return err
		}
	}
	if s.phase != 0 {
		return malformed(s.split.Input, s.line, "the last FASTQ record is cut short: it has %d of 4 lines", s.phase)
	}
	if s.records == 0 {
		return malformed(s.split.Input, 0, "it holds no records")
	}
	return s.marker.finish(ix, s.records, s.split.Input, "records")
}
