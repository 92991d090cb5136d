package console

import (
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"rsc.io/qr"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/console/draw"
)

// slotGrid is a picture of who is here: a group of cells a worker.
type slotGrid struct {
	Items []slotItem
	More  int
	Words string
}

type slotItem struct {
	Name, URL, Title string
	Pic              template.HTML
}

// workersView is: who is here, who is good?
type workersView struct {
	Grid      slotGrid
	Workers   Table
	MayInvite bool
	Form      bool // a link can be made here
	Fresh     *freshInvite
	Invites   Table
	Revoke    []cloudcrowd.Invite
}

// freshInvite is shown once, after it was made.
type freshInvite struct {
	Link, Command, Uses, Expires string
	QR                           template.HTML
}

// visibleWorkers lists the workers the viewer may see, online ones first, faster ones first.
func (c *Console) visibleWorkers(r *http.Request, v viewer) ([]cloudcrowd.WorkerView, error) {
	list, err := c.cfg.Backend.Workers(r.Context())
	if err != nil {
		return nil, err
	}
	list = slices.Clone(list)
	if !v.Operator() {
		list = slices.DeleteFunc(list, func(w cloudcrowd.WorkerView) bool { return w.Owner != v.Account })
	}
	sort.SliceStable(list, func(i, j int) bool {
		a, b := list[i], list[j]
		if a.Online != b.Online {
			return a.Online
		}
		if a.Info.Speed != b.Info.Speed {
			return a.Info.Speed > b.Info.Speed
		}
		return a.Name < b.Name
	})
	return list, nil
}

// grid draws at most limit workers.
func (c *Console) grid(list []cloudcrowd.WorkerView, limit int) slotGrid {
	var g slotGrid
	online, slots, busy := 0, 0, 0
	for _, w := range list {
		if w.Online {
			online, slots, busy = online+1, slots+w.Info.Slots, busy+min(len(w.Running), w.Info.Slots)
		}
		if len(g.Items) >= limit {
			g.More++
			continue
		}
		words := fmt.Sprintf("%s: %s of %s busy", w.Name, count(len(w.Running)), plural(w.Info.Slots, "slot", "slots"))
		if !w.Online {
			words = w.Name + ": offline"
		}
		g.Items = append(g.Items, slotItem{w.Name, c.workerURL(w.ID), words, draw.Slots(words, w.Info.Slots, len(w.Running), w.Online)})
	}
	g.Words = fmt.Sprintf("%s of %s busy on %s", count(busy), plural(slots, "slot", "slots"), plural(online, "worker", "workers"))
	if gone := len(list) - online; gone > 0 {
		g.Words += ", " + count(gone) + " offline"
	}
	return g
}

func (c *Console) workers(w http.ResponseWriter, r *http.Request, v viewer) error {
	return c.workersPage(w, r, v, nil)
}

func (c *Console) workersPage(w http.ResponseWriter, r *http.Request, v viewer, fresh *freshInvite) error {
	list, err := c.visibleWorkers(r, v)
	if err != nil {
		return err
	}
	specs := []tableSpec{c.workersSpec(v, list)}
	view := workersView{Grid: c.grid(list, 1500), MayInvite: v.Invites(), Form: v.Invites() && c.cfg.JoinLink != nil, Fresh: fresh}
	if v.Invites() && c.cfg.Directory != nil {
		invites, err := c.openInvites(r, v)
		if err != nil {
			return err
		}
		view.Revoke = invites
	}
	if r.Method == http.MethodGet {
		if done, err := c.export(w, r, "cloudcrowd", specs...); done || err != nil {
			return err
		}
	}
	if view.Workers, err = c.table(r, specs[0]); err != nil {
		return err
	}
	fragments := []string{"workers.grid", "workers.list"}
	if fresh != nil {
		fragments = nil // the link is shown once: the page stands still
	}
	return c.show(w, r, http.StatusOK, "workers", fragments, page{Title: "Workers", Section: "workers", Viewer: v, V: view})
}

