package merge

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math/big"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// memory is Files in memory: a blob's digest is its content.
type memory map[string]*bytes.Buffer

func (m memory) Open(d cloudcrowd.Digest) (io.ReadCloser, error) {
	if d == "broken" {
		return nil, errBroken
	}
	return io.NopCloser(strings.NewReader(string(d))), nil
}

func (m memory) Create(path string) (io.WriteCloser, error) {
	m[path] = &bytes.Buffer{}
	return nopCloser{m[path]}, nil
}

var errBroken = errors.New("disk on fire")

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// part makes a part with files given as name, content, …
func part(index int, files ...string) Part {
	p := Part{Index: int32(index), Unit: cloudcrowd.Unit{Lo: int64(index), Hi: int64(index) + 1}}
	for i := 0; i < len(files); i += 2 {
		p.Outputs = append(p.Outputs, cloudcrowd.OutputFile{Path: files[i], Digest: cloudcrowd.Digest(files[i+1]), SizeBytes: int64(len(files[i+1]))})
	}
	return p
}

// merged runs a merge and returns its files.
func merged(t *testing.T, m cloudcrowd.Merge, split *cloudcrowd.Split, parts ...Part) memory {
	t.Helper()
	out := memory{}
	if err := Run(t.Context(), &m, split, parts, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// Small merges, each with its whole result. Parts are given out of order: the order of the input counts.
func TestMerges(t *testing.T) {
	t.Parallel()
	reduce := func(op string, by ...string) cloudcrowd.Merge {
		return cloudcrowd.Merge{Kind: cloudcrowd.MergeReduce, Op: op, By: by}
	}
	for name, c := range map[string]struct {
		merge cloudcrowd.Merge
		parts []Part
		file  string
		want  string
	}{
		"concat":           {cloudcrowd.Merge{Kind: "concat"}, []Part{part(1, "a.txt", "two"), part(0, "a.txt", "one\n")}, "a.txt", "one\ntwo"},
		"concat named":     {cloudcrowd.Merge{Kind: "concat", File: "b", As: "all"}, []Part{part(0, "a", "x", "b", "1"), part(1, "b", "2", "c", "")}, "all", "12"},
		"csv":              {cloudcrowd.Merge{Kind: "csv"}, []Part{part(1, "t.csv", "a,b\n3,\"x\ny\"\n"), part(0, "t.csv", "a,b\r\n1,2\r\n"), part(2, "t.csv", ""), part(3, "t.csv", "a,b")}, "t.csv", "a,b\n1,2\n3,\"x\ny\"\n"},
		"csv sorted":       {cloudcrowd.Merge{Kind: "csv", Sort: []string{"b", "a"}}, []Part{part(0, "t.csv", "a,b\nz,10\ny,9\n"), part(1, "t.csv", "a,b\nx,word\nw,9\nv,\n")}, "t.csv", "a,b\nw,9\ny,9\nz,10\nv,\nx,word\n"},
		"csv marked":       {cloudcrowd.Merge{Kind: "csv", Sort: []string{"a"}}, []Part{part(0, "t.csv", "\ufeff\"a\",b\n2,x\n"), part(1, "t.csv", "a,b\n1,y\n")}, "t.csv", "a,b\n1,y\n2,x\n"},
		"tsv to csv":       {cloudcrowd.Merge{Kind: "csv", As: "t.csv"}, []Part{part(0, "t.tsv", "a\tb\n1,5\t2\n")}, "t.csv", "a,b\n\"1,5\",2\n"},
		"json":             {cloudcrowd.Merge{Kind: "json"}, []Part{part(0, "r.json", " [1, {\"a\": [2 ]}]"), part(1, "r.json", "{\"x\": 1.50}\n"), part(2, "r.json", "[]"), part(3, "r.json", "null")}, "r.json", "[\n1,\n{\"a\":[2]},\n{\"x\":1.50},\nnull\n]\n"},
		"json of nothing":  {cloudcrowd.Merge{Kind: "json"}, []Part{part(0, "r.json", "[]")}, "r.json", "[]\n"},
		"sum":              {reduce("sum", "k"), []Part{part(0, "t.csv", "k,v\nb,1\na,2\nb,0.5\n"), part(1, "t.csv", "k,v\na,9223372036854775807\n10,\n9,1e-3\n")}, "t.csv", "k,v\n9,0.001\n10,\na,9223372036854775809\nb,1.5\n"},
		"mean":             {reduce("mean", "k"), []Part{part(0, "t.csv", "k,v\na,1\na,2\n"), part(1, "t.csv", "k,v\na,4\nb,3\n")}, "t.csv", "k,v\na,2.3333333333333335\nb,3\n"},
		"min of all":       {reduce("min"), []Part{part(0, "t.tsv", "x\ty\n1\t2.50\n"), part(1, "t.tsv", "x\ty\n-3\t1e1\n")}, "t.tsv", "x\ty\n-3\t2.5\n"},
		"max":              {reduce("max", "k"), []Part{part(0, "t.csv", "v,k\n1,a\n9007199254740993,a\n9007199254740992.0,a\n")}, "t.csv", "v,k\n9007199254740993,a\n"},
		"count":            {reduce("count", "k"), []Part{part(0, "t.csv", "k,v\na,word\na,\na,3\n")}, "t.csv", "k,v\na,2\n"},
		"cancelling":       {reduce("sum"), []Part{part(0, "t.csv", "v\n1e308\n1e308\n1\n"), part(1, "t.csv", "v\n-1e308\n-1e308\n1e-300\n")}, "t.csv", "v\n1\n"},
		"json sum":         {reduce("sum"), []Part{part(0, "r.json", `{"n": 1, "l": [1, 0.5], "s": "x", "only": 4}`), part(1, "r.json", `{"l": [2, 0.25], "n": 2, "s": "x"}`)}, "r.json", "{\n  \"l\": [\n    3,\n    0.75\n  ],\n  \"n\": 3,\n  \"only\": 4,\n  \"s\": \"x\"\n}\n"},
		"json mean number": {reduce("mean"), []Part{part(0, "r.json", "1"), part(1, "r.json", "2")}, "r.json", "1.5\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := merged(t, c.merge, nil, c.parts...)
			if len(out) != 1 || out[c.file] == nil || out[c.file].String() != c.want {
				t.Errorf("got %q, want %s: %q", out, c.file, c.want)
			}
		})
	}
}

// A file that does not fit is answered with the task and what is wrong there.
func TestFaults(t *testing.T) {
	t.Parallel()
	reduce := cloudcrowd.Merge{Kind: cloudcrowd.MergeReduce, Op: "sum", By: []string{"k"}}
	jsonSum := cloudcrowd.Merge{Kind: cloudcrowd.MergeReduce, Op: "sum"}
	tiles := &cloudcrowd.Split{Kind: cloudcrowd.SplitTiles, Width: 4, Height: 2, TileW: 2, TileH: 2}
	frames := &cloudcrowd.Split{Kind: cloudcrowd.SplitFrames, To: 2, Size: 1}
	small, large := string(pngOf(image.NewRGBA(image.Rect(0, 0, 2, 2)))), string(pngOf(image.NewRGBA(image.Rect(0, 0, 3, 2))))
	for _, c := range []struct {
		name  string
		merge cloudcrowd.Merge
		split *cloudcrowd.Split
		parts []Part
		want  string
	}{
		{"two files", cloudcrowd.Merge{Kind: "concat"}, nil, []Part{part(3, "a", "", "b", "")}, "task 3: it left 2 files (a, b); say with file: which one to merge"},
		{"no file", cloudcrowd.Merge{Kind: "concat", File: "x"}, nil, []Part{part(0, "x", ""), part(4, "a", "")}, "task 4: it left no file x (it left: a)"},
		{"header", cloudcrowd.Merge{Kind: "csv"}, nil, []Part{part(0, "t.csv", "a,b\n"), part(1, "t.csv", "a,c\n")}, `task 1: t.csv: its header is "a,c", other tasks have "a,b"`},
		{"fields", cloudcrowd.Merge{Kind: "csv"}, nil, []Part{part(0, "t.csv", "a,b\n1,2\n3\n")}, "task 0: t.csv: line 3: 1 fields where the header has 2"},
		{"sort column", cloudcrowd.Merge{Kind: "csv", Sort: []string{"z"}}, nil, []Part{part(0, "t.csv", "a,b\n")}, `there is no column "z" (there are: a, b)`},
		{"key column", reduce, nil, []Part{part(0, "t.csv", "a,b\n")}, `there is no column "k" (there are: a, b)`},
		{"not a number", reduce, nil, []Part{part(0, "t.csv", "k,v\na,1\na,NaN\n")}, `task 0: t.csv: line 3: "NaN" in column v is not a number`},
		{"long record", cloudcrowd.Merge{Kind: "csv"}, nil, []Part{part(0, "t.csv", "a\n\""+strings.Repeat("x", maxRecord+64<<10)+"\"\n")}, "task 0: t.csv: a record is longer than 16.0 MiB"},
		{"not json", cloudcrowd.Merge{Kind: "json"}, nil, []Part{part(0, "r.json", "[1, oops]")}, "task 0: r.json: not JSON: invalid character 'o' looking for beginning of value"},
		{"cut json", cloudcrowd.Merge{Kind: "json"}, nil, []Part{part(0, "r.json", "[1, 2")}, "task 0: r.json: not JSON: it ends too early"},
		{"empty json", cloudcrowd.Merge{Kind: "json"}, nil, []Part{part(0, "r.json", "")}, "task 0: r.json: not JSON: it ends too early"},
		{"two json", cloudcrowd.Merge{Kind: "json"}, nil, []Part{part(0, "r.json", "[1] 2")}, "task 0: r.json: there is more behind its JSON value"},
		{"long json", cloudcrowd.Merge{Kind: "json"}, nil, []Part{part(0, "r.json", `["`+strings.Repeat("x", maxRecord+64<<10)+`"]`)}, "task 0: r.json: a JSON element is longer than 16.0 MiB"},
		{"json shapes", jsonSum, nil, []Part{part(0, "r.json", `{"a": [1]}`), part(1, "r.json", `{"a": {"b": 1}}`)}, "task 1: r.json: a: it has an object where other tasks have an array"},
		{"json values", jsonSum, nil, []Part{part(0, "r.json", `{"a": "x"}`), part(1, "r.json", `{"a": "y"}`)}, `task 1: r.json: a: it has "y" where other tasks have "x"`},
		{"json lengths", jsonSum, nil, []Part{part(0, "r.json", `[[1,2]]`), part(1, "r.json", `[[1]]`)}, `task 1: r.json: [0]: 1 elements where other tasks have 2`},
		{"json key twice", jsonSum, nil, []Part{part(0, "r.json", `{"a": 1, "a": 1}`)}, `task 0: r.json: the value: the key "a" is there twice`},
		{"json depth", jsonSum, nil, []Part{part(0, "r.json", strings.Repeat("[", 5000))}, `task 0: r.json: nested deeper than 200`},
		{"json number", jsonSum, nil, []Part{part(0, "r.json", `{"a": 1e999}`)}, `task 0: r.json: a: 1e999 is out of range`},
		{"json by", reduce, nil, []Part{part(0, "r.json", `1`)}, `by: names columns, and r.json is JSON: its numbers are reduced by place`},
		{"tile size", cloudcrowd.Merge{Kind: "tiles"}, tiles, []Part{part(0, "i.png", small), part(1, "i.png", large)}, "task 1: i.png: 3 × 2 pixels where the tile has 2 × 2"},
		{"tile bytes", cloudcrowd.Merge{Kind: "tiles"}, tiles, []Part{part(0, "i.png", small), part(1, "i.png", "GIF89a")}, "task 1: i.png: not a PNG: unexpected EOF"},
		{"tile data", cloudcrowd.Merge{Kind: "tiles"}, tiles, []Part{part(0, "i.png", small), part(1, "i.png", small[:45])}, "task 1: i.png: not a PNG: png: invalid format: not enough pixel data"},
		{"tile missing", cloudcrowd.Merge{Kind: "tiles"}, tiles, []Part{part(0, "i.png", small)}, "1 tiles of 2"},
		{"frame missing", cloudcrowd.Merge{Kind: "frames", File: "*.png"}, frames, []Part{part(0, "i.png", small, "log.txt", ""), part(1, "log.txt", "")}, "task 1: it left 0 files for 1 frames (it left: log.txt); file: may be a pattern that matches only them"},
		{"frame bytes", cloudcrowd.Merge{Kind: "frames"}, frames, []Part{part(0, "i.png", small), part(1, "i.png", small[:len(small)-6]+"oooooo")}, "task 1: i.png: not a PNG: its chunks are broken"},
		{"store", cloudcrowd.Merge{Kind: "concat"}, nil, []Part{part(0, "a", "broken")}, "disk on fire"},
		{"nothing", cloudcrowd.Merge{Kind: "concat"}, nil, nil, "there is nothing to merge: the stage before has no tasks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := Run(t.Context(), &c.merge, c.split, c.parts, memory{})
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, &cloudcrowd.Merge{Kind: "concat"}, nil, []Part{part(0, "a", "x")}, memory{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// The sum of random numbers, in any order and cut into any parts, is the exactly rounded one that fractions give.
func TestSumsAreExact(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		exact, count := new(big.Rat), 0
		numbers := make([]string, 1+rng.IntN(40))
		for i := range numbers {
			v := (rng.Float64() - 0.5) * []float64{1, 1e-12, 1e18, 1e300}[rng.IntN(4)]
			numbers[i] = strconv.FormatFloat(v, 'g', -1, 64)
			if rng.IntN(3) == 0 {
				numbers[i] = strconv.FormatInt(rng.Int64()-rng.Int64(), 10)
			}
			r, _ := new(big.Rat).SetString(numbers[i])
			if strings.ContainsAny(numbers[i], ".e") { // what is summed is the float64, not the decimal
				f, _ := strconv.ParseFloat(numbers[i], 64)
				r = new(big.Rat).SetFloat64(f)
			}
			exact.Add(exact, r)
			count++
		}
		want, _ := exact.Float64()
		mean, _ := new(big.Rat).Quo(exact, big.NewRat(int64(count), 1)).Float64()
		for range 2 {
			rng.Shuffle(len(numbers), func(i, j int) { numbers[i], numbers[j] = numbers[j], numbers[i] })
			var parts []Part
			for lo := 0; lo < len(numbers); {
				hi := min(len(numbers), lo+1+rng.IntN(9))
				parts = append(parts, part(lo, "t.csv", "v\n"+strings.Join(numbers[lo:hi], "\n")+"\n"))
				lo = hi
			}
			for op, want := range map[string]float64{"sum": want, "mean": mean} {
				out := merged(t, cloudcrowd.Merge{Kind: cloudcrowd.MergeReduce, Op: op}, nil, parts...)["t.csv"].String()
				got, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimPrefix(out, "v\n")), 64)
				if err != nil || got != want {
					t.Fatalf("seed %d, %s of %v: %v, want %v", seed, op, numbers, got, want)
				}
			}
		}
	}
}

// A table cut into parts and merged holds the same records; a JSON array the same elements.
func TestMergesJoinWhatWasCut(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var rows [][]string
		var elements []any
		for range rng.IntN(40) {
			rows = append(rows, []string{fmt.Sprint(rng.IntN(9)), strings.Repeat("a\"\n,é", rng.IntN(3))})
			elements = append(elements, map[string]any{"n": float64(rng.IntN(100)), "l": []any{"x", nil}})
		}
		header := []string{"k", "text, \"quoted\""}
		var tables, arrays []Part
		for lo, i := 0, 0; lo <= len(rows); i++ {
			hi := min(len(rows), lo+rng.IntN(9))
			var b strings.Builder
			w := csv.NewWriter(&b)
			if err := w.WriteAll(append([][]string{header}, rows[lo:hi]...)); err != nil {
				t.Fatal(err)
			}
			tables = append(tables, part(i, "t.csv", b.String()))
			array, _ := json.MarshalIndent(append([]any{}, elements[lo:hi]...), "", " ")
			arrays = append(arrays, part(i, "a.json", string(array)))
			if lo = hi; lo == len(rows) {
				break
			}
		}
		rng.Shuffle(len(tables), func(i, j int) { tables[i], tables[j] = tables[j], tables[i] })
		got, err := csv.NewReader(merged(t, cloudcrowd.Merge{Kind: "csv"}, nil, tables...)["t.csv"]).ReadAll()
		if err != nil || !slices.EqualFunc(got, append([][]string{header}, rows...), slices.Equal) {
			t.Fatalf("seed %d: %v %q", seed, err, got)
		}
		var list []any
		if err := json.Unmarshal(merged(t, cloudcrowd.Merge{Kind: "json"}, nil, arrays...)["a.json"].Bytes(), &list); err != nil || fmt.Sprint(list) != fmt.Sprint(elements) {
			t.Fatalf("seed %d: %v %v", seed, err, list)
		}
	}
}

func pngOf(m image.Image) []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// noise fills a picture of one of the kinds that programs write.
func noise(rng *rand.Rand, kind int, r image.Rectangle) interface {
	image.Image
	SubImage(image.Rectangle) image.Image
} {
	switch kind {
	case 0:
		m := image.NewRGBA(r)
		for i := range m.Pix {
			if m.Pix[i] = byte(rng.Uint32()); i%4 == 3 {
				m.Pix[i] = 255
			}
		}
		return m
	case 1:
		m := image.NewNRGBA(r)
		for i := range m.Pix {
			m.Pix[i] = byte(rng.Uint32())
		}
		return m
	case 2:
		m := image.NewGray(r)
		for i := range m.Pix {
			m.Pix[i] = byte(rng.Uint32())
		}
		return m
	case 3:
		m := image.NewNRGBA64(r)
		for i := range m.Pix {
			m.Pix[i] = byte(rng.Uint32())
		}
		return m
	}
	m := image.NewPaletted(r, color.Palette{color.NRGBA{1, 2, 3, 255}, color.NRGBA{200, 100, 50, 128}})
	for i := range m.Pix {
		m.Pix[i] = byte(rng.IntN(2))
	}
	return m
}

// A picture cut into tiles and merged is the picture, pixel by pixel; where tiles are of the usual kinds, even the file is byte for byte
// what encoding the whole gives.
func TestTilesMakeThePicture(t *testing.T) {
	t.Parallel()
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 3))
		kind := int(seed % 5)
		w, h := 1+rng.IntN(50), 1+rng.IntN(50)
		split := &cloudcrowd.Split{Kind: cloudcrowd.SplitTiles, Width: int64(w), Height: int64(h), TileW: 1 + rng.Int64N(40), TileH: 1 + rng.Int64N(40)}
		whole := noise(rng, kind, image.Rect(0, 0, w, h))
		total, _ := decompose.Total(split, nil, 0, 0, true)
		var parts []Part
		for i := range total {
			x, y, tw, th := decompose.Geometry(split, i)
			parts = append(parts, part(int(i), "image.png", string(pngOf(whole.SubImage(image.Rect(int(x), int(y), int(x+tw), int(y+th)))))))
		}
		rng.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
		out := merged(t, cloudcrowd.Merge{Kind: "tiles"}, split, parts...)["image.png"].Bytes()
		if kind == 0 || kind == 2 {
			if !bytes.Equal(out, pngOf(whole)) {
				t.Fatalf("seed %d: the file differs", seed)
			}
		}
		got, err := png.Decode(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		for y := range h {
			for x := range w {
				if a, b := color.NRGBA64Model.Convert(got.At(x, y)), color.NRGBA64Model.Convert(whole.At(x, y)); a != b {
					t.Fatalf("seed %d, kind %d: pixel %d,%d is %v, was %v", seed, kind, x, y, a, b)
				}
			}
		}
	}
}

