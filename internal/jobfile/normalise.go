package jobfile

import (
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// Defaults of a stage that the root package does not name.
const (
	DefaultTimeout = cloudcrowd.Duration(10 * time.Minute)
	DefaultTarget  = cloudcrowd.Duration(10 * time.Second)
)

// splitSuffix is added to a stage's name to name the stage that runs its splitting program.
const splitSuffix = ".split"

// Normalise fills in defaults, makes a stage of its own of every splitting program, adds the stages that `each` implies to After, and
// sorts stages topologically (stable: as they are written where the graph leaves it open), params and environment by name. It is idempotent.
// An error (Problems) means that the graph has no such order. It does not check the rest: Validate does.
func Normalise(spec *cloudcrowd.JobSpec) error {
	ps := &problems{}
	normalise(spec, ps)
	return ps.err()
}

func normalise(spec *cloudcrowd.JobSpec, ps *problems) {
	if !bounded(spec, ps) {
		return
	}
	spec.Stages = slices.Clone(spec.Stages)
	for i := 0; i < len(spec.Stages); i++ {
		defaults(&spec.Stages[i])
		if split := spec.Stages[i].Split; split != nil && split.Kind == cloudcrowd.SplitProgram && split.Program != nil {
			spec.Stages = slices.Insert(spec.Stages, i, splitStage(&spec.Stages[i]))
			i++
		}
	}
	for i := range spec.Stages {
		st := &spec.Stages[i]
		if st.Split != nil && st.Split.Stage != "" && !slices.Contains(st.After, st.Split.Stage) {
			st.After = append(slices.Clone(st.After), st.Split.Stage)
		}
	}
	sortStages(spec, ps)
	slices.SortStableFunc(spec.Params, func(a, b cloudcrowd.Param) int { return strings.Compare(a.Name, b.Name) })
	if len(spec.Outputs) == 0 {
		followed := map[string]bool{}
		for _, st := range spec.Stages {
			for _, name := range st.After {
				followed[name] = true
			}
		}
		for _, st := range spec.Stages {
			if !followed[st.Name] {
				spec.Outputs = append(spec.Outputs, st.Name)
			}
		}
	}
}

// splitStage takes the splitting program out of a stage and makes the stage that runs it. It inherits the stage's limits and demands.
func splitStage(st *cloudcrowd.Stage) cloudcrowd.Stage {
	program := *st.Split.Program
	before := cloudcrowd.Stage{Name: st.Name + splitSuffix, After: slices.Clone(st.After), Run: &program, Inputs: program.Inputs,
		Resources: st.Resources, Timeout: st.Timeout, Retries: st.Retries, Target: st.Target, Verify: st.Verify}
	program.Inputs = nil
	st.Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitProgram, Stage: before.Name}
	return before
}

func defaults(st *cloudcrowd.Stage) {
	orElse := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	orElse(&st.Resources.MemoryBytes, cloudcrowd.DefaultMemoryBytes)
	orElse(&st.Resources.DiskBytes, cloudcrowd.DefaultDiskBytes)
	orElse(&st.Resources.OutputBytes, cloudcrowd.DefaultOutputBytes)
	if st.Resources.Cores == 0 {
		st.Resources.Cores = 1
	}
	if st.Timeout == 0 {
		st.Timeout = DefaultTimeout
	}
	if st.Target == 0 {
		st.Target = min(DefaultTarget, st.Timeout/2)
	}
	if st.Merge.Builtin() {
		st.Verify = cloudcrowd.Verify{None: true}
	}
	if st.Verify == (cloudcrowd.Verify{}) {
		st.Verify.Confidence = cloudcrowd.DefaultConfidence
	}
	if st.Split != nil && st.Split.Kind == cloudcrowd.SplitFrames && st.Split.Size == 0 {
		st.Split.Size = 1
	}
	if st.Merge != nil && st.Merge.Kind == cloudcrowd.MergeProgram && st.Merge.FanIn == 0 {
		st.Merge.FanIn = cloudcrowd.DefaultFanIn
	}
	for _, program := range programs(st) {
		slices.SortStableFunc(program.Env, func(a, b cloudcrowd.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	}
}

// programs are the programs of a stage.
func programs(st *cloudcrowd.Stage) (out []*cloudcrowd.Program) {
	if st.Run != nil {
		out = append(out, st.Run)
	}
	if st.Merge != nil && st.Merge.Program != nil {
		out = append(out, st.Merge.Program)
	}
	if st.Split != nil && st.Split.Program != nil {
		out = append(out, st.Split.Program)
	}
	return out
}

// sortStages puts every stage behind those it comes after: again and again the first one whose predecessors are placed (Kahn 1962).
func sortStages(spec *cloudcrowd.JobSpec, ps *problems) {
	names := map[string]bool{}
	for _, st := range spec.Stages {
		names[st.Name] = true
	}
	placed := map[string]bool{}
	rest := spec.Stages
	sorted := make([]cloudcrowd.Stage, 0, len(rest))
	ready := func(st cloudcrowd.Stage) bool {
		return !slices.ContainsFunc(st.After, func(name string) bool { return names[name] && !placed[name] })
	}
	for len(rest) > 0 {
		i := slices.IndexFunc(rest, ready)
		if i < 0 {
			ps.add("stages."+rest[0].Name+".after", "the stages wait for each other in a circle: %s", circle(rest))
			return
		}
		placed[rest[i].Name] = true
		sorted = append(sorted, rest[i])
		rest = slices.Delete(slices.Clone(rest), i, i+1)
	}
	spec.Stages = sorted
}

// circle walks back from the first stage that cannot be placed until it meets a stage again.
func circle(rest []cloudcrowd.Stage) string {
	byName := map[string]*cloudcrowd.Stage{}
	for i := range rest {
		byName[rest[i].Name] = &rest[i]
	}
	var way []string
	for at := &rest[0]; ; {
		if i := slices.Index(way, at.Name); i >= 0 {
			return strings.Join(append(way[i:], at.Name), " after ")
		}
		way = append(way, at.Name)
		for _, name := range at.After {
			if next, ok := byName[name]; ok {
				at = next
				break
			}
		}
	}
}
