package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/postgres/postgrestest"
)

// servers is a crowd of several servers on one PostgreSQL, each a process of its own. Whatever goes between them, to the database and from the workers goes over
// a fabric. Clients have all their addresses.
type servers struct {
	*crowd
	postgres *postgrestest.Server
	address  string // of the database, past the fabric
	fabric   *fabric
	hosts    []*host
	shards   int
}

// host is one of the servers.
type host struct {
	s       *servers
	name    string
	data    string
	url     string // where clients and workers reach it
	args    []string
	process *process
	serving serving
}

// failover is how long servers are silent before others take over, unless a test says otherwise: the default.
const failover = 3 * time.Second

// newServers starts three servers and workers of one slot, and makes an account that can pay.
func newServers(t testing.TB, options []string, workers ...string) *servers {
	t.Helper()
	s := prepareServers(t, options, "one", "two", "three")
	for _, h := range s.hosts {
		h.begin()
	}
	s.settled()
	for _, name := range workers {
		s.hire(name)
	}
	s.online(workers...)
	return s
}

// prepareServers makes everything that servers need and starts none.
func prepareServers(t testing.TB, options []string, names ...string) *servers {
	t.Helper()
	if !whoDials {
		lack(t, "connections over loopback cannot be told apart on this system")
	}
	dir := t.TempDir()
	s := &servers{postgres: postgrestest.Start(t), fabric: newFabric(t), shards: 6}
	s.crowd = &crowd{t: t, owner: t, dir: dir, data: filepath.Join(dir, names[0]), workers: map[string]*process{}, onWork: s.fabric.is}
	s.address = s.postgres.Address(t)
	s.checked = []string{"--store", s.address}
	for _, name := range names {
		s.hosts = append(s.hosts, s.prepare(name, options))
	}
	return s
}

// prepare makes what a server needs.
func (s *servers) prepare(name string, options []string) *host {
	s.t.Helper()
	h := &host{s: s, name: name, data: filepath.Join(s.dir, name)}
	blobs := filepath.Join(s.dir, "blobs")
	for _, folder := range []string{blobs, h.data} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := os.Symlink(blobs, filepath.Join(h.data, "blobs")); err != nil && !os.IsExist(err) {
		s.t.Fatal(err)
	}
	_, schema, _ := strings.Cut(s.address, "search_path=")
	db := fmt.Sprintf("postgres://cloudcrowd@%s/postgres?sslmode=disable&search_path=%s", s.fabric.line(name, database, "unix", s.postgres.Socket()), schema)
	listen, bus := steadyAddress(s.t), steadyAddress(s.t)
	h.url = "http://" + s.fabric.line("", name, "tcp", listen)
	s.more = append(s.more, h.url)
	h.args = append([]string{"server", "--data", h.data, "--store", db, "--listen", listen, "--public-url", h.url, "--cluster-listen", bus,
		"--cluster-advertise", s.fabric.line("", name, "tcp", bus), "--lease", "5s", "--json", "--no-context"}, options...)
	return h
}

// begin starts the server and waits for nothing.
func (h *host) begin() {
	h.s.t.Helper()
	h.process = start(h.s.owner, h.name, h.s.dir, nil, h.args...)
	h.s.fabric.is(h.process)
}

// serves waits until the server serves.
func (h *host) serves() {
	h.s.t.Helper()
	until(h.s.t, "server "+h.name+" serves", func() bool {
		if h.process.gone() {
			h.s.t.Fatalf("server %s ended", h.name)
		}
		return len(h.process.output()) > 0
	})
	before := h.serving
	if err := json.Unmarshal([]byte(h.process.output()[0]), &h.serving); err != nil || h.serving.URL == "" {
		h.s.t.Fatalf("%v: %q", err, h.process.output()[0])
	}
	if before.URL != "" && h.serving != before {
		h.s.t.Errorf("after the restart %+v, before %+v", h.serving, before)
	}
}

