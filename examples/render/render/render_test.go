package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd/examples/internal/exampletest"
)

func renderTask(t *testing.T, mesh []byte, args ...string) exampletest.Files {
	t.Helper()
	return exampletest.Task(t, exampletest.Files{"mesh": mesh}, func(in, out string) error {
		return run(append([]string{args[0], "-in", in, "-out", out}, args[1:]...))
	})
}

func decode(t *testing.T, data []byte) image.Image {
	t.Helper()
	picture, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

// Tiles of any size make the picture that is rendered in one piece, bit for bit.
func TestTilesMakeThePicture(t *testing.T) {
	t.Parallel()
	mesh := exampletest.Load(t, "../spot.obj")
	const width, height = 96, 54
	size := []string{"-width", fmt.Sprint(width), "-height", fmt.Sprint(height), "-samples", "2"}
	whole := decode(t, renderTask(t, mesh, append([]string{"tile"}, size...)...)["tile.png"])
	if whole.Bounds() != image.Rect(0, 0, width, height) || !whole.(interface{ Opaque() bool }).Opaque() {
		t.Fatalf("bounds %v", whole.Bounds())
	}
	for _, tile := range []image.Point{{32, 32}, {96, 1}, {17, 54}} {
		merged := image.NewRGBA(whole.Bounds())
		for y := 0; y < height; y += tile.Y {
			for x := 0; x < width; x += tile.X {
				place := image.Rect(x, y, min(x+tile.X, width), min(y+tile.Y, height))
				part := decode(t, renderTask(t, mesh, append([]string{"tile", "-x", fmt.Sprint(x), "-y", fmt.Sprint(y),
					"-w", fmt.Sprint(place.Dx()), "-h", fmt.Sprint(place.Dy())}, size...)...)["tile.png"])
				draw.Draw(merged, place, part, image.Point{}, draw.Src)
			}
		}
		for y := range height {
			for x := range width {
				if r, g, b, _ := whole.At(x, y).RGBA(); merged.At(x, y) != (color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}) {
					t.Fatalf("tiles of %v: pixel %d, %d differs", tile, x, y)
				}
			}
		}
	}
}

// The picture shows the mesh in the middle, its shadow on the floor, and the sky above; more samples are smoother.
func TestPicture(t *testing.T) {
	t.Parallel()
	mesh := exampletest.Load(t, "../spot.obj")
	picture := func(samples, seed string) image.Image {
		return decode(t, renderTask(t, mesh, "tile", "-width", "96", "-height", "54", "-samples", samples, "-seed", seed)["tile.png"])
	}
	few, again, many := picture("1", "1"), picture("1", "2"), picture("24", "1")
	difference := func(a, b image.Image) (sum float64) {
		for y := range 54 {
			for x := range 96 {
				r0, _, _, _ := a.At(x, y).RGBA()
				r1, _, _, _ := b.At(x, y).RGBA()
				sum += math.Abs(float64(r0)-float64(r1)) / 65535
			}
		}
		return sum / (54 * 96)
	}
	if d := difference(few, again); d == 0 || d > 0.2 {
		t.Errorf("another seed changes the picture by %v", d)
	}
	if noise, other := difference(many, picture("24", "2")), difference(few, again); noise > other/2 {
		t.Errorf("noise %v with 24 samples, %v with 1", noise, other)
	}
	if r, _, b, _ := many.At(5, 3).RGBA(); b <= r {
		t.Error("no sky in the upper left corner")
	}
	if r, g, b, _ := many.At(5, 50).RGBA(); g <= r || g <= b {
		t.Error("no floor in the lower left corner")
	}
}

// A frame of the animation is the whole picture, turned; the last one is followed by the first.
func TestFrames(t *testing.T) {
	t.Parallel()
	mesh := exampletest.Load(t, "../spot.obj")
	size := []string{"-width", "48", "-height", "27", "-samples", "1"}
	frame := func(number, frames int) []byte {
		return renderTask(t, mesh, append([]string{"frame", "-frame", fmt.Sprint(number), "-frames", fmt.Sprint(frames)}, size...)...)["frame.png"]
	}
	if !bytes.Equal(frame(0, 8), frame(8, 8)) || bytes.Equal(frame(0, 8), frame(2, 8)) {
		t.Error("frames do not go round")
	}
	tile := renderTask(t, mesh, append([]string{"tile", "-turn", "25"}, size...)...)["tile.png"]
	if !bytes.Equal(frame(2, 8), tile) {
		t.Error("a quarter of a turn is not 25 per cent")
	}
}

