package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// A counts file holds distinct k-mers in ascending order:
//
//	"kmers1", one byte k, then for each k-mer
//	uvarint  difference to the k-mer before (the first: to 0) times 2, plus 1 if its count is above 1
//	uvarint  the count, only if it is above 1
const magic = "kmers1"

// blockSize is how many entries are handed on together. Calls are dear in WASM; loops over blocks make few of them.
const blockSize = 2048

// countsWriter encodes entries, which must ascend.
type countsWriter struct {
	w      *bufio.Writer
	last   uint64
	buffer []byte
}

// newCountsWriter begins a counts file. Errors of w come back from its Flush.
func newCountsWriter(w *bufio.Writer, k int) *countsWriter {
	_, _ = w.WriteString(magic + string(rune(k)))
	return &countsWriter{w: w}
}

func (c *countsWriter) add(block []entry) {
	buffer, last := c.buffer[:0], c.last
	for _, e := range block {
		delta := (e.kmer - last) << 1
		last = e.kmer
		if e.count > 1 {
			delta |= 1
		}
		for delta >= 0x80 {
			buffer = append(buffer, byte(delta)|0x80)
			delta >>= 7
		}
		buffer = append(buffer, byte(delta))
		if e.count > 1 {
			buffer = binary.AppendUvarint(buffer, e.count)
		}
	}
	c.buffer, c.last = buffer, last
	_, _ = c.w.Write(buffer)
}

// countsReader decodes what countsWriter wrote.
type countsReader struct {
	r       io.Reader
	name    string // for errors
	buffer  []byte // read but not decoded
	store   []byte // the room that buffer lies in
	ended   bool
	k       int
	last    uint64
	first   bool
	entries []entry // of the last block
}

func newCountsReader(r io.Reader, name string) (*countsReader, error) {
	var head [len(magic) + 1]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%s: not a file of k-mer counts", name)
	}
	k := int(head[len(magic)])
	if k < 1 || k > maxK {
		return nil, fmt.Errorf("%s: k = %d: must be from 1 to %d", name, k, maxK)
	}
	return &countsReader{r: r, name: name, store: make([]byte, 1<<15), k: k, first: true, entries: make([]entry, 0, blockSize)}, nil
}

// maxEntry is the longest encoding of an entry, in bytes.
const maxEntry = 2 * binary.MaxVarintLen64

// fill reads on when the buffer may not hold a whole entry.
func (c *countsReader) fill() error {
	for len(c.buffer) < maxEntry && !c.ended {
		kept := copy(c.store, c.buffer)
		n, err := c.r.Read(c.store[kept:])
		c.buffer = c.store[:kept+n]
		if errors.Is(err, io.EOF) {
			c.ended = true
		} else if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

// block returns the next entries, none after the last. They are valid until the next call. A file cut short or out of
// order is an error.
func (c *countsReader) block() ([]entry, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	entries, at, limit := c.entries[:0], 0, uint64(1)<<(2*c.k)
	// Up to the end of the buffer, but only at the end of the file into its last bytes.
	safe := len(c.buffer)
	if !c.ended {
		safe -= maxEntry - 1
	}
	for at < safe && len(entries) < blockSize {
		delta, n := uvarint(c.buffer[at:])
		at += n
		count := uint64(1)
		if n > 0 && delta&1 == 1 {
			count, n = uvarint(c.buffer[at:])
			at += n
		}
		if n == 0 {
			return nil, fmt.Errorf("%s: cut short inside a count", c.name)
		}
		kmer := c.last + delta>>1
		if (kmer <= c.last && !c.first) || kmer >= limit || count == 0 {
			return nil, fmt.Errorf("%s: damaged: k-mers do not ascend", c.name)
		}
		c.last, c.first = kmer, false
		entries = append(entries, entry{kmer, count})
	}
	c.buffer = c.buffer[at:]
	return entries, nil
}

// uvarint decodes one number and says how many bytes it took, 0 if it is cut short or too long.
func uvarint(buffer []byte) (v uint64, n int) {
	var shift uint
	for i, b := range buffer {
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if i >= binary.MaxVarintLen64 {
				return 0, 0
			}
			return v, i + 1
		}
		shift += 7
	}
	return 0, 0
}

// writeFile creates a file and has write fill it; an error of any step is returned.
func writeFile(path string, write func(*bufio.Writer) error) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<16)
	return errors.Join(write(w), w.Flush(), file.Close())
}
