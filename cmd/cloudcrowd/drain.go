package main

import (
	"context"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"github.com/spf13/cobra"
)

var drainPage = page{
	use:   "drain [--wait DURATION]",
	short: "stop a server in order",
	text: `
Asks the server to stop. From then on it refuses new jobs and new connections
of workers with code "unavailable", gives no leases, and says at /readyz that
it drains. With --wait it stays until no attempt is out, or so long at most,
and takes results meanwhile; without, workers deliver what they have when the
server is back: leases survive, and nobody is blamed. Then requests under way
have the server's --drain to end, and the process ends with status 0.

Of a crowd with several servers one is stopped: name it with --server. If it
is of the chosen context's crowd, the context's token is used.

Needs an operator's token. Whether the process is started again is up to what
started it.
`,
	examples: `
cloudcrowd drain
cloudcrowd drain --wait 15m
cloudcrowd drain --server https://b.example.org:8443
`,
	see: []string{"server", "workers"},
}

func (a *app) drainCommand() *cobra.Command {
	var wait time.Duration
	c := drainPage.command(0, 0, func(ctx context.Context, _ []string) error {
		t, err := a.target()
		if err != nil {
			return err
		}
		if len(t.Servers) > 0 {
			return cloudcrowd.Fieldf("--server", "the crowd has %d servers, and one is to be stopped", len(t.all())).
				WithHint("name it with --server: %s", strings.Join(t.all(), ", "))
		}
		api, err := t.connect()
		if err != nil {
			return err
		}
		defer api.Close()
		d, err := api.Drain(ctx, wait)
		if err != nil {
			return err
		}
		if a.json {
			return a.object(d)
		}
		a.printf("%s is draining: %s out, it has ended by %s\n", api.URL(), plural(d.Leased, "attempt"), d.EndsBy.Time().Local().Format(time.TimeOnly))
		return nil
	})
	c.Flags().DurationVar(&wait, "wait", 0, "stay so long at most until no attempt is out, `DURATION`")
	return c
}
