package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// A server that is killed is replaced: whoever asks another about its jobs waits for the new owner, not longer than the lease and what taking over needs.
func TestServersTakeOver(t *testing.T) {
	t.Parallel()
	s := newServers(t, nil, "ada", "grace", "linus")
	jobs := s.everywhere("job", counting(4, 4, pair))
	for range setting(t, killsSetting, 1) {
		dead := s.leader(s.shardOf(jobs[0]))
		lost := dead.owns()
		dead.process.replace()
		begun := time.Now()
		api := s.others(dead)[0].api(s.token)
		var last time.Duration
		for _, shard := range lost {
			if _, err := api.Job(t.Context(), jobs[shard]); err != nil {
				t.Errorf("a job of a shard whose server was killed: %v", err)
			}
			last = time.Since(begun)
		}
		t.Logf("the %d shards of a server that was killed were served again after %s", len(lost), last.Round(time.Millisecond))
		s.ownedBy(s.others(dead)...)
		dead.begin()
		s.settled()
	}
	for _, id := range jobs {
		job := s.ended(id, cloudcrowd.JobDone)
		if got := s.answer(job, "lines.txt"); got != counted(4, 4) {
			t.Errorf("the answer of %s is\n%s", id, got)
		}
		s.money(job)
	}
	s.balance()
	s.fsck()
}

// Whoever owns a job, and whichever server a worker is connected to: every server gives the same answers about it, to programs, people and browsers, and can turn the
// worker away.
func TestAnyServer(t *testing.T) {
	t.Parallel()
	s := newServers(t, nil, "ada") // connected to one server
	jobs := s.everywhere("job", counting(2, 1, "{replicas: 1, quorum: 1}"))
	files := map[string]string{} // pages, with what they hold
	for shard, id := range jobs {
		job := s.ended(id, cloudcrowd.JobDone)
		for _, o := range job.Outputs {
			files[fmt.Sprintf("/jobs/%s/files/%s/%d/%s", id, o.Stage, o.Task, o.Path)] = counted(2, 1)[:8]
		}
		if got := s.answer(job, "lines.txt"); got != counted(2, 1) {
			t.Errorf("the answer of the job of shard %d is\n%s", shard, got)
		}
		s.money(job)
	}
	if owners := slices.Compact(slices.Sorted(slices.Values(s.owners()))); len(owners) != 3 {
		t.Errorf("the shards are owned by %q", owners)
	}
	questions := map[string]func(api *client.Client) (any, error){
		"jobs":      func(api *client.Client) (any, error) { return api.Jobs(t.Context(), client.JobQuery{}) },
		"accounts":  func(api *client.Client) (any, error) { return api.Accounts(t.Context()) },
		"transfers": func(api *client.Client) (any, error) { return api.Transfers(t.Context(), client.TransferQuery{}) },
		"statement": func(api *client.Client) (any, error) {
			return api.Statement(t.Context(), requester, client.StatementQuery{})
		},
	}
	for _, id := range jobs {
		questions["job "+string(id)] = func(api *client.Client) (any, error) { return api.Job(t.Context(), id) }
		questions["tasks of "+string(id)] = func(api *client.Client) (any, error) { return api.Tasks(t.Context(), id, client.TaskQuery{}) }
		questions["attempts of "+string(id)] = func(api *client.Client) (any, error) { return api.Attempts(t.Context(), id, client.PageQuery{}) }
		questions["explain "+string(id)] = func(api *client.Client) (any, error) { return api.Explain(t.Context(), id) }
	}
	first := map[string]string{}
	for _, h := range s.hosts {
		api := h.operator()
		for name, ask := range questions {
			out, err := ask(api)
			if err != nil {
				t.Errorf("server %s, %s: %v", h.name, name, err)
				continue
			}
			b, _ := json.Marshal(out)
			if first[name] == "" {
				first[name] = string(b)
			} else if first[name] != string(b) {
				t.Errorf("%s: server %s says\n%s\nserver %s\n%s", name, s.hosts[0].name, first[name], h.name, b)
			}
		}
		views, err := api.Workers(t.Context())
		if err != nil || len(views.Items) != 1 || !views.Items[0].Online || views.Items[0].Record.Unchecked != int64(2*len(jobs)) {
			t.Errorf("server %s about the worker: %+v, %v", h.name, views.Items, err)
		}
		env := []string{"CLOUDCROWD_SERVER=" + h.url, "CLOUDCROWD_TOKEN=" + s.token}
		for _, args := range [][]string{{"jobs", "--json"}, {"job", "show", string(jobs[0]), "--json"}, {"job", "tasks", string(jobs[s.shards-1]), "--json"}} {
			name := strings.Join(args, " ")
			r := command(t, env, args...)
			if r.status != 0 || first[name] != "" && first[name] != r.stdout {
				t.Errorf("%s at server %s: status %d\n%s%s\nanother one says\n%s", name, h.name, r.status, r.stdout, r.stderr, first[name])
			}
			first[name] = r.stdout
		}
		browser := h.browser()
		for _, page := range []string{"/", "/jobs", "/workers", "/ledger"} {
			browser(page, "")
		}
		for _, id := range jobs {
			browser("/jobs/"+string(id), string(id))
			browser("/tasks/"+string(id)+"-0-0", string(id))
		}
		for page, text := range files {
			browser(page, text)
		}
	}
	// At any server but that of the worker.
	at := s.hostOf("ada")
	i := slices.IndexFunc(s.hosts, func(h *host) bool { return h != at })
	if _, err := s.hosts[i].operator().RevokeWorker(t.Context(), s.worker("ada").ID, true); err != nil {
		t.Fatal(err)
	}
	until(t, "the worker is turned away", s.workers["ada"].gone)
	if text := strings.Join(s.workers["ada"].output(), "\n"); !strings.Contains(text, "revoked") {
		t.Errorf("it was told %s", text)
	}
	for _, h := range s.hosts {
		until(t, "server "+h.name+" knows that the worker is gone", func() bool {
			v, err := h.operator().Worker(t.Context(), s.worker("ada").ID)
			return err == nil && v.Revoked && !v.Online
		})
	}
	s.balance()
	s.fsck()
}

// hostOf is the server a worker is connected to, as it says.
func (s *servers) hostOf(name string) *host {
	s.t.Helper()
	var found *host
	for _, line := range s.workers[name].output() {
		var e struct{ Event, Server string }
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "connected" {
			found = s.hosts[slices.IndexFunc(s.hosts, func(h *host) bool { return h.url == e.Server })]
		}
	}
	return found
}

// browser signs a browser in at the server as the operator. What it returns opens a page, which must hold a text.
func (h *host) browser() func(path, text string) {
	t := h.s.t
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Jar: jar}
	resp, err := c.PostForm(h.url+"/session", url.Values{"token": {h.s.hosts[0].serving.AdminToken}, "next": {"/jobs"}})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return func(path, text string) {
		t.Helper()
		resp, err := c.Get(h.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(b), text) || resp.Request.URL.Path != path {
			t.Errorf("server %s, page %s: %s, %v, without %q\n%.300s", h.name, path, resp.Status, err, text, b)
		}
	}
}
