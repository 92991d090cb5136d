package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/client"
)

// Three servers are stopped in order and started again, one after the other, while clients that know them all submit, read and watch. No request fails, each being
// asked for once at each server; no job is lost; and whoever watches hears of all, or that he missed something.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	s := newServers(t, nil, "ada", "grace", "linus")
	spec := s.spec(s.api, counting(2, 1, pair))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var clients, watchers sync.WaitGroup
	var requests atomic.Int64
	var mu sync.Mutex
	jobs, done, missed := map[cloudcrowd.JobID]bool{}, map[cloudcrowd.JobID]bool{}, 0
	watching, endWatch := context.WithCancel(t.Context())
	defer endWatch()
	for i := range s.hosts {
		api := s.from(i, s.token)
		heard := make(chan struct{})
		var once sync.Once
		watchers.Go(func() {
			for e, err := range api.Events(watching, "", "") {
				once.Do(func() { close(heard) })
				if err != nil {
					t.Errorf("watching: %v", err)
					return
				}
				mu.Lock()
				switch e.Type {
				case "job.done":
					done[e.Job] = true
				case "feed.reset":
					missed++
				}
				mu.Unlock()
			}
		})
		api = s.from(i, s.token)
		submit := func(key string) (cloudcrowd.JobID, bool) {
			job, err := api.Submit(t.Context(), spec, key)
			requests.Add(1)
			if err != nil {
				t.Errorf("submit: %v", err)
				return "", false
			}
			return job.ID, true
		}
		until(t, "the feed has begun", func() bool {
			if _, ok := submit(""); !ok {
				t.FailNow()
			}
			select {
			case <-heard:
				return true
			default:
				return false
			}
		})
		clients.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				id, ok := submit(fmt.Sprint("client ", i, ", job ", k))
				if !ok {
					return
				}
				mu.Lock()
				jobs[id] = true
				mu.Unlock()
				for what, ask := range map[string]func() error{
					"job":     func() error { _, err := api.Job(t.Context(), id); return err },
					"tasks":   func() error { _, err := api.Tasks(t.Context(), id, client.TaskQuery{}); return err },
					"jobs":    func() error { _, err := api.Jobs(t.Context(), client.JobQuery{}); return err },
					"account": func() error { _, err := api.Account(t.Context(), requester); return err },
					"statement": func() error {
						_, err := api.Statement(t.Context(), requester, client.StatementQuery{Job: id})
						return err
					},
					"status": func() error { _, err := api.Status(t.Context()); return err },
				} {
					if err := ask(); err != nil {
						t.Errorf("%s: %v", what, err)
					}
					requests.Add(1)
				}
				select {
				case <-time.After(5 * look):
				case <-ctx.Done():
				}
			}
		})
	}
	for i, h := range s.hosts {
		begun := time.Now()
		if i == 0 {
			if r := command(t, []string{"CLOUDCROWD_SERVER=" + h.url, "CLOUDCROWD_TOKEN=" + s.serving.AdminToken}, "drain"); r.status != 0 {
				t.Errorf("drain: status %d, %s", r.status, r.stderr)
			}
		} else {
			h.process.terminate(t)
		}
		until(t, "server "+h.name+" ends", h.process.gone)
		if code := h.process.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("server %s ended with status %d", h.name, code)
		}
		stopped := time.Since(begun)
		h.process.replace()
		s.ownedBy(s.others(h)...)
		h.begin()
		s.settled()
		t.Logf("server %s ended after %s and had its part again after %s", h.name, stopped.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		if t.Failed() {
			break
		}
	}
	stop()
	clients.Wait()
	for id := range jobs {
		job := s.ended(id, cloudcrowd.JobDone)
		if got := s.answer(job, "lines.txt"); got != counted(2, 1) {
			t.Errorf("the answer of %s is\n%s", id, got)
		}
		s.money(job)
		s.blameless(id)
		until(t, "the end of job "+string(id)+" is heard of", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return done[id] || missed > 0
		})
	}
	endWatch()
	watchers.Wait()
	t.Logf("%d requests, %d jobs, %d times watchers were told that they missed something", requests.Load(), len(jobs), missed)
	s.balance()
	s.fsck()
}

// from is a client of all servers that begins with one of them, and asks each once.
func (s *servers) from(i int, token string) *client.Client {
	s.t.Helper()
	o := client.Options{URL: s.hosts[i].url, Token: token, Retries: -1}
	for k := range s.hosts[1:] {
		o.Servers = append(o.Servers, s.hosts[(i+k+1)%len(s.hosts)].url)
	}
	api, err := client.New(o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(api.Close)
	return api
}
