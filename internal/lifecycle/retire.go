package lifecycle

import (
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"

	"cloudcrowd.dev/cloudcrowd"
)

// A job may have ten million tasks, and a shard keeps its jobs in memory. What a finished task was is history, which the readable tables hold; the core needs
// its outputs if a later stage or the requester reads them, and otherwise nothing but the counts. Retire drops the rest. It is no event: a state with retired
// tasks and one without decide alike, so a replay of the journal, which retires nothing, is as good.

// Retired counts what the retired tasks of a stage were, so that sums over a stage can still be checked.
type Retired struct {
	Tasks    int64              `cbor:"1,keyasint,omitempty"`
	Units    int64              `cbor:"2,keyasint,omitempty"`
	Attempts int64              `cbor:"3,keyasint,omitempty"`
	Refused  int64              `cbor:"4,keyasint,omitempty"`
	Cost     cloudcrowd.Credits `cbor:"5,keyasint,omitempty"` // paid
}

// gone stands for every retired task without outputs. It is never written to.
var gone = &Task{State: cloudcrowd.TaskDone, Retired: true}

// Retire drops what only history needs of a finished task. It reports false, and changes nothing, for a task that something may still happen to. The caller
// sees to it that the readable tables hold the task.
func (s *State) Retire(id cloudcrowd.TaskID) bool {
	j, st, t := s.FindTask(id)
	return t != nil && j.retire(int(id.Stage), st, int(id.Index))
}

// RetireAll retires every task that can be. Two states of one job that differ only in what was retired are equal afterwards.
func (j *Job) RetireAll() {
	for i, st := range j.Stages {
		for k := range st.Tasks {
			j.retire(i, st, k)
		}
	}
}

func (j *Job) retire(i int, st *Stage, k int) bool {
	t := st.Tasks[k]
	// A result that was accepted alone may be checked again, and so may all work that read it.
	if t.Retired || t.State != cloudcrowd.TaskDone || t.Alone || !j.settledBefore(i) {
		return false
	}
	if t.Level > 0 && (st.State != cloudcrowd.StageDone || st.alone > 0) { // a node of a merge tree reads others of its stage
		return false
	}
	var refused int64
	compared := !j.Spec.Stages[i].Verify.None && t.copied()
	for _, a := range t.Attempts {
		if !a.State.Ended() || a.Deferred || compared && a.comparable(t) {
			return false
		}
		if a.State == cloudcrowd.AttemptRefused {
			refused++
		}
	}
	st.Retired.Tasks++
	st.Retired.Units += t.Unit.Hi - t.Unit.Lo
	st.Retired.Attempts += int64(len(t.Attempts))
	st.Retired.Refused += refused
	st.Retired.Cost += t.Cost
	if len(t.Outputs) == 0 && j.Spec.Stages[i].Merge == nil && !j.isRead(i) {
		st.Tasks[k] = gone
		return true
	}
	st.Tasks[k] = &Task{Unit: t.Unit, Level: t.Level, Pos: t.Pos, Final: t.Final, State: t.State, Round: t.Round, Canonical: t.Canonical, Outputs: t.Outputs, Retired: true}
	return true
}

// settledBefore reports whether no result that a stage reads, at any remove, can change any more.
func (j *Job) settledBefore(i int) bool {
	for _, name := range j.Spec.Stages[i].After {
		up := j.Spec.StageIndex(name)
		if st := j.Stages[up]; st.State != cloudcrowd.StageDone || st.alone > 0 || !j.settledBefore(up) {
			return false
		}
	}
	return true
}

// isRead reports whether another stage reads a stage.
func (j *Job) isRead(i int) bool {
	name := j.Spec.Stages[i].Name
	return slices.ContainsFunc(j.Spec.Stages, func(other cloudcrowd.Stage) bool { return slices.Contains(other.After, name) })
}

// Open lists the tasks that have not ended, by number. The list is the caller's.
func (s *Stage) Open() []int32 { return s.open.list() }

// TaskList is the tasks of a stage by number. Encoded, runs of retired tasks without outputs take a few bytes.
type TaskList []*Task

// taskList is TaskList's form in a snapshot.
type taskList struct {
	Runs  []int64 `cbor:"1,keyasint"` // kept, gone, kept, gone, … tasks in turn
	Tasks []*Task `cbor:"2,keyasint"` // those kept
}

// MarshalCBOR implements cbor.Marshaler.
func (l TaskList) MarshalCBOR() ([]byte, error) {
	var p taskList
	for i := 0; i < len(l); {
		start := i
		for i < len(l) && l[i] != gone {
			i++
		}
		p.Tasks = append(p.Tasks, l[start:i]...)
		p.Runs = append(p.Runs, int64(i-start))
		start = i
		for i < len(l) && l[i] == gone {
			i++
		}
		p.Runs = append(p.Runs, int64(i-start))
	}
	return encMode.Marshal(p)
}

// UnmarshalCBOR implements cbor.Unmarshaler.
func (l *TaskList) UnmarshalCBOR(b []byte) error {
	var p taskList
	if err := decMode.Unmarshal(b, &p); err != nil {
		return err
	}
	var kept, all int64
	for i, n := range p.Runs {
		if n < 0 || all+n > 1<<31 {
			return fmt.Errorf("a list of tasks with a run of %d", n)
		}
		all += n
		if i%2 == 0 {
			kept += n
		}
	}
	if kept != int64(len(p.Tasks)) || slices.Contains(p.Tasks, nil) {
		return fmt.Errorf("a list of %d tasks says it has %d", len(p.Tasks), kept)
	}
	list := make(TaskList, 0, all)
	for i, n := range p.Runs {
		if i%2 == 0 {
			list = append(list, p.Tasks[:n]...)
			p.Tasks = p.Tasks[n:]
			continue
		}
		for range n {
			list = append(list, gone)
		}
	}
	*l = list
	return nil
}

var (
	_ cbor.Marshaler   = TaskList(nil)
	_ cbor.Unmarshaler = (*TaskList)(nil)
)