// id is what the servers call this one.
func (h *host) id() string {
	h.s.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.data, "server.id"))
	if err != nil {
		h.s.t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// api is a client of this server alone that never tries again.
func (h *host) api(token string) *client.Client {
	h.s.t.Helper()
	api, err := client.New(client.Options{URL: h.url, Token: token, Retries: -1})
	if err != nil {
		h.s.t.Fatal(err)
	}
	h.s.t.Cleanup(api.Close)
	return api
}

// operator is the operator at this server alone.
func (h *host) operator() *client.Client { return h.api(h.s.hosts[0].serving.AdminToken) }

// settled waits until all servers serve and the shards are shared among them.
func (s *servers) settled() {
	s.t.Helper()
	for _, h := range s.hosts {
		h.serves()
	}
	if s.op == nil {
		s.serving = s.hosts[0].serving
		s.op = s.as(s.serving.AdminToken)
		s.api, s.token = s.newRequester(requester, wealth)
	}
	s.ownedBy(s.hosts...)
}

// ownedBy waits until all shards are owned by these servers, and each has its part.
func (s *servers) ownedBy(list ...*host) {
	s.t.Helper()
	until(s.t, "the shards are shared by all servers", func() bool {
		parts := map[string]int{}
		for _, owner := range s.owners() {
			parts[owner]++
		}
		for _, h := range list {
			if k := parts[h.id()]; k < s.shards/len(list) || k > (s.shards+len(list)-1)/len(list) {
				return false
			}
		}
		return true
	})
}

// owners is which server owns each shard, as the database says.
func (s *servers) owners() []string {
	s.t.Helper()
	list := make([]string, s.shards)
	s.query("SELECT shard, owner FROM shards", func(rows pgx.Rows) error {
		var shard int
		var owner string
		err := rows.Scan(&shard, &owner)
		if err == nil {
			list[shard] = owner
		}
		return err
	})
	return list
}

// query asks the database past the servers.
func (s *servers) query(text string, each func(pgx.Rows) error, arguments ...any) {
	s.t.Helper()
	ctx := context.WithoutCancel(s.t.Context())
	conn, err := pgx.Connect(ctx, s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, text, arguments...)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			s.t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		s.t.Fatal(err)
	}
}

// shardOf is the shard a job belongs to.
func (s *servers) shardOf(id cloudcrowd.JobID) int { return store.ShardOf(id, s.shards) }

// leader is the server that owns a shard; nil while nobody does.
func (s *servers) leader(shard int) *host {
	s.t.Helper()
	id := s.owners()[shard]
	i := slices.IndexFunc(s.hosts, func(h *host) bool { return h.id() == id })
	if i < 0 {
		return nil
	}
	return s.hosts[i]
}

// owns are the shards of a server.
func (h *host) owns() (list []int) {
	h.s.t.Helper()
	id := h.id()
	for shard, owner := range h.s.owners() {
		if owner == id {
			list = append(list, shard)
		}
	}
	return list
}

// others are all servers but one.
func (s *servers) others(one *host) []*host {
	return slices.DeleteFunc(slices.Clone(s.hosts), func(h *host) bool { return h == one })
}

// everywhere submits a job of each shard, with keys of this name, and returns them by shard.
func (s *servers) everywhere(name, description string) []cloudcrowd.JobID {
	s.t.Helper()
	jobs := make([]cloudcrowd.JobID, s.shards)
	spec := s.spec(s.api, description)
	for i := 0; slices.Contains(jobs, ""); i++ {
		key := fmt.Sprint(name, " ", i)
		shard := store.ShardOfKey(string(requester)+"\x00"+key, s.shards)
		if jobs[shard] != "" {
			continue
		}
		job, err := s.api.Submit(s.t.Context(), spec, key)
		if err != nil {
			s.t.Fatal(err)
		}
		if s.shardOf(job.ID) != shard {
			s.t.Errorf("job %s belongs to shard %d, its key to %d", job.ID, s.shardOf(job.ID), shard)
		}
		s.watch(job.ID)
		jobs[shard] = job.ID
	}
	return jobs
}
