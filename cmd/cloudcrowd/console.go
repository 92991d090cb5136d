package main

import (
	"context"
	"os/exec"
	"runtime"

	"github.com/spf13/cobra"
)

var consolePage = page{
	use:   "console [--open]",
	short: "the address of the web console",
	text: `
Prints a link that opens the console of the chosen server, logged in as you.
The link holds your token: it is a secret. --open opens it in a browser.

"console gallery" shows every view of the console with canned data.
`,
	examples: `
cloudcrowd console
cloudcrowd console --open
`,
	see: []string{"server", "login"},
}

func (a *app) consoleCommand() *cobra.Command {
	var open bool
	c := consolePage.command(0, 0, func(ctx context.Context, _ []string) error {
		t, err := a.target()
		if err != nil {
			return err
		}
		address := t.link()
		if a.json {
			err = a.object(map[string]string{"url": t.URL, "console": address})
		} else {
			a.printf("%s\n", address)
		}
		if err == nil && open {
			err = openBrowser(ctx, address)
		}
		return err
	})
	c.Flags().BoolVar(&open, "open", false, "open it in a browser")
	return c
}

// openBrowser shows an address in the user's browser.
func openBrowser(ctx context.Context, address string) error {
	switch runtime.GOOS {
	case "windows":
		return exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", address).Run()
	case "darwin":
		return exec.CommandContext(ctx, "open", address).Run()
	}
	return exec.CommandContext(ctx, "xdg-open", address).Run()
}
