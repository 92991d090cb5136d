package decompose

import "cloudcrowd.dev/cloudcrowd"

// Limits of an index.
const (
	MaxMarks     = 16384    // places of an input where it may be cut
	markSpacing  = 4096     // fewest bytes between two of them, unless size or max asks for less
	MaxUnitBytes = 4 << 10  // one line of a splitting program's list
	MaxUnitsText = 4 << 20  // all lines of a splitting program's list
	maxLine      = 16 << 20 // one NDJSON line: it is checked whole, so it is held in memory
)

// Span is a run of bytes of an indexed input, uncompressed.
type Span struct {
	Offset int64 `cbor:"1,keyasint,omitempty"`
	Length int64 `cbor:"2,keyasint,omitempty"`
}

// Mark is a place where a divisible input may be cut.
type Mark struct {
	Unit   int64 `cbor:"1,keyasint,omitempty"` // records (for fasta with overlap: bases) before it
	Offset int64 `cbor:"2,keyasint,omitempty"` // bytes before it
	Ext    int64 `cbor:"3,keyasint,omitempty"` // fasta with overlap: further bytes that a piece ending here takes to hold the overlap
	Header Span  `cbor:"4,keyasint,omitzero"`  // fasta with overlap: header line of the sequence it is inside of; length 0 at a record's start
}

// Index is what reading a divisible input once has found. It is kept in the journal, so it holds at most MaxMarks marks.
type Index struct {
	Data   cloudcrowd.Digest `cbor:"1,keyasint,omitempty"` // of the uncompressed input; set by the caller of BuildIndex
	Bytes  int64             `cbor:"2,keyasint,omitempty"` // uncompressed
	Units  int64             `cbor:"3,keyasint,omitempty"` // records, or bases
	Header Span              `cbor:"4,keyasint,omitzero"`  // csv, tsv: the header record, repeated in every piece
	Marks  []Mark            `cbor:"5,keyasint,omitempty"` // ascending in Unit and Offset; the first one has Unit 0
	List   []string          `cbor:"6,keyasint,omitempty"` // program: the units, one a line
}

// at returns the mark whose Unit is unit. The end of the input is a mark too.
func (ix *Index) at(unit int64) (Mark, bool) {
	if unit == ix.Units {
		return Mark{Unit: ix.Units, Offset: ix.Bytes}, true
	}
	i := ix.search(unit)
	if i < len(ix.Marks) && ix.Marks[i].Unit == unit {
		return ix.Marks[i], true
	}
	return Mark{}, false
}

// search returns the position of the first mark whose Unit is at least unit.
func (ix *Index) search(unit int64) int {
	lo, hi := 0, len(ix.Marks)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if ix.Marks[mid].Unit < unit {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}
