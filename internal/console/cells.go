package console

import (
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
)

func text(s string) Cell { return Cell{Text: s} }

func numberCell[N int | int32 | int64](n N) Cell { return Cell{Text: count(n), Raw: n} }

func timeCell(t cloudcrowd.Time) Cell { return Cell{Time: t, Raw: t} }

func moneyCell(c cloudcrowd.Credits) Cell { return Cell{Pic: alignedAmount(c), Raw: c} }

func spanCell(seconds float64) Cell { return Cell{Text: span(seconds), Raw: seconds} }

func bytesCell(n int64) Cell {
	return Cell{Text: cloudcrowd.Bytes(n), Title: count(n) + " bytes", Raw: n}
}

func stateCell[S ~string](s S) Cell { return Cell{Text: string(s), State: string(s), Raw: string(s)} }

func (c *Console) accountCell(v viewer, id cloudcrowd.AccountID) Cell {
	cell := Cell{Text: string(id)}
	if v.Operator() || v.Account == id {
		cell.Href = c.accountURL(id)
	}
	return cell
}

// workerCell names a worker, as a link where the viewer may open it.
func (c *Console) workerCell(v viewer, id cloudcrowd.WorkerID, name string) Cell {
	if name == "" {
		name = id.Short()
	}
	cell := Cell{Text: name, Title: string(id), Raw: string(id)}
	if v.Operator() || v.Role == cloudcrowd.RoleOwner {
		cell.Href = c.workerURL(id)
	}
	return cell
}

// segments turns stages into the parts of a strip.
func segments(stages []cloudcrowd.StageView) []draw.Segment {
	out := make([]draw.Segment, len(stages))
	for i, s := range stages {
		out[i] = stageSegment(s)
	}
	return out
}

// stageSegment says how far a stage is: by units where they are known, else by tasks.
func stageSegment(s cloudcrowd.StageView) draw.Segment {
	seg := draw.Segment{Name: s.Name}
	all, done := float64(s.Tasks), float64(s.TasksDone)
	if s.UnitsTotal > 0 {
		seg.Done = float64(s.UnitsDone) / float64(s.UnitsTotal)
		seg.Running = max(float64(s.UnitsCarved-s.UnitsDone)/float64(s.UnitsTotal), 0)
	} else if all > 0 {
		seg.Done, seg.Running = done/all, float64(s.Running)/all
	}
	if s.State == cloudcrowd.StageDone {
		seg.Done, seg.Running = 1, 0
	}
	if s.Running == 0 {
		seg.Running = 0
	}
	if all > 0 {
		seg.Failed = float64(s.TasksFailed) / all
	}
	return seg
}

// stripCell draws a job's stages; the words say the same.
func stripCell(j cloudcrowd.JobSummary) Cell {
	label := percent(j.Progress) + " done"
	for i, s := range j.Stages {
		if i == 6 {
			label += fmt.Sprintf("; and %d more stages", len(j.Stages)-i)
			break
		}
		label += fmt.Sprintf("; %s %s, %s of %s tasks", s.Name, s.State, count(s.TasksDone), count(s.Tasks))
	}
	return Cell{Pic: draw.Strip(label, segments(j.Stages)), Raw: j.Progress, Sub: percent(j.Progress)}
}

// remaining says how long a job will still take, or how it ended.
func remaining(j cloudcrowd.JobSummary) string {
	if j.State.Ended() {
		if j.EndedAt > j.SubmittedAt {
			return "took " + span(float64(j.EndedAt-j.SubmittedAt)/1e6)
		}
		return string(j.State)
	}
	if s := rangeSpan(j.RemainingSeconds); s != "" {
		return s + " left"
	}
	return "not known yet"
}
