package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"github.com/spf13/cobra"
)

var workersPage = page{
	use:   "workers COMMAND",
	short: "see, invite and revoke workers",
	text: `
A worker is a machine lent to the server. It joins with a link that names the
account it earns for; owners invite their own, operators anybody's. WORKER is
a worker's id, the beginning of it, or its name.
`,
	see: []string{"worker", "account statement"},
}

var workersListPage = page{
	use:   "list [--online]",
	short: "list workers with what they do and how they stand",
	text: `
One line a worker: name, owner, whether it is online, busy slots, speed (1 is
the reference core), memory, standing, results that were valid, refused and
failed, and what it has earned.
`,
	examples: `
cloudcrowd workers list
cloudcrowd workers list --online --json
`,
	see: []string{"workers show"},
}

var workersShowPage = page{
	use:      "show WORKER",
	short:    "one worker in full",
	text:     `Prints what a worker said of its machine, and its record.`,
	examples: `cloudcrowd workers show grace`,
	see:      []string{"workers list", "workers revoke"},
}

var workersRevokePage = page{
	use:   "revoke [--undo] WORKER",
	short: "turn a worker away",
	text: `
Ends a worker's connection and leases and refuses it from now on. What it has
earned stays earned. --undo lets it in again.
`,
	examples: `cloudcrowd workers revoke mallory`,
	see:      []string{"workers invite"},
}

var workersInvitePage = page{
	use:   "invite [options]",
	short: "make, list or revoke links by which workers join",
	text: `
Prints a join link for "cloudcrowd worker --join". The link is a secret and is
shown this once. --list shows the invites there are, --revoke ends one;
workers that have joined stay.
`,
	examples: `
cloudcrowd workers invite --owner grace --uses 1
cloudcrowd workers invite --list
cloudcrowd workers invite --revoke ID
`,
	see: []string{"worker"},
}

func (a *app) workersCommand() *cobra.Command {
	return workersPage.group(a.workersListCommand(), a.workersShowCommand(), a.workersRevokeCommand(), a.workersInviteCommand())
}

func (a *app) workersListCommand() *cobra.Command {
	var online bool
	c := workersListPage.command(0, 0, func(ctx context.Context, _ []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		all, err := api.Workers(ctx)
		if err != nil {
			return err
		}
		var shown []cloudcrowd.WorkerView
		for _, w := range all.Items {
			if w.Online || !online {
				shown = append(shown, w)
			}
		}
		headings := []string{"NAME", "OWNER", "HERE", ">BUSY", ">SPEED", ">MEMORY", "STANDING", ">VALID", ">REFUSED", ">FAILED", ">EARNED", "SEEN"}
		return list(a, shown, headings, func(w cloudcrowd.WorkerView) []string {
			return []string{workerName(w.Name, w.ID), string(w.Owner), a.ink.state(workerState(w)), fmt.Sprintf("%d/%d", len(w.Running), w.Info.Slots),
				fmt.Sprintf("%.2f", w.Info.Speed), cloudcrowd.Bytes(w.Info.MemoryBytes), a.ink.state(w.Standing), grouped(w.Record.Valid),
				grouped(w.Record.Invalid), grouped(w.Record.Failed), w.Record.Earned.String(), age(w.LastSeen, time.Now())}
		}, "no workers; `cloudcrowd workers invite` makes a join link")
	})
	c.Flags().BoolVar(&online, "online", false, "only workers that are connected now")
	return c
}

func workerState(w cloudcrowd.WorkerView) string {
	switch {
	case w.Revoked:
		return "revoked"
	case w.Online && w.Draining:
		return "leaving"
	case w.Online && w.Unable != "":
		return "unable"
	case w.Online:
		return "online"
	}
	return "offline"
}

func (a *app) workersShowCommand() *cobra.Command {
	return workersShowPage.command(1, 1, func(ctx context.Context, args []string) error {
		_, w, err := a.findWorker(ctx, args[0])
		if err != nil {
			return err
		}
		if a.json {
			return a.object(w)
		}
		var running []string
		for _, id := range w.Running {
			running = append(running, id.String())
		}
		r := w.Record
		a.facts("worker", string(w.ID), "name", w.Name, "owner", string(w.Owner), "state", a.ink.state(workerState(w)), "takes no work", w.Unable,
			"registered", clock(w.RegisteredAt), "last seen", clock(w.LastSeen), "machine", fmt.Sprintf("%s, %s/%s, %s", w.Info.CPU, w.Info.OS, w.Info.Arch,
				plural(w.Info.Cores, "core")),
			"slots", fmt.Sprintf("%d at speed %.2f", w.Info.Slots, w.Info.Speed), "memory", cloudcrowd.Bytes(w.Info.MemoryBytes),
			"disk", cloudcrowd.Bytes(w.Info.DiskBytes), "cached", cloudcrowd.Bytes(w.CachedBytes), "sandboxes", strings.Join(w.Info.Sandboxes, ", "),
			"version", w.Info.Version, "running", strings.Join(running, "\n"), "standing", a.ink.state(w.Standing),
			"record", fmt.Sprintf("%d valid, %d unchecked, %d refused, %d failed, %d lost", r.Valid, r.Unchecked, r.Invalid, r.Failed, r.Lost),
			"error rate", fmt.Sprintf("at most %.2g", w.ErrorRate), "earned", r.Earned.String()+" credits")
		return nil
	})
}