// Frames are renamed by number, and the animation's frames decode to the same pictures.
func TestFramesMakeAnAnimation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(14) {
		rng := rand.New(rand.NewPCG(seed, 4))
		split := &cloudcrowd.Split{Kind: cloudcrowd.SplitFrames, From: 7, To: 12, Size: 2}
		var pictures []image.Image
		var parts []Part
		for lo := int64(0); lo < 5; lo += 2 {
			p := Part{Index: int32(lo / 2), Unit: cloudcrowd.Unit{Lo: lo, Hi: min(5, lo+2)}}
			for i := p.Unit.Lo; i < p.Unit.Hi; i++ {
				kind := int(seed % 4)
				if seed >= 8 {
					kind = rng.IntN(4) &^ 2 // mixed: encoded again
				}
				m := noise(rng, kind, image.Rect(0, 0, 9, 5))
				pictures = append(pictures, m)
				p.Outputs = append(p.Outputs, cloudcrowd.OutputFile{Path: fmt.Sprintf("f%d.png", i), Digest: cloudcrowd.Digest(pngOf(m))})
			}
			slices.Reverse(p.Outputs)
			p.Outputs = append(p.Outputs, cloudcrowd.OutputFile{Path: "log.txt"})
			parts = append(parts, p)
		}
		out := merged(t, cloudcrowd.Merge{Kind: "frames", File: "*.png"}, split, parts...)
		for i, want := range pictures {
			name := fmt.Sprintf("frame-%06d.png", 7+i)
			if out[name] == nil || out[name].String() != string(pngOf(want)) {
				t.Fatalf("seed %d: no %s", seed, name)
			}
		}
		frames := unpack(t, out[animationName].Bytes())
		if len(frames) != len(pictures) {
			t.Fatalf("seed %d: %d frames of %d", seed, len(frames), len(pictures))
		}
		for i, want := range pictures {
			for y := range 5 {
				for x := range 9 {
					if a, b := color.NRGBA64Model.Convert(frames[i].At(x, y)), color.NRGBA64Model.Convert(want.At(x, y)); a != b {
						t.Fatalf("seed %d, frame %d: pixel %d,%d is %v, was %v", seed, i, x, y, a, b)
					}
				}
			}
		}
	}
}

