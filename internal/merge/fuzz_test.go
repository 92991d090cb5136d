package merge

import (
	"image"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// Outputs come from strangers' programs: whatever two of them hold, a merge ends, with a result or with the fault of a task.
func FuzzRun(f *testing.F) {
	tile := pngOf(image.NewNRGBA(image.Rect(0, 0, 2, 2)))
	for kind, pair := range [][2]string{{"a", "b"}, {"h,v\n1,2\n", "h,v\n\"x\n\",\n"}, {"[1]", "{\"a\":[null]}"}, {"h,v\na,1\n", "h,v\na,2.5\n"}, {"{\"a\":[1]}", "{\"a\":[2]}"}, {string(tile), string(tile)}, {string(tile), string(tile)}} {
		f.Add(byte(kind), []byte(pair[0]), []byte(pair[1]))
	}
	f.Fuzz(func(t *testing.T, kind byte, a, b []byte) {
		merges := []struct {
			merge cloudcrowd.Merge
			split *cloudcrowd.Split
			name  string
		}{
			{cloudcrowd.Merge{Kind: "concat"}, nil, "a"},
			{cloudcrowd.Merge{Kind: "csv", Sort: []string{"h"}}, nil, "a.csv"},
			{cloudcrowd.Merge{Kind: "json"}, nil, "a.json"},
			{cloudcrowd.Merge{Kind: "reduce", Op: "mean", By: []string{"h"}}, nil, "a.tsv"},
			{cloudcrowd.Merge{Kind: "reduce", Op: "sum"}, nil, "a.json"},
			{cloudcrowd.Merge{Kind: "tiles"}, &cloudcrowd.Split{Kind: "tiles", Width: 4, Height: 2, TileW: 2, TileH: 2}, "a.png"},
			{cloudcrowd.Merge{Kind: "frames"}, &cloudcrowd.Split{Kind: "frames", To: 2, Size: 1}, "a.png"},
		}
		c := merges[int(kind)%len(merges)]
		err := Run(t.Context(), &c.merge, c.split, []Part{part(0, c.name, string(a)), part(1, c.name, string(b))}, memory{})
		if code := cloudcrowd.CodeOf(err); err != nil && code != cloudcrowd.Invalid && code != cloudcrowd.TooLarge && string(a) != "broken" && string(b) != "broken" {
			t.Errorf("%s: %v", code, err)
		}
	})
}
