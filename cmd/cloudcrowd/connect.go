package main

import (
	"slices"
	"strings"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/link"
)

// errNoServer says that nothing tells which server to talk to.
var errNoServer = cloudcrowd.Errorf(cloudcrowd.Unavailable, "no server is configured").
	WithHint("start one here with `cloudcrowd server`, or log in to another with `cloudcrowd login ADMINLINK`")

// commandRetries spread over about a second: a person waits, and what takes long (following a job) waits for the server by itself.
const commandRetries = 3

// target decides which server to talk to and as whom: options, then environment, then the stored context. A server of the chosen context's crowd is
// talked to as the context says.
func (a *app) target() (target, error) {
	var t target
	text := first(a.server, a.getenv("CLOUDCROWD_SERVER"))
	stored, err := a.loadContexts()
	if err != nil && text == "" {
		return target{}, err
	}
	var chosen target
	known := false
	if err == nil {
		chosen, known = stored.Targets[stored.Current]
	}
	switch {
	case text == "" && !known:
		return target{}, errNoServer
	case text == "":
		t = chosen
	default:
		if t, err = targetsOf(text); err != nil {
			return target{}, err
		}
		foreign := slices.ContainsFunc(t.all(), func(s string) bool { return !slices.Contains(chosen.all(), strings.TrimSuffix(s, "/")) })
		if known && t.Token == "" && !foreign {
			t.Token, t.Pin = chosen.Token, chosen.Pin
		}
	}
	t.Token = first(a.token, a.getenv("CLOUDCROWD_TOKEN"), t.Token)
	t.Pin = first(a.pin, a.getenv("CLOUDCROWD_PIN"), t.Pin)
	return t, nil
}

// targetsOf reads the addresses of one or several servers of a crowd, with commas between them; one may be an admin link.
func targetsOf(text string) (target, error) {
	var t target
	for i, one := range strings.Split(text, ",") {
		server := target{URL: strings.TrimSpace(one)}
		if strings.Contains(one, "#") {
			if t.Token != "" {
				return target{}, cloudcrowd.Fieldf("--server", "two admin links; the servers of one crowd take the same token").WithHint("give one link, and the addresses of the other servers")
			}
			var err error
			if server, err = targetOf(server.URL); err != nil {
				return target{}, err
			}
			t.Token, t.Pin = server.Token, server.Pin
		}
		if i == 0 {
			t.URL = server.URL
		} else {
			t.Servers = append(t.Servers, server.URL)
		}
	}
	return t, nil
}

// targetOf reads an admin link.
func targetOf(text string) (target, error) {
	l, err := link.Parse(text)
	if err != nil {
		return target{}, err
	}
	if l.Kind == link.Join {
		return target{}, cloudcrowd.Errorf(cloudcrowd.Invalid, "this is a join link; it lets a worker join and no more").
			WithHint("use it with `cloudcrowd worker --join`; the admin link is the other one that the server prints")
	}
	return target{URL: l.Server, Token: l.Secret, Pin: l.Pin}, nil
}

// connect makes a client of the chosen server. Nothing is sent yet.
func (a *app) connect() (*client.Client, error) {
	t, err := a.target()
	if err != nil {
		return nil, err
	}
	return t.connect()
}

func (t target) connect() (*client.Client, error) {
	return client.New(client.Options{URL: t.URL, Servers: t.Servers, Token: t.Token, Pin: t.Pin, UserAgent: "cloudcrowd/" + version(), Retries: commandRetries})
}

// consoleJob is the address of a job in the console.
func consoleJob(api *client.Client, id cloudcrowd.JobID) string {
	return api.URL() + "/jobs/" + string(id)
}

// first is the first of some texts that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// link is an admin link to the target.
func (t target) link() string {
	return link.Link{Kind: link.Admin, Server: t.URL, Secret: t.Token, Pin: t.Pin}.String()
}
