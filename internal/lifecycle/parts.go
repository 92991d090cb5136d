package lifecycle

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
)

// A stage's parts are what stages after it read: the outputs of its tasks in order, or of the root of its merge tree, or of its built-in merge.

// Parts returns how many parts a stage has so far, and whether that is final.
func (j *Job) Parts(i int) (n int64, final bool) {
	st := j.Stages[i]
	final = st.State == cloudcrowd.StageDone
	if m := j.Spec.Stages[i].Merge; m != nil {
		if final && (m.Builtin() || len(st.Tasks) > 0) {
			return 1, true
		}
		return 0, final
	}
	return int64(len(st.Tasks)), final
}

// Part returns part k of a stage; ok is false while it is not there.
func (j *Job) Part(i int, k int64) (p decompose.Part, ok bool) {
	st, name := j.Stages[i], j.Spec.Stages[i].Name
	if m := j.Spec.Stages[i].Merge; m != nil {
		if st.State != cloudcrowd.StageDone || k != 0 {
			return p, false
		}
		if m.Builtin() {
			return decompose.Part{Stage: name, Outputs: st.Outputs}, true
		}
		if len(st.Tasks) == 0 {
			return p, false
		}
		return decompose.Part{Stage: name, Outputs: st.Tasks[len(st.Tasks)-1].Outputs}, true
	}
	if k < 0 || k >= int64(len(st.Tasks)) || st.Tasks[k].State != cloudcrowd.TaskDone {
		return p, false
	}
	return decompose.Part{Stage: name, Index: int32(k), Outputs: st.Tasks[k].Outputs}, true
}

// Outputs lists a stage's files with the task that made each (-1: a built-in merge).
func (j *Job) Outputs(i int) []cloudcrowd.StageOutput {
	var list []cloudcrowd.StageOutput
	n, _ := j.Parts(i)
	for k := range n {
		p, ok := j.Part(i, k)
		if !ok {
			continue
		}
		task := p.Index
		if m := j.Spec.Stages[i].Merge; m.Builtin() {
			task = -1
		} else if m != nil {
			task = int32(len(j.Stages[i].Tasks) - 1)
		}
		for _, f := range p.Outputs {
			list = append(list, cloudcrowd.StageOutput{Stage: p.Stage, Task: task, OutputFile: f})
		}
	}
	return list
}

// node is the next node of a merge tree.
type node struct {
	level, pos int32
	unit       cloudcrowd.Unit // sources [Lo, Hi) of the level below
	final      bool
}

// nextNode finds a merge node whose sources are all there and which is not carved yet. A group is taken as soon as it is complete and known not to
// be the last of its level, so merging goes on while the stage before still runs.
func (j *Job) nextNode(i int) (node, bool) {
	st, fanIn := j.Stages[i], int64(j.Spec.Stages[i].Merge.FanIn)
	up := j.Spec.StageIndex(j.Spec.Stages[i].After[0])
	n, final := j.Parts(up)
	for level := 0; n > 0; level++ {
		var created int64
		if level < len(st.Levels) {
			created = int64(len(st.Levels[level]))
		}
		if level > 0 && final && n == 1 && st.Tasks[st.Levels[level-1][0]].Final {
			return node{}, false // the root exists
		}
		lo := created * fanIn
		hi := min(lo+fanIn, n)
		if lo < n && (final || n > lo+fanIn) && j.sourcesDone(i, up, level, lo, hi) {
			return node{level: int32(level), pos: int32(created), unit: cloudcrowd.Unit{Lo: lo, Hi: hi}, final: final && n <= fanIn}, true
		}
		n, final = created, final && created*fanIn >= n
	}
	return node{}, false
}

// Sourced reports whether everything a task reads is there. What it was carved from may be gone for a while: a result before it is checked again,
// or done anew.
func (j *Job) Sourced(i int, t *Task) bool {
	spec := &j.Spec.Stages[i]
	name := streamsFrom(spec)
	if name == "" {
		return true // its stage runs only while the stages before it are done
	}
	up := j.Spec.StageIndex(name)
	if spec.Merge != nil {
		return j.sourcesDone(i, up, int(t.Level), t.Unit.Lo, t.Unit.Hi)
	}
	_, ok := j.Part(up, t.Unit.Lo)
	return ok
}

func (j *Job) sourcesDone(i, up, level int, lo, hi int64) bool {
	for k := lo; k < hi; k++ {
		if level == 0 {
			if _, ok := j.Part(up, k); !ok {
				return false
			}
		} else if st := j.Stages[i]; st.Tasks[st.Levels[level-1][k]].State != cloudcrowd.TaskDone {
			return false
		}
	}
	return true
}

// Facts are what a task's payload is made from.
func (j *Job) Facts(id cloudcrowd.TaskID) decompose.Facts {
	i := int(id.Stage)
	spec, st := &j.Spec.Stages[i], j.Stages[i]
	t := st.Tasks[id.Index]
	f := decompose.Facts{Job: j.ID, Spec: &j.Spec, Stage: i, Index: id.Index, Unit: t.Unit, Input: st.Index, Final: t.Final, Level: int(t.Level)}
	if spec.Merge != nil {
		up := j.Spec.StageIndex(spec.After[0])
		for k := t.Unit.Lo; k < t.Unit.Hi; k++ {
			var p decompose.Part
			if t.Level == 0 {
				p, _ = j.Part(up, k)
			} else {
				source := st.Levels[t.Level-1][k]
				p = decompose.Part{Index: source, Outputs: st.Tasks[source].Outputs}
			}
			p.Stage = decompose.MergeParts
			f.Parts = append(f.Parts, p)
		}
		return f
	}
	stream := streamsFrom(spec)
	for _, name := range spec.After {
		up := j.Spec.StageIndex(name)
		if name == stream {
			if p, ok := j.Part(up, t.Unit.Lo); ok {
				if stage := &j.Spec.Stages[up]; stage.Merge != nil {
					p.Index = 0
				}
				f.Parts = append(f.Parts, p)
			}
			continue
		}
		n, _ := j.Parts(up)
		for k := range n {
			if p, ok := j.Part(up, k); ok {
				f.Parts = append(f.Parts, p)
			}
		}
	}
	return f
}
