package merge

import (
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

func BenchmarkReduce(b *testing.B) {
	var text strings.Builder
	text.WriteString("k,v,w\n")
	for i := range 20_000 {
		text.WriteString(formatFloat(float64(i%50)) + "," + formatFloat(float64(i)*0.37) + "," + formatFloat(float64(i)) + "\n")
	}
	p := part(0, "t.csv", text.String())
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		if err := Run(b.Context(), &cloudcrowd.Merge{Kind: "reduce", Op: "sum", By: []string{"k"}}, nil, []Part{p}, memory{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCSV(b *testing.B) {
	p := part(0, "t.csv", "k,v,w\n"+strings.Repeat("1234,some text,0.5\n", 20_000))
	b.SetBytes(p.Outputs[0].SizeBytes)
	for b.Loop() {
		if err := Run(b.Context(), &cloudcrowd.Merge{Kind: "csv"}, nil, []Part{p}, memory{}); err != nil {
			b.Fatal(err)
		}
	}
}
