// Package exampletest runs the programs of the examples in tests the way the platform does: pieces of an input to
// tasks, folders of inputs in, folders of outputs out, and merges as a tree.
package exampletest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Files are the files of a folder: path below it, with slashes, to content.
type Files map[string][]byte

// Task writes the inputs to a new folder, runs one task over it and returns what it wrote.
func Task(t testing.TB, inputs Files, run func(in, out string) error) Files {
	t.Helper()
	out, err := TryTask(t, inputs, run)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryTask is Task for a run that may fail.
func TryTask(t testing.TB, inputs Files, run func(in, out string) error) (Files, error) {
	t.Helper()
	in, out := t.TempDir(), t.TempDir()
	Write(t, in, inputs)
	if err := run(in, out); err != nil {
		return nil, err
	}
	return Read(t, out), nil
}

// Tree merges parts by a program run as a tree, up to fanIn parts in one run.
func Tree(t testing.TB, parts []Files, fanIn int, run func(in, out string, final bool) error) Files {
	t.Helper()
	for {
		final := len(parts) <= fanIn
		var merged []Files
		for start := 0; start < len(parts); start += fanIn {
			inputs := Files{}
			for i, part := range parts[start:min(start+fanIn, len(parts))] {
				for name, data := range part {
					inputs[fmt.Sprintf("parts/%06d/%s", i, name)] = data
				}
			}
			merged = append(merged, Task(t, inputs, func(in, out string) error { return run(in, out, final) }))
		}
		if final {
			return merged[0]
		}
		parts = merged
	}
}

// Write makes files below dir.
func Write(t testing.TB, dir string, files Files) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Read returns all files below dir.
func Read(t testing.TB, dir string) Files {
	t.Helper()
	files := Files{}
	root := os.DirFS(dir)
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(root, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// Load reads an input file of an example, uncompressed.
func Load(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(path) != ".gz" {
		return data
	}
	reader, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if data, err = io.ReadAll(reader); err != nil {
		t.Fatal(err)
	}
	return data
}

// Same fails unless both folders hold the same files, byte for byte.
func Same(t testing.TB, got, want Files) {
	t.Helper()
	for name, data := range want {
		if !bytes.Equal(got[name], data) {
			t.Errorf("%s differs: %d bytes, want %d", name, len(got[name]), len(data))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

// Cuts returns ascending numbers from 0 to n, both included, that cut 0..n-1 in the given number of pieces at random
// places; pieces may be empty.
func Cuts(random *rand.Rand, n, pieces int) []int {
	cuts := []int{0}
	for range pieces - 1 {
		cuts = append(cuts, random.IntN(n+1))
	}
	cuts = append(cuts, n)
	slices.Sort(cuts)
	return cuts
}

// Lines cuts a text in the given number of pieces at random line ends.
func Lines(random *rand.Rand, text []byte, pieces int) [][]byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	cuts := Cuts(random, len(lines), pieces)
	var out [][]byte
	for i := range pieces {
		out = append(out, bytes.Join(lines[cuts[i]:cuts[i+1]], nil))
	}
	return out
}

// FASTA cuts every sequence of a text in windows of the given number of bases, each with its header and followed by up
// to overlap further bases of the same sequence.
func FASTA(text []byte, window, overlap int) [][]byte {
	var pieces [][]byte
	for _, record := range bytes.Split(text, []byte(">"))[1:] {
		header, rest, _ := bytes.Cut(record, []byte("\n"))
		bases := bytes.Join(bytes.Fields(rest), nil)
		for start := 0; start == 0 || start < len(bases); start += window {
			piece := append([]byte(">"), header...)
			piece = append(piece, '\n')
			piece = append(piece, bases[start:min(start+window+overlap, len(bases))]...)
			pieces = append(pieces, append(piece, '\n'))
		}
	}
	return pieces
}
