package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/examples/internal/exampletest"
)

// naive counts canonical k-mers of a FASTA text one by one, as text.
func naive(text string, k int) map[string]uint64 {
	complement := strings.NewReplacer("A", "T", "C", "G", "G", "C", "T", "A")
	counts := map[string]uint64{}
	for _, record := range strings.Split(text, ">") {
		_, rest, _ := strings.Cut(record, "\n")
		bases := strings.ToUpper(strings.Join(strings.Fields(rest), ""))
		bases = strings.ReplaceAll(bases, "U", "T")
		for i := 0; i+k <= len(bases); i++ {
			kmer := bases[i : i+k]
			if strings.Trim(kmer, "ACGT") != "" {
				continue
			}
			backward := []byte(complement.Replace(kmer))
			slices.Reverse(backward)
			counts[min(kmer, string(backward))]++
		}
	}
	return counts
}

// entries reads a whole counts file.
func entries(t *testing.T, file []byte) (list []entry, k int) {
	t.Helper()
	reader, err := newCountsReader(bytes.NewReader(file), "counts.bin")
	if err != nil {
		t.Fatal(err)
	}
	for {
		block, err := reader.block()
		if err != nil {
			t.Fatal(err)
		}
		if len(block) == 0 {
			return list, reader.k
		}
		list = append(list, block...)
	}
}

// decode reads a counts file to the form of naive.
func decode(t *testing.T, file []byte) map[string]uint64 {
	t.Helper()
	counts := map[string]uint64{}
	list, k := entries(t, file)
	for _, e := range list {
		kmer := make([]byte, k)
		for i := range kmer {
			kmer[i] = "ACGT"[e.kmer>>(2*(k-1-i))&3]
		}
		counts[string(kmer)] = e.count
	}
	return counts
}

func count(t *testing.T, fasta []byte, k int) exampletest.Files {
	t.Helper()
	return exampletest.Task(t, exampletest.Files{"genome": fasta}, func(in, out string) error {
		return run([]string{"count", "-in", in, "-out", out, "-k", strconv.Itoa(k)})
	})
}

func mergeRun(in, out string, final bool) error {
	return run([]string{"merge", "-in", in, "-out", out, fmt.Sprintf("-final=%t", final)})
}

// The spectrum of the whole genome, counted in overlapping pieces and merged as a tree, is that of a plain program
// that counts in one map.
func TestGenome(t *testing.T) {
	t.Parallel()
	genome := exampletest.Load(t, "../ecoli-k12-mg1655.fasta.gz")
	const k = 21

	plain := map[uint64]uint64{}
	bases := bytes.Join(bytes.Split(genome, []byte("\n"))[1:], nil)
	for i := 0; i+k <= len(bases); i++ {
		var forward, reverse uint64
		for j := range k {
			forward = forward<<2 | uint64(strings.IndexByte("ACGT", bases[i+j]))
			reverse = reverse<<2 | uint64(strings.IndexByte("TGCA", bases[i+k-1-j]))
		}
		plain[min(forward, reverse)]++
	}
	want := map[uint64]uint64{}
	for _, n := range plain {
		want[n]++
	}

	var parts []exampletest.Files
	for _, piece := range exampletest.FASTA(genome, 150_000, k-1) {
		parts = append(parts, count(t, piece, k))
	}
	merged := exampletest.Tree(t, parts, len(parts), func(in, out string, _ bool) error { return mergeRun(in, out, false) })
	list, _ := entries(t, merged["counts.bin"])
	if len(list) != len(plain) {
		t.Errorf("%d distinct k-mers, want %d", len(list), len(plain))
	}
	for _, e := range list {
		if plain[e.kmer] != e.count {
			t.Fatalf("k-mer %x counted %d times, want %d", e.kmer, e.count, plain[e.kmer])
		}
	}

	result := exampletest.Tree(t, parts, 16, mergeRun)
	lines := strings.Split(strings.TrimSpace(string(result["spectrum.tsv"])), "\n")
	if lines[0] != "multiplicity\tdistinct_kmers" {
		t.Errorf("header %q", lines[0])
	}
	var expected []string
	for _, multiplicity := range slices.Sorted(maps.Keys(want)) {
		expected = append(expected, fmt.Sprintf("%d\t%d", multiplicity, want[multiplicity]))
	}
	if !slices.Equal(lines[1:], expected) {
		t.Errorf("spectrum differs from the plain program")
	}
	if !bytes.Equal(result["spectrum.svg"], exampletest.Load(t, "../spectrum.svg")) {
		t.Error("the README shows another spectrum.svg")
	}
	var summary struct {
		K        int    `json:"k"`
		Total    uint64 `json:"total_kmers"`
		Distinct int    `json:"distinct_kmers"`
	}
	if err := json.Unmarshal(result["summary.json"], &summary); err != nil {
		t.Fatal(err)
	}
	if summary.K != k || summary.Total != uint64(len(bases)-k+1) || summary.Distinct != len(plain) {
		t.Errorf("summary %+v", summary)
	}
}

