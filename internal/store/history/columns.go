package history

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// column is the values of one field of all items, one after the other.
type column struct {
	b    []byte
	at   int    // reading: what has been read of b
	used bool   // a value differs from zero; columns that are all zero are not stored
	last int64  // numbers are kept as the difference to the one before
	bits uint64 // of the last floating-point number
	word string // last word
}

// coder writes items into columns, or reads them: each method does what its direction says, so that both are told by one function.
type coder struct {
	reading bool
	bad     bool // reading: the bytes are not what was written
	columns [fields]column
	words   []string         // that occur, once each
	indexes map[string]int64 // writing: of words
}

// reset makes the coder write anew into the memory it has.
func (c *coder) reset() {
	for i := range c.columns {
		c.columns[i] = column{b: c.columns[i].b[:0]}
	}
	clear(c.words)
	clear(c.indexes)
	c.words, c.reading, c.bad = c.words[:0], false, false
}

func (c *coder) uvarint(col *column) uint64 {
	v, n := binary.Uvarint(col.b[col.at:])
	if n <= 0 {
		c.bad = true
		return 0
	}
	col.at += n
	return v
}

func (c *coder) bytes(col *column, n uint64) []byte {
	if n > uint64(len(col.b)-col.at) {
		c.bad = true
		return nil
	}
	b := col.b[col.at : col.at+int(n)]
	col.at += int(n)
	return b
}

// number is a whole number, near the one before.
func number[T ~int | ~int32 | ~int64](c *coder, field int, v *T) {
	col := &c.columns[field]
	if !c.reading {
		d := int64(*v) - col.last
		col.last = int64(*v)
		col.used = col.used || d != 0
		col.b = binary.AppendVarint(col.b, d)
		return
	}
	if !col.used {
		*v = 0
		return
	}
	d, n := binary.Varint(col.b[col.at:])
	if n <= 0 {
		c.bad = true
		return
	}
	col.at += n
	col.last += d
	*v = T(col.last)
}

// word is a text of which few occur.
func word[T ~string](c *coder, field int, v *T) {
	col := &c.columns[field]
	if c.reading {
		if !col.used {
			return
		}
		if i := c.uvarint(col); i > uint64(len(c.words)) {
			c.bad = true
		} else if i > 0 {
			col.word = c.words[i-1]
		}
		*v = T(col.word)
		return
	}
	s := string(*v)
	if s == col.word { // as before
		col.b = append(col.b, 0)
		return
	}
	col.used, col.word = true, s
	i, ok := c.indexes[s]
	if !ok {
		c.words = append(c.words, s)
		i = int64(len(c.words))
		c.indexes[s] = i
	}
	col.b = binary.AppendUvarint(col.b, uint64(i))
}

// text is a text that is its own.
func text[T ~string](c *coder, field int, v *T) {
	col := &c.columns[field]
	if !c.reading {
		col.used = col.used || *v != ""
		col.b = append(binary.AppendUvarint(col.b, uint64(len(*v))), *v...)
		return
	}
	if col.used {
		*v = T(c.bytes(col, c.uvarint(col)))
	}
}

// How a digest begins: what it is, or a text's length from there on.
const (
	noDigest = iota
	wholeDigest
	oddDigest
)

// digest is a SHA-256 in lower-case hexadecimal digits, kept in half the bytes, or any other text.
func digest[T ~string](c *coder, field int, v *T) {
	col := &c.columns[field]
	if c.reading {
		if !col.used {
			return
		}
		switch n := c.uvarint(col); n {
		case noDigest:
		case wholeDigest:
			var hex [64]byte
			for i, b := range c.bytes(col, 32) {
				hex[2*i], hex[2*i+1] = digits[b>>4], digits[b&15]
			}
			*v = T(hex[:])
		default:
			*v = T(c.bytes(col, n-oddDigest))
		}
		return
	}
	if *v == "" {
		col.b = append(col.b, noDigest)
		return
	}
	col.used = true
	before := len(col.b)
	if len(*v) == 64 {
		col.b = append(col.b, wholeDigest)
		odd := byte(0)
		for i := 0; i < 64; i += 2 {
			hi, lo := values[(*v)[i]], values[(*v)[i+1]]
			odd |= hi | lo
			col.b = append(col.b, hi<<4|lo&15)
		}
		if odd < 16 {
			return
		}
		col.b = col.b[:before]
	}
	col.b = append(binary.AppendUvarint(col.b, uint64(len(*v))+oddDigest), *v...)
}

const digits = "0123456789abcdef"

// values are those of the digits; 16 for what is none.
var values = func() (v [256]byte) {
	for i := range v {
		v[i] = 16
	}
	for i := range digits {
		v[digits[i]] = byte(i)
	}
	return v
}()

// float is a floating-point number. One that is infinite or none becomes 0: what is read must have a form in JSON.
func (c *coder) float(field int, v *float64) {
	col := &c.columns[field]
	if !c.reading {
		b := math.Float64bits(*v)
		if math.IsNaN(*v) || math.IsInf(*v, 0) {
			b = 0
		}
		col.used = col.used || b != 0
		col.b = binary.AppendUvarint(col.b, bits.ReverseBytes64(b^col.bits)) // round numbers, and those as before, end in zeros
		col.bits = b
		return
	}
	if !col.used {
		*v = 0
		return
	}
	col.bits ^= bits.ReverseBytes64(c.uvarint(col))
	*v = math.Float64frombits(col.bits)
}
