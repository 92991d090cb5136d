package console

import (
	"fmt"
	"html/template"
	"net/http"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Figure is one number of the overview with its recent past.
type Figure struct {
	Name, Value, Unit, Note string
	Spark                   template.HTML
}

// overviewView is: is all well, what is running, what does it cost?
type overviewView struct {
	Headline  string
	Bad       bool
	Figures   []Figure
	Attention []string
	ReadOnly  string
	Jobs      Table
	JobsShown bool // the viewer may have jobs
	Recent    Table
	Grid      slotGrid
	Slots     string // "3 of 4 slots busy on 2 workers"
	LedgerSum cloudcrowd.Credits
	CheckedAt cloudcrowd.Time
	Started   cloudcrowd.Time
	Account   cloudcrowd.Account
}

var overviewFragments = []string{"overview.figures", "overview.attention", "overview.jobs", "overview.workers"}

func (c *Console) overview(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	st, err := c.cfg.Backend.Status(ctx)
	if err != nil {
		return err
	}
	c.remember(st)
	view := overviewView{ReadOnly: st.ReadOnly, LedgerSum: st.LedgerSum, CheckedAt: st.LedgerCheckedAt, Started: st.StartedAt, JobsShown: v.seesJobs()}
	view.Figures = c.figures(st)
	if v.Operator() {
		view.Attention = st.Attention
		if st.LedgerSum != 0 {
			view.Attention = append([]string{fmt.Sprintf("The sum of all accounts is %s, not 0. Stop the server and run: cloudcrowd fsck --data DIR", amount(st.LedgerSum))}, view.Attention...)
		}
	}
	view.Headline, view.Bad = headline(st, view.Attention)
	if view.Account, err = c.cfg.Backend.Account(ctx, v.Account); err != nil {
		return err
	}
	want := wants(r)
	if v.seesJobs() && want.any("overview.jobs") {
		running := c.jobsSpec(v, store.JobFilter{Account: v.scope(), State: cloudcrowd.JobRunning})
		running.Name, running.Caption, running.Limit = "running", "Running jobs", 12
		running.Empty = Empty{Text: "No job is running. To submit one:", Commands: []string{"cloudcrowd run job.yaml --out results"}}
		recent := c.jobsSpec(v, store.JobFilter{Account: v.scope()})
		recent.Name, recent.Caption, recent.Limit = "recent", "Recent jobs", 8
		if done, err := c.export(w, r, "overview", running, recent); done || err != nil {
			return err
		}
		if view.Jobs, err = c.table(r, running); err != nil {
			return err
		}
		if view.Recent, err = c.table(r, recent); err != nil {
			return err
		}
		view.Recent.Rows = endedOnly(view.Recent.Rows)
		view.Recent.Next = ""
	}
	if want.any("overview.workers") && v.seesWorkers() {
		list, err := c.visibleWorkers(r, v)
		if err != nil {
			return err
		}
		view.Grid = c.grid(list, 240)
		view.Slots = view.Grid.Words
	}
	return c.show(w, r, http.StatusOK, "overview", overviewFragments, page{Title: "Overview", Section: "overview", Viewer: v, V: view})
}

// endedOnly drops the rows of running jobs, which the table above shows.
func endedOnly(rows [][]Cell) [][]Cell {
	out := rows[:0:0]
	for _, row := range rows {
		if row[0].State != string(cloudcrowd.JobRunning) {
			out = append(out, row)
		}
	}
	return out
}

func headline(st cloudcrowd.ServerStatus, attention []string) (string, bool) {
	switch {
	case st.ReadOnly != "":
		return "New work is refused", true
	case len(attention) > 0:
		return plural(len(attention), "thing needs a person", "things need a person"), true
	case st.JobsRunning == 0:
		return "All is well, nothing is running", false
	}
	return "All is well, " + plural(st.JobsRunning, "job is running", "jobs are running"), false
}

func (c *Console) figures(st cloudcrowd.ServerStatus) []Figure {
	fig := func(name, value, unit, note string, get func(sample) float64) Figure {
		values := c.samples(get)
		desc := "no history yet"
		if len(values) > 1 {
			lo, hi := values[0], values[0]
			for _, x := range values {
				lo, hi = min(lo, x), max(hi, x)
			}
			desc = fmt.Sprintf("between %s and %s lately", decimal(lo, 1), decimal(hi, 1))
		}
		return Figure{name, value, unit, note, draw.Sparkline(name, desc, values)}
	}
	perSecond := decimal(st.TasksPerSecond, 1)
	if st.TasksPerSecond >= 100 {
		perSecond = decimal(st.TasksPerSecond, 0)
	}
	ahead := "no lease waits at a worker"
	if n := st.TasksRunning - st.SlotsBusy; n > 0 {
		ahead = count(n) + " more leased ahead"
	}
	return []Figure{
		fig("Running tasks", count(st.SlotsBusy), "on "+plural(st.Slots, "slot", "slots"), ahead, func(s sample) float64 { return s.running }),
		fig("Accepted", perSecond, "tasks/s", "verified results, last minute", func(s sample) float64 { return s.perSecond }),
		fig("Longest wait", span(st.WaitingSeconds), "", "of a task for a worker", func(s sample) float64 { return s.wait }),
		fig("Spending", decimal(credits(st.CreditsPerHour), 2), "credits/h", "charged, last minute", func(s sample) float64 { return s.spend }),
	}
}

func (v viewer) seesJobs() bool { return v.Operator() || v.Role == cloudcrowd.RoleRequester }

func (v viewer) seesWorkers() bool { return v.SignedIn }

// SeesJobs reports whether the role has jobs.
func (v viewer) SeesJobs() bool { return v.seesJobs() }