// Whatever letters, cases, line ends and record lengths, and wherever it is cut, counts are those of the naive program.
func TestRandomSequences(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		k := 1 + random.IntN(maxK)
		newline := []string{"\n", "\r\n"}[random.IntN(2)]
		var text strings.Builder
		for record := range 1 + random.IntN(4) {
			fmt.Fprintf(&text, ">record %d some text%s", record, newline)
			for range random.IntN(12) {
				for range random.IntN(80) {
					letters := "ACGTACGTACGTACGTACGTacgtACGTACGTACGTACGTACGTACGT"
					if random.IntN(2) == 0 {
						letters += "NnRU-"
					}
					text.WriteByte(letters[random.IntN(len(letters))])
				}
				text.WriteString(newline)
			}
		}
		want := naive(text.String(), k)
		whole := count(t, []byte(text.String()), k)
		if got := decode(t, whole["counts.bin"]); !maps.Equal(got, want) {
			t.Fatalf("seed %d, k %d: whole: %d distinct, want %d", seed, k, len(got), len(want))
		}
		var parts []exampletest.Files
		for _, piece := range exampletest.FASTA([]byte(text.String()), 20+random.IntN(200), k-1) {
			parts = append(parts, count(t, piece, k))
		}
		merged := exampletest.Tree(t, parts, 2+random.IntN(5), func(in, out string, _ bool) error { return mergeRun(in, out, false) })
		if !bytes.Equal(merged["counts.bin"], whole["counts.bin"]) {
			t.Fatalf("seed %d, k %d: pieces merge to other counts than the whole", seed, k)
		}
		final := exampletest.Tree(t, parts, 3, mergeRun)
		exampletest.Same(t, final, exampletest.Tree(t, []exampletest.Files{whole}, 2, mergeRun))
	}
}

