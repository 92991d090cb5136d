package wasm

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Kinds of imports and exports in the binary format.
const (
	kindFunction = 0
	kindTable    = 1
	kindMemory   = 2
	kindGlobal   = 3
)

// Bounds of what an outline may hold; far above what real programs have.
const (
	maxImports       = 10_000
	maxExports       = 100_000
	maxNameBytes     = 1 << 16
	maxTables        = 100
	maxTableElements = 10_000_000
	maxPages         = 65536
	pageBytes        = 65536
)

// outline is what Check and the sandbox must know of a module before anything compiles it.
type outline struct {
	imports  []imported
	exports  map[string]exported
	memories int
	minPages uint64 // declared minimum of the memory, in pages of 64 KiB
}

type imported struct {
	module, name string
	kind         byte
}

type exported struct {
	kind  byte
	index uint32
}

// parseOutline reads the sections of a binary module strictly: header, order and sizes of all sections, and the contents of the import, table,
// memory and export sections. See https://webassembly.github.io/spec/core/binary/modules.html.
func parseOutline(module []byte) (outline, error) {
	o := outline{exports: map[string]exported{}}
	if len(module) < 8 || string(module[:4]) != "\x00asm" {
		return o, errors.New("it does not begin with \\0asm")
	}
	switch string(module[4:8]) {
	case "\x01\x00\x00\x00":
	case "\x0d\x00\x01\x00":
		return o, errors.New("it is a component, not a core module")
	default:
		return o, errors.New("its version is not 1")
	}
	r := &reader{b: module, pos: 8}
	last := 0
	for r.err == nil && r.pos < len(module) {
		id := r.byte()
		size := r.u32()
		if r.err == nil && uint64(size) > uint64(len(module)-r.pos) {
			return o, fmt.Errorf("section %d at byte %d is longer than the file", id, r.pos)
		}
		if r.err != nil {
			break
		}
		section := &reader{b: module[:r.pos+int(size)], pos: r.pos}
		r.pos += int(size)
		if id == 0 {
			section.name()
			if section.err != nil {
				return o, section.err
			}
			continue
		}
		order, known := sectionOrder[id]
		if !known {
			return o, fmt.Errorf("section %d at byte %d is unknown", id, section.pos)
		}
		if order <= last {
			return o, fmt.Errorf("section %d at byte %d is out of order or repeated", id, section.pos)
		}
		last = order
		parse := map[byte]func(*reader) error{2: o.readImports, 4: o.readTables, 5: o.readMemories, 7: o.readExports}[id]
		if parse == nil {
			continue
		}
		if err := parse(section); err != nil {
			return o, err
		}
		if section.err != nil {
			return o, section.err
		}
		if section.pos != len(section.b) {
			return o, fmt.Errorf("section %d has %d bytes too many", id, len(section.b)-section.pos)
		}
	}
	return o, r.err
}

// sectionOrder gives the place of each section; 12 (data count) stands before 10 (code).
var sectionOrder = map[byte]int{1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 7: 7, 8: 8, 9: 9, 12: 10, 10: 11, 11: 12}

func (o *outline) readImports(r *reader) error {
	n := r.count(maxImports, "imports")
	for range n {
		im := imported{module: r.name(), name: r.name(), kind: r.byte()}
		switch im.kind {
		case kindFunction:
			r.u32()
		case kindTable:
			r.byte()
			r.limits(1<<32 - 1)
		case kindMemory:
			r.limits(maxPages)
			o.memories++
		case kindGlobal:
			r.byte()
			r.byte()
		default:
			r.fail("import %s has unknown kind %d", im, im.kind)
		}
		if r.err != nil {
			return r.err
		}
		o.imports = append(o.imports, im)
	}
	return nil
}

func (o *outline) readTables(r *reader) error {
	var elements uint64
	for range r.count(maxTables, "tables") {
		if t := r.byte(); r.err == nil && t != 0x70 && t != 0x6f {
			r.fail("a table has unknown element type %#x", t)
		}
		elements += r.limits(1<<32 - 1)
		if elements > maxTableElements {
			r.fail("its tables hold more than %d elements", maxTableElements)
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func (o *outline) readMemories(r *reader) error {
	for range r.count(1, "memories") {
		o.minPages = r.limits(maxPages)
		o.memories++
	}
	if o.memories > 1 {
		r.fail("it has more than one memory")
	}
	return r.err
}

func (o *outline) readExports(r *reader) error {
	n := r.count(maxExports, "exports")
	for range n {
		name := r.name()
		e := exported{kind: r.byte(), index: r.u32()}
		if r.err != nil {
			return r.err
		}
		if _, twice := o.exports[name]; twice {
			r.fail("it exports %q twice", name)
			return r.err
		}
		o.exports[name] = e
	}
	return nil
}

// reader reads the binary format; after the first error every read returns zero.
type reader struct {
	b   []byte
	pos int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) byte() byte {
	if r.err != nil {
		return 0
	}
	if r.pos >= len(r.b) {
		r.fail("it ends in the middle of something at byte %d", r.pos)
		return 0
	}
	r.pos++
	return r.b[r.pos-1]
}

// u32 reads an unsigned LEB128 number of at most 5 bytes and 32 bits.
func (r *reader) u32() uint32 {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if v > 1<<32-1 {
				break
			}
			return uint32(v)
		}
	}
	r.fail("a number at byte %d is too large", r.pos)
	return 0
}

// count reads how many elements follow and refuses more than limit.
func (r *reader) count(limit uint32, what string) uint32 {
	n := r.u32()
	if n > limit {
		r.fail("it has %d %s, more than %d", n, what, limit)
		return 0
	}
	return n
}

// name reads a length-prefixed UTF-8 string.
func (r *reader) name() string {
	n := r.u32()
	if r.err != nil {
		return ""
	}
	if n > maxNameBytes || int(n) > len(r.b)-r.pos {
		r.fail("a name at byte %d is too long", r.pos)
		return ""
	}
	s := string(r.b[r.pos : r.pos+int(n)])
	r.pos += int(n)
	if !utf8.ValidString(s) {
		r.fail("a name at byte %d is not UTF-8", r.pos)
	}
	return s
}

// limits reads minimum and optional maximum and returns the minimum. Shared and 64-bit memories are refused.
func (r *reader) limits(limit uint64) uint64 {
	flag := r.byte()
	if flag > 1 {
		r.fail("shared or 64-bit memory or an unknown kind of limits (%#x) is not supported", flag)
		return 0
	}
	low := uint64(r.u32())
	if low > limit {
		r.fail("a minimum of %d is more than %d", low, limit)
	}
	if flag == 1 {
		if high := uint64(r.u32()); high < low || high > limit {
			r.fail("a maximum of %d is out of range", high)
		}
	}
	return low
}
