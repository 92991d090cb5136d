package decompose

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

const (
	genomeBlob = cloudcrowd.Digest("aaaa")
	moduleBlob = cloudcrowd.Digest("bbbb")
)

func testSpec() *cloudcrowd.JobSpec {
	program := &cloudcrowd.Program{Module: moduleBlob, ModuleSize: 99, Args: []string{"-k", "{{k}}", "-from={{ start }}", "n={{count}}", `{{"{{"}}x}}`},
		Env: []cloudcrowd.EnvVar{{Name: "STAGE", Value: "{{stage}}/{{index}}"}}, Stdin: "{{job}} {{seed}}"}
	return &cloudcrowd.JobSpec{
		Params: []cloudcrowd.Param{{Name: "k", Value: "21"}},
		Inputs: map[string]cloudcrowd.Input{
			"genome": {Files: []cloudcrowd.InputFile{{Name: "g.fa", Digest: genomeBlob, SizeBytes: 30}}},
			"set":    {Set: true, Files: []cloudcrowd.InputFile{{Name: "a.txt", Digest: "c1", SizeBytes: 1}, {Name: "d/b.txt", Digest: "c2", SizeBytes: 2}}},
		},
		Stages: []cloudcrowd.Stage{
			{Name: "count", Run: program, Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitFASTA, Input: "genome", Overlap: 2}, Inputs: []string{"set"}},
			{Name: "each", After: []string{"count", "set2"}, Run: &cloudcrowd.Program{Args: []string{"{{part}}"}}, Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitEach, Stage: "count"}},
			{Name: "tree", After: []string{"count"}, Merge: &cloudcrowd.Merge{Kind: cloudcrowd.MergeProgram, Program: &cloudcrowd.Program{Args: []string{"{{final}} {{level}} {{parts}}"}}}},
			{Name: "file", Run: &cloudcrowd.Program{Args: []string{"{{file}}"}}, Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitFiles, Input: "set"}},
			{Name: "listed", Run: &cloudcrowd.Program{Args: []string{"{{unit}}"}}, Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitProgram, Stage: "listed.split"}},
			{Name: "tiled", Run: &cloudcrowd.Program{Args: []string{"{{x}},{{y}} {{w}}x{{h}} of {{width}}x{{height}}"}}, Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitTiles, Width: 10, Height: 10, TileW: 8, TileH: 8}},
		},
	}
}

// A payload in full: templates expanded, the piece with the header of its sequence and its overlap, whole inputs, resources.
func TestPayload(t *testing.T) {
	t.Parallel()
	ix := &Index{Data: "eeee", Bytes: 40, Units: 20, Marks: []Mark{{}, {Unit: 8, Offset: 12, Ext: 3, Header: Span{Length: 4}}, {Unit: 15, Offset: 30}}}
	f := Facts{Job: "j1", Spec: testSpec(), Stage: 0, Index: 7, Unit: cloudcrowd.Unit{Lo: 8, Hi: 15}, Input: ix}
	p, err := Payload(f)
	if err != nil {
		t.Fatal(err)
	}
	seed := Seed("j1", 0, 7, f.Unit)
	want := cloudcrowd.Payload{Module: moduleBlob, ModuleSize: 99, Args: []string{"-k", "21", "-from=8", "n=7", "{{x}}"}, Env: []string{"STAGE=count/7"},
		Stdin: fmt.Appendf(nil, "j1 %d", seed), Seed: seed, Files: []cloudcrowd.TaskFile{
			{Path: "genome", Segments: []cloudcrowd.Segment{{Blob: "eeee", Length: 4}, {Blob: "eeee", Offset: 12, Length: 18}}},
			{Path: "set/a.txt", Segments: []cloudcrowd.Segment{{Blob: "c1", Length: 1, Whole: true}}},
			{Path: "set/d/b.txt", Segments: []cloudcrowd.Segment{{Blob: "c2", Length: 2, Whole: true}}},
		}}
	if !reflect.DeepEqual(p, want) {
		got, _ := json.MarshalIndent(p, "", " ")
		t.Errorf("got %s", got)
	}
	f.Unit = cloudcrowd.Unit{Lo: 0, Hi: 8}
	if p, err = Payload(f); err != nil || !reflect.DeepEqual(p.Files[0].Segments, []cloudcrowd.Segment{{Blob: "eeee", Length: 15}}) {
		t.Errorf("first window: %+v %v", p.Files[0], err)
	}
	if p.Seed == seed {
		t.Error("two tasks have one seed")
	}
	f.Unit = cloudcrowd.Unit{Lo: 0, Hi: 20}
	if p, err = Payload(f); err != nil || !p.Files[0].Segments[0].Whole {
		t.Errorf("the whole input: %+v %v", p.Files[0], err)
	}
	for _, bad := range []cloudcrowd.Unit{{Lo: 1, Hi: 8}, {Lo: 0, Hi: 9}, {Lo: -1, Hi: 8}, {Lo: 8, Hi: 8}, {Lo: 0, Hi: 21}} {
		f.Unit = bad
		if _, err := Payload(f); cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
			t.Errorf("unit %v: %v", bad, err)
		}
	}
}

