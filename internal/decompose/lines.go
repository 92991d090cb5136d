package decompose

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"cloudcrowd.dev/cloudcrowd"
)

// lineScanner finds lines. The last one need not end with a newline.
type lineScanner struct {
	split   *cloudcrowd.Split
	marker  *marker
	offset  int64
	lines   int64
	partial bool // inside a line
}

func (s *lineScanner) feed(chunk []byte) error {
	for len(chunk) > 0 {
		if !s.partial {
			s.marker.offer(Mark{Unit: s.lines, Offset: s.offset})
			s.lines++
			s.partial = true
		}
		n := bytes.IndexByte(chunk, '\n') + 1
		if n == 0 {
			n = len(chunk)
		} else {
			s.partial = false
		}
		s.offset += int64(n)
		chunk = chunk[n:]
	}
	return nil
}

func (s *lineScanner) finish(ix *Index) error {
	return s.marker.finish(ix, s.lines, s.split.Input, "lines")
}

// lineBuffer joins pieces to whole lines and hands each to take without its newline.
type lineBuffer struct {
	rest []byte
	over bool
}

func (b *lineBuffer) feed(chunk []byte, limit int, take func(line []byte, length int64) error) error {
	for len(chunk) > 0 {
		n := bytes.IndexByte(chunk, '\n')
		if n < 0 {
			if b.over = len(b.rest)+len(chunk) > limit; !b.over {
				b.rest = append(b.rest, chunk...)
			}
			return nil
		}
		line := chunk[:n]
		if len(b.rest) > 0 {
			b.rest = append(b.rest, line...)
			line = b.rest
		}
		if err := take(line, int64(len(line))+1); err != nil {
			return err
		}
		b.rest = b.rest[:0]
		chunk = chunk[n+1:]
	}
	return nil
}

// ndjsonScanner finds lines that hold one JSON value each. Blank lines are no records.
type ndjsonScanner struct {
	split   *cloudcrowd.Split
	marker  *marker
	buffer  lineBuffer
	offset  int64
	records int64
	line    int64 // number of the line that comes next
}

func (s *ndjsonScanner) feed(chunk []byte) error {
	if err := s.buffer.feed(chunk, maxLine, s.take); err != nil {
		return err
	}
	if s.buffer.over {
		return tooLong(s.split.Input, s.line, maxLine)
	}
	return nil
}

func (s *ndjsonScanner) take(line []byte, length int64) error {
	if len(line) > maxLine {
		return tooLong(s.split.Input, s.line, maxLine)
	}
	if len(bytes.TrimSpace(line)) > 0 {
		if !json.Valid(line) {
			return malformed(s.split.Input, s.line, "not JSON: %s", shown(line))
		}
		s.marker.offer(Mark{Unit: s.records, Offset: s.offset})
		s.records++
	}
	s.line++
	s.offset += length
	return nil
}

func (s *ndjsonScanner) finish(ix *Index) error {
	if len(s.buffer.rest) > 0 {
		if err := s.take(s.buffer.rest, int64(len(s.buffer.rest))); err != nil {
			return err
		}
	}
	if s.records == 0 {
		return malformed(s.split.Input, 0, "it holds no records")
	}
	return s.marker.finish(ix, s.records, s.split.Input, "records")
}

// listScanner reads the units that a splitting program listed. Blank lines are no units.
type listScanner struct {
	stage  string
	buffer lineBuffer
	line   int64
	bytes  int64
	list   []string
}

func (s *listScanner) feed(chunk []byte) error {
	if err := s.buffer.feed(chunk, MaxUnitBytes+1, s.take); err != nil {
		return err
	}
	if s.buffer.over {
		return s.bad("the line is longer than %s", cloudcrowd.Bytes(MaxUnitBytes))
	}
	return nil
}

func (s *listScanner) take(line []byte, _ int64) error {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(bytes.TrimSpace(line)) > 0 {
		switch {
		case len(line) > MaxUnitBytes:
			return s.bad("the line is longer than %s", cloudcrowd.Bytes(MaxUnitBytes))
		case !utf8.Valid(line) || bytes.IndexByte(line, 0) >= 0:
			return s.bad("not text: %s", shown(line))
		}
		if s.bytes += int64(len(line)) + 1; s.bytes > MaxUnitsText {
			return s.bad("the list is longer than %s", cloudcrowd.Bytes(MaxUnitsText))
		}
		s.list = append(s.list, string(line))
	}
	s.line++
	return nil
}

func (s *listScanner) finish(ix *Index) error {
	if len(s.buffer.rest) > 0 {
		if err := s.take(s.buffer.rest, 0); err != nil {
			return err
		}
	}
	if len(s.list) == 0 {
		s.line = 0
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "stage %s listed no units in its file \"units\"", s.stage)
	}
	ix.Units, ix.List = int64(len(s.list)), s.list
	return nil
}

func (s *listScanner) bad(format string, args ...any) error {
	return cloudcrowd.Errorf(cloudcrowd.Invalid, "stage %s, file \"units\", line %d: %s", s.stage, s.line, cloudcrowd.Errorf(cloudcrowd.Invalid, format, args...).Msg)
}

// tooLong says that a line is over its limit.
func tooLong(input string, line int64, limit int64) error {
	return cloudcrowd.Errorf(cloudcrowd.TooLarge, "input %q, line %d: longer than %s", input, line, cloudcrowd.Bytes(limit))
}
