package taskmanager

import (
	"cmp"
	"encoding/json"
	"slices"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Rows derives what one journal row did to the readable tables; st is the state after the row and out what applying it asked for. It is what the
// loop itself projects, for whoever compares the tables with the journal. Workers' names are those of the directory now. A Manager that was never
// started will do; it reads its Store's directory, nothing else.
func (m *Manager) Rows(st *lifecycle.State, row store.Row, out *lifecycle.Out) store.Projected {
	return rowsOf(m, st, row.Seq, row.At, out)
}

// distinct sorts a list, which belongs to it, and keeps one of each.
func distinct[T cmp.Ordered](list []T) []T {
	slices.Sort(list)
	return slices.Compact(list)
}

// finder finds tasks of which neighbours are mostly of one job.
type finder struct {
	st  *lifecycle.State
	job *lifecycle.Job
}

func (f *finder) find(id cloudcrowd.TaskID) (*lifecycle.Job, *lifecycle.Task) {
	if f.job == nil || f.job.ID != id.Job {
		if f.job = f.st.Jobs[id.Job]; f.job == nil {
			return nil, nil
		}
	}
	if id.Stage < 0 || int(id.Stage) >= len(f.job.Stages) || id.Index < 0 || int(id.Index) >= len(f.job.Stages[id.Stage].Tasks) {
		return f.job, nil
	}
	return f.job, f.job.Stages[id.Stage].Tasks[id.Index]
}

// rowsOf derives what one journal row did to the readable tables from the state after it. The loop does this for every row it commits: what it
// costs, all tasks wait for. An item may occur twice, in the same version.
func rowsOf(m *Manager, st *lifecycle.State, seq int64, at cloudcrowd.Time, out *lifecycle.Out) store.Projected {
	p := store.Projected{Shard: st.Shard, From: seq - 1, To: seq, Charges: slices.Clone(out.Charges)}
	for i := range p.Charges {
		p.Charges[i].Shard, p.Charges[i].Seq = st.Shard, seq
	}
	p.Records = recordRows(out.Records)
	known := finder{st: st}
	if len(out.Tasks) > 0 {
		p.Tasks = make([]cloudcrowd.Task, 0, len(out.Tasks))
		for i, id := range out.Tasks {
			if i > 0 && id == out.Tasks[i-1] {
				continue
			}
			if j, t := known.find(id); t != nil && (t.State == cloudcrowd.TaskDone || t.State == cloudcrowd.TaskFailed) {
				p.Tasks = append(p.Tasks, taskView(m, j, id, t, false))
			}
		}
	}
	settled := settledBefore(out)
	if n := len(out.Attempts) + len(settled); n > 0 {
		p.Attempts = make([]cloudcrowd.Attempt, 0, n)
		for _, list := range [2][]cloudcrowd.AttemptID{out.Attempts, settled} {
			for i, id := range list {
				j, t := known.find(id.Task)
				if t == nil || id.N < 1 || int(id.N) > len(t.Attempts) || i > 0 && id == list[i-1] {
					continue
				}
				a := t.Attempts[id.N-1]
				p.Attempts = append(p.Attempts, namedAttempt(j, id, a, m.nameOf(a)))
			}
		}
	}
	for _, id := range distinct(slices.Clone(out.Jobs)) {
		j := st.Jobs[id]
		if j == nil {
			continue
		}
		full := jobView(m, st, j, at, nil)
		detail, _ := json.Marshal(full) // plain values: cannot fail
		p.Jobs = append(p.Jobs, store.JobRow{Summary: full.JobSummary, Detail: detail})
		if !j.State.Ended() {
			continue
		}
		for si, stage := range j.Stages { // tasks that never became final are part of its history too
			for ti, t := range stage.Tasks {
				if t.State == cloudcrowd.TaskWaiting || t.State == cloudcrowd.TaskRunning {
					p.Tasks = append(p.Tasks, taskView(m, j, cloudcrowd.TaskID{Job: j.ID, Stage: int32(si), Index: int32(ti)}, t, false))
				}
			}
		}
	}
	return p
}

// settledBefore are the attempts of charges that did not become final in this row: those that were deferred to the end of the job. Others stand in
// the row's attempts in the order of its charges.
func settledBefore(out *lifecycle.Out) (list []cloudcrowd.AttemptID) {
	var all map[cloudcrowd.AttemptID]struct{} // of the row's attempts, once one was not where it is expected
	next := 0
	for i := range out.Charges {
		id := out.Charges[i].Attempt
		near := out.Attempts[next:min(next+8, len(out.Attempts))]
		if k := slices.Index(near, id); k >= 0 {
			next += k + 1
			continue
		}
		if all == nil {
			all = make(map[cloudcrowd.AttemptID]struct{}, len(out.Attempts))
			for _, a := range out.Attempts {
				all[a] = struct{}{}
			}
		}
		if _, ok := all[id]; !ok {
			list = append(list, id)
		}
	}
	return list
}

// recordRows are the standings that a row changed.
func recordRows(changed []lifecycle.Changed) (rows []store.RecordRow) {
	rows = make([]store.RecordRow, len(changed))
	for i, c := range changed {
		rows[i] = store.RecordRow{Worker: c.Worker, Record: *c.Record}
	}
	return rows
}