// The tree finds what looking at every triangle finds.
func TestTreeAgainstAllTriangles(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 8))
		point := func() vector {
			return vector{random.Float64()*2 - 1, random.Float64()*2 - 1, random.Float64()*2 - 1}
		}
		var list []triangle
		for range 1 + random.IntN(300) {
			a := point()
			b, c := a.plus(point().times(0.2)), a.plus(point().times(0.2))
			if random.IntN(10) == 0 {
				b = a // a degenerate one
			}
			low, high := lower(a, lower(b, c)), upper(a, upper(b, c))
			list = append(list, triangle{corner: a, edge1: b.minus(a), edge2: c.minus(a), low: low, high: high, centre: low.plus(high).times(0.5)})
		}
		tree := newTree(append([]triangle(nil), list...))
		for range 300 {
			r := ray{point().times(2), point().unit()}
			if random.IntN(5) == 0 {
				r.direction = vector{0, 0, 1}
			}
			want := hit{distance: 1e300, triangle: -1}
			for i := range list {
				list[i].meet(r, int32(i), &want)
			}
			got := tree.nearest(r, 1e300, false)
			if got.distance != want.distance {
				t.Fatalf("seed %d: distance %v, want %v", seed, got.distance, want.distance)
			}
			if some := tree.nearest(r, 1e300, true); some.triangle >= 0 != (want.triangle >= 0) {
				t.Fatalf("seed %d: any hit %v, want %v", seed, some.triangle >= 0, want.triangle >= 0)
			}
		}
	}
}

// The same cube in every form of OBJ gives the same picture: quads or triangles, negative indices, texture
// coordinates, comments, CRLF, groups, materials, continued lines, faces before their points, gzip.
func TestMeshForms(t *testing.T) {
	t.Parallel()
	corners := "v -1 -1 -1\nv 1 -1 -1\nv 1 1 -1\nv -1 1 -1\nv -1 -1 1\nv 1 -1 1\nv 1 1 1\nv -1 1 1\n"
	faces := [][4]int{{1, 4, 3, 2}, {5, 6, 7, 8}, {1, 2, 6, 5}, {2, 3, 7, 6}, {3, 4, 8, 7}, {4, 1, 5, 8}}
	form := func(format func(f [4]int) string) string {
		text := corners
		for _, f := range faces {
			text += format(f)
		}
		return text
	}
	quads := form(func(f [4]int) string { return fmt.Sprintf("f %d %d %d %d\n", f[0], f[1], f[2], f[3]) })
	triangles := form(func(f [4]int) string {
		return fmt.Sprintf("f %d %d %d\nf %d %d %d\n", f[0], f[1], f[2], f[0], f[2], f[3])
	})
	negative := form(func(f [4]int) string { return fmt.Sprintf("f %d %d %d %d\n", f[0]-9, f[1]-9, f[2]-9, f[3]-9) })
	textured := "vt 0 0\n" + form(func(f [4]int) string { return fmt.Sprintf("f %d/1 %d/1 %d/1 %d/1 # quad\n", f[0], f[1], f[2], f[3]) })
	dressed := "# a cube\r\nmtllib x.mtl\r\no cube\r\ng side\r\nusemtl red\r\ns 1\r\n" + strings.ReplaceAll(quads, "\n", "\r\n")
	continued := form(func(f [4]int) string { return fmt.Sprintf("f %d %d \\\r\n %d\\\n%d\n", f[0], f[1], f[2], f[3]) })
	early := strings.TrimPrefix(quads, corners) + corners
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write([]byte(quads))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	args := []string{"tile", "-width", "32", "-height", "18", "-samples", "2", "-paint", "clay"}
	want := renderTask(t, []byte(quads), args...)
	for name, mesh := range map[string]string{"triangles": triangles, "negative": negative, "textured": textured, "dressed": dressed,
		"continued": continued, "faces first": early, "byte order mark": "\ufeff" + quads, "gzip": zipped.String()} {
		if got := renderTask(t, []byte(mesh), args...); !bytes.Equal(got["tile.png"], want["tile.png"]) {
			t.Errorf("%s: another picture", name)
		}
	}
}

