package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// The line between two servers is cut, and later all between one of them and the others, while everybody reaches the database. With a third server in between nobody notices:
// not who asks, not who watches, not the workers. Without, whoever asks is told which server cannot be reached from which; and afterwards everything goes on.
func TestServersCut(t *testing.T) {
	t.Parallel()
	s := newServers(t, nil, "ada", "grace")
	spec := s.spec(s.api, counting(2, 1, "{replicas: 1, quorum: 1}"))
	one, two := s.hosts[0], s.hosts[1]
	var watchers sync.WaitGroup
	watching, stop := context.WithCancel(t.Context())
	defer stop()
	var mu sync.Mutex
	heard := map[string]map[cloudcrowd.JobID]int{}
	for _, h := range []*host{one, two} {
		heard[h.name] = map[cloudcrowd.JobID]int{}
		api := h.api(s.token)
		watchers.Go(func() {
			for e, err := range api.Events(watching, "", "") {
				if watching.Err() != nil {
					return
				}
				if err != nil || e.Type == "feed.reset" {
					t.Errorf("watching at server %s: %v, %+v", h.name, err, e)
					return
				}
				mu.Lock()
				if e.Type == "job.done" {
					heard[h.name][e.Job]++
				} else if heard[h.name][""]++; e.Type == "" {
					t.Errorf("an event without a type: %+v", e)
				}
				mu.Unlock()
			}
		})
	}
	// submit submits a job of each shard at a server and waits for its end there.
	submit := func(h *host, name string) (list []cloudcrowd.JobID) {
		t.Helper()
		api, shards := h.api(s.token), map[int]bool{}
		for i := 0; len(shards) < s.shards; i++ {
			key := fmt.Sprint(name, " ", i)
			shard := store.ShardOfKey(string(requester)+"\x00"+key, s.shards)
			if shards[shard] {
				continue
			}
			shards[shard] = true
			job, err := api.Submit(t.Context(), spec, key)
			if err != nil {
				t.Fatalf("submitting at server %s: %v", h.name, err)
			}
			list = append(list, job.ID)
		}
		for _, id := range list {
			until(t, "job "+string(id)+" is done", func() bool {
				job, err := api.Job(t.Context(), id)
				if err != nil {
					t.Fatalf("asking server %s: %v", h.name, err)
				}
				return job.State == cloudcrowd.JobDone
			})
		}
		return list
	}
	told := func(jobs []cloudcrowd.JobID) {
		t.Helper()
		for _, h := range []*host{one, two} {
			for _, id := range jobs {
				until(t, "server "+h.name+" tells of the end of "+string(id), func() bool {
					mu.Lock()
					defer mu.Unlock()
					return heard[h.name][id] > 0
				})
			}
		}
	}
	until(t, "both feeds have begun", func() bool {
		submit(one, "first")
		mu.Lock()
		defer mu.Unlock()
		return heard["one"][""] > 0 && heard["two"][""] > 0
	})
	jobs := submit(two, "whole")
	told(jobs)
	s.fabric.part("one", "two")
	for i, h := range []*host{one, two} {
		list := submit(h, fmt.Sprint("cut ", i))
		told(list)
		jobs = append(jobs, list...)
	}
	s.fabric.part("one", "three")
	asked := map[*host]bool{}
	for _, id := range jobs[:s.shards] {
		leader := s.leader(s.shardOf(id))
		if asked[leader] {
			continue
		}
		asked[leader] = true
		_, err := one.api(s.token).Job(t.Context(), id)
		switch {
		case leader == one && err != nil:
			t.Errorf("a job of the server's own: %v", err)
		case leader != one && (cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable || !strings.Contains(fmt.Sprint(err), "server "+leader.id()+" ("+leader.url+")") ||
			!strings.Contains(fmt.Sprint(err), "cannot be reached from server "+one.id())):
			t.Errorf("a job of server %s (%s), asked of %s (%s), which reaches no other one: %v", leader.name, leader.id(), one.name, one.id(), err)
		}
		if _, err := two.api(s.token).Job(t.Context(), id); leader != one && err != nil {
			t.Errorf("a job of server %s, asked of two: %v", leader.name, err)
		}
	}
	s.fabric.heal()
	until(t, "all jobs can be asked for at all servers", func() bool {
		for _, h := range s.hosts {
			for _, id := range jobs {
				if _, err := h.api(s.token).Job(t.Context(), id); err != nil {
					return false
				}
			}
		}
		return true
	})
	list := submit(one, "healed")
	told(list)
	jobs = append(jobs, list...)
	stop()
	watchers.Wait()
	for name, done := range heard {
		for id, n := range done {
			if id != "" && n != 1 {
				t.Errorf("server %s told %d times of the end of %s", name, n, id)
			}
		}
	}
	for _, id := range jobs {
		s.money(s.ended(id, cloudcrowd.JobDone))
	}
	s.balance()
	s.fsck()
}
