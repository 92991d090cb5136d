package console

import (
	"context"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"sort"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// ledgerView is: where did the credits go?
type ledgerView struct {
	Period    string
	Periods   []option
	Flow      template.HTML
	FlowNote  string
	Sum       cloudcrowd.Credits
	CheckedAt cloudcrowd.Time
	Accounts  Table
	Transfers Table
	Prices    cloudcrowd.Prices
	Issued    cloudcrowd.Credits
	Held      cloudcrowd.Credits
	Paid      cloudcrowd.Credits
	Fee       cloudcrowd.Credits
}

var periods = []struct {
	name string
	d    time.Duration
}{{"hour", time.Hour}, {"day", 24 * time.Hour}, {"week", 7 * 24 * time.Hour}, {"all", 0}}

// flowBound is how many transfers the picture of flows adds up.
const flowBound = 20_000

func (c *Console) ledger(w http.ResponseWriter, r *http.Request, v viewer) error {
	if !v.Operator() {
		http.Redirect(w, r, c.accountURL(v.Account), http.StatusSeeOther)
		return nil
	}
	ctx := r.Context()
	view := ledgerView{Period: r.URL.Query().Get("period"), Prices: c.cfg.Backend.Prices()}
	f := store.TransferFilter{}
	for _, p := range periods {
		if p.name == view.Period && p.d > 0 {
			f.Since = cloudcrowd.TimeOf(c.cfg.Now().Add(-p.d))
		}
	}
	if f.Since == 0 {
		view.Period = "all"
	}
	for _, p := range periods {
		view.Periods = append(view.Periods, option{p.name, map[string]string{"hour": "Last hour", "day": "Last day", "week": "Last week", "all": "All time"}[p.name], p.name == view.Period})
	}
	accounts, err := c.cfg.Backend.Accounts(ctx)
	if err != nil {
		return err
	}
	transfers := c.transfersSpec(v, f, "")
	specs := []tableSpec{transfers, c.accountsSpec(v, accounts)}
	if done, err := c.export(w, r, "ledger", specs...); done || err != nil {
		return err
	}
	for _, a := range accounts {
		view.Sum += a.Balance
		view.Held += a.Held
	}
	view.CheckedAt = cloudcrowd.TimeOf(c.cfg.Now())
	if err := c.fillFlow(ctx, &view, f, accounts); err != nil {
		return err
	}
	if view.Transfers, err = c.table(r, transfers); err != nil {
		return err
	}
	if view.Accounts, err = c.table(r, specs[1]); err != nil {
		return err
	}
	return c.show(w, r, http.StatusOK, "ledger", []string{"ledger.body"}, page{Title: "Ledger", Section: "ledger", Viewer: v, V: view})
}

func (c *Console) accountsSpec(v viewer, accounts []cloudcrowd.Account) tableSpec {
	rows := make([][]Cell, len(accounts))
	for i, a := range accounts {
		available := moneyCell(a.Balance - a.Held)
		if a.ID == cloudcrowd.IssuerAccount {
			available = Cell{Text: "–", Raw: a.Balance - a.Held}
		}
		rows[i] = []Cell{c.accountCell(v, a.ID), moneyCell(a.Balance), moneyCell(a.Held), available}
	}
	return tableSpec{Name: "accounts", Caption: "Accounts", Rows: rowsOf(rows), Empty: Empty{Text: "No account has moved a credit yet. To issue some:", Commands: []string{"cloudcrowd account issue alice 100"}},
		Columns: []Column{{Key: "account", Title: "Account"}, {Key: "balance_microcredits", Title: "Balance", Number: true}, {Key: "held_microcredits", Title: "Held", Number: true, Priority: 2}, {Key: "available_microcredits", Title: "Available", Number: true}}}
}

// transfersSpec lists transfers; seen from an account, amounts carry its sign.
func (c *Console) transfersSpec(v viewer, f store.TransferFilter, own cloudcrowd.AccountID) tableSpec {
	f.Account = own
	return tableSpec{Name: "transfers", Caption: "Transfers, newest first", Limit: 50,
		Empty: Empty{Text: "No credit has moved in this period."},
		Columns: []Column{{Key: "at", Title: "When"}, {Key: "kind", Title: "Kind", Priority: 3}, {Key: "debit", Title: "From"}, {Key: "credit", Title: "To"}, {Key: "cause", Title: "Cause", Priority: 2},
			{Key: "amount_microcredits", Title: "Amount", Number: true}, {Key: "transfer", Title: "Transfer", Priority: 3}},
		Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
			list, next, err := c.cfg.Backend.Transfers(ctx, f, p)
			if err != nil {
				return nil, "", err
			}
			rows := make([][]Cell, len(list))
			name := c.jobNames(ctx, v)
			for i, t := range list {
				cause := Cell{Text: t.Note}
				if t.Job != "" {
					cause = Cell{Text: name(t.Job), Sub: t.Note, Title: string(t.Job), Raw: string(t.Job)}
					if v.seesJobs() {
						cause.Href = c.jobURL(t.Job)
					}
				} else if t.Note == "" {
					cause.Text = string(t.Kind)
				}
				sum := moneyCell(t.Amount)
				if own != "" && t.Debit == own {
					sum = moneyCell(-t.Amount)
				}
				rows[i] = []Cell{timeCell(t.At), text(string(t.Kind)), c.accountCell(v, t.Debit), c.accountCell(v, t.Credit), cause, sum, {Text: t.ID, Title: fmt.Sprintf("journal row %d of shard %d", t.Seq, t.Shard)}}
			}
			return rows, next, nil
		}}
}

