package main

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var ledgerPage = page{
	use:   "ledger COMMAND",
	short: "every transfer of credits, and whether they balance",
	text: `
The ledger is double entry in whole micro-credits: every transfer takes from
one account what it gives to another and cites the journal row that caused it.
`,
	see: []string{"account", "fsck"},
}

var ledgerTransfersPage = page{
	use:   "transfers [options]",
	short: "list transfers, newest first",
	text: `
One line a transfer: when, its id (the journal row and number), kind, payer,
receiver, amount, the job it belongs to. Transfers of one commit are netted
per pair of accounts and job.
`,
	examples: `
cloudcrowd ledger transfers --job last
cloudcrowd ledger transfers --account grace --json
`,
	see: []string{"account statement"},
}

var ledgerAccountsPage = page{
	use:      "accounts",
	short:    "the same as account list",
	text:     `One line an account. The sum of all balances is zero.`,
	examples: `cloudcrowd ledger accounts`,
	see:      []string{"account list"},
}

var ledgerCheckPage = page{
	use:   "check",
	short: "add up all accounts; the sum must be zero (operators)",
	text: `
Adds up all balances of one moment. Ends with status 8 if they are not zero,
or if an account other than the issuer is below zero. "cloudcrowd fsck"
recomputes the balances themselves from the journal.
`,
	examples: `cloudcrowd ledger check --json`,
	see:      []string{"fsck"},
}

func (a *app) ledgerCommand() *cobra.Command {
	accounts := ledgerAccountsPage.command(0, 0, func(ctx context.Context, _ []string) error { return a.listAccounts(ctx) })
	check := ledgerCheckPage.command(0, 0, func(ctx context.Context, _ []string) error { return a.ledgerCheck(ctx) })
	return ledgerPage.group(a.ledgerTransfersCommand(), accounts, check)
}

func (a *app) ledgerTransfersCommand() *cobra.Command {
	var account, job string
	var limit int
	c := ledgerTransfersPage.command(0, 0, func(ctx context.Context, _ []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		var id cloudcrowd.JobID
		if job != "" {
			if id, err = a.resolveJob(ctx, api, job); err != nil {
				return err
			}
		}
		transfers, err := collect(limit, func(p client.PageQuery) (client.Page[cloudcrowd.Transfer], error) {
			return api.Transfers(ctx, client.TransferQuery{PageQuery: p, Account: cloudcrowd.AccountID(account), Job: id})
		})
		if err != nil {
			return err
		}
		return list(a, transfers, []string{"WHEN", "TRANSFER", "KIND", "FROM", "TO", ">CREDITS", "JOB", "NOTE"}, func(t cloudcrowd.Transfer) []string {
			return []string{clock(t.At), t.ID, string(t.Kind), string(t.Debit), string(t.Credit), t.Amount.String(), string(t.Job), t.Note}
		}, "no transfers")
	})
	f := c.Flags()
	f.StringVar(&account, "account", "", "only transfers from or to this `ACCOUNT`")
	f.StringVar(&job, "job", "", "only transfers of this `JOB`")
	f.IntVar(&limit, "limit", 100, "at most `N` transfers; 0 means all")
	return c
}

func (a *app) ledgerCheck(ctx context.Context) error {
	api, err := a.connect()
	if err != nil {
		return err
	}
	me, err := api.WhoAmI(ctx)
	if err != nil {
		return err
	}
	if me.Role != cloudcrowd.RoleOperator {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "the role %s sees its own account alone, so nothing can be added up", me.Role).
			WithHint("use a token of the role operator")
	}
	accounts, err := api.Accounts(ctx)
	if err != nil {
		return err
	}
	problems := ledgerProblems(accounts.Items)
	verdict := "clean"
	if len(problems) > 0 {
		verdict, err = "faulty", errReported{cloudcrowd.Unsuccessful}
	}
	if a.json {
		if jsonErr := a.object(map[string]any{"verdict": verdict, "ledger_sum": sum(accounts.Items), "accounts": len(accounts.Items), "problems": problems}); jsonErr != nil {
			return jsonErr
		}
		return err
	}
	a.printf("%s; %s: sum %s\n", a.ink.state(verdict), plural(len(accounts.Items), "account"), sum(accounts.Items))
	for _, p := range problems {
		a.printf("· %s\n", p)
	}
	return err
}

// ledgerProblems says what is wrong with a set of balances of one moment.
func ledgerProblems(accounts []cloudcrowd.Account) []string {
	problems := []string{}
	if total := sum(accounts); total != 0 {
		problems = append(problems, fmt.Sprintf("the sum of all accounts is %s credits, not 0", total))
	}
	for _, acc := range accounts {
		if acc.ID != cloudcrowd.IssuerAccount && acc.Balance < 0 {
			problems = append(problems, fmt.Sprintf("account %s is below zero: %s", acc.ID, acc.Balance))
		}
		if acc.Held < 0 || acc.ID != cloudcrowd.IssuerAccount && acc.Held > acc.Balance {
			problems = append(problems, fmt.Sprintf("account %s has %s held of a balance of %s", acc.ID, acc.Held, acc.Balance))
		}
	}
	return problems
}
