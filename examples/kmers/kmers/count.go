package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxK is the longest k-mer that two bits a base leave room for, with one bit to spare for the encoding of counts.
const maxK = 31

// entry is a canonical k-mer and how often it occurs.
type entry struct {
	kmer  uint64
	count uint64
}

// countFile counts the k-mers of the FASTA file at path and writes them to out.
func countFile(path, out string, k int) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var room int64
	if info, err := file.Stat(); err == nil {
		room = min(info.Size(), 1<<26)
	}
	var table []uint64
	if k <= tableK {
		table, room = make([]uint64, 1<<(2*k)), 1<<16
	}
	kmers, err := kmersOf(file, k, make([]uint64, 0, room), table)
	if err != nil {
		return fmt.Errorf("genome: %w", err)
	}
	return writeFile(out, func(w *bufio.Writer) error {
		if table != nil {
			counted(table, newCountsWriter(w, k).add)
		} else {
			tally(sortKmers(kmers, k), newCountsWriter(w, k).add)
		}
		return nil
	})
}

// tableK is the longest k-mer that is counted in a table with an entry for each possible one. Single bases need it: without
// an overlap a sequence comes in one piece, however long it is.
const tableK = 9

// counted calls emit with blocks of entries, one entry for each k-mer that a table has counted.
func counted(table []uint64, emit func([]entry)) {
	block := make([]entry, 0, blockSize)
	for kmer, count := range table {
		if count == 0 {
			continue
		}
		if block = append(block, entry{uint64(kmer), count}); len(block) == blockSize {
			emit(block)
			block = block[:0]
		}
	}
	emit(block)
}

// code gives the two bits of a base, broken for a letter that ends a run, skipped for white space, and refused for
// what cannot be in a sequence. The complement of a base is its code inverted.
var code = func() (table [256]byte) {
	for i := range table {
		table[i] = refused
	}
	for c := byte('A'); c <= 'Z'; c++ {
		table[c], table[c|0x20] = broken, broken
	}
	for _, c := range []byte("-*.") {
		table[c] = broken
	}
	for _, c := range []byte(" \t\r\v\f") {
		table[c] = skipped
	}
	for i, c := range []byte("ACGT") {
		table[c], table[c|0x20] = byte(i), byte(i)
	}
	table['U'], table['u'] = table['T'], table['T']
	return table
}()

const (
	broken  = 4
	skipped = 5
	refused = 6
)

// kmersOf appends every canonical k-mer of a FASTA text to kmers, in order of appearance and as often as it appears; with a
// table it counts them there instead.
// Upper and lower case are one; records, empty lines and either line ending are understood.
func kmersOf(r io.Reader, k int, kmers, table []uint64) ([]uint64, error) {
	var (
		forward  uint64 // the last k bases
		reverse  uint64 // their reverse complement
		length   int    // bases since the last break
		mask     = uint64(1)<<(2*k) - 1
		top      = 2 * (k - 1)
		inRecord bool // after the first header
		isHeader bool // inside a header or comment line
		started  bool // inside a line that is longer than the buffer
	)
	reader := bufio.NewReaderSize(r, 1<<16)
	for number := 1; ; {
		line, err := reader.ReadSlice('\n')
		whole := err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return nil, err
		}
		text := bytes.TrimSuffix(line, []byte("\n"))
		switch {
		case isHeader:
		case !started && len(text) > 0 && text[0] == '>':
			isHeader, inRecord, length = true, true, 0
		case !started && len(text) > 0 && text[0] == ';':
			isHeader = true // a comment: the sequence goes on after it
		case !inRecord && len(bytes.TrimSpace(text)) > 0:
			return nil, fmt.Errorf("line %d: not FASTA: a record starts with '>'%s", number, resembles(text))
		default:
			for _, c := range text {
				base := code[c]
				if base < broken {
					forward = (forward<<2 | uint64(base)) & mask
					reverse = reverse>>2 | uint64(3-base)<<top
					if length++; length >= k {
						kmers = append(kmers, min(forward, reverse))
					}
					continue
				}
				switch base {
				case broken:
					length = 0
				case refused:
					return nil, fmt.Errorf("line %d: %q cannot be in a sequence", number, c)
				}
			}
		}
		if table != nil {
			for _, kmer := range kmers {
				table[kmer]++
			}
			kmers = kmers[:0]
		}
		started = !whole
		if whole {
			number++
			isHeader = false
		}
		if errors.Is(err, io.EOF) {
			return kmers, nil
		}
	}
}

// resembles names what a file is that is not FASTA, where its first bytes tell.
func resembles(text []byte) string {
	switch {
	case bytes.HasPrefix(text, []byte("\x1f\x8b")):
		return "; this is gzip"
	case bytes.HasPrefix(text, []byte("\x28\xb5\x2f\xfd")):
		return "; this is zstd"
	case text[0] == '@':
		return "; this looks like FASTQ"
	}
	return ""
}

// tally calls emit with blocks of entries, one entry for each distinct one of sorted k-mers.
func tally(sorted []uint64, emit func([]entry)) {
	block := make([]entry, 0, blockSize)
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j] == sorted[i] {
			j++
		}
		if block = append(block, entry{sorted[i], uint64(j - i)}); len(block) == blockSize {
			emit(block)
			block = block[:0]
		}
		i = j
	}
	emit(block)
}

// sortKmers sorts keys of 2k bits by radix, eleven bits a pass. It may return another slice than the one it was given,
// whose content is then undefined.
func sortKmers(kmers []uint64, k int) []uint64 {
	const bits = 11
	other := make([]uint64, len(kmers))
	for shift := 0; shift < 2*k; shift += bits {
		var starts [1 << bits]int
		for _, v := range kmers {
			starts[v>>shift&(1<<bits-1)]++
		}
		sum := 0
		for i, n := range starts {
			starts[i] = sum
			sum += n
		}
		for _, v := range kmers {
			digit := v >> shift & (1<<bits - 1)
			other[starts[digit]] = v
			starts[digit]++
		}
		kmers, other = other, kmers
	}
	return kmers
}
