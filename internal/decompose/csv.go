package decompose

import "cloudcrowd.dev/cloudcrowd"

// csvScanner finds the records of CSV and TSV (RFC 4180): newlines inside quotes do not end one, a doubled quote inside quotes is one quote, and a
// quote that does not open a field is an ordinary character. Blank lines are no records.
type csvScanner struct {
	split   *cloudcrowd.Split
	marker  *marker
	comma   byte
	state   csvState
	offset  int64
	start   int64 // offset of the current record
	blank   bool  // nothing but a line end so far in this record
	records int64 // header not counted
	header  Span
	headed  bool  // the header is behind, or there is none
	line    int64 // current line
	quote   int64 // line where the open quote is
}

// csvState says where in a record the scanner is.
type csvState byte

const (
	recordStart csvState = iota
	fieldStart
	inField
	inQuotes
	quoteInQuotes // the quote just read closes the field, or is the first of two
)

func newCSVScanner(split *cloudcrowd.Split, l limits, comma byte) *csvScanner {
	return &csvScanner{split: split, marker: newMarker(split, l), comma: comma, headed: split.NoHeader, line: 1}
}

func (s *csvScanner) feed(chunk []byte) error {
	for _, c := range chunk {
		if s.state == recordStart {
			s.start, s.blank, s.state = s.offset, true, fieldStart
		}
		s.offset++
		if c == '\n' {
			s.line++
		}
		switch s.state {
		case fieldStart, inField:
			switch {
			case c == '\n':
				s.end()
				continue
			case c == s.comma:
				s.state = fieldStart
			case c == '"' && s.state == fieldStart:
				s.state, s.quote = inQuotes, s.line
			default:
				s.state = inField
			}
		case inQuotes:
			if c == '"' {
				s.state = quoteInQuotes
			}
		case quoteInQuotes:
			switch c {
			case '"':
				s.state = inQuotes
			case '\n':
				s.end()
				continue
			case s.comma:
				s.state = fieldStart
			default:
				s.state = inField
			}
		}
		if c != '\r' {
			s.blank = false
		}
	}
	return nil
}

// end closes the current record.
func (s *csvScanner) end() {
	s.state = recordStart
	switch {
	case s.blank:
	case !s.headed:
		s.header, s.headed = Span{Offset: s.start, Length: s.offset - s.start}, true
	default:
		s.marker.offer(Mark{Unit: s.records, Offset: s.start})
		s.records++
	}
}

func (s *csvScanner) finish(ix *Index) error {
	if s.state == inQuotes {
		return malformed(s.split.Input, s.quote, "a quote is opened and never closed")
	}
	if s.state != recordStart {
		s.end()
	}
	if s.records == 0 {
		what := "it holds no records"
		if s.header.Length > 0 {
			what = "it holds a header and no records; header: false if the first line is data"
		}
		return malformed(s.split.Input, 0, "%s", what)
	}
	ix.Header = s.header
	return s.marker.finish(ix, s.records, s.split.Input, "records")
}
