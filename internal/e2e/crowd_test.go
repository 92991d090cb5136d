package e2e

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// requester is the account that submits the jobs of the tests.
const requester cloudcrowd.AccountID = "rita"

// wealth is what it gets to spend.
const wealth = 100 * cloudcrowd.Credit

// crowd is a server and its workers, each a process of its own.
type crowd struct {
	t       testing.TB // the test or subtest at work
	owner   testing.TB // the test the processes belong to
	dir     string     // of everything
	data    string     // of the server
	options []string   // of the server
	env     []string   // of the server and of fsck
	server  *process
	workers map[string]*process
	serving serving
	op      *client.Client // operator
	api     *client.Client // requester
	token   string         // of the requester
	more    []string       // addresses of further servers
	checked []string       // options of fsck
	onWork  func(*process) // told of each worker; nil: nobody asks
}

// serving is what the server prints once it serves.
type serving struct {
	URL        string `json:"url"`
	AdminToken string `json:"admin_token"`
	Admin      string `json:"admin"`
	Join       string `json:"join"`
}

// newCrowd starts a server with the given further options, an account that can pay, and an honest worker of its own owner for every name.
func newCrowd(t testing.TB, options []string, workers ...string) *crowd {
	t.Helper()
	dir := t.TempDir()
	c := crowdIn(t, dir, filepath.Join(dir, "data"), options)
	for _, name := range workers {
		c.hire(name)
	}
	c.online(workers...)
	return c
}

// crowdIn starts a server on a data folder, and an account that can pay.
func crowdIn(t testing.TB, dir, data string, options []string, env ...string) *crowd {
	t.Helper()
	c := &crowd{t: t, owner: t, dir: dir, data: data, options: options, env: env, workers: map[string]*process{}}
	c.serve(steadyAddress(t))
	c.op = c.as(c.serving.AdminToken)
	c.api, c.token = c.newRequester(requester, wealth)
	return c
}

// serve starts the server and waits until it serves.
func (c *crowd) serve(listen string) {
	c.t.Helper()
	c.begin(listen)
	until(c.t, "the server serves", func() bool {
		if c.server.gone() {
			c.t.Fatal("the server ended")
		}
		return len(c.server.output()) > 0
	})
	if err := json.Unmarshal([]byte(c.server.output()[0]), &c.serving); err != nil {
		c.t.Fatalf("%v: %q", err, c.server.output()[0])
	}
}

// begin starts the server and waits for nothing.
func (c *crowd) begin(listen string) {
	c.t.Helper()
	args := append([]string{"server", "--data", c.data, "--listen", listen, "--json", "--no-context"}, c.options...)
	c.server = start(c.owner, "server", c.dir, c.env, args...)
}

// host is where the server listens.
func (c *crowd) host() string {
	c.t.Helper()
	u, err := url.Parse(c.serving.URL)
	if err != nil {
		c.t.Fatal(err)
	}
	return u.Host
}

// again starts the server, which has ended, on the same folder and port.
func (c *crowd) again() {
	c.t.Helper()
	before := c.serving
	c.serve(c.host())
	if c.serving.URL != before.URL || c.serving.AdminToken != before.AdminToken || c.serving.Join != before.Join {
		c.t.Errorf("after the restart %+v, before %+v", c.serving, before)
	}
}

// as makes a client with a token.
func (c *crowd) as(token string) *client.Client {
	c.t.Helper()
	o, _, err := client.FromLink(c.serving.Admin)
	if err != nil {
		c.t.Fatal(err)
	}
	o.Token, o.Servers = token, c.more
	api, err := client.New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(api.Close)
	return api
}

// impatient is a client of the requester that never tries again.
func (c *crowd) impatient() *client.Client {
	c.t.Helper()
	return c.once(c.token)
}

