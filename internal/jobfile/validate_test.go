package jobfile

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
)

// minimal is a spec that the server accepts.
func minimal() *cloudcrowd.JobSpec {
	spec := &cloudcrowd.JobSpec{Name: "test", Inputs: map[string]cloudcrowd.Input{"in": {Files: []cloudcrowd.InputFile{{Name: "a.txt", Digest: testDigest, SizeBytes: 1}}}},
		Stages: []cloudcrowd.Stage{{Name: "a", Run: &cloudcrowd.Program{Module: testDigest}}, {Name: "b", After: []string{"a"}, Merge: &cloudcrowd.Merge{Kind: cloudcrowd.MergeConcat}}}}
	if err := Normalise(spec); err != nil {
		panic(err)
	}
	return spec
}

const testDigest = cloudcrowd.Digest("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")

// What only a hand-made spec can hold is refused as well: the API receives specs from anybody.
func TestValidateHandMadeSpecs(t *testing.T) {
	t.Parallel()
	if err := Validate(minimal()); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*cloudcrowd.JobSpec){
		"name: a job needs a name of 1 to 200 characters on one line":                   func(s *cloudcrowd.JobSpec) { s.Name = "a\nb" },
		`stages.a.run.wasm: a digest is 64 lower-case hexadecimal digits, found "../x"`: func(s *cloudcrowd.JobSpec) { s.Stages[0].Run.Module = "../x" },
		"stages.a.after[0]: stages must be in topological order: b stands behind a":     func(s *cloudcrowd.JobSpec) { s.Stages[0].After = []string{"b"} },
		`inputs.in: "../a" is not a plain relative path of at most 255 bytes`:           func(s *cloudcrowd.JobSpec) { s.Inputs["in"].Files[0].Name = "../a" },
		`inputs.in: "C:a" is not a plain relative path of at most 255 bytes`:            func(s *cloudcrowd.JobSpec) { s.Inputs["in"].Files[0].Name = "C:a" },
		"inputs.in: a is a file and a folder": func(s *cloudcrowd.JobSpec) {
			s.Inputs["in"] = cloudcrowd.Input{Set: true, Files: []cloudcrowd.InputFile{{Name: "a", Digest: testDigest}, {Name: "a/b", Digest: testDigest}}}
		},
		"inputs.in: holds 2 files and is not a set": func(s *cloudcrowd.JobSpec) {
			s.Inputs["in"] = cloudcrowd.Input{Files: []cloudcrowd.InputFile{{Name: "a", Digest: testDigest}, {Name: "b", Digest: testDigest}}}
		},
		`stages.a.split: there is no splitter "magic"`:                                         func(s *cloudcrowd.JobSpec) { s.Stages[0].Split = &cloudcrowd.Split{Kind: "magic"} },
		"stages.a.split: has keys that range does not use":                                     func(s *cloudcrowd.JobSpec) { s.Stages[0].Split = &cloudcrowd.Split{Kind: "range", To: 5, Width: 3} },
		"stages.a.split.program: the stage must also be after b":                               func(s *cloudcrowd.JobSpec) { s.Stages[0].Split = &cloudcrowd.Split{Kind: "program", Stage: "b"} },
		"stages.b.merge: has keys that concat does not use":                                    func(s *cloudcrowd.JobSpec) { s.Stages[1].Merge.Op = "sum" },
		"stages.b.merge: a merge by program needs a program":                                   func(s *cloudcrowd.JobSpec) { s.Stages[1].Merge = &cloudcrowd.Merge{Kind: "program", FanIn: 2} },
		"stages.a.resources.memory: 0 B is impossible; it must be between 1.0 MiB and 4.0 GiB": func(s *cloudcrowd.JobSpec) { s.Stages[0].Resources.MemoryBytes = 0 },
		"stages.a.timeout: 0s is impossible; it must be between 10ms and 168h\nstages.a.target: a task aims at 10s and is stopped after 0s; raise timeout or lower target": func(s *cloudcrowd.JobSpec) { s.Stages[0].Timeout = 0 },
		"stages.a.verify: expected exactly one of none, {replicas: N, quorum: M} and {confidence: P}":                                                                      func(s *cloudcrowd.JobSpec) { s.Stages[0].Verify.None = true },
		"outputs: a job needs at least one output stage":                     func(s *cloudcrowd.JobSpec) { s.Outputs = nil },
		"stages.a.run.args[0]: must be UTF-8 text without NUL":               func(s *cloudcrowd.JobSpec) { s.Stages[0].Run.Args = []string{"a\x00"} },
		"stages: there are 5000; at most 200":                                func(s *cloudcrowd.JobSpec) { s.Stages = make([]cloudcrowd.Stage, 5000) },
		"stages.a.after: there are 3000; at most 200":                        func(s *cloudcrowd.JobSpec) { s.Stages[0].After = make([]string, 3000) },
		"priority: -101 is out of range; it must be between -100 and 100":    func(s *cloudcrowd.JobSpec) { s.Priority = -101 },
		"speculate: NaN is no share of the work; it must be between 0 and 1": func(s *cloudcrowd.JobSpec) { s.Speculate = new(math.NaN()) },
		"budget: must not be negative":                                       func(s *cloudcrowd.JobSpec) { s.Budget = -1 },
		"stages.a: a stage has run or merge; this one has neither":           func(s *cloudcrowd.JobSpec) { s.Stages[0].Run = nil },
		"stages.c.split.program: a has many tasks; the list of units must come from one": func(s *cloudcrowd.JobSpec) {
			s.Stages[0].Split = &cloudcrowd.Split{Kind: "range", To: 5}
			c := s.Stages[0]
			c.Name, c.After, c.Split = "c", []string{"a"}, &cloudcrowd.Split{Kind: "program", Stage: "a"}
			s.Stages = append(s.Stages, c)
		},
		"params.x: the param is there twice": func(s *cloudcrowd.JobSpec) {
			s.Params = []cloudcrowd.Param{{Name: "x"}, {Name: "x"}}
		},
	} {
		spec := minimal()
		change(spec)
		err := Validate(spec)
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		if err != nil && cloudcrowd.CodeOf(err) != cloudcrowd.Invalid {
			t.Errorf("%s has code %s", want, cloudcrowd.CodeOf(err))
		}
	}
}

// A description that names many things at once is answered quickly, whatever they are.
func TestHugeSpecs(t *testing.T) {
	t.Parallel()
	spec := minimal()
	spec.Inputs = map[string]cloudcrowd.Input{}
	for i := range 50_000 {
		spec.Inputs[fmt.Sprint("i", i)] = cloudcrowd.Input{}
	}
	if err := Normalise(spec); err == nil || !strings.Contains(err.Error(), "inputs: there are 50000; at most 200") {
		t.Errorf("%v", err)
	}
	bomb := "name: x\nstages:\n  s: {run: {wasm: prog.wasm}, split: {grid: {k: &a [" + strings.Repeat("x,", 100) + "], " + strings.Join(aliases(5000), ", ") + "}}}\n"
	if _, err := parse(bomb, Options{}); err == nil || !strings.Contains(err.Error(), "the description is too large") {
		t.Errorf("half a million values: %v", err)
	}
}

func aliases(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("k%d: *a", i))
	}
	return out
}
