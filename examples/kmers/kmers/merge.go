package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// mergeParts merges the counts of every folder below parts, in order of their names. The final merge writes the
// spectrum, any other the merged counts.
func mergeParts(parts, out string, final bool) error {
	paths, err := filepath.Glob(parts + "/*/counts.bin")
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("no parts: %s/*/counts.bin", parts)
	}
	var sources []source
	k := 0
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		reader, err := newCountsReader(file, path)
		if err != nil {
			return err
		}
		if k == 0 {
			k = reader.k
		}
		if reader.k != k {
			return fmt.Errorf("%s: counts of %d-mers among counts of %d-mers", path, reader.k, k)
		}
		sources = append(sources, reader)
	}
	if final {
		s := spectrum{k: k, many: map[uint64]uint64{}}
		if err := merge(sources, s.add); err != nil {
			return err
		}
		return s.write(out)
	}
	return writeFile(out+"/counts.bin", func(w *bufio.Writer) error {
		return merge(sources, newCountsWriter(w, k).add)
	})
}

// source gives entries in ascending order, block by block; an empty block ends it. A block is valid until the next call.
type source interface {
	block() ([]entry, error)
}

// merge calls emit with blocks of every distinct k-mer of all sources, ascending, with the sum of its counts.
func merge(sources []source, emit func([]entry)) error {
	for len(sources) > 1 {
		var pairs []source
		for i := 0; i < len(sources); i += 2 {
			if i+1 < len(sources) {
				pairs = append(pairs, &pair{a: sources[i], b: sources[i+1], out: make([]entry, 0, blockSize)})
			} else {
				pairs = append(pairs, sources[i])
			}
		}
		sources = pairs
	}
	for {
		block, err := sources[0].block()
		if err != nil || len(block) == 0 {
			return err
		}
		emit(block)
	}
}

// pair merges two sources.
type pair struct {
	a, b        source
	left, right []entry // not yet merged
	endA, endB  bool
	out         []entry
}

func (p *pair) block() ([]entry, error) {
	out := p.out[:0]
	for len(out) < blockSize {
		var err error
		if len(p.left) == 0 && !p.endA {
			if p.left, err = p.a.block(); err != nil {
				return nil, err
			}
			p.endA = len(p.left) == 0
		}
		if len(p.right) == 0 && !p.endB {
			if p.right, err = p.b.block(); err != nil {
				return nil, err
			}
			p.endB = len(p.right) == 0
		}
		if p.endA || p.endB {
			// Only one side is left: hand on as much of it as there is room for.
			rest := &p.left
			if p.endA {
				rest = &p.right
			}
			n := min(len(*rest), blockSize-len(out))
			if n == 0 {
				break
			}
			out = append(out, (*rest)[:n]...)
			*rest = (*rest)[n:]
			continue
		}
		left, right := p.left, p.right
		for len(left) > 0 && len(right) > 0 && len(out) < blockSize {
			x, y := left[0], right[0]
			if x.kmer <= y.kmer {
				left = left[1:]
			}
			if y.kmer < x.kmer {
				x = y
				right = right[1:]
			} else if y.kmer == x.kmer {
				x.count += y.count
				right = right[1:]
			}
			out = append(out, x)
		}
		p.left, p.right = left, right
	}
	return out, nil
}

// spectrum says how many distinct k-mers occur how often.
type spectrum struct {
	k     int
	total uint64
	few   [256]uint64       // number of distinct k-mers by small multiplicity
	many  map[uint64]uint64 // and by the others
}

func (s *spectrum) add(block []entry) {
	for _, e := range block {
		s.total += e.count
		if e.count < uint64(len(s.few)) {
			s.few[e.count]++
		} else {
			s.many[e.count]++
		}
	}
}

// write makes spectrum.tsv, spectrum.svg and summary.json in the folder out.
func (s *spectrum) write(out string) error {
	distinct := maps.Clone(s.many)
	for multiplicity, n := range s.few {
		if n > 0 {
			distinct[uint64(multiplicity)] = n
		}
	}
	multiplicities := slices.Sorted(maps.Keys(distinct))
	var all uint64
	for _, n := range distinct {
		all += n
	}
	return errors.Join(
		writeFile(out+"/spectrum.tsv", func(w *bufio.Writer) error {
			fmt.Fprintln(w, "multiplicity\tdistinct_kmers")
			for _, multiplicity := range multiplicities {
				fmt.Fprintf(w, "%d\t%d\n", multiplicity, distinct[multiplicity])
			}
			return nil
		}),
		writeFile(out+"/summary.json", func(w *bufio.Writer) error {
			fmt.Fprintf(w, "{\n  \"k\": %d,\n  \"total_kmers\": %d,\n  \"distinct_kmers\": %d,\n  \"unique_kmers\": %d\n}\n",
				s.k, s.total, all, distinct[1])
			return nil
		}),
		writeFile(out+"/spectrum.svg", func(w *bufio.Writer) error {
			plot(w, s.k, multiplicities, distinct)
			return nil
		}),
	)
}
