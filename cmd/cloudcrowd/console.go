package main

import (
	"context"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console"
	"github.com/spf13/cobra"
)

var consolePage = page{
	use:   "console [--open]",
	short: "the address of the web console",
	text: `
Prints a link that opens the console of the chosen server, logged in as you.
The link holds your token: it is a secret. --open opens it in a browser.
`,
	examples: `
cloudcrowd console
cloudcrowd console --open
`,
	see: []string{"server", "login", "console gallery"},
}

var consoleGalleryPage = page{
	use:   "gallery [--listen ADDRESS]",
	short: "show every view of the console with canned data",
	text: `
Serves the pages of the console over fixed data, empty, small, huge and
failing, on a loopback address until Ctrl-C. Needs no server.
`,
	examples: `cloudcrowd console gallery --open`,
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
	c.AddCommand(a.consoleGalleryCommand())
	return c
}

func (a *app) consoleGalleryCommand() *cobra.Command {
	var open bool
	var listen string
	c := consoleGalleryPage.command(0, 0, func(ctx context.Context, _ []string) error {
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			return cloudcrowd.Fieldf("--listen", "cannot listen on %s: %v", listen, err)
		}
		defer listener.Close()
		address := "http://" + listener.Addr().String() + "/"
		if a.json {
			err = a.object(map[string]string{"url": address})
		} else {
			a.printf("%s\nCtrl-C stops.\n", address)
		}
		if err == nil && open {
			err = openBrowser(ctx, address)
		}
		if err != nil {
			return err
		}
		pages := &http.Server{Handler: console.Gallery(), ReadHeaderTimeout: 10 * time.Second}
		served := make(chan error, 1)
		go func() { served <- pages.Serve(listener) }()
		select {
		case <-ctx.Done():
			pages.Close()
			<-served
			return nil
		case err := <-served:
			return err
		}
	})
	c.Flags().BoolVar(&open, "open", false, "open it in a browser")
	c.Flags().StringVar(&listen, "listen", "127.0.0.1:0", "`ADDRESS` and port to serve on; port 0 takes any free one")
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
