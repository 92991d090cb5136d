package lifecycle

import (
	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// refresh derives where each stage stands from its tasks and the stages before it. It is part of applying an event.
func (j *Job) refresh(at cloudcrowd.Time) {
	for i, st := range j.Stages {
		before := st.State
		st.State = j.stageState(i)
		switch {
		case st.State == cloudcrowd.StageDone && before != cloudcrowd.StageDone:
			st.EndedAt = at
			if st.StartedAt == 0 {
				st.StartedAt = at
			}
		case st.State != cloudcrowd.StageDone:
			st.EndedAt = 0
		}
	}
}

func (j *Job) stageState(i int) cloudcrowd.StageState {
	spec, st := &j.Spec.Stages[i], j.Stages[i]
	ready := true // everything before is done, but for the stage this one streams from
	for _, name := range spec.After {
		if up := j.Spec.StageIndex(name); name != streamsFrom(spec) && j.Stages[up].State != cloudcrowd.StageDone {
			ready = false
		}
	}
	if spec.Merge.Builtin() {
		switch up := j.upstream(i); {
		case up.State != cloudcrowd.StageDone:
			return cloudcrowd.StageWaiting
		case !st.Merged:
			return cloudcrowd.StageMerging
		}
		return cloudcrowd.StageDone
	}
	if decompose.NeedsIndex(spec.Split) && st.Index == nil {
		if spec.Split.Kind != cloudcrowd.SplitProgram || ready {
			return cloudcrowd.StagePreparing
		}
		return cloudcrowd.StageWaiting
	}
	if !ready {
		return cloudcrowd.StageWaiting
	}
	if j.complete(i) {
		return cloudcrowd.StageDone
	}
	if up := j.upstream(i); up != nil && up.Done == 0 && len(st.Tasks) == 0 && up.State != cloudcrowd.StageDone {
		return cloudcrowd.StageWaiting
	}
	return cloudcrowd.StageRunning
}

// upstream is the stage that a merge or an `each` split reads task by task; nil for others.
func (j *Job) upstream(i int) *Stage {
	if name := streamsFrom(&j.Spec.Stages[i]); name != "" {
		return j.Stages[j.Spec.StageIndex(name)]
	}
	return nil
}

// streamsFrom names the stage whose tasks are consumed one by one, before it is done.
func streamsFrom(spec *cloudcrowd.Stage) string {
	switch {
	case spec.Merge != nil:
		return spec.After[0]
	case spec.Split != nil && spec.Split.Kind == cloudcrowd.SplitEach:
		return spec.Split.Stage
	}
	return ""
}

// Total is the number of units of a stage, and whether it is known yet.
func (j *Job) Total(i int) (int64, bool) {
	spec, st := &j.Spec.Stages[i], j.Stages[i]
	var files int
	var upstream int64
	var final bool
	if spec.Split != nil {
		files = len(j.Spec.Inputs[spec.Split.Input].Files)
		if spec.Split.Kind == cloudcrowd.SplitEach {
			upstream, final = j.Parts(j.Spec.StageIndex(spec.Split.Stage))
		}
	}
	return decompose.Total(spec.Split, st.Index, files, upstream, final)
}

// complete reports whether every unit of a stage (or the root of its merge tree) has its canonical result.
func (j *Job) complete(i int) bool {
	st := j.Stages[i]
	if st.Done < int64(len(st.Tasks)) {
		return false
	}
	if j.Spec.Stages[i].Merge != nil {
		if n, final := j.Parts(j.Spec.StageIndex(streamsFrom(&j.Spec.Stages[i]))); !final {
			return false
		} else if n == 0 {
			return true
		}
		return len(st.Tasks) > 0 && st.Tasks[len(st.Tasks)-1].Final
	}
	total, known := j.Total(i)
	return known && st.Next >= total
}

// refresh derives whether an open task needs more attempts.
func (t *Task) refresh() {
	if t.State != cloudcrowd.TaskWaiting && t.State != cloudcrowd.TaskRunning {
		return
	}
	t.State = cloudcrowd.TaskRunning
	if t.Wanted() > 0 {
		t.State = cloudcrowd.TaskWaiting
	}
}

// Votes are the results of the present round.
func (t *Task) Votes() []verify.Vote { return t.votes(nil) }

func (t *Task) votes(votes []verify.Vote) []verify.Vote {
	for _, a := range t.Attempts {
		if a.Round == t.Round && a.State == cloudcrowd.AttemptReported {
			votes = append(votes, verify.Vote{N: a.N, Party: a.Party(), Digest: a.Digest})
		}
	}
	return votes
}

// Wanted is the number of attempts to start now.
func (t *Task) Wanted() int {
	if t.State != cloudcrowd.TaskWaiting && t.State != cloudcrowd.TaskRunning {
		return 0
	}
	leased, reported := 0, 0
	for _, a := range t.Attempts {
		switch {
		case a.Round != t.Round:
		case a.State == cloudcrowd.AttemptLeased:
			leased++
		case a.State == cloudcrowd.AttemptReported:
			reported++
		}
	}
	if reported == 0 { // most often
		return max(t.Start, t.Quorum, 1) - min(leased, max(t.Start, t.Quorum, 1))
	}
	if t.Quorum == 1 && reported == 1 {
		return 0
	}
	var few [4]verify.Vote
	votes := t.votes(few[:0])
	v := verify.Quorum(votes, t.Quorum)
	if v.State != verify.Pending {
		return 0
	}
	return max(t.Start-leased-len(votes), v.Missing-leased, 0)
}
