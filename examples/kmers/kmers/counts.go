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

// countsWriter encodes entries, which must ascend. The first error stays in err.
type countsWriter struct {
	w    *bufio.Writer
	last uint64
	err  error
}

func newCountsWriter(w *bufio.Writer, k int) *countsWriter {
	_, err := w.WriteString(magic + string(rune(k)))
	return &countsWriter{w: w, err: err}
}

func (c *countsWriter) add(e entry) {
	if c.err != nil {
		return
	}
	var buffer [2 * binary.MaxVarintLen64]byte
	delta := (e.kmer - c.last) << 1
	c.last = e.kmer
	var n int
	if e.count > 1 {
		n = binary.PutUvarint(buffer[:], delta|1)
		n += binary.PutUvarint(buffer[n:], e.count)
	} else {
		n = binary.PutUvarint(buffer[:], delta)
	}
	_, c.err = c.w.Write(buffer[:n])
}

// countsReader decodes what countsWriter wrote.
type countsReader struct {
	r     *bufio.Reader
	k     int
	last  uint64
	first bool
}

func newCountsReader(r io.Reader) (*countsReader, error) {
	reader := bufio.NewReaderSize(r, 1<<16)
	var head [len(magic) + 1]byte
	if _, err := io.ReadFull(reader, head[:]); err != nil || string(head[:len(magic)]) != magic {
		return nil, errors.New("not a file of k-mer counts")
	}
	k := int(head[len(magic)])
	if k < 1 || k > maxK {
		return nil, fmt.Errorf("k = %d: must be from 1 to %d", k, maxK)
	}
	return &countsReader{r: reader, k: k, first: true}, nil
}

// next returns the next entry, or io.EOF after the last one. A file cut short or out of order is an error.
func (c *countsReader) next() (entry, error) {
	delta, err := binary.ReadUvarint(c.r)
	if err != nil {
		return entry{}, err
	}
	count := uint64(1)
	if delta&1 == 1 {
		if count, err = binary.ReadUvarint(c.r); err != nil {
			return entry{}, errors.New("cut short inside a count")
		}
	}
	kmer := c.last + delta>>1
	if (kmer <= c.last && !c.first) || kmer>>(2*c.k) != 0 || count == 0 {
		return entry{}, errors.New("damaged: k-mers do not ascend")
	}
	c.last, c.first = kmer, false
	return entry{kmer, count}, nil
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
