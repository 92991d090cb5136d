package console

import (
	"context"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// Console is the web console. It is an http.Handler for everything below Config.Base.
type Console struct {
	cfg       Config
	templates *template.Template
	handler   http.Handler

	mu      sync.Mutex
	history []sample // of the overview's figures, oldest first, at most historyLength
}

// New makes a console. It panics on a Config without Backend or Auth and on broken embedded templates: both are defects of the program.
func New(cfg Config) *Console {
	if cfg.Backend == nil || cfg.Auth == nil {
		panic("console: Config.Backend and Config.Auth are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.EventsURL == "" {
		cfg.EventsURL = "/v1/events"
	}
	cfg.Base = strings.TrimSuffix(cfg.Base, "/")
	c := &Console{cfg: cfg}
	c.templates = c.parse()
	c.handler = c.routes()
	return c
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	page := func(pattern string, f func(http.ResponseWriter, *http.Request, viewer) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			v, ok := c.who(r)
			if !ok {
				c.toLogin(w, r)
				return
			}
			if err := f(w, r, v); err != nil {
				c.fail(w, r, v, err)
			}
		})
	}
	page("GET /{$}", c.overview)
	page("GET /jobs", c.jobs)
	page("GET /jobs/{job}", c.job)
	page("POST /jobs/{job}/cancel", c.cancelJob)
	page("GET /jobs/{job}/files/{stage}/{task}/{path...}", c.file)
	page("GET /tasks/{task}", c.task)
	page("GET /tasks/{task}/log/{attempt}", c.log)
	page("GET /workers", c.workers)
	page("POST /workers/invites", c.invite)
	page("POST /workers/invites/{invite}/revoke", c.revokeInvite)
	mux.HandleFunc("GET /workers/invites", func(w http.ResponseWriter, r *http.Request) { // a reload after making a link
		http.Redirect(w, r, c.url("/workers"), http.StatusSeeOther)
	})
	page("GET /workers/{worker}", c.worker)
	page("POST /workers/{worker}/revoke", c.revokeWorker)
	page("GET /ledger", c.ledger)
	page("GET /accounts/{account}", c.account)
	mux.HandleFunc("GET /login", c.login)
	mux.HandleFunc("GET /admin", c.admin)
	mux.HandleFunc("GET /join", c.join)
	mux.HandleFunc("GET /help", c.help)
	mux.HandleFunc("POST /theme", c.theme)
	mux.HandleFunc("GET /assets/{file}", c.asset)
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, c.url("/assets/icon.svg"), http.StatusMovedPermanently)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		v, _ := c.who(r)
		c.fail(w, r, v, cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no page at %s", r.URL.Path))
	})
	return secure(http.StripPrefix(c.cfg.Base, mux))
}

// viewer is who looks at a page.
type viewer struct {
	Account  cloudcrowd.AccountID
	Role     cloudcrowd.Role
	SignedIn bool
}

// Operator reports whether the viewer may see and do everything.
func (v viewer) Operator() bool { return v.Role == cloudcrowd.RoleOperator }

// Invites reports whether the viewer may let workers join.
func (v viewer) Invites() bool { return v.Operator() || v.Role == cloudcrowd.RoleOwner }

// scope is the account lists are limited to; "" means all.
func (v viewer) scope() cloudcrowd.AccountID {
	if v.Operator() {
		return ""
	}
	return v.Account
}

func (c *Console) who(r *http.Request) (viewer, bool) {
	account, role, ok := c.cfg.Auth.Who(r)
	if !ok {
		return viewer{}, false
	}
	return viewer{Account: account, Role: role, SignedIn: true}, true
}

// toLogin sends a reader who has not signed in to the form, and remembers where they wanted to go.
func (c *Console) toLogin(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Fragment") != "" || r.Method != http.MethodGet {
		http.Error(w, "Sign in first.", http.StatusUnauthorized)
		return
	}
	next := r.URL.RequestURI()
	http.Redirect(w, r, c.url("/login")+"?next="+url.QueryEscape(next), http.StatusSeeOther)
}

// url returns the address of a page of this console.
func (c *Console) url(path string) string { return c.cfg.Base + path }

func (c *Console) jobURL(id cloudcrowd.JobID) string {
	return c.url("/jobs/" + url.PathEscape(string(id)))
}
func (c *Console) taskURL(id cloudcrowd.TaskID) string {
	return c.url("/tasks/" + url.PathEscape(id.String()))
}
func (c *Console) workerURL(id cloudcrowd.WorkerID) string {
	return c.url("/workers/" + url.PathEscape(string(id)))
}
func (c *Console) accountURL(id cloudcrowd.AccountID) string {
	return c.url("/accounts/" + url.PathEscape(string(id)))
}

// Run samples the overview's figures every five seconds until ctx ends, so that its sparklines cover ten minutes. Without it they hold only what was sampled
// while somebody looked.
func (c *Console) Run(ctx context.Context) error {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		if st, err := c.cfg.Backend.Status(ctx); err == nil {
			c.remember(st)
		} else if ctx.Err() == nil {
			c.cfg.Log.DebugContext(ctx, "console: status not sampled", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

const (
	sampleEvery   = 5 * time.Second
	historyLength = 120
)

// sample is one set of the overview's figures.
type sample struct {
	at                              time.Time
	running, perSecond, wait, spend float64
}

func (c *Console) remember(st cloudcrowd.ServerStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if n := len(c.history); n > 0 && now.Sub(c.history[n-1].at) < sampleEvery*9/10 {
		return
	}
	c.history = append(c.history, sample{now, float64(st.SlotsBusy), st.TasksPerSecond, st.WaitingSeconds, credits(st.CreditsPerHour)})
	if extra := len(c.history) - historyLength; extra > 0 {
		c.history = append(c.history[:0], c.history[extra:]...)
	}
}

// samples returns one figure's history.
func (c *Console) samples(get func(sample) float64) []float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]float64, len(c.history))
	for i, s := range c.history {
		out[i] = get(s)
	}
	return out
}
