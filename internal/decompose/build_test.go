package decompose

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"cloudcrowd.dev/cloudcrowd"
)

func gzipped(t *testing.T, parts ...string) string {
	t.Helper()
	var b bytes.Buffer
	for _, p := range parts {
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(p)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

func zstandard(t *testing.T, parts ...string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b []byte
	for _, p := range parts {
		b = w.EncodeAll([]byte(p), b)
	}
	return string(b)
}

// Compressed inputs are recognised by their first bytes, whatever they are called, and several members are one file.
func TestCompressedInputs(t *testing.T) {
	t.Parallel()
	split := &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "text", Size: 1}
	for name, data := range map[string]string{
		"plain": "a\nb\nc\n", "gzip": gzipped(t, "a\nb\nc\n"), "two gzip members": gzipped(t, "a\nb", "\nc\n"),
		"zstd": zstandard(t, "a\nb\nc\n"), "two zstd frames": zstandard(t, "a\nb\n", "c\n"),
	} {
		var out bytes.Buffer
		ix, err := BuildIndex(split, strings.NewReader(data), &out, 100)
		if err != nil || out.String() != "a\nb\nc\n" || ix.Units != 3 || ix.Bytes != 6 || len(ix.Marks) != 3 {
			t.Errorf("%s: %q %+v %v", name, out.String(), ix, err)
		}
	}
}

// What is wrong with an input is said with its name, its line and what was found there.
func TestMalformedInputs(t *testing.T) {
	t.Parallel()
	bomb := gzipped(t, strings.Repeat("\n", 1<<20))
	many := strings.Repeat("x\n", MaxMarks+5)
	for _, c := range []struct {
		name  string
		split cloudcrowd.Split
		data  string
		code  cloudcrowd.Code
		want  string
	}{
		{"empty", cloudcrowd.Split{Kind: "lines"}, "", cloudcrowd.Invalid, `input "d": the file is empty`},
		{"empty gzip", cloudcrowd.Split{Kind: "lines"}, gzipped(t, ""), cloudcrowd.Invalid, `input "d": the file is empty`},
		{"bomb", cloudcrowd.Split{Kind: "lines"}, bomb, cloudcrowd.TooLarge, `input "d" is more than 97.7 KiB uncompressed`},
		{"cut gzip", cloudcrowd.Split{Kind: "lines"}, gzipped(t, "a\n")[:15], cloudcrowd.Invalid, `input "d": its compressed bytes are damaged or cut short: unexpected EOF`},
		{"cut zstd", cloudcrowd.Split{Kind: "lines"}, zstandard(t, many)[:20], cloudcrowd.Invalid, `input "d": its compressed bytes are damaged or cut short: unexpected EOF`},
		{"junk after gzip", cloudcrowd.Split{Kind: "lines"}, gzipped(t, "a\n") + "junk junk junk", cloudcrowd.Invalid, `input "d": its compressed bytes are damaged or cut short: gzip: invalid header`},
		{"no fasta", cloudcrowd.Split{Kind: "fasta"}, "\nACGT\n", cloudcrowd.Invalid, `input "d", line 2: a FASTA file starts with '>', this one with 'A'`},
		{"indented", cloudcrowd.Split{Kind: "fasta"}, "  ACGT\n", cloudcrowd.Invalid, `input "d", line 1: a FASTA file starts with '>', this one with 'A'`},
		{"indented, overlap", cloudcrowd.Split{Kind: "fasta", Overlap: 1}, " 0\n>", cloudcrowd.Invalid, `input "d", line 1: a FASTA file starts with '>', this one with '0'`},
		{"blank fasta", cloudcrowd.Split{Kind: "fasta", Overlap: 3}, "\n\n", cloudcrowd.Invalid, `input "d": it holds no records`},
		{"no bases", cloudcrowd.Split{Kind: "fasta", Overlap: 3}, ">a\n>b\n", cloudcrowd.Invalid, `input "d": its records hold no bases`},
		{"fastq start", cloudcrowd.Split{Kind: "fastq"}, "@a\nAC\n+\nII\nACGT\n", cloudcrowd.Invalid, `input "d", line 5: a FASTQ record starts with '@', this line with 'A'`},
		{"fastq plus", cloudcrowd.Split{Kind: "fastq"}, "@a\nAC\nGT\n+\nIIII\n", cloudcrowd.Invalid, `input "d", line 3: the third line of a FASTQ record starts with '+', this one with 'G'`},
		{"fastq empty plus", cloudcrowd.Split{Kind: "fastq"}, "@a\nAC\n\nII\n", cloudcrowd.Invalid, `input "d", line 3: the third line of a FASTQ record starts with '+', this one is empty`},
		{"fastq length", cloudcrowd.Split{Kind: "fastq"}, "@a\nAC\n+\nIII\n", cloudcrowd.Invalid, `input "d", line 4: 3 qualities for 2 bases`},
		{"fastq cut", cloudcrowd.Split{Kind: "fastq"}, "@a\nAC\n+\nII\n@b\nA", cloudcrowd.Invalid, `input "d", line 7: the last FASTQ record is cut short: it has 2 of 4 lines`},
		{"fastq return", cloudcrowd.Split{Kind: "fastq"}, "\rA\n", cloudcrowd.Invalid, `input "d", line 1: a FASTQ record starts with '@', this line with '\r'`},
		{"ndjson", cloudcrowd.Split{Kind: "ndjson"}, "{}\n\n{a}\n", cloudcrowd.Invalid, `input "d", line 3: not JSON: "{a}"`},
		{"ndjson last", cloudcrowd.Split{Kind: "ndjson"}, "{}\n{", cloudcrowd.Invalid, `input "d", line 2: not JSON: "{"`},
		{"csv quote", cloudcrowd.Split{Kind: "csv"}, "a,b\n1,2\n3,\"4\n5,6\n", cloudcrowd.Invalid, `input "d", line 3: a quote is opened and never closed`},
		{"csv header", cloudcrowd.Split{Kind: "csv"}, "a,b\n", cloudcrowd.Invalid, `input "d": it holds a header and no records; header: false if the first line is data`},
		{"size", cloudcrowd.Split{Kind: "fasta", Overlap: 3, Size: 1}, ">a\n" + strings.Repeat("A", MaxMarks+5) + "\n", cloudcrowd.Invalid, `split.size: 1 bases a task cut input "d", which has 16389, in more than 16384 places`},
		{"max", cloudcrowd.Split{Kind: "lines", Max: 1}, many, cloudcrowd.Invalid, `split.max: 1 lines a task cut input "d", which has 16389, in more than 16384 places`},
		{"no units", cloudcrowd.Split{Kind: "program", Stage: "a.split"}, "\n\n", cloudcrowd.Invalid, `stage a.split listed no units in its file "units"`},
		{"long unit", cloudcrowd.Split{Kind: "program", Stage: "a.split"}, "a\n" + strings.Repeat("x", MaxUnitBytes+1) + "\n", cloudcrowd.Invalid, `stage a.split, file "units", line 2: the line is longer than 4.0 KiB`},
		{"binary unit", cloudcrowd.Split{Kind: "program", Stage: "a.split"}, "a\xff\n", cloudcrowd.Invalid, `stage a.split, file "units", line 1: not text: "a\xff"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.split.Input = "d"
			ix, err := BuildIndex(&c.split, strings.NewReader(c.data), io.Discard, 100_000)
			if err == nil || err.Error() != c.want || cloudcrowd.CodeOf(err) != c.code {
				t.Errorf("got  %v (%s, %+v)\nwant %s", err, cloudcrowd.CodeOf(err), ix, c.want)
			}
		})
	}
}

// A disk that fails while reading or writing is not the requester's mistake.
func TestFailingDisk(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	split := &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "d"}
	for _, start := range []string{"", "a\nb\n", gzipped(t, "a\nb\n")[:15]} {
		r := io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken))
		if _, err := BuildIndex(split, r, io.Discard, 0); !errors.Is(err, broken) || cloudcrowd.CodeOf(err) == cloudcrowd.Invalid {
			t.Errorf("after %d bytes: %v", len(start), err)
		}
	}
	if _, err := BuildIndex(split, strings.NewReader("a\n"), failing{broken}, 0); !errors.Is(err, broken) {
		t.Errorf("writing: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// The list of a splitting program is kept whole: blank lines and carriage returns are not part of it.
func TestUnitList(t *testing.T) {
	t.Parallel()
	split := &cloudcrowd.Split{Kind: cloudcrowd.SplitProgram, Stage: "a.split"}
	ix, err := BuildIndex(split, strings.NewReader("one\r\n\ntwo words\nthrée"), io.Discard, 0)
	if err != nil || strings.Join(ix.List, "|") != "one|two words|thrée" || ix.Units != 3 {
		t.Errorf("%+v %v", ix, err)
	}
	if n, known := Total(split, ix, 0, 0, false); n != 3 || !known {
		t.Errorf("total %d %v", n, known)
	}
}

// A list of a million lines, one a task, is taken: what is kept of each is the few bytes that its place takes, and no more places than may be.
func TestManyPlaces(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	offsets := make([]int64, 0, MaxPlaces+1)
	for i := range MaxPlaces {
		offsets = append(offsets, int64(b.Len()))
		fmt.Fprintf(&b, "%x\n", i)
	}
	whole := b.String()
	for _, size := range []int64{1, 3} {
		split := &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "d", Size: size}
		ix, err := BuildIndex(split, strings.NewReader(whole), io.Discard, 0)
		if err != nil {
			t.Fatal(err)
		}
		tasks := (MaxPlaces + size - 1) / size
		if ix.Units != MaxPlaces || ix.Step != size || len(ix.Marks) != 0 || int64(len(ix.Places)) != 3*tasks {
			t.Fatalf("size %d: %d units, %d marks, %d bytes", size, ix.Units, len(ix.Marks), len(ix.Places))
		}
		for lo := int64(0); lo < ix.Units; {
			hi := NextHi(split, ix, ix.Units, lo, 1)
			if m, ok := ix.at(lo); !ok || m != (Mark{Unit: lo, Offset: offsets[lo]}) || hi != min(lo+size, ix.Units) {
				t.Fatalf("size %d, unit %d to %d: %+v, %v; it is at %d", size, lo, hi, m, ok, offsets[lo])
			}
			lo = hi
		}
		if m, ok := ix.at(ix.Units); !ok || m.Offset != int64(len(whole)) {
			t.Errorf("size %d: the end is at %+v", size, m)
		}
		for _, unit := range []int64{-1, 1, ix.Units + size} {
			if m, ok := ix.at(unit); ok && unit%size != 0 || ok && (unit < 0 || unit > ix.Units) {
				t.Errorf("size %d: a place at unit %d: %+v", size, unit, m)
			}
		}
	}
	_, err := BuildIndex(&cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "d", Size: 1}, strings.NewReader(whole+"x"), io.Discard, 0)
	e, ok := errors.AsType[*cloudcrowd.Error](err)
	if !ok || e.Field != "split.size" || !strings.Contains(e.Msg, "which has 1048577, in more than 1048576 places") || e.Hint != "choose size: 2 or more" {
		t.Errorf("%+v", err)
	}
}

// Marks of a large input are spread over its bytes, never closer than asked and no more than the limit.
func TestMarksAreSpread(t *testing.T) {
	t.Parallel()
	split := &cloudcrowd.Split{Kind: cloudcrowd.SplitLines, Input: "d"}
	const lines = 1 << 15
	l := limits{spacing: 64, marks: 1 << 10}
	ix, err := build(split, strings.NewReader(strings.Repeat("0123456789abcdef0123456789abcde\n", lines)), io.Discard, 0, l)
	if err != nil {
		t.Fatal(err)
	}
	if ix.Units != lines || len(ix.Marks) > l.marks || len(ix.Marks) < l.marks/4 {
		t.Errorf("%d units, %d marks", ix.Units, len(ix.Marks))
	}
	for i := 1; i < len(ix.Marks); i++ {
		if d := ix.Marks[i].Offset - ix.Marks[i-1].Offset; d < l.spacing || d > 4*ix.Bytes/int64(l.marks) {
			t.Fatalf("marks %d and %d are %d bytes apart", i-1, i, d)
		}
	}
}
