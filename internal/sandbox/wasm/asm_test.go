package wasm

import "encoding/binary"

// A very small assembler for modules no compiler would make.

func uleb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func vec(items ...[]byte) []byte {
	b := uleb(uint64(len(items)))
	for _, i := range items {
		b = append(b, i...)
	}
	return b
}

func sized(b []byte) []byte { return append(uleb(uint64(len(b))), b...) }

func name(s string) []byte { return sized([]byte(s)) }

func section(id byte, content []byte) []byte { return append([]byte{id}, sized(content)...) }

func cat(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

const (
	i32, i64     = 0x7f, 0x7e
	opEnd        = 0x0b
	opCall       = 0x10
	opDrop       = 0x1a
	opI32Const   = 0x41
	opMemoryGrow = 0x40
	opUnreach    = 0x00
)

// importOf describes a function imported from WASI: its parameters, all returning one i32 unless none.
type importOf struct {
	name   string
	params []byte
	none   bool
}

// module is a hand-made command: imports come first in the numbering of functions, then bodies; the last body is _start.
type module struct {
	imports  []importOf
	bodies   [][]byte // without locals and end; all of type () → ()
	min, max uint64   // memory pages
	tables   []byte   // content of the table section, if any
	data     []byte   // put at address 0
}

func (m module) bytes() []byte {
	types := [][]byte{{0x60, 0, 0}}
	var imports, functions, codes [][]byte
	for i, im := range m.imports {
		result := vec([]byte{i32})
		if im.none {
			result = vec()
		}
		types = append(types, cat([]byte{0x60}, sized(im.params), result))
		imports = append(imports, cat(name(wasiModule), name(im.name), []byte{kindFunction}, uleb(uint64(i+1))))
	}
	for _, b := range m.bodies {
		functions = append(functions, uleb(0))
		codes = append(codes, sized(cat(vec(), b, []byte{opEnd})))
	}
	if m.max == 0 {
		m.max = 65536
	}
	start := uleb(uint64(len(m.imports) + len(m.bodies) - 1))
	b := cat([]byte("\x00asm\x01\x00\x00\x00"), section(1, vec(types...)), section(2, vec(imports...)), section(3, vec(functions...)))
	if m.tables != nil {
		b = append(b, section(4, m.tables)...)
	}
	b = cat(b, section(5, vec(cat([]byte{1}, uleb(m.min), uleb(m.max)))),
		section(7, vec(cat(name("memory"), []byte{kindMemory, 0}), cat(name("_start"), []byte{kindFunction}, start))),
		section(10, vec(codes...)))
	if m.data != nil {
		b = append(b, section(11, vec(cat([]byte{0, opI32Const, 0, opEnd}, sized(m.data))))...)
	}
	return b
}

// constant pushes an i32.
func constant(v int32) []byte {
	b := []byte{opI32Const}
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && c&0x40 == 0) || (v == -1 && c&0x40 != 0) {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func call(index int) []byte { return cat([]byte{opCall}, uleb(uint64(index))) }

// noop is the smallest command.
var noop = module{bodies: [][]byte{nil}, min: 1}

// tower is a program without a single loop that runs for 2^levels calls: f0 calls f1 twice, f1 calls f2 twice, and so on.
func tower(levels int) module {
	m := module{bodies: [][]byte{nil}, min: 1}
	for i := range levels {
		m.bodies = append(m.bodies, cat(call(i), call(i)))
	}
	return m
}