// jobNames asks once for the name of each job, up to a screenful of jobs; of others, and of jobs the viewer may not see, it says the id.
func (c *Console) jobNames(ctx context.Context, v viewer) func(cloudcrowd.JobID) string {
	known := map[cloudcrowd.JobID]string{}
	return func(id cloudcrowd.JobID) string {
		name, ok := known[id]
		if !ok && len(known) < 50 {
			if j, err := c.ownJob(ctx, v, id); err == nil {
				name = j.Name
			}
			known[id] = name
		}
		if name == "" {
			return string(id)
		}
		return name
	}
}

// fillFlow adds up transfers and draws them: issuer → requesters → owners and fee, with what is held and what is left.
func (c *Console) fillFlow(ctx context.Context, view *ledgerView, f store.TransferFilter, accounts []cloudcrowd.Account) error {
	issued, paid := map[cloudcrowd.AccountID]cloudcrowd.Credits{}, map[[2]cloudcrowd.AccountID]cloudcrowd.Credits{}
	p := store.Page{Limit: 1000}
	for n := 0; ; {
		list, next, err := c.cfg.Backend.Transfers(ctx, f, p)
		if err != nil {
			return err
		}
		for _, t := range list {
			if t.Debit == cloudcrowd.IssuerAccount {
				issued[t.Credit] += t.Amount
				view.Issued += t.Amount
				continue
			}
			paid[[2]cloudcrowd.AccountID{t.Debit, t.Credit}] += t.Amount
			if t.Credit == cloudcrowd.FeeAccount {
				view.Fee += t.Amount
			} else {
				view.Paid += t.Amount
			}
		}
		n += len(list)
		if next == "" || next == p.Cursor {
			break
		}
		if n >= flowBound {
			view.FlowNote = "Adds up the latest " + count(n) + " transfers."
			break
		}
		p.Cursor = next
	}
	if len(issued)+len(paid) == 0 {
		return nil
	}
	name := topNames(paid, issued)
	sums := map[[3]string]cloudcrowd.Credits{}
	for to, n := range issued {
		sums[[3]string{"issue", "issuer", name(to)}] += n
	}
	for pair, n := range paid {
		class := "pay"
		if pair[1] == cloudcrowd.FeeAccount {
			class = "fee"
		}
		sums[[3]string{class, name(pair[0]), name(pair[1])}] += n
	}
	for _, a := range accounts {
		if a.Held > 0 {
			sums[[3]string{"hold", name(a.ID), "held for running jobs"}] += a.Held
		}
	}
	heads, first := []string{"issued", "requesters", "owners, fee, held"}, 0
	if moved := view.Paid + view.Fee + view.Held; moved > 0 && view.Issued > 20*moved {
		heads, first = heads[1:], 1 // what moved on would be a hair beside what was issued
		note := amount(view.Issued) + " credits were issued; drawn is what moved on from there."
		view.FlowNote = strings.TrimSpace(view.FlowNote + " " + note)
	}
	var links []draw.FlowLink
	for k, n := range sums {
		column := 1 - first
		if k[0] == "issue" {
			column = -first
		}
		links = append(links, draw.FlowLink{Column: column, From: k[1], To: k[2], Amount: credits(n), Label: amount(n) + " credits", Class: k[0]})
	}
	sort.Slice(links, func(a, b int) bool {
		if links[a].Amount != links[b].Amount {
			return links[a].Amount > links[b].Amount
		}
		return links[a].From+links[a].To < links[b].From+links[b].To
	})
	desc := fmt.Sprintf("%s credits issued, %s paid to workers' owners, %s to the platform, %s held.", amount(view.Issued), amount(view.Paid), amount(view.Fee), amount(view.Held))
	view.Flow = draw.Flow("flow", "Flow of credits", desc, heads, links, func(f float64) string { return amount(cloudcrowd.Credits(math.Round(f * float64(cloudcrowd.Credit)))) })
	return nil
}

// topNames keeps the ten accounts that move most and calls all others "others".
func topNames(paid map[[2]cloudcrowd.AccountID]cloudcrowd.Credits, issued map[cloudcrowd.AccountID]cloudcrowd.Credits) func(cloudcrowd.AccountID) string {
	moved := map[cloudcrowd.AccountID]cloudcrowd.Credits{}
	for p, n := range paid {
		moved[p[0]] += n
		moved[p[1]] += n
	}
	for to, n := range issued {
		moved[to] += n
	}
	ids := make([]cloudcrowd.AccountID, 0, len(moved))
	for id := range moved {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(a, b int) bool {
		if moved[ids[a]] != moved[ids[b]] {
			return moved[ids[a]] > moved[ids[b]]
		}
		return ids[a] < ids[b]
	})
	keep := map[cloudcrowd.AccountID]bool{cloudcrowd.FeeAccount: true}
	for i, id := range ids {
		if i < 10 {
			keep[id] = true
		}
	}
	return func(id cloudcrowd.AccountID) string {
		if keep[id] {
			return string(id)
		}
		return "others"
	}
}
