package decompose

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// pieces cuts data by the split with random wants and returns the bytes of every piece, after checking the cursor's promises.
func pieces(t *testing.T, rng *rand.Rand, split *cloudcrowd.Split, data string, l limits) []string {
	t.Helper()
	var plain bytes.Buffer
	ix, err := build(split, &ragged{rng, strings.NewReader(data)}, &plain, 0, l)
	if err != nil {
		t.Fatalf("BuildIndex: %v\n%q", err, data)
	}
	if plain.String() != data || ix.Bytes != int64(len(data)) {
		t.Fatalf("the copy differs from the input")
	}
	if len(ix.Marks) > l.marks {
		t.Fatalf("%d marks, at most %d", len(ix.Marks), l.marks)
	}
	ix.Data = cloudcrowd.Digest(strings.Repeat("a", 64))
	total, known := Total(split, ix, 0, 0, false)
	if !known {
		t.Fatal("total unknown with an index")
	}
	var out []string
	for lo := int64(0); lo < total; {
		want := rng.Int64N(total) + 1
		if rng.IntN(3) > 0 {
			want = rng.Int64N(min(total, 8)) + 1
		}
		hi := NextHi(split, ix, total, lo, want)
		if hi <= lo || hi > total {
			t.Fatalf("NextHi(%d of %d, want %d) = %d", lo, total, want, hi)
		}
		if split.Size > 0 && hi != min(total, lo+split.Size) {
			t.Fatalf("size %d: %d–%d of %d", split.Size, lo, hi, total)
		}
		if split.Max > 0 && hi-lo > split.Max {
			t.Fatalf("max %d: %d–%d of %d, marks %v", split.Max, lo, hi, total, ix.Marks)
		}
		segments, err := piece(ix, cloudcrowd.Unit{Lo: lo, Hi: hi})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, s := range segments {
			if s.Whole != (s.Offset == 0 && s.Length == ix.Bytes) {
				t.Fatalf("segment %+v of %d bytes", s, ix.Bytes)
			}
			text += data[s.Offset : s.Offset+s.Length]
		}
		out = append(out, text)
		lo = hi
	}
	return out
}

// ragged reads in pieces of random size, so that scanners meet every boundary.
type ragged struct {
	rng *rand.Rand
	r   io.Reader
}

func (r *ragged) Read(p []byte) (int, error) {
	return r.r.Read(p[:min(len(p), 1+r.rng.IntN(9))])
}

// randomBounds sets size, or min and max, or none.
func randomBounds(rng *rand.Rand, split *cloudcrowd.Split) {
	switch rng.IntN(4) {
	case 0:
		split.Size = 1 + rng.Int64N(5)
	case 1:
		split.Max = 1 + rng.Int64N(9)
	case 2:
		split.Min = 1 + rng.Int64N(5)
	}
}

// format describes one splitter for the twin test: how to make an input and how a plain program reads its records.
type format struct {
	split  cloudcrowd.Split
	input  func(rng *rand.Rand) string
	naive  func(data string) []string
	header bool // the first record naive finds is repeated in every piece
}

func eol(rng *rand.Rand) string {
	if rng.IntN(2) == 0 {
		return "\r\n"
	}
	return "\n"
}

// word makes up to n characters of an alphabet.
func word(rng *rand.Rand, n int, alphabet string) string {
	var b strings.Builder
	for range rng.IntN(n + 1) {
		b.WriteByte(alphabet[rng.IntN(len(alphabet))])
	}
	return b.String()
}