// once makes a client with a token that never tries again.
func (c *crowd) once(token string) *client.Client {
	c.t.Helper()
	o, _, err := client.FromLink(c.serving.Admin)
	if err != nil {
		c.t.Fatal(err)
	}
	o.Token, o.Servers, o.Retries = token, c.more, -1
	api, err := client.New(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(api.Close)
	return api
}

// newRequester makes an account with credits and a token for it.
func (c *crowd) newRequester(id cloudcrowd.AccountID, credits cloudcrowd.Credits) (*client.Client, string) {
	c.t.Helper()
	if credits > 0 {
		if _, err := c.op.Issue(c.t.Context(), id, credits, "for tests", ""); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.newToken(id, cloudcrowd.RoleRequester)
}

func (c *crowd) newToken(id cloudcrowd.AccountID, role cloudcrowd.Role) (*client.Client, string) {
	c.t.Helper()
	token, err := c.op.CreateToken(c.t.Context(), client.TokenRequest{Account: id, Role: role})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.as(token.Secret), token.Secret
}

// hire starts a worker with one slot; its owner has the worker's name.
func (c *crowd) hire(name string, options ...string) *process {
	c.t.Helper()
	invite, err := c.op.CreateInvite(c.t.Context(), client.InviteRequest{Owner: cloudcrowd.AccountID(name), MaxUses: 1})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.work(name, invite.Link, options...)
}

// folder is a worker's data folder.
func (c *crowd) folder(name string) string { return filepath.Join(c.dir, "workers", name) }

// work starts a worker on its folder. Without a link it is one that has joined before.
func (c *crowd) work(name, link string, options ...string) *process {
	c.t.Helper()
	dir := c.folder(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	// All workers of this run share compiled code, which saves most of their time.
	compiled := filepath.Join(home, "compiled")
	if err := os.MkdirAll(compiled, 0o700); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Symlink(compiled, filepath.Join(dir, "compiled")); err != nil && !os.IsExist(err) {
		c.t.Logf("%s compiles for itself: %v", name, err)
	}
	var env []string
	if link != "" {
		env = append(env, "CLOUDCROWD_WORKER_JOIN="+link)
	}
	args := append([]string{"worker", "--data", dir, "--name", name, "--slots", "1", "--memory", "2GiB", "--with-parent", "--json", "--log", "info"}, options...)
	c.workers[name] = start(c.owner, name, c.dir, env, args...)
	if c.onWork != nil {
		c.onWork(c.workers[name])
	}
	return c.workers[name]
}

// dismiss lets a worker leave in order.
func (c *crowd) dismiss(name string) {
	c.t.Helper()
	p := c.workers[name]
	p.stdin.Close()
	until(c.t, name+" leaves", p.gone)
}

// worker is what the server knows of a worker; the zero value if nothing yet.
func (c *crowd) worker(name string) cloudcrowd.WorkerView {
	c.t.Helper()
	page, err := c.op.Workers(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	i := slices.IndexFunc(page.Items, func(w cloudcrowd.WorkerView) bool { return w.Name == name })
	if i < 0 {
		return cloudcrowd.WorkerView{}
	}
	return page.Items[i]
}

// online waits until workers are connected.
func (c *crowd) online(names ...string) {
	c.t.Helper()
	for _, name := range names {
		until(c.t, name+" is online", func() bool {
			if c.workers[name].gone() {
				c.t.Fatalf("%s ended", name)
			}
			return c.worker(name).Online
		})
	}
}

// in lets a subtest use the crowd until it ends. Subtests of one crowd run one after the other.
func (c *crowd) in(t testing.TB) {
	before := c.t
	c.t = t
	t.Cleanup(func() { c.t = before })
}

// cli is the environment that lets a command talk to the server as the requester.
func (c *crowd) cli() []string {
	server, _, _ := strings.Cut(c.serving.Admin, "/admin#")
	return []string{"CLOUDCROWD_SERVER=" + server, "CLOUDCROWD_TOKEN=" + c.token}
}
