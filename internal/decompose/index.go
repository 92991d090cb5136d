package decompose

import "cloudcrowd.dev/cloudcrowd"

// Limits of an index.
const (
	MaxMarks     = 16384    // places of an input where it may be cut, where sizes of tasks are chosen as they are carved
	MaxPlaces    = 1 << 20  // likewise, where every task has as many units
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

// Index is what reading a divisible input once has found. It is kept in the journal, so it holds at most MaxMarks marks, or MaxPlaces places of a few bytes each.
type Index struct {
	Data   cloudcrowd.Digest `cbor:"1,keyasint,omitempty"` // of the uncompressed input; set by the caller of BuildIndex
	Bytes  int64             `cbor:"2,keyasint,omitempty"` // uncompressed
	Units  int64             `cbor:"3,keyasint,omitempty"` // records, or bases
	Header Span              `cbor:"4,keyasint,omitzero"`  // csv, tsv: the header record, repeated in every piece
	Marks  []Mark            `cbor:"5,keyasint,omitempty"` // ascending in Unit and Offset; the first one has Unit 0
	List   []string          `cbor:"6,keyasint,omitempty"` // program: the units, one a line
	// Where a fixed size needs more than MaxMarks marks, there are none. Instead, every task but the last has Step units, and Places has the bytes before each: numbers of
	// equal width, big-endian.
	Step   int64  `cbor:"7,keyasint,omitempty"`
	Places []byte `cbor:"8,keyasint,omitempty"`
}

// pack sets Step and Places. offsets are ascending and below ix.Bytes.
func (ix *Index) pack(step int64, offsets []int64) {
	width := 1
	for ix.Bytes>>(8*width) != 0 {
		width++
	}
	ix.Step, ix.Places = step, make([]byte, 0, width*len(offsets))
	for _, at := range offsets {
		for i := width - 1; i >= 0; i-- {
			ix.Places = append(ix.Places, byte(at>>(8*i)))
		}
	}
}

// place returns the mark at unit, a multiple of Step below Units.
func (ix *Index) place(unit int64) (Mark, bool) {
	n := (ix.Units + ix.Step - 1) / ix.Step
	i, width := unit/ix.Step, int64(len(ix.Places))/n
	if unit < 0 || unit%ix.Step != 0 || i >= n || width < 1 || width > 8 {
		return Mark{}, false
	}
	m := Mark{Unit: unit}
	for _, b := range ix.Places[i*width : (i+1)*width] {
		m.Offset = m.Offset<<8 | int64(b)
	}
	return m, m.Offset >= 0 && m.Offset < ix.Bytes
}

// at returns the mark whose Unit is unit. The end of the input is a mark too.
func (ix *Index) at(unit int64) (Mark, bool) {
	if unit == ix.Units {
		return Mark{Unit: ix.Units, Offset: ix.Bytes}, true
	}
	if ix.Step > 0 && ix.Units > 0 {
		return ix.place(unit)
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
