package main

import (
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"pgregory.net/rapid"
)

func output(stage string, task int32, path string) cloudcrowd.StageOutput {
	return cloudcrowd.StageOutput{Stage: stage, Task: task, OutputFile: cloudcrowd.OutputFile{Path: path}}
}

// Names stay plain where they can, and become folders by stage and task only where two files would collide.
func TestLayout(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		outputs []cloudcrowd.StageOutput
		want    []string
	}{
		{"one file", []cloudcrowd.StageOutput{output("a", 0, "spectrum.tsv")}, []string{"spectrum.tsv"}},
		{"two stages", []cloudcrowd.StageOutput{output("a", -1, "phase.csv"), output("b", 0, "phase.svg")}, []string{"phase.csv", "phase.svg"}},
		{"same name", []cloudcrowd.StageOutput{output("a", 0, "x"), output("b", 0, "x")}, []string{"a/x", "b/x"}},
		{"capitals", []cloudcrowd.StageOutput{output("a", 0, "x"), output("b", 0, "X")}, []string{"a/x", "b/X"}},
		{"tasks", []cloudcrowd.StageOutput{output("a", 0, "x"), output("a", 1, "x"), output("b", 0, "y")}, []string{"a/000000/x", "a/000001/x", "b/y"}},
		{"file and folder", []cloudcrowd.StageOutput{output("a", 0, "x"), output("b", 0, "x/y")}, []string{"a/x", "b/x/y"}},
	} {
		if got := layout(c.outputs); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Whatever stages and tasks made, no two files get the same name.
func TestLayoutIsUnique(t *testing.T) {
	t.Parallel()
	one := rapid.Custom(func(t *rapid.T) cloudcrowd.StageOutput {
		return output(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "stage"), rapid.Int32Range(0, 3).Draw(t, "task"), rapid.SampledFrom([]string{"x", "X", "y", "z"}).Draw(t, "path"))
	})
	rapid.Check(t, func(t *rapid.T) {
		outputs := rapid.SliceOfDistinct(one, func(o cloudcrowd.StageOutput) string { return o.Stage + string(rune('0'+o.Task)) + o.Path }).Draw(t, "outputs")
		byTask := map[string]string{}
		for i, name := range layout(outputs) {
			o := outputs[i]
			key := o.Stage + string(rune('0'+o.Task))
			if other, ok := byTask[name]; ok {
				t.Fatalf("%q is made by %s and %s", name, other, key)
			}
			byTask[name] = key
		}
	})
}