func (a *app) workersRevokeCommand() *cobra.Command {
	var undo bool
	c := workersRevokePage.command(1, 1, func(ctx context.Context, args []string) error {
		api, w, err := a.findWorker(ctx, args[0])
		if err != nil {
			return err
		}
		if w, err = api.RevokeWorker(ctx, w.ID, !undo); err != nil {
			return err
		}
		if a.json {
			return a.object(w)
		}
		a.printf("%s %s\n", workerName(w.Name, w.ID), map[bool]string{false: "is revoked", true: "may work again"}[undo])
		return nil
	})
	c.Flags().BoolVar(&undo, "undo", false, "let the worker in again")
	return c
}

// findWorker connects and resolves an id, the beginning of one, or a name.
func (a *app) findWorker(ctx context.Context, word string) (*client.Client, cloudcrowd.WorkerView, error) {
	api, err := a.connect()
	if err != nil {
		return nil, cloudcrowd.WorkerView{}, err
	}
	all, err := api.Workers(ctx)
	if err != nil {
		return nil, cloudcrowd.WorkerView{}, err
	}
	w, err := pickWorker(all.Items, word)
	return api, w, err
}

func pickWorker(all []cloudcrowd.WorkerView, word string) (cloudcrowd.WorkerView, error) {
	var found []cloudcrowd.WorkerView
	var names []string
	for _, w := range all {
		names = append(names, w.Name)
		if string(w.ID) == word {
			return w, nil
		}
		if w.Name == word || strings.HasPrefix(string(w.ID), word) {
			found = append(found, w)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		err := cloudcrowd.Errorf(cloudcrowd.NotFound, "no worker is named %q", word)
		if near := nearest(word, names); near != "" {
			return cloudcrowd.WorkerView{}, err.WithHint("did you mean %q?", near)
		}
		return cloudcrowd.WorkerView{}, err.WithHint("`cloudcrowd workers list` lists them")
	}
	return cloudcrowd.WorkerView{}, cloudcrowd.Errorf(cloudcrowd.Conflict, "%d workers answer to %q", len(found), word).
		WithHint("use the id: %s", found[0].ID)
}

func (a *app) workersInviteCommand() *cobra.Command {
	var owner, revoke string
	var uses int
	var show bool
	var ttl time.Duration
	c := workersInvitePage.command(0, 0, func(ctx context.Context, _ []string) error {
		api, err := a.connect()
		if err != nil {
			return err
		}
		switch {
		case revoke != "":
			if err := api.RevokeInvite(ctx, revoke); err != nil {
				return err
			}
			if a.json {
				return a.object(map[string]any{"invite": revoke, "revoked": true})
			}
			a.printf("invite %s is revoked\n", revoke)
			return nil
		case show:
			return a.listInvites(ctx, api)
		case uses < 0:
			return cloudcrowd.Errorf(cloudcrowd.Invalid, "--uses %d: must be 0 (no bound) or more", uses)
		}
		invite, err := api.CreateInvite(ctx, client.InviteRequest{Owner: cloudcrowd.AccountID(owner), MaxUses: uses, TTL: cloudcrowd.Duration(ttl)})
		if err != nil {
			return err
		}
		if a.json {
			return a.object(invite)
		}
		a.printf("%s\n", invite.Link)
		a.notef("\nit is shown this once; workers that join with it earn for account %s:\n  cloudcrowd worker --join '%s'\n", invite.Owner, invite.Link)
		return nil
	})
	f := c.Flags()
	f.StringVar(&owner, "owner", "", "`ACCOUNT` the workers earn for (default: your own)")
	f.IntVar(&uses, "uses", 0, "how many workers may join, `N`; 0 means no bound")
	f.DurationVar(&ttl, "ttl", 0, "valid for this `TIME`, as 24h; 0 means for ever")
	f.BoolVar(&show, "list", false, "list the invites instead")
	f.StringVar(&revoke, "revoke", "", "revoke the invite with this `ID` instead")
	return c
}

func (a *app) listInvites(ctx context.Context, api *client.Client) error {
	invites, err := api.Invites(ctx)
	if err != nil {
		return err
	}
	return list(a, invites.Items, []string{"INVITE", "OWNER", ">USED", ">OF", "STATE", "CREATED"}, func(i cloudcrowd.Invite) []string {
		of, state := "any", "open"
		if i.MaxUses > 0 {
			of = fmt.Sprint(i.MaxUses)
		}
		switch {
		case i.Revoked:
			state = "revoked"
		case i.MaxUses > 0 && i.Uses >= i.MaxUses:
			state = "used up"
		case i.ExpiresAt > 0 && i.ExpiresAt.Time().Before(time.Now()):
			state = "expired"
		}
		return []string{i.ID, string(i.Owner), fmt.Sprint(i.Uses), of, a.ink.state(state), clock(i.CreatedAt)}
	}, "no invites; `cloudcrowd workers invite` makes one")
}