// Sequences without any k-mer make an empty spectrum, not an error.
func TestTiny(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", ">only a header", ">a\nACGT\n", ">a\n\n>b\nNNNNNNNNNNNNNNNNNNNNNNNNNN\n", "\n\n>a\r\nAC\r\n"} {
		part := count(t, []byte(text), 21)
		result := exampletest.Tree(t, []exampletest.Files{part}, 16, mergeRun)
		if got := string(result["spectrum.tsv"]); got != "multiplicity\tdistinct_kmers\n" {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// A table and sorting count the same k-mers.
func TestTable(t *testing.T) {
	t.Parallel()
	text := ">a\n" + strings.Repeat("ACGGTNTTGACCA\n", 9000) + ">b\n" + strings.Repeat("GATTACA", 20_000)
	for _, k := range []int{1, 2, tableK} {
		if got, want := decode(t, count(t, []byte(text), k)["counts.bin"]), naive(text, k); !maps.Equal(got, want) {
			t.Errorf("k %d: %d k-mers, want %d", k, len(got), len(want))
		}
		kmers, err := kmersOf(strings.NewReader(text), k, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		table := make([]uint64, 1<<(2*k))
		if _, err := kmersOf(strings.NewReader(text), k, nil, table); err != nil {
			t.Fatal(err)
		}
		list := func(list *[]entry) func([]entry) { return func(block []entry) { *list = append(*list, block...) } }
		var got, want []entry
		counted(table, list(&got))
		tally(sortKmers(kmers, k), list(&want))
		if !slices.Equal(got, want) {
			t.Errorf("k %d: the table counts otherwise", k)
		}
	}
}

// A comment line inside a sequence is passed over: the sequence goes on after it.
func TestComments(t *testing.T) {
	t.Parallel()
	want := count(t, []byte(">a\nACGTTGCA\nGGAT\n"), 5)
	exampletest.Same(t, count(t, []byte(";old style\n>a\n;note\nACGTTGCA\n; > note\nGGAT\n;"), 5), want)
	if _, err := exampletest.TryTask(t, exampletest.Files{"genome": []byte(";comment\nACGT\n")}, func(in, out string) error {
		return run([]string{"count", "-in", in, "-out", out, "-k", "2"})
	}); err == nil || !strings.Contains(err.Error(), "line 2: not FASTA") {
		t.Errorf("error %v", err)
	}
}

// A sequence on one line far longer than any buffer is counted like a wrapped one.
func TestLongLine(t *testing.T) {
	t.Parallel()
	genome := exampletest.Load(t, "../ecoli-k12-mg1655.fasta.gz")[:400_000]
	header, rest, _ := bytes.Cut(genome, []byte("\n"))
	oneLine := slices.Concat(header, []byte("\n"), bytes.ReplaceAll(rest, []byte("\n"), nil))
	exampletest.Same(t, count(t, oneLine, 21), count(t, genome, 21))
}

// What cannot be counted is refused with a message that says what is wrong.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, genome, message string
		args                  []string
	}{
		{"no header", "ACGT\n", "line 1: not FASTA", []string{"count"}},
		{"gzip", "\x1f\x8b\x08", "this is gzip", []string{"count"}},
		{"fastq", "@read\nACGT\n+\nIIII\n", "looks like FASTQ", []string{"count"}},
		{"digits", ">a\nAC1GT\n", `line 2: '1' cannot be in a sequence`, []string{"count"}},
		{"k too large", ">a\n", "must be from 1 to 31", []string{"count", "-k", "32"}},
		{"overlap", ">a\n", "use overlap 30", []string{"count", "-k", "31", "-overlap", "20"}},
		{"no parts", ">a\n", "no parts", []string{"merge", "-final"}},
		{"command", ">a\n", "known: count, merge", []string{"cuont"}},
		{"argument", ">a\n", `unexpected argument "x"`, []string{"count", "x"}},
	} {
		_, err := exampletest.TryTask(t, exampletest.Files{"genome": []byte(c.genome)}, func(in, out string) error {
			return run(append([]string{c.args[0], "-in", in, "-out", out}, c.args[1:]...))
		})
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.message)
		}
	}
}

// A damaged or foreign part is refused by the merge, never counted.
func TestDamagedPart(t *testing.T) {
	t.Parallel()
	good := count(t, []byte(">a\nACGTACCCAGTTATACGGGGG\n"), 5)
	other := count(t, []byte(">a\nACGTACCCAGTTATACGGGGG\n"), 7)
	for name, bad := range map[string][]byte{
		"foreign":     []byte("hello, world"),
		"empty":       nil,
		"another k":   other["counts.bin"],
		"not ordered": append(bytes.Clone(good["counts.bin"]), 0),
		"cut short":   append(bytes.Clone(good["counts.bin"]), 0x81),
	} {
		inputs := exampletest.Files{"parts/000000/counts.bin": good["counts.bin"], "parts/000001/counts.bin": bad}
		if _, err := exampletest.TryTask(t, inputs, func(in, out string) error { return mergeRun(in, out, true) }); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A spectrum of anything draws as well-formed SVG.
func TestPlotScale(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	w := bufio.NewWriter(&out)
	plot(w, 21, []uint64{1, 1_000_000}, map[uint64]uint64{1: 1, 1_000_000: 1 << 60})
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "Inf") {
		t.Error("coordinates are not numbers")
	}
}
