package decompose

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
)

// Facts are what a task's payload is made from.
type Facts struct {
	Job   cloudcrowd.JobID
	Spec  *cloudcrowd.JobSpec
	Stage int             // position in Spec.Stages
	Index int32           // the task's number in its stage
	Unit  cloudcrowd.Unit // what it covers
	Input *Index          // of the split's input, where NeedsIndex
	Parts []Part          // outputs of the stages before it, or of the nodes below it in a merge tree, in order
	Final bool            // merge tree: this node is the last one
	Level int             // merge tree: 0 reads the stage's tasks
}

// Part is the outputs of one earlier task or merge node. Index is the task's number in its stage. Stage is "parts" below a merge tree.
type Part struct {
	Stage   string
	Index   int32
	Outputs []cloudcrowd.OutputFile
}

// MergeParts is the Stage of the parts of a merge tree's node.
const MergeParts = "parts"

// Payload makes everything a worker needs to run a task. Equal facts give equal payloads, so replicas get the same bytes. An error means that facts
// and spec do not fit together: a template that was not validated, a unit that is not between marks, an input that is not there.
func Payload(f Facts) (cloudcrowd.Payload, error) {
	if f.Spec == nil || f.Stage < 0 || f.Stage >= len(f.Spec.Stages) {
		return cloudcrowd.Payload{}, internalf("there is no stage %d", f.Stage)
	}
	stage := &f.Spec.Stages[f.Stage]
	program := stage.Run
	if program == nil && stage.Merge != nil {
		program = stage.Merge.Program
	}
	if program == nil {
		return cloudcrowd.Payload{}, internalf("stage %s runs no program", stage.Name)
	}
	if err := checkUnit(&f, stage); err != nil {
		return cloudcrowd.Payload{}, err
	}
	p := cloudcrowd.Payload{Module: program.Module, ModuleSize: program.ModuleSize, Resources: stage.Resources, Timeout: stage.Timeout,
		Seed: Seed(f.Job, f.Stage, f.Index, f.Unit)}
	var v map[string]string // a program that names nothing needs nothing
	if templated(program) {
		v = values(&f)
	}
	if err := fill(&p, program, v); err != nil {
		return cloudcrowd.Payload{}, fmt.Errorf("stage %s: %w", stage.Name, err)
	}
	return p, addFiles(&p, &f, stage)
}

// checkUnit refuses units that are outside of what the stage has.
func checkUnit(f *Facts, stage *cloudcrowd.Stage) error {
	split := stage.Split
	if split == nil {
		return nil
	}
	if NeedsIndex(split) && f.Input == nil {
		return internalf("stage %s has no index yet", stage.Name)
	}
	total, _ := Total(split, f.Input, len(f.Spec.Inputs[split.Input].Files), f.Unit.Hi, true)
	if f.Unit.Lo < 0 || f.Unit.Lo >= f.Unit.Hi || f.Unit.Hi > total {
		return internalf("stage %s has no units %d–%d; it has %d", stage.Name, f.Unit.Lo, f.Unit.Hi, total)
	}
	return nil
}

// templated reports whether anything of the program is to be expanded.
func templated(p *cloudcrowd.Program) bool {
	has := func(s string) bool { return strings.Contains(s, "{{") }
	return slices.ContainsFunc(p.Args, has) || has(p.Stdin) || slices.ContainsFunc(p.Env, func(e cloudcrowd.EnvVar) bool { return has(e.Value) })
}

// fill expands the program's templates.
func fill(p *cloudcrowd.Payload, program *cloudcrowd.Program, v map[string]string) error {
	for _, arg := range program.Args {
		s, err := Expand(arg, v)
		if err != nil {
			return err
		}
		p.Args = append(p.Args, s)
	}
	for _, env := range program.Env {
		s, err := Expand(env.Value, v)
		if err != nil {
			return err
		}
		p.Env = append(p.Env, env.Name+"="+s)
	}
	if program.Stdin != "" {
		s, err := Expand(program.Stdin, v)
		if err != nil {
			return err
		}
		p.Stdin = []byte(s)
	}
	return nil
}

// Seed derives a task's random seed: the first 8 bytes of SHA-256 over job, stage, index and unit, big-endian. Equal for all attempts of the task.
func Seed(job cloudcrowd.JobID, stage int, index int32, unit cloudcrowd.Unit) uint64 {
	b := append([]byte(job), 0)
	b = binary.BigEndian.AppendUint32(b, uint32(stage))
	b = binary.BigEndian.AppendUint32(b, uint32(index))
	b = binary.BigEndian.AppendUint64(b, uint64(unit.Lo))
	b = binary.BigEndian.AppendUint64(b, uint64(unit.Hi))
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:8])
}

func internalf(format string, args ...any) error {
	return cloudcrowd.Errorf(cloudcrowd.Internal, format, args...)
}
