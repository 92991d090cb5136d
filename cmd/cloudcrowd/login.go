package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var loginPage = page{
	use:   "login [options] [ADMINLINK]",
	short: "remember a server and who you are there",
	text: `
Stores a server's address, your token and, for a self-signed certificate, its
fingerprint as a context in your configuration folder, after asking the server
whom the token stands for. Commands talk to the chosen context unless --server
or CLOUDCROWD_SERVER says otherwise. If the server names others of its crowd,
they are stored too, and commands go on with them when the first is gone.

The admin link is what "cloudcrowd server" and "tokens create" print. Quote
it: shells treat # and & specially. Without a link, give --server and --token.
`,
	examples: `
cloudcrowd login 'https://pool.example.org/admin#t=…'
cloudcrowd login --name lab --server https://lab.example.org --token TOKEN
cloudcrowd login --list
cloudcrowd login --use lab
cloudcrowd login --forget lab
`,
	see: []string{"help environment", "tokens create"},
}

func (a *app) loginCommand() *cobra.Command {
	var name, use, forget string
	var show, offline bool
	c := loginPage.command(0, 1, func(ctx context.Context, args []string) error {
		stored, err := a.loadContexts()
		if err != nil {
			return err
		}
		switch {
		case show:
			return a.listContexts(stored)
		case use != "":
			if _, ok := stored.Targets[use]; !ok {
				return stored.missing(use)
			}
			stored.Current = use
			return a.saved(stored, use, "commands talk to")
		case forget != "":
			if _, ok := stored.Targets[forget]; !ok {
				return stored.missing(forget)
			}
			t := stored.Targets[forget]
			delete(stored.Targets, forget)
			if stored.Current == forget {
				stored.Current = ""
			}
			if err := stored.save(); err != nil {
				return err
			}
			if a.json {
				return a.object(map[string]any{"context": forget, "forgotten": true})
			}
			a.printf("forgot %s, %s\n", forget, t.URL)
			return nil
		}
		return a.login(ctx, stored, args, name, offline)
	})
	f := c.Flags()
	f.StringVar(&name, "name", "", "`NAME` of the context (default: the server's host)")
	f.BoolVar(&show, "list", false, "list the stored contexts")
	f.StringVar(&use, "use", "", "choose the context with this `NAME`")
	f.StringVar(&forget, "forget", "", "remove the context with this `NAME`")
	f.BoolVar(&offline, "offline", false, "store without asking the server")
	return c
}

func (a *app) login(ctx context.Context, stored *contexts, args []string, name string, offline bool) error {
	if len(args) > 0 {
		a.server = args[0]
	}
	if first(a.server, a.getenv("CLOUDCROWD_SERVER")) == "" {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "login needs an admin link, or --server and --token").
			WithHint("`cloudcrowd server` prints an admin link when it starts")
	}
	t, err := a.target()
	if err != nil {
		return err
	}
	if t.Token == "" {
		return cloudcrowd.Errorf(cloudcrowd.Invalid, "no token").WithHint("give the admin link, or --token, or set CLOUDCROWD_TOKEN")
	}
	api, err := t.connect()
	if err != nil {
		return err
	}
	t.URL, t.Servers = api.Servers()[0], api.Servers()[1:]
	if u, err := url.Parse(t.URL); err == nil && name == "" {
		name = u.Host
	}
	who := ""
	if !offline {
		me, err := api.WhoAmI(ctx)
		if err != nil {
			return err
		}
		who = fmt.Sprintf(" as %s (%s)", me.Account, me.Role)
		if status, err := api.Status(ctx); err == nil { // without it, the context holds what was given
			t.learn(status.Servers)
		}
	}
	stored.Targets[name], stored.Current = t, name
	return a.saved(stored, name, "logged in"+who+" to")
}

// learn adds the servers that one of the crowd names, unless they are reached less securely.
func (t *target) learn(servers []string) {
	for _, s := range servers {
		u, err := client.CheckURL(s)
		if err == nil && (u.Scheme == "https" || strings.HasPrefix(t.URL, "http:")) && !slices.Contains(t.all(), u.String()) {
			t.Servers = append(t.Servers, u.String())
		}
	}
}

// saved stores the contexts and says which one is chosen.
func (a *app) saved(stored *contexts, name, words string) error {
	if err := stored.save(); err != nil {
		return err
	}
	t := stored.Targets[name]
	if a.json {
		return a.object(contextLine{name, t.URL, t.Servers, t.Pin, true})
	}
	a.printf("%s %s, %s\n", words, name, t.describe())
	return nil
}

// contextLine is a context in JSON output: no secret.
type contextLine struct {
	Name    string   `json:"context"`
	URL     string   `json:"url"`
	Servers []string `json:"servers,omitempty"`
	Pin     string   `json:"pin,omitempty"`
	Current bool     `json:"current"`
}

func (a *app) listContexts(stored *contexts) error {
	var lines []contextLine
	for _, name := range stored.names() {
		t := stored.Targets[name]
		lines = append(lines, contextLine{name, t.URL, t.Servers, t.Pin, name == stored.Current})
	}
	return list(a, lines, []string{"", "CONTEXT", "SERVER"}, func(l contextLine) []string {
		mark := " "
		if l.Current {
			mark = "*"
		}
		return []string{mark, l.Name, target{URL: l.URL, Servers: l.Servers, Pin: l.Pin}.describe()}
	}, "no context is stored; `cloudcrowd login ADMINLINK` stores one")
}