// unpack is a plain APNG reader: it makes an ordinary PNG of every frame and lets the standard library decode it.
func unpack(t *testing.T, data []byte) (frames []image.Image) {
	t.Helper()
	if _, err := png.Decode(bytes.NewReader(data)); err != nil {
		t.Fatalf("not a PNG for programs that know no animations: %v", err)
	}
	var single *bytes.Buffer
	var w *apngWriter
	var before [][2]any
	sequence := uint32(0)
	finish := func() {
		if w == nil {
			return
		}
		w.chunk("IEND")
		w.w.Flush()
		m, err := png.Decode(single)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, m)
	}
	check := func(b []byte) {
		if got := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]); got != sequence {
			t.Fatalf("sequence number %d, expected %d", got, sequence)
		}
		sequence++
	}
	err := chunks(bytes.NewReader(data), func(kind string, _ uint32, body io.Reader) error {
		b, err := io.ReadAll(body)
		switch kind {
		case "IHDR", "PLTE", "tRNS":
			before = append(before, [2]any{kind, b})
		case "fcTL":
			check(b)
			finish()
			single = &bytes.Buffer{}
			w = newTestWriter(single)
			for _, c := range before {
				w.chunk(c[0].(string), c[1].([]byte))
			}
		case "IDAT":
			w.chunk("IDAT", b)
		case "fdAT":
			check(b)
			w.chunk("IDAT", b[4:])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	finish()
	return frames
}

func newTestWriter(out io.Writer) *apngWriter {
	w := &apngWriter{w: bufio.NewWriter(out)}
	w.raw([]byte(pngSignature))
	return w
}
