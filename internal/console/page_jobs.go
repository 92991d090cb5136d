package console

import (
	"context"
	"net/http"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// jobsView is: where is mine?
type jobsView struct {
	Filter store.JobFilter
	States []option
	Jobs   Table
}

// option is a choice of a filter.
type option struct {
	Value, Label string
	Selected     bool
}

func options(selected string, values ...string) []option {
	out := []option{{"", "any", selected == ""}}
	for _, v := range values {
		out = append(out, option{v, v, v == selected})
	}
	return out
}

func (c *Console) jobs(w http.ResponseWriter, r *http.Request, v viewer) error {
	if !v.seesJobs() {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "A worker owner's token shows workers and earnings, not jobs.").WithHint("Sign in with a requester's token.")
	}
	q := r.URL.Query()
	f := store.JobFilter{Account: v.scope(), State: cloudcrowd.JobState(q.Get("state")), Text: strings.TrimSpace(q.Get("q"))}
	view := jobsView{Filter: f, States: options(q.Get("state"), "running", "done", "failed", "cancelled")}
	spec := c.jobsSpec(v, f)
	if done, err := c.export(w, r, "cloudcrowd", spec); done || err != nil {
		return err
	}
	var err error
	if view.Jobs, err = c.table(r, spec); err != nil {
		return err
	}
	return c.show(w, r, http.StatusOK, "jobs", []string{"jobs.list"}, page{Title: "Jobs", Section: "jobs", Viewer: v, V: view})
}

// jobsSpec is a table with one row a job.
func (c *Console) jobsSpec(v viewer, f store.JobFilter) tableSpec {
	empty := Empty{Text: "No job yet. Check a description, see its price, then run it:", Commands: []string{"cloudcrowd validate job.yaml", "cloudcrowd plan job.yaml", "cloudcrowd run job.yaml --out results"}}
	if f.Text != "" || f.State != "" {
		empty = Empty{Text: "No job matches this filter."}
	}
	return tableSpec{
		Name: "jobs", Caption: "Jobs, newest first", Empty: empty,
		Columns: []Column{
			{Key: "state", Title: "State"}, {Key: "name", Title: "Job"}, {Key: "progress", Title: "Stages"},
			{Key: "remaining", Title: "Time", Priority: 2}, {Key: "cost_microcredits", Title: "Spent", Number: true, Priority: 2},
			{Key: "budget_microcredits", Title: "Budget", Number: true, Priority: 3}, {Key: "account", Title: "Requester", Priority: 3},
			{Key: "submitted_at", Title: "Submitted", Number: true, Priority: 2}, {Key: "job", Title: "Id", Priority: 4},
		},
		Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
			list, next, err := c.cfg.Backend.Jobs(ctx, f, p)
			if err != nil {
				return nil, "", err
			}
			rows := make([][]Cell, len(list))
			for i, j := range list {
				name := Cell{Text: j.Name, Href: c.jobURL(j.ID), Copy: string(j.ID), Title: string(j.ID), Raw: j.Name}
				if j.Reason != "" {
					name.Sub = j.Reason
				} else if j.Refused > 0 {
					name.Sub = plural(j.Refused, "result refused", "results refused")
				}
				rows[i] = []Cell{stateCell(j.State), name, stripCell(j), {Text: remaining(j)}, moneyCell(j.Cost), moneyCell(j.Budget),
					c.accountCell(v, j.Account), timeCell(j.SubmittedAt), {Text: string(j.ID)}}
			}
			return rows, next, nil
		},
	}
}
