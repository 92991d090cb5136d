package console

import (
	"context"
	"fmt"
	"html/template"
	"sort"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// attemptBound is how many attempts of a job are read for its pictures.
const attemptBound = 50_000

// fillAttempts draws the timeline and the spending curve of a job.
func (c *Console) fillAttempts(ctx context.Context, view *jobView, want wanted) error {
	j := view.Job
	var all []cloudcrowd.Attempt
	p := store.Page{Limit: 1000}
	for {
		list, next, err := c.cfg.Backend.Attempts(ctx, j.ID, p)
		if err != nil {
			return err
		}
		all = append(all, list...)
		if next == "" || next == p.Cursor {
			break
		}
		if len(all) >= attemptBound {
			view.TimeNote = "Only the first " + count(len(all)) + " attempts are drawn; the export has all."
			break
		}
		p.Cursor = next
	}
	start := j.SubmittedAt
	end := j.EndedAt
	if end == 0 {
		end = cloudcrowd.TimeOf(c.cfg.Now())
	}
	for _, a := range all {
		end = max(end, a.EndedAt)
	}
	seconds := float64(end-start) / 1e6
	if want.any("job.timeline") && len(all) > 0 {
		ran := schedule(all, c.slotsOf(ctx), end)
		t, states := timeline(j, all, ran, workerName, start, end)
		view.Timeline = t.Draw("timeline")
		view.Legend = states
	}
	if want.any("job.cost") {
		view.Spending = spending(j, all, start, seconds)
	}
	return nil
}

// timeline turns attempts into bars and says which states occur, in a fixed order. lane names the row an attempt is drawn in.
func timeline(j cloudcrowd.Job, all []cloudcrowd.Attempt, ran []stretch, lane func(cloudcrowd.Attempt) string, start, end cloudcrowd.Time) (draw.Timeline, []string) {
	chain := criticalChain(j, all, ran)
	seen, queued := map[cloudcrowd.AttemptState]int{}, 0
	t := draw.Timeline{Seconds: float64(end-start) / 1e6, Bars: make([]draw.Bar, 0, len(all)), Held: heldSpans(all, lane, start, end)}
	workers := map[cloudcrowd.WorkerID]bool{}
	for i, a := range all {
		workers[a.Worker] = true
		if ran[i] == (stretch{}) {
			queued++
			continue
		}
		seen[a.State]++
		from, to := ran[i].from, ran[i].to
		title := fmt.Sprintf("%s #%d, attempt %d on %s: %s, ran %s", a.Stage, a.ID.Task.Index, a.ID.N, workerName(a), shownState(a.State), span(float64(to-from)/1e6))
		if before := float64(from-a.LeasedAt) / 1e6; before >= 0.1 {
			title += ", " + span(before) + " after it was leased"
		}
		if a.Verdict != "" {
			title += ". " + verdict(a)
		}
		t.Bars = append(t.Bars, draw.Bar{Lane: lane(a), From: max(float64(from-start)/1e6, 0), To: max(float64(to-start)/1e6, 0), State: string(a.State),
			Task: a.ID.Task.String(), Title: title, Critical: chain[i]})
	}
	t.Title = fmt.Sprintf("Timeline of %s on %s", plural(len(all), "attempt", "attempts"), plural(len(workers), "worker", "workers"))
	var states []string
	for _, s := range []cloudcrowd.AttemptState{cloudcrowd.AttemptAccepted, cloudcrowd.AttemptReported, cloudcrowd.AttemptLeased, cloudcrowd.AttemptRefused,
		cloudcrowd.AttemptFailed, cloudcrowd.AttemptLost, cloudcrowd.AttemptReturned, cloudcrowd.AttemptCancelled} {
		if n := seen[s]; n > 0 {
			states = append(states, shownState(s))
			t.Desc += fmt.Sprintf("%s %s. ", count(n), shownState(s))
		}
	}
	if queued > 0 {
		t.Desc += fmt.Sprintf("%s more wait at their worker. ", count(queued))
	}
	t.Desc += "Over " + span(t.Seconds) + "."
	return t, states
}

// shownState is the word for an attempt in a timeline: a lease that is drawn is running, as far as is known.
func shownState(s cloudcrowd.AttemptState) string {
	if s == cloudcrowd.AttemptLeased {
		return "running"
	}
	return string(s)
}

// workerName is what an attempt's worker is called.
func workerName(a cloudcrowd.Attempt) string {
	if a.WorkerName != "" {
		return a.WorkerName
	}
	return a.Worker.Short()
}

// verdict is why an attempt was accepted or refused, without the word that its state says already.
func verdict(a cloudcrowd.Attempt) string {
	rest, found := strings.CutPrefix(a.Verdict, string(a.State)+": ")
	if !found || rest == "" {
		return a.Verdict
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// criticalChain marks the attempts that set the job's duration: from the last accepted one back, each time the attempt whose end the next one waited
// for: the latest to end before it ran, among the stages it comes after and the same worker.
func criticalChain(j cloudcrowd.Job, all []cloudcrowd.Attempt, ran []stretch) map[int]bool {
	after := map[string]map[string]bool{}
	for _, s := range j.Stages {
		set := map[string]bool{}
		for _, a := range s.After {
			set[a] = true
		}
		after[s.Name] = set
	}
	var done []int
	for i, a := range all {
		if a.EndedAt > 0 && a.State == cloudcrowd.AttemptAccepted {
			done = append(done, i)
		}
	}
	chain := map[int]bool{}
	if len(done) == 0 || len(done) > 2000 {
		return chain
	}
	sort.SliceStable(done, func(a, b int) bool { return ran[done[a]].to < ran[done[b]].to })
	at := len(done) - 1
	for {
		cur := all[done[at]]
		chain[done[at]] = true
		found := -1
		for k := at - 1; k >= 0; k-- {
			p := all[done[k]]
			if ran[done[k]].to > ran[done[at]].from || !(after[cur.Stage][p.Stage] || p.Worker == cur.Worker) {
				continue
			}
			found = k
			break
		}
		if found < 0 {
			return chain
		}
		at = found
	}
}

// slotsOf asks once for each worker how many slots it has; of one that is not known any more it says 1.
func (c *Console) slotsOf(ctx context.Context) func(cloudcrowd.WorkerID) int {
	known := map[cloudcrowd.WorkerID]int{}
	return func(id cloudcrowd.WorkerID) int {
		n, ok := known[id]
		if !ok {
			if w, err := c.cfg.Backend.Worker(ctx, id); err == nil {
				n = w.Info.Slots
			}
			known[id] = n
		}
		return n
	}
}

// spending draws what was charged, attempt by attempt, against the budget.
func spending(j cloudcrowd.Job, all []cloudcrowd.Attempt, start cloudcrowd.Time, seconds float64) template.HTML {
	charged := make([]cloudcrowd.Attempt, 0, len(all))
	for _, a := range all {
		if a.Charge > 0 {
			charged = append(charged, a)
		}
	}
	sort.Slice(charged, func(a, b int) bool { return charged[a].EndedAt < charged[b].EndedAt })
	points := make([]draw.Point, len(charged))
	sum := cloudcrowd.Credits(0)
	for i, a := range charged {
		sum += a.Charge
		points[i] = draw.Point{X: max(float64(a.EndedAt-start)/1e6, 0), Y: credits(sum)}
	}
	desc := fmt.Sprintf("%s credits after %s of a budget of %s.", amount(j.Cost), span(seconds), amount(j.Budget))
	return draw.Spending("spending", "Credits spent over time", desc, points, seconds, credits(j.Budget))
}