// Meshes that are flat, tiny, huge or degenerate render without a fault.
func TestOddMeshes(t *testing.T) {
	t.Parallel()
	for name, mesh := range map[string]string{
		"one triangle": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
		"a point":      "v 5 5 5\nf 1 1 1\n",
		"a line":       "v 0 0 0\nv 1 1 1\nf 1 2 1\n",
		"huge":         "v 0 0 0\nv 1e12 0 0\nv 0 1e12 0\nf 1 2 3\n",
		"tiny":         "v 0 0 0\nv 1e-12 0 0\nv 0 1e-12 0\nf 1 2 3\n",
		"many equal":   "v 0 0 0\nv 1 0 0\nv 0 1 0\n" + strings.Repeat("f 1 2 3\n", 200),
		"null normal":  "v 0 0 0\nv 1 0 0\nv 0 1 0\nvn 0 0 0\nf 1//1 2//1 3//1\n",
		"wide":         "v 0 0 0\nv 9 0 0\nv 9 .1 0\nv 0 .1 0\nf 1 2 3 4\n",
	} {
		picture := decode(t, renderTask(t, []byte(mesh), "tile", "-width", "24", "-height", "16", "-samples", "2")["tile.png"])
		if picture.Bounds().Dx() != 24 {
			t.Errorf("%s: bounds %v", name, picture.Bounds())
		}
	}
}

// What cannot be rendered is refused with a message that names the line or the flag.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const fine = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
	for _, c := range []struct{ name, mesh, message, args string }{
		{"empty", "", "no line that begins with f", "tile"},
		{"not a mesh", "hello\n", "not an OBJ file", "tile"},
		{"no faces", "v 0 0 0\n", "not an OBJ file with faces", "tile"},
		{"index", "v 0 0 0\nf 1 2 3\n", "line 2: index 3: there are 1 lines that begin with v", "tile"},
		{"index 0", "v 0 0 0\nf 0 1 1\n", "line 2: index 0", "tile"},
		{"negative index", "v 0 0 0\nf -1 -2 -1\n", "line 2: index -2: there are 1 so far", "tile"},
		{"normal index", fine + "f 1//1 2//1 3//1\n", "line 5: index 1: there are 0 lines that begin with vn", "tile"},
		{"cut short", fine + "f 1 2 \\", "ends with a backslash", "tile"},
		{"text index", "v 0 0 0\nf a b c\n", `line 2: "a" is no index`, "tile"},
		{"two corners", "v 0 0 0\nf 1 1\n", "needs three corners", "tile"},
		{"coordinate", "v 0 x 0\n", `line 1: "x" is no coordinate`, "tile"},
		{"not a number", "v 0 NaN 0\n", "is no coordinate", "tile"},
		{"short vertex", "v 0 0\n", "needs three numbers", "tile"},
		{"outside", fine, "no tile of a picture", "tile -x 470 -w 64 -h 64"},
		{"negative", fine, "no tile of a picture", "tile -x -1 -w 4 -h 4"},
		{"samples", fine, "-samples 0", "tile -samples 0"},
		{"size", fine, "-width 99999", "frame -width 99999"},
		{"paint", fine, "must be cow or clay", "tile -paint red"},
		{"turn", fine, "-turn NaN", "tile -turn NaN"},
		{"frame", fine, "-frame -1", "frame -frame -1"},
		{"command", fine, "known: tile, frame", "paint"},
	} {
		_, err := exampletest.TryTask(t, exampletest.Files{"mesh": []byte(c.mesh)}, func(in, out string) error {
			args := strings.Fields(c.args)
			return run(append([]string{args[0], "-in", in, "-out", out}, args[1:]...))
		})
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.message)
		}
	}
}
