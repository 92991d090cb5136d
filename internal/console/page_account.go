package console

import (
	"context"
	"net/http"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// accountView is a statement: what is there, what came and went, and why.
type accountView struct {
	Account   cloudcrowd.Account
	Available cloudcrowd.Credits
	Issuer    bool
	Transfers Table
	Paid      Table
	Earned    Table
	HasPaid   bool
	HasEarned bool
}

func (c *Console) account(w http.ResponseWriter, r *http.Request, v viewer) error {
	ctx := r.Context()
	id := cloudcrowd.AccountID(r.PathValue("account"))
	if !v.Operator() && id != v.Account {
		return cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no account %q of yours.", id)
	}
	a, err := c.cfg.Backend.Account(ctx, id)
	if err != nil {
		return err
	}
	transfers := c.transfersSpec(v, store.TransferFilter{}, id)
	transfers.Empty = Empty{Text: "Nothing has moved yet. An operator issues credits with:", Commands: []string{"cloudcrowd account issue " + string(id) + " 100"}}
	paid := c.chargesSpec(v, "paid", "Paid for accepted attempts", store.ChargeFilter{Requester: id}, false)
	earned := c.chargesSpec(v, "earned", "Earned by accepted attempts", store.ChargeFilter{Owner: id}, true)
	if done, err := c.export(w, r, "statement-"+string(id), transfers, paid, earned); done || err != nil {
		return err
	}
	view := accountView{Account: a, Available: a.Balance - a.Held, Issuer: id == cloudcrowd.IssuerAccount}
	for _, t := range []struct {
		spec tableSpec
		into *Table
	}{{transfers, &view.Transfers}, {paid, &view.Paid}, {earned, &view.Earned}} {
		if *t.into, err = c.table(r, t.spec); err != nil {
			return err
		}
	}
	view.HasPaid, view.HasEarned = len(view.Paid.Rows) > 0, len(view.Earned.Rows) > 0
	return c.show(w, r, http.StatusOK, "account", []string{"account.body"}, page{Title: "Account " + string(id), Section: "ledger", Viewer: v, V: view})
}

// chargesSpec lists paid attempts, each with its job, task and attempt.
func (c *Console) chargesSpec(v viewer, name, caption string, f store.ChargeFilter, net bool) tableSpec {
	amountKey, amountTitle := "gross_microcredits", "Paid"
	if net {
		amountKey, amountTitle = "net_microcredits", "Earned"
	}
	return tableSpec{Name: name, Caption: caption, Limit: 50,
		Columns: []Column{{Key: "at", Title: "When"}, {Key: "attempt", Title: "Attempt"}, {Key: "worker", Title: "Worker", Priority: 2}, {Key: "core_seconds", Title: "Core-seconds", Number: true, Priority: 2},
			{Key: "fee_microcredits", Title: "Of it fee", Number: true, Priority: 3}, {Key: amountKey, Title: amountTitle, Number: true}},
		Rows: func(ctx context.Context, p store.Page) ([][]Cell, string, error) {
			list, next, err := c.cfg.Backend.Charges(ctx, f, p)
			if err != nil {
				return nil, "", err
			}
			rows := make([][]Cell, len(list))
			for i, ch := range list {
				attempt := Cell{Text: ch.Attempt.String(), Raw: ch.Attempt.String()}
				if v.seesJobs() {
					attempt.Href = c.taskURL(ch.Attempt.Task)
				}
				sum := ch.Gross
				if net {
					sum = ch.Gross - ch.Fee
				}
				rows[i] = []Cell{timeCell(ch.At), attempt, c.workerCell(v, ch.Worker, ""), {Text: decimal(ch.CoreSeconds, 3), Raw: ch.CoreSeconds}, moneyCell(ch.Fee), moneyCell(sum)}
			}
			return rows, next, nil
		}}
}