func (c *Console) workersSpec(v viewer, list []cloudcrowd.WorkerView) tableSpec {
	rows := make([][]Cell, len(list))
	for i, w := range list {
		state := "offline"
		switch {
		case w.Revoked:
			state = "refused"
		case w.Online && len(w.Running) > 0:
			state = "running"
		case w.Online:
			state = "online"
		}
		label := map[string]string{"refused": "revoked", "running": "working", "online": "idle"}[state]
		if label == "" {
			label = state
		}
		if w.Draining {
			label = "leaving"
		}
		why := ""
		if w.Online && w.Unable != "" {
			label, state, why = "unable", "failed", "takes no work: "+w.Unable
		}
		refused := numberCell(w.Record.Invalid)
		if w.Record.Invalid > 0 {
			refused.State = "refused"
		}
		standing := Cell{Text: w.Standing, State: standingIcon(w.Standing), Title: fmt.Sprintf("Estimated chance that its next result is wrong: at most %s", percent(w.ErrorRate))}
		rows[i] = []Cell{c.workerCell(v, w.ID, w.Name), {Text: label, State: state, Raw: label, Title: why}, standing,
			{Text: fmt.Sprintf("%d/%d", min(len(w.Running), w.Info.Slots), w.Info.Slots), Raw: w.Info.Slots}, {Text: decimal(w.Info.Speed, 2) + "×", Raw: w.Info.Speed},
			bytesCell(w.Info.MemoryBytes), bytesCell(w.CachedBytes), numberCell(w.Record.Valid + w.Record.Unchecked), refused, moneyCell(w.Record.Earned),
			c.accountCell(v, w.Owner), {Text: w.Info.OS + "/" + w.Info.Arch}, timeCell(w.LastSeen)}
	}
	return tableSpec{Name: "workers", Caption: "Workers", Rows: rowsOf(rows),
		Empty: Empty{Text: "No worker has joined. On any machine that should compute:", Commands: []string{"cloudcrowd worker --join LINK"}},
		Columns: []Column{{Key: "worker", Title: "Worker"}, {Key: "state", Title: "State", Priority: 2}, {Key: "standing", Title: "Standing"}, {Key: "slots", Title: "Slots", Number: true, Priority: 2},
			{Key: "speed", Title: "Speed", Number: true, Priority: 2}, {Key: "memory_bytes", Title: "Memory", Number: true, Priority: 3}, {Key: "cached_bytes", Title: "Cached", Number: true, Priority: 3},
			{Key: "accepted", Title: "Accepted", Number: true, Priority: 2}, {Key: "refused", Title: "Refused", Number: true}, {Key: "earned_microcredits", Title: "Earned", Number: true, Priority: 2},
			{Key: "owner", Title: "Owner", Priority: 3}, {Key: "system", Title: "System", Priority: 3}, {Key: "last_seen", Title: "Seen", Number: true, Priority: 2}}}
}

func standingIcon(s string) string {
	switch s {
	case "trusted", "new", "probation":
		return s
	case "distrusted":
		return "refused"
	}
	return ""
}

// openInvites are those that can still be used, of the viewer or of all.
func (c *Console) openInvites(r *http.Request, v viewer) ([]cloudcrowd.Invite, error) {
	all, err := c.cfg.Directory.Invites(r.Context())
	if err != nil {
		return nil, err
	}
	now := cloudcrowd.TimeOf(c.cfg.Now())
	var out []cloudcrowd.Invite
	for _, i := range all {
		usedUp := i.MaxUses > 0 && i.Uses >= i.MaxUses
		if i.Revoked || usedUp || (i.ExpiresAt > 0 && i.ExpiresAt < now) || (!v.Operator() && i.Owner != v.Account) {
			continue
		}
		out = append(out, i)
	}
	sort.Slice(out, func(a, b int) bool { return out[a].CreatedAt > out[b].CreatedAt })
	return out[:min(len(out), 50)], nil
}

// invite makes a join link and shows it once, with a QR code.
func (c *Console) invite(w http.ResponseWriter, r *http.Request, v viewer) error {
	if !v.Invites() {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "Only operators and worker owners let workers join.")
	}
	if c.cfg.JoinLink == nil {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "This console cannot make join links.").WithHint("Run: cloudcrowd workers invite")
	}
	uses, err := strconv.Atoi(r.PostFormValue("uses"))
	if err != nil || uses < 0 || uses > 100000 {
		return cloudcrowd.Fieldf("uses", "%q is not a number of machines from 0 (no bound) to 100000.", r.PostFormValue("uses"))
	}
	hours, err := strconv.Atoi(r.PostFormValue("hours"))
	if err != nil || hours < 0 || hours > 24*365 {
		return cloudcrowd.Fieldf("hours", "%q is not a number of hours from 0 (never expires) to 8760.", r.PostFormValue("hours"))
	}
	owner := v.Account
	if name := strings.TrimSpace(r.PostFormValue("owner")); name != "" && v.Operator() {
		owner = cloudcrowd.AccountID(name)
	}
	link, inv, err := c.cfg.JoinLink(r.Context(), owner, uses, time.Duration(hours)*time.Hour)
	if err != nil {
		return err
	}
	fresh := &freshInvite{Link: link, Command: "cloudcrowd worker --join '" + link + "'", Uses: "any number of machines", Expires: "does not expire"}
	if inv.MaxUses > 0 {
		fresh.Uses = plural(inv.MaxUses, "machine", "machines")
	}
	if inv.ExpiresAt > 0 {
		fresh.Expires = "until " + exact(inv.ExpiresAt.Time())
	}
	if code, err := qr.Encode(link, qr.M); err == nil {
		fresh.QR = draw.QR("QR code of the join link", code, code.Size)
	}
	return c.workersPage(w, r, v, fresh)
}

func (c *Console) revokeInvite(w http.ResponseWriter, r *http.Request, v viewer) error {
	if !v.Invites() || c.cfg.Directory == nil {
		return cloudcrowd.Errorf(cloudcrowd.Forbidden, "Only operators and worker owners revoke join links.")
	}
	open, err := c.openInvites(r, v)
	if err != nil {
		return err
	}
	id := r.PathValue("invite")
	for _, i := range open {
		if i.ID == id {
			if err := c.cfg.Directory.RevokeInvite(r.Context(), id); err != nil {
				return err
			}
			http.Redirect(w, r, c.url("/workers"), http.StatusSeeOther)
			return nil
		}
	}
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no open join link %q of yours.", id)
}
