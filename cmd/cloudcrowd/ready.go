package main

import (
	"context"

	"github.com/spf13/cobra"
)

var readyPage = page{
	use:   "ready",
	short: "ask a server whether it takes work",
	text: `
Asks the server's /readyz, or that of several servers until one takes work.
Ends with status 0 if it does, and otherwise with status 7 and the reason: it
cannot be reached, starts, drains, or cannot write. For scripts and for
containers, which have no other program to ask with. Needs no token.
`,
	examples: `
cloudcrowd ready
cloudcrowd ready --server https://pool.example.org
`,
	see: []string{"server", "drain"},
}

func (a *app) readyCommand() *cobra.Command {
	return readyPage.command(0, 0, func(ctx context.Context, _ []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		defer api.Close()
		if err := api.Ready(ctx); err != nil {
			return err
		}
		if a.json {
			return a.object(map[string]any{"ready": true, "server": api.URL()})
		}
		a.printf("%s takes work\n", api.URL())
		return nil
	})
}
