package decompose

import (
	"bytes"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// Whatever the bytes, an input is refused with a reason or cut so that its pieces, without repeated headers and overlaps, are its bytes in order.
func FuzzBuildIndex(f *testing.F) {
	kinds := []cloudcrowd.SplitKind{"lines", "csv", "tsv", "ndjson", "fasta", "fastq", "program"}
	for i, data := range []string{"a\nb\n", "h\n\"a\n\"\"b\",2\n", "h\tx\n1\t2\n", "{}\n[1]\n", ">a\nACGT\n;c\n>b\r\nAC", "@a\nA\n+\nI\n", "u1\nu2", "\x1f\x8b", "\x28\xb5\x2f\xfd"} {
		f.Add(byte(i), byte(0), byte(0), byte(1), []byte(data))
		f.Add(byte(i), byte(1), byte(3), byte(2), []byte(data))
	}
	f.Fuzz(func(t *testing.T, kind, size, most, overlap byte, data []byte) {
		split := &cloudcrowd.Split{Kind: kinds[int(kind)%len(kinds)], Input: "d", Size: int64(size % 4), Max: int64(most % 4)}
		if split.Kind == cloudcrowd.SplitFASTA {
			split.Overlap = int64(overlap % 5)
		}
		var plain bytes.Buffer
		ix, err := build(split, bytes.NewReader(data), &plain, 1<<20, limits{spacing: 3, marks: 8, places: 40})
		if err != nil {
			if c := cloudcrowd.CodeOf(err); c != cloudcrowd.Invalid && c != cloudcrowd.TooLarge {
				t.Fatalf("%s: %v", c, err)
			}
			return
		}
		if split.Kind == cloudcrowd.SplitProgram {
			return
		}
		total, _ := Total(split, ix, 0, 0, false)
		var joined bytes.Buffer
		first := int64(-1)
		for lo := int64(0); lo < total; {
			hi := NextHi(split, ix, total, lo, 1)
			from, ok := ix.at(lo)
			to, ok2 := ix.at(hi)
			if !ok || !ok2 || hi <= lo || to.Offset < from.Offset || to.Offset+to.Ext > ix.Bytes || from.Header.Offset+from.Header.Length > from.Offset {
				t.Fatalf("%d–%d of %d: %+v %+v", lo, hi, total, from, to)
			}
			if first < 0 {
				first = from.Offset
			}
			joined.Write(plain.Bytes()[from.Offset:to.Offset])
			lo = hi
		}
		if first < ix.Header.Offset+ix.Header.Length || !bytes.Equal(joined.Bytes(), plain.Bytes()[first:]) {
			t.Fatalf("pieces do not join: %+v", ix)
		}
	})
}
