package main

import (
	"context"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var tokensPage = page{
	use:   "tokens COMMAND",
	short: "who may use the server (operators)",
	text: `
A token stands for an account and a role. A requester submits jobs and sees
its own; a worker-owner invites and sees its own workers; an operator may do
everything.
`,
	see: []string{"login", "account issue"},
}

var tokensCreatePage = page{
	use:   "create [options] ACCOUNT",
	short: "make a token",
	text: `
Prints the secret of a new token. It is shown this once; the server keeps only
its hash.
`,
	examples: `
cloudcrowd tokens create ada
cloudcrowd tokens create --role worker-owner --note "lab machines" grace
`,
	see: []string{"tokens list"},
}

var tokensListPage = page{
	use:      "list",
	short:    "list tokens, without their secrets",
	text:     `One line a token: id, account, role, when it was made, note.`,
	examples: `cloudcrowd tokens list`,
}

var tokensDeletePage = page{
	use:      "delete ID",
	short:    "end a token",
	text:     `The token is refused from now on. Jobs submitted with it go on.`,
	examples: `cloudcrowd tokens delete ID`,
}

func (a *app) tokensCommand() *cobra.Command {
	return tokensPage.group(a.tokensCreateCommand(), a.tokensListCommand(), a.tokensDeleteCommand())
}

func (a *app) tokensCreateCommand() *cobra.Command {
	var role, note string
	var ttl time.Duration
	c := tokensCreatePage.command(1, 1, func(ctx context.Context, args []string) error {
		if err := oneOf("--role", role, string(cloudcrowd.RoleRequester), string(cloudcrowd.RoleOwner), string(cloudcrowd.RoleOperator)); err != nil {
			return err
		}
		api, err := a.connect()
		if err != nil {
			return err
		}
		token, err := api.CreateToken(ctx, client.TokenRequest{Account: cloudcrowd.AccountID(args[0]), Role: cloudcrowd.Role(role), Note: note, TTL: cloudcrowd.Duration(ttl)})
		if err != nil {
			return err
		}
		if a.json {
			return a.object(token)
		}
		a.printf("%s\n", token.Secret)
		a.notef("\n%s of account %s; it is shown this once. To use it:\n  cloudcrowd login '%s'\n", token.Role, token.Account, token.Link)
		return nil
	})
	c.Flags().StringVar(&role, "role", string(cloudcrowd.RoleRequester), "`ROLE`: requester, worker-owner or operator")
	c.Flags().StringVar(&note, "note", "", "`TEXT` to tell tokens apart")
	c.Flags().DurationVar(&ttl, "ttl", 0, "valid for this `TIME`, as 720h; 0 means for ever")
	return c
}

func (a *app) tokensListCommand() *cobra.Command {
	return tokensListPage.command(0, 0, func(ctx context.Context, _ []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		tokens, err := api.Tokens(ctx)
		if err != nil {
			return err
		}
		return list(a, tokens.Items, []string{"TOKEN", "ACCOUNT", "ROLE", "CREATED", "EXPIRES", "NOTE"}, func(t cloudcrowd.Token) []string {
			return []string{t.ID, string(t.Account), string(t.Role), clock(t.CreatedAt), clock(t.ExpiresAt), t.Note}
		}, "no tokens")
	})
}

func (a *app) tokensDeleteCommand() *cobra.Command {
	return tokensDeletePage.command(1, 1, func(ctx context.Context, args []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		if err := api.DeleteToken(ctx, args[0]); err != nil {
			return err
		}
		if a.json {
			return a.object(map[string]any{"token": args[0], "deleted": true})
		}
		a.printf("token %s is deleted\n", args[0])
		return nil
	})
}