// Outputs of earlier stages lie in numbered folders; `each` sees only its own part; a merge node numbers its parts from 0.
func TestPayloadParts(t *testing.T) {
	t.Parallel()
	out := func(stage string, index int32, path string) Part {
		return Part{Stage: stage, Index: index, Outputs: []cloudcrowd.OutputFile{{Path: path, Digest: "dd", SizeBytes: 3}}}
	}
	list := &Index{Units: 2, List: []string{"a", "b c"}}
	for _, c := range []struct {
		facts Facts
		arg   string
		paths string
	}{
		{Facts{Stage: 1, Unit: cloudcrowd.Unit{Lo: 1, Hi: 2}, Parts: []Part{out("count", 0, "x"), out("count", 1, "y/z"), out("set2", 0, "q")}}, "1", "count/y/z set2/000000/q"},
		{Facts{Stage: 2, Parts: []Part{out(MergeParts, 16, "x"), out(MergeParts, 17, "x")}, Final: true, Level: 1}, "true 1 2", "parts/000000/x parts/000001/x"},
		{Facts{Stage: 3, Unit: cloudcrowd.Unit{Lo: 1, Hi: 2}}, "d/b.txt", "set"},
		{Facts{Stage: 4, Unit: cloudcrowd.Unit{Lo: 1, Hi: 2}, Input: list, Parts: []Part{out("listed.split", 0, "units")}}, "b c", "listed.split/000000/units"},
		{Facts{Stage: 5, Unit: cloudcrowd.Unit{Lo: 3, Hi: 4}}, "8,8 2x2 of 10x10", ""},
	} {
		c.facts.Spec = testSpec()
		p, err := Payload(c.facts)
		if err != nil {
			t.Errorf("stage %d: %v", c.facts.Stage, err)
			continue
		}
		var paths []string
		for _, f := range p.Files {
			paths = append(paths, f.Path)
		}
		if got := strings.Join(paths, " "); got != c.paths || p.Args[0] != c.arg {
			t.Errorf("stage %d: %q, paths %s", c.facts.Stage, p.Args[0], got)
		}
	}
}

// A mistake in a template is answered with what is known and what was probably meant.
func TestTemplates(t *testing.T) {
	t.Parallel()
	v := map[string]string{"start": "5", "count": "{{start}}", "k": "21"}
	for in, want := range map[string]string{
		"plain":                  "plain",
		"{{k}}{{ k }} {{count}}": "2121 {{start}}", // values are not expanded again
		`{{"{{"}}k{{ "}}" }}`:    "{{k}}",
		"{ {k} }}":               "{ {k} }}",
		"{{strat}}":              "! {{strat}} is not known here; did you mean {{start}}? (known: count, k, start)",
		"{{}}":                   "! {{}} is not known here (known: count, k, start)",
		"a {{k":                  `! "{{k" is not closed by "}}"`,
		`{{"k}}`:                 `! "{{"k}}" is not closed by "}}"`,
	} {
		got, err := Expand(in, v)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
	spec := testSpec()
	if got := strings.Join(Names(spec, 0), " "); got != "count index job k seed stage start" {
		t.Errorf("names: %s", got)
	}
	if err := CheckTemplate("{{part}}", Names(spec, 0)); err == nil {
		t.Error("part is known in a fasta stage")
	}
}

// Every name a template may use has a value, and no other.
func TestNamesAreValues(t *testing.T) {
	t.Parallel()
	spec := testSpec()
	for i := range spec.Stages {
		f := Facts{Spec: spec, Stage: i, Unit: cloudcrowd.Unit{Hi: 1}, Input: &Index{List: []string{"u"}}}
		v := values(&f)
		names := Names(spec, i)
		if len(v) != len(names) {
			t.Errorf("stage %d: names %v, values %v", i, names, v)
		}
		for _, n := range names {
			if _, ok := v[n]; !ok {
				t.Errorf("stage %d: {{%s}} has no value", i, n)
			}
		}
	}
}

// Deciding is kept apart from doing: this package takes facts as arguments, so that any decision can be replayed and tried by the million.
func TestImports(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	if err != nil {
		if os.Getenv("CLOUDCROWD_REQUIRE_ALL") == "1" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED: the go command is not there: %v", err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		switch path {
		case "net", "net/http", "os", "database/sql", "log", "log/slog", "time", "math/rand", "math/rand/v2":
			t.Errorf("decompose imports %s", path)
		}
	}
}
