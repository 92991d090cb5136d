package console

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// workerView is: should I rely on it?
type workerView struct {
	Worker      cloudcrowd.WorkerView
	State       string
	Verdict     string // the answer, in one sentence
	Standing    string // its icon
	Facts       []pair
	Slots       template.HTML
	Timeline    template.HTML
	Legend      []string
	Running     []Cell
	Attempts    Table
	Refused     []refusal // the latest six
	MoreRefused int       // among the latest attempts
	MayRevoke   bool
}

// refusal is one refused result with its evidence.
type refusal struct {
	Attempt, URL, Verdict string
	At                    cloudcrowd.Time
}

func (c *Console) ownWorker(r *http.Request, v viewer) (cloudcrowd.WorkerView, error) {
	id := cloudcrowd.WorkerID(r.PathValue("worker"))
	wv, err := c.cfg.Backend.Worker(r.Context(), id)
	if err != nil {
		return wv, err
	}
	if !v.Operator() && wv.Owner != v.Account {
		return wv, cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no worker %s here.", id.Short())
	}
	return wv, nil
}

func (c *Console) worker(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	wv, err := c.ownWorker(r, v)
	if err != nil {
		return err
	}
	spec := tableSpec{Name: "attempts", Caption: "Attempts, newest first", Columns: slices.Delete(slices.Clone(attemptColumns), workerColumn, workerColumn+1), Limit: 50, Empty: Empty{Text: "It has not finished an attempt yet."},
		Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
			list, next, err := c.cfg.Backend.WorkerAttempts(ctx, wv.ID, p)
			rows := c.attemptRows(v, list)
			for i := range rows {
				rows[i] = slices.Delete(rows[i], workerColumn, workerColumn+1)
			}
			return rows, next, err
		}}
	if done, err := c.export(w, r, "worker-"+wv.Name, spec); done || err != nil {
		return err
	}
	view := workerView{Worker: wv, State: "offline", Standing: standingIcon(wv.Standing), MayRevoke: v.Invites()}
	if wv.Online {
		view.State = "online"
	}
	view.Slots = draw.Slots(fmt.Sprintf("%d of %d slots busy", len(wv.Running), wv.Info.Slots), wv.Info.Slots, len(wv.Running), wv.Online)
	view.Verdict = reliance(wv)
	i := wv.Info
	view.Facts = []pair{{"Owner", string(wv.Owner)}, {"System", i.OS + "/" + i.Arch}, {"CPU", fmt.Sprintf("%s, %s", i.CPU, plural(i.Cores, "core", "cores"))},
		{"Speed of a slot", decimal(i.Speed, 2) + "× the reference core"}, {"Memory", cloudcrowd.Bytes(i.MemoryBytes)}, {"Disk", cloudcrowd.Bytes(i.DiskBytes)},
		{"Cached", cloudcrowd.Bytes(wv.CachedBytes)}, {"Agent", i.Version}, {"Sandboxes", strings.Join(i.Sandboxes, ", ")}}
	if wv.Online && wv.Unable != "" {
		view.Facts = append([]pair{{"Takes no work", wv.Unable}}, view.Facts...)
	}
	for _, a := range wv.Running {
		cell := Cell{Text: a.String()}
		if v.seesJobs() {
			cell.Href = c.taskURL(a.Task)
		}
		view.Running = append(view.Running, cell)
	}
	recent, _, err := c.cfg.Backend.WorkerAttempts(ctx, wv.ID, store.Page{Limit: 500})
	if err != nil {
		return err
	}
	view.Timeline, view.Legend = c.workerTimeline(wv, recent)
	for _, a := range recent {
		switch {
		case a.State != cloudcrowd.AttemptRefused:
		case len(view.Refused) == 6:
			view.MoreRefused++
		default:
			ref := refusal{Attempt: attemptName(a), Verdict: strings.TrimSuffix(verdict(a), "."), At: a.EndedAt}
			if v.seesJobs() {
				ref.URL = c.taskURL(a.ID.Task)
			}
			view.Refused = append(view.Refused, ref)
		}
	}
	if view.Attempts, err = c.table(r, spec); err != nil {
		return err
	}
	return c.show(w, r, http.StatusOK, "worker", []string{"worker.body"}, page{Title: wv.Name, Section: "workers", Viewer: v, V: view})
}

// workerTimeline draws a worker's latest spell of work, one lane a stage: back to the first pause that is longer than all that came after it.
func (c *Console) workerTimeline(wv cloudcrowd.WorkerView, list []cloudcrowd.Attempt) (template.HTML, []string) {
	if len(list) == 0 {
		return "", nil
	}
	now := cloudcrowd.TimeOf(c.cfg.Now())
	ended := func(a cloudcrowd.Attempt) cloudcrowd.Time {
		if a.EndedAt == 0 {
			return now
		}
		return a.EndedAt
	}
	spell := slices.Clone(list)
	slices.SortStableFunc(spell, func(a, b cloudcrowd.Attempt) int { return cmp.Compare(ended(b), ended(a)) })
	end := ended(spell[0])
	start := spell[0].LeasedAt
	for i, a := range spell {
		if pause := start - ended(a); pause > max(end-start, cloudcrowd.Time(time.Minute.Microseconds())) {
			spell = spell[:i]
			break
		}
		start = min(start, a.LeasedAt)
	}
	slots := func(cloudcrowd.WorkerID) int { return wv.Info.Slots }
	t, states := timeline(cloudcrowd.Job{}, spell, schedule(spell, slots, end), func(a cloudcrowd.Attempt) string { return a.Stage }, start, end)
	for i := range t.Bars {
		t.Bars[i].Critical = false
	}
	t.Title = "The latest " + plural(len(spell), "attempt", "attempts") + " by stage"
	return t.Draw("timeline"), states
}

// reliance answers the page's question from the record.
func reliance(w cloudcrowd.WorkerView) string {
	r := w.Record
	switch {
	case w.Revoked:
		return "No: it was revoked and may not work here any more."
	case r.Invalid > 0 && w.Standing != "trusted":
		return fmt.Sprintf("No: %s refused as wrong. Its results count only when others confirm them.", plural(r.Invalid, "result was", "results were"))
	case w.Standing == "trusted":
		return fmt.Sprintf("Yes: %s in a row agreed with those of others; the chance that the next one is wrong is put at no more than %s.", plural(r.Streak, "result", "results"), strconv.FormatFloat(100*w.ErrorRate, 'g', 2, 64)+" %")
	case r.Valid+r.Unchecked == 0:
		return "Not known yet: nothing it returned has been checked."
	}
	return fmt.Sprintf("Not yet: %s confirmed so far; its results are still checked by others.", plural(r.Valid, "result", "results"))
}

// revokeWorker ends a worker's right to work here, or gives it back.
func (c *Console) revokeWorker(w http.ResponseWriter, r *http.Request, v viewer) error {
	if !v.Invites() {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "Only operators and a worker's owner revoke it.")
	}
	wv, err := c.ownWorker(r, v)
	if err != nil {
		return err
	}
	if err := c.cfg.Backend.RevokeWorker(r.Context(), wv.ID, r.PostFormValue("revoked") != "false"); err != nil {
		return err
	}
	http.Redirect(w, r, c.workerURL(wv.ID), http.StatusSeeOther)
	return nil
}