var formats = map[string]format{
	"lines": {split: cloudcrowd.Split{Kind: cloudcrowd.SplitLines}, input: func(rng *rand.Rand) string {
		data := ""
		for range 1 + rng.IntN(60) {
			data += word(rng, 12, "ab \r") + "\n"
		}
		return data + word(rng, 1, "x")
	}, naive: func(data string) []string {
		return strings.Split(strings.TrimSuffix(data, "\n"), "\n")
	}},
	"csv":           csvFormat(cloudcrowd.SplitCSV, ",", false),
	"csv no header": csvFormat(cloudcrowd.SplitCSV, ",", true),
	"tsv":           csvFormat(cloudcrowd.SplitTSV, "\t", false),
	"ndjson": {split: cloudcrowd.Split{Kind: cloudcrowd.SplitNDJSON}, input: func(rng *rand.Rand) string {
		data, end := "{}\n", eol(rng)
		for range rng.IntN(60) {
			switch rng.IntN(4) {
			case 0:
				data += fmt.Sprintf(`{"a": [%d, "\n%s"]}`, rng.IntN(1000), word(rng, 9, "xyz")) + end
			case 1:
				data += fmt.Sprint(rng.IntN(1000)) + end
			case 2:
				data += `"text"` + end
			default:
				data += word(rng, 2, " \t") + end
			}
		}
		return strings.TrimSuffix(data, "\n")
	}, naive: func(data string) (out []string) {
		for line := range strings.SplitSeq(data, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
		return out
	}},
	"fastq": {split: cloudcrowd.Split{Kind: cloudcrowd.SplitFASTQ}, input: func(rng *rand.Rand) string {
		data, end := "", eol(rng)
		for i := range 1 + rng.IntN(30) {
			bases := word(rng, 30, "ACGT")
			data += fmt.Sprintf("@r%d%s%s%s+%s%s%s", i, end, bases, end, end, strings.Repeat("@", len(bases)), end)
			if rng.IntN(9) == 0 {
				data += end
			}
		}
		if rng.IntN(2) == 0 {
			data = strings.TrimRight(data, "\r\n")
			if !strings.HasSuffix(data, "@") { // the last record has no bases: its line ends are needed
				data += end + end
			}
		}
		return data
	}, naive: func(data string) (out []string) {
		lines := strings.Split(strings.ReplaceAll(data, "\r", ""), "\n")
		for i := 0; i+3 < len(lines); {
			if lines[i] == "" {
				i++
				continue
			}
			out = append(out, strings.Join(lines[i:i+4], "\n"))
			i += 4
		}
		return out
	}},
	"fasta": {split: cloudcrowd.Split{Kind: cloudcrowd.SplitFASTA}, input: randomFASTA, naive: func(data string) (out []string) {
		for _, r := range fastaRecords(data) {
			out = append(out, r[0]+"\n"+r[1])
		}
		return out
	}},
}

func csvFormat(kind cloudcrowd.SplitKind, comma string, noHeader bool) format {
	return format{split: cloudcrowd.Split{Kind: kind, NoHeader: noHeader}, header: !noHeader, input: func(rng *rand.Rand) string {
		end := eol(rng)
		data := "name" + comma + `"the` + "\n" + `""value"""` + end
		for range 1 + rng.IntN(50) {
			field := func() string {
				if rng.IntN(2) == 0 {
					return "x" + word(rng, 8, "abc \"")
				}
				return `"` + strings.ReplaceAll(word(rng, 8, "abc,\t\n\""), `"`, `""`) + `"`
			}
			data += field() + comma + field() + end
			if rng.IntN(9) == 0 {
				data += end
			}
		}
		if rng.IntN(2) == 0 {
			data = strings.TrimRight(data, "\r\n")
		}
		return data
	}, naive: func(data string) (out []string) {
		r := csv.NewReader(strings.NewReader(data))
		r.Comma, r.LazyQuotes, r.FieldsPerRecord = rune(comma[0]), true, -1
		all, err := r.ReadAll()
		if err != nil {
			panic(err)
		}
		for _, record := range all {
			out = append(out, fmt.Sprintf("%q", record))
		}
		return out
	}}
}

func randomFASTA(rng *rand.Rand) string {
	data, end := "", eol(rng)
	for i := range 1 + rng.IntN(12) {
		data += fmt.Sprintf(">seq%d of %d%s", i, rng.IntN(100), end)
		for range rng.IntN(6) {
			data += word(rng, 25, "ACGTacgtN") + end
			if rng.IntN(20) == 0 {
				data += "; a comment" + end
			}
		}
	}
	data += ">last" + end + "ACGT"
	if rng.IntN(2) == 0 {
		data += end
	}
	return data
}

// fastaRecords reads header and joined bases of every record.
func fastaRecords(data string) (out [][2]string) {
	for line := range strings.SplitSeq(data, "\n") {
		line = strings.TrimRight(line, "\r")
		switch {
		case strings.HasPrefix(line, ">"):
			out = append(out, [2]string{line})
		case !strings.HasPrefix(line, ";") && line != "":
			out[len(out)-1][1] += line
		}
	}
	return out
}

// Whatever the input and wherever it is cut, reading the pieces one after another gives the records of the whole.
func TestPiecesHoldEveryRecordOnce(t *testing.T) {
	t.Parallel()
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(300) {
				rng := rand.New(rand.NewPCG(seed, 1))
				split := f.split
				split.Input = "data"
				randomBounds(rng, &split)
				data := f.input(rng)
				whole := f.naive(data)
				var got []string
				l := limits{spacing: 1 + rng.Int64N(40), marks: 1 << 10}
				if split.Size > 0 && split.Overlap == 0 {
					l.marks, l.places = 1+rng.IntN(6), 1<<10
				}
				for i, p := range pieces(t, rng, &split, data, l) {
					records := f.naive(p)
					if f.header {
						if records[0] != whole[0] {
							t.Fatalf("seed %d: piece %d starts with %q, not the header", seed, i, records[0])
						}
						if i > 0 {
							records = records[1:]
						}
					}
					got = append(got, records...)
				}
				if !slices.Equal(got, whole) {
					t.Fatalf("seed %d: %d records, the whole has %d\n%q\n%q", seed, len(got), len(whole), got, whole)
				}
			}
		})
	}
}

