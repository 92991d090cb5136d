package console

import (
	"context"
	"fmt"
	"html/template"
	"net/http"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// workerView is: should I rely on it?
type workerView struct {
	Worker    cloudcrowd.WorkerView
	State     string
	Verdict   string // the answer, in one sentence
	Standing  string // its icon
	Facts     []pair
	Slots     template.HTML
	Timeline  template.HTML
	Legend    []string
	Running   []Cell
	Attempts  Table
	Refused   []refusal // the latest six
	MayRevoke bool
}

// refusal is one refused result with its evidence.
type refusal struct {
	Attempt, URL, Stage, Verdict string
	At                           cloudcrowd.Time
	Digest                       cloudcrowd.Digest
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
	spec := tableSpec{Name: "attempts", Caption: "Attempts, newest first", Columns: attemptColumns, Limit: 50, Empty: Empty{Text: "It has not finished an attempt yet."},
		Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
			list, next, err := c.cfg.Backend.WorkerAttempts(ctx, wv.ID, p)
			return c.attemptRows(v, list), next, err
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
		{"Cached", cloudcrowd.Bytes(wv.CachedBytes)}, {"Agent", i.Version}, {"Sandboxes", fmt.Sprint(i.Sandboxes)}}
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
	view.Timeline, view.Legend = c.workerTimeline(recent)
	for _, a := range recent {
		if a.State == cloudcrowd.AttemptRefused && len(view.Refused) < 6 {
			ref := refusal{Attempt: a.ID.String(), Stage: a.Stage, Verdict: a.Verdict, At: a.EndedAt, Digest: a.ResultDigest}
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

// workerTimeline draws a worker's latest attempts, one lane a stage.
func (c *Console) workerTimeline(list []cloudcrowd.Attempt) (template.HTML, []string) {
	if len(list) == 0 {
		return "", nil
	}
	start, end := list[0].LeasedAt, cloudcrowd.Time(0)
	now := cloudcrowd.TimeOf(c.cfg.Now())
	for _, a := range list {
		start = min(start, a.LeasedAt)
		if a.EndedAt == 0 {
			end = now
		}
		end = max(end, a.EndedAt)
	}
	named := make([]cloudcrowd.Attempt, len(list))
	for i, a := range list {
		named[i] = a
		named[i].WorkerName = a.Stage
	}
	t, states := timeline(cloudcrowd.Job{}, named, start, end)
	for i := range t.Bars {
		t.Bars[i].Critical = false
	}
	t.Title = "The latest " + plural(len(list), "attempt", "attempts") + " by stage"
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
		return fmt.Sprintf("Yes: %s in a row agreed with those of others; the chance that the next one is wrong is put at no more than %s.", plural(r.Streak, "result", "results"), percent(w.ErrorRate))
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
