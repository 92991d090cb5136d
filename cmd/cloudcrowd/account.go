package main

import (
	"context"
	"fmt"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var accountPage = page{
	use:   "account COMMAND",
	short: "balances, statements, and issuing credits",
	text: `
Credits live in accounts: requesters pay from theirs, worker owners earn into
theirs, the platform's share goes to "fee", and all credits come from
"issuer", so that the sum over all accounts is zero. ACCOUNT defaults to your
own.
`,
	see: []string{"ledger"},
}

var accountShowPage = page{
	use:      "show [ACCOUNT]",
	short:    "balance of an account, what is held and what is free",
	text:     `Held credits are the budgets of running jobs; what they do not use comes back.`,
	examples: `cloudcrowd account show`,
	see:      []string{"account statement"},
}

var accountListPage = page{
	use:      "list",
	short:    "list all accounts (operators)",
	text:     `One line an account. The sum of all balances is zero.`,
	examples: `cloudcrowd account list`,
	see:      []string{"ledger check"},
}

var accountStatementPage = page{
	use:   "statement [options] [ACCOUNT]",
	short: "every paid attempt of an account or job",
	text: `
A statement has one line for every attempt that was paid for by the account's
jobs or, with --earned, was paid to the account's workers, newest first:
when, the attempt (and so job and task), who asked, who worked, normalised
core-seconds, what the requester paid and what of it went to the platform.
The last line is the sum.
`,
	examples: `
cloudcrowd account statement
cloudcrowd account statement --job last
cloudcrowd account statement --earned grace
`,
	see: []string{"ledger transfers"},
}

var accountIssuePage = page{
	use:   "issue [options] ACCOUNT CREDITS",
	short: "create credits in an account (operators)",
	text: `
Moves credits from the issuer to an account, which need not exist before.
CREDITS is a decimal number with at most six decimals. --key makes it safe to
repeat.
`,
	examples: `
cloudcrowd account issue ada 25
cloudcrowd account issue --note "grant 2026-11" --key grant-2026-11-ada ada 2.5
`,
	see: []string{"ledger transfers"},
}

func (a *app) accountCommand() *cobra.Command {
	return accountPage.group(a.accountShowCommand(), a.accountListCommand(), a.accountStatementCommand(), a.accountIssueCommand())
}

// ownAccount is the account named by the first argument, or the caller's own.
func ownAccount(ctx context.Context, api *client.Client, args []string) (cloudcrowd.AccountID, error) {
	if len(args) > 0 {
		return cloudcrowd.AccountID(args[0]), nil
	}
	me, err := api.WhoAmI(ctx)
	return me.Account, err
}

func (a *app) accountShowCommand() *cobra.Command {
	return accountShowPage.command(0, 1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		id, err := ownAccount(ctx, api, args)
		if err != nil {
			return err
		}
		acc, err := api.Account(ctx, id)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(acc)
		}
		a.facts("account", string(acc.ID), "balance", acc.Balance.String()+" credits", "held", acc.Held.String()+" for running jobs",
			"available", (acc.Balance - acc.Held).String())
		return nil
	})
}

func (a *app) accountListCommand() *cobra.Command {
	return accountListPage.command(0, 0, func(ctx context.Context, _ []string) error { return a.listAccounts(ctx) })
}

// listAccounts prints all accounts and their sum.
func (a *app) listAccounts(ctx context.Context) error {
	api, err := a.connect()
	if err != nil {
		return err
	}
	accounts, err := api.Accounts(ctx)
	if err != nil {
		return err
	}
	err = list(a, accounts.Items, []string{"ACCOUNT", ">BALANCE", ">HELD", ">AVAILABLE"}, func(acc cloudcrowd.Account) []string {
		return []string{string(acc.ID), acc.Balance.String(), acc.Held.String(), (acc.Balance - acc.Held).String()}
	}, "no accounts yet")
	if me, whoErr := api.WhoAmI(ctx); err == nil && whoErr == nil && me.Role == cloudcrowd.RoleOperator { // others see their own alone
		a.printf("\nsum of all accounts: %s\n", sum(accounts.Items))
	}
	return err
}

func sum(accounts []cloudcrowd.Account) cloudcrowd.Credits {
	var total cloudcrowd.Credits
	for _, acc := range accounts {
		total += acc.Balance
	}
	return total
}

func (a *app) accountStatementCommand() *cobra.Command {
	var job string
	var limit int
	var earned bool
	c := accountStatementPage.command(0, 1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		q := client.StatementQuery{Earned: earned}
		if job != "" {
			if q.Job, err = a.resolveJob(ctx, api, job); err != nil {
				return err
			}
		}
		account, err := ownAccount(ctx, api, args)
		if err != nil {
			return err
		}
		charges, err := collect(limit, func(p client.PageQuery) (client.Page[cloudcrowd.Charge], error) {
			q.PageQuery = p
			return api.Statement(ctx, account, q)
		})
		if err != nil {
			return err
		}
		return a.printStatement(charges)
	})
	f := c.Flags()
	f.BoolVar(&earned, "earned", false, "what the account's workers earned, instead of what its jobs paid")
	f.StringVar(&job, "job", "", "only attempts of this `JOB`")
	f.IntVar(&limit, "limit", 0, "at most `N` lines; 0 means all")
	return c
}

func (a *app) printStatement(charges []cloudcrowd.Charge) error {
	headings := []string{"WHEN", "ATTEMPT", "REQUESTER", "OWNER", ">CORE-SECONDS", ">PAID", ">FEE"}
	var paid, fee cloudcrowd.Credits
	var work float64
	for _, c := range charges {
		paid, fee, work = paid+c.Gross, fee+c.Fee, work+c.CoreSeconds
	}
	err := list(a, charges, headings, func(c cloudcrowd.Charge) []string {
		return []string{clock(c.At), c.Attempt.String(), string(c.Requester), string(c.Owner), fmt.Sprintf("%.3f", c.CoreSeconds), c.Gross.String(), c.Fee.String()}
	}, "nothing was paid yet")
	if len(charges) > 0 {
		a.printf("\n%s, %.3f core-seconds, %s credits paid, %s of it to the platform\n", plural(len(charges), "attempt"), work, paid, fee)
	}
	return err
}

func (a *app) accountIssueCommand() *cobra.Command {
	var note, key string
	c := accountIssuePage.command(2, 2, func(ctx context.Context, args []string) error {
		amount, err := cloudcrowd.ParseCredits(args[1])
		if err != nil {
			return err
		}
		if amount <= 0 {
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "%s credits: the amount must be above zero", args[1])
		}
		api, err := a.connect()
		if err != nil {
			return err
		}
		t, err := api.Issue(ctx, cloudcrowd.AccountID(args[0]), amount, note, key)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(t)
		}
		a.printf("issued %s credits to %s (transfer %s)\n", t.Amount, t.Credit, t.ID)
		return nil
	})
	c.Flags().StringVar(&note, "note", "", "`TEXT` kept with the transfer")
	c.Flags().StringVar(&key, "key", "", "idempotency `KEY`: repeating the command with it issues nothing new")
	return c
}