// When marks are scarce they are thinned, and pieces still hold every record once.
func TestFewMarks(t *testing.T) {
	t.Parallel()
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(100) {
				rng := rand.New(rand.NewPCG(seed, 2))
				split, data, got := f.split, f.input(rng), 0
				for _, p := range pieces(t, rng, &split, data, limits{spacing: 1, marks: 4}) {
					got += len(f.naive(p))
					if f.header {
						got--
					}
				}
				if f.header {
					got++
				}
				if want := len(f.naive(data)); got != want {
					t.Fatalf("seed %d: %d records, the whole has %d", seed, got, want)
				}
			}
		})
	}
}

// The k-mers of the windows are exactly the k-mers of the sequences, each as often, for every k up to overlap+1 where the overlap is k-1; and
// every window begins with the header of its sequence.
func TestFASTAWindows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(600) {
		rng := rand.New(rand.NewPCG(seed, 3))
		k := 2 + rng.IntN(12)
		split := cloudcrowd.Split{Kind: cloudcrowd.SplitFASTA, Input: "genome", Overlap: int64(k - 1)}
		randomBounds(rng, &split)
		data := randomFASTA(rng)
		marks := 1 << 10
		if split.Size+split.Max == 0 && rng.IntN(2) == 0 {
			marks = 3
		}
		want, got := map[string]int{}, map[string]int{}
		headers := map[string]bool{}
		for _, r := range fastaRecords(data) {
			headers[r[0]] = true
			kmers(want, r[1], k)
		}
		for i, p := range pieces(t, rng, &split, data, limits{spacing: 1 + rng.Int64N(60), marks: marks}) {
			for _, r := range fastaRecords(p) {
				if !headers[r[0]] {
					t.Fatalf("seed %d: piece %d has the header %q", seed, i, r[0])
				}
				kmers(got, r[1], k)
			}
		}
		for kmer := range want {
			if got[kmer] != want[kmer] {
				t.Fatalf("seed %d, k %d: %s counted %d times, is there %d times\n%q", seed, k, kmer, got[kmer], want[kmer], data)
			}
			delete(got, kmer)
		}
		if len(got) > 0 {
			t.Fatalf("seed %d: k-mers that are not in the whole: %v", seed, got)
		}
	}
}

func kmers(count map[string]int, bases string, k int) {
	for i := 0; i+k <= len(bases); i++ {
		count[bases[i:i+k]]++
	}
}
