package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
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
	var readers []*countsReader
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		reader, err := newCountsReader(file)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		readers = append(readers, reader)
		if k := readers[0].k; reader.k != k {
			return fmt.Errorf("%s: counts of %d-mers among counts of %d-mers", path, reader.k, k)
		}
	}
	k := readers[0].k
	if final {
		s := spectrum{k: k, distinct: map[uint64]uint64{}}
		if err := merge(readers, s.add); err != nil {
			return err
		}
		return s.write(out)
	}
	return writeFile(out+"/counts.bin", func(w *bufio.Writer) error {
		writer := newCountsWriter(w, k)
		if err := merge(readers, writer.add); err != nil {
			return err
		}
		return writer.err
	})
}

// head is the next entry of one reader in the heap of merge.
type head struct {
	entry
	reader *countsReader
}

// merge calls emit for every distinct k-mer of all readers, ascending, with the sum of its counts.
func merge(readers []*countsReader, emit func(entry)) error {
	var heap []head
	for _, reader := range readers {
		e, err := reader.next()
		if errors.Is(err, io.EOF) {
			continue
		}
		if err != nil {
			return err
		}
		heap = append(heap, head{e, reader})
	}
	for i := len(heap)/2 - 1; i >= 0; i-- {
		sink(heap, i)
	}
	var current entry
	for len(heap) > 0 {
		smallest := &heap[0]
		if smallest.kmer == current.kmer {
			current.count += smallest.count
		} else {
			if current.count > 0 {
				emit(current)
			}
			current = smallest.entry
		}
		e, err := smallest.reader.next()
		switch {
		case errors.Is(err, io.EOF):
			heap[0] = heap[len(heap)-1]
			heap = heap[:len(heap)-1]
		case err != nil:
			return err
		default:
			smallest.entry = e
		}
		sink(heap, 0)
	}
	if current.count > 0 {
		emit(current)
	}
	return nil
}

// sink restores the order of a binary heap below index i.
func sink(heap []head, i int) {
	for {
		child := 2*i + 1
		if child >= len(heap) {
			return
		}
		if child+1 < len(heap) && heap[child+1].kmer < heap[child].kmer {
			child++
		}
		if heap[i].kmer <= heap[child].kmer {
			return
		}
		heap[i], heap[child] = heap[child], heap[i]
		i = child
	}
}

// spectrum says how many distinct k-mers occur how often.
type spectrum struct {
	k        int
	distinct map[uint64]uint64 // multiplicity → number of distinct k-mers
	total    uint64
}

func (s *spectrum) add(e entry) {
	s.distinct[e.count]++
	s.total += e.count
}

// write makes spectrum.tsv, spectrum.svg and summary.json in the folder out.
func (s *spectrum) write(out string) error {
	multiplicities := slices.Sorted(maps.Keys(s.distinct))
	var all uint64
	for _, n := range s.distinct {
		all += n
	}
	return errors.Join(
		writeFile(out+"/spectrum.tsv", func(w *bufio.Writer) error {
			fmt.Fprintln(w, "multiplicity\tdistinct_kmers")
			for _, multiplicity := range multiplicities {
				fmt.Fprintf(w, "%d\t%d\n", multiplicity, s.distinct[multiplicity])
			}
			return nil
		}),
		writeFile(out+"/summary.json", func(w *bufio.Writer) error {
			fmt.Fprintf(w, "{\n  \"k\": %d,\n  \"total_kmers\": %d,\n  \"distinct_kmers\": %d,\n  \"unique_kmers\": %d\n}\n",
				s.k, s.total, all, s.distinct[1])
			return nil
		}),
		writeFile(out+"/spectrum.svg", func(w *bufio.Writer) error {
			plot(w, s.k, multiplicities, s.distinct)
			return nil
		}),
	)
}
