package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A worker's room is shared among the shards that have work: none is left out, and it holds no more than a little over what it asked for.
func TestShared(t *testing.T) {
	t.Parallel()
	r := newRig(t, 4)
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	r.issue(a, "ada")
	m := r.join("w1", 6, a)
	m.mu.Lock()
	m.slow = make(chan struct{})
	m.mu.Unlock()
	shards := map[int]bool{}
	for i := 0; len(shards) < 4; i++ {
		shards[store.ShardOf(r.submit(a, "ada", r.spec("x", 100), fmt.Sprint(i)), 4)] = true
	}
	held := func() map[int]int {
		m.mu.Lock()
		defer m.mu.Unlock()
		of := map[int]int{}
		for id := range m.holding {
			of[store.ShardOf(id.Task.Job, 4)]++
		}
		return of
	}
	// It answers what it holds most of, one after the other, as a worker that runs tasks does.
	r.until("all shards have their part", func() bool {
		of := held()
		fair := len(of) == 4
		total := 0
		for _, n := range of {
			fair = fair && n == 2
			total += n
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if !fair {
			for id := range m.holding {
				if of[store.ShardOf(id.Task.Job, 4)] > 2 || total > 8 {
					m.finish(id)
					break
				}
			}
		}
		return fair
	})
}

// A quota is of the whole crowd: what a requester has in one shard counts in the others.
func TestQuota(t *testing.T) {
	t.Parallel()
	r := newRig(t, 2)
	r.sharing.Quota = 3
	a, b := r.start("a", ""), r.start("b", "")
	r.spread(a, b)
	r.issue(a, "ada")
	r.issue(a, "bob")
	m := r.join("w1", 20, a)
	m.mu.Lock()
	m.slow = make(chan struct{})
	m.mu.Unlock()
	held := func(job cloudcrowd.JobID) (n int) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for id := range m.holding {
			if id.Task.Job == job {
				n++
			}
		}
		return n
	}
	in := func(shard int, account cloudcrowd.AccountID) cloudcrowd.JobID {
		for i := 0; ; i++ {
			if key := fmt.Sprint(i); store.ShardOfKey(string(account)+"\x00"+key, 2) == shard {
				return r.submit(a, account, r.spec("x", 100), key)
			}
		}
	}
	first := in(0, "ada")
	r.until("the quota is used up", func() bool { return held(first) == 3 })
	owner := a
	if owner.Local(1) == nil {
		owner = b
	}
	r.until("the other shard hears of it", func() bool { return owner.Crowd().usesBeside(1)["ada"].Running == 3 })
	second, other := in(1, "ada"), in(1, "bob")
	r.until("another requester is served there", func() bool { return held(other) == 3 })
	if n := held(second); n != 0 {
		t.Errorf("%d attempts beside a quota that is used up in another shard", n)
	}
	if err := a.Backend().Cancel(t.Context(), first, "ada", ""); err != nil {
		t.Fatal(err)
	}
	r.until("what became free goes to the job in the other shard", func() bool { return held(second) == 3 })
}

func TestShare(t *testing.T) {
	t.Parallel()
	for range 2000 {
		shards := 1 + rand.IntN(8)
		var hungry []int
		for s := range shards {
			if rand.IntN(2) == 0 {
				hungry = append(hungry, s)
			}
		}
		target, turn := rand.IntN(30), rand.IntN(100)
		w := cloudcrowd.WorkerID(fmt.Sprint(rand.Uint64()))
		total, least, most := 0, target, 0
		for s := range shards {
			n := share(w, target, s, hungry, turn)
			if !slices.Contains(hungry, s) {
				if n != target {
					t.Fatalf("a shard without work may have %d of %d", n, target)
				}
				continue
			}
			total, least, most = total+n, min(least, n), max(most, n)
		}
		if len(hungry) > 0 && (total != target || most-least > 1) {
			t.Fatalf("%v of %d shards share %d: %d in all, from %d to %d", hungry, shards, target, total, least, most)
		}
	}
	// What cannot be divided comes to everybody in turn.
	got := map[int]bool{}
	for turn := range 4 {
		for s := range 4 {
			if share("w", 1, s, []int{0, 1, 2, 3}, turn) > 0 {
				got[s] = true
			}
		}
	}
	if len(got) != 4 {
		t.Errorf("only %v had a turn", got)
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for range 500 {
		n, k := 1+rand.IntN(64), 1+rand.IntN(9)
		var servers []string
		for range k {
			servers = append(servers, fmt.Sprint(rand.Uint64()))
		}
		owners := Spread(servers, n)
		load := map[string]int{}
		for _, o := range owners {
			load[o]++
		}
		for s, l := range load {
			if !slices.Contains(servers, s) || l > (n+k-1)/k {
				t.Fatalf("%d of %d shards at one of %d servers", l, n, k)
			}
		}
		rand.Shuffle(k, func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
		if !slices.Equal(owners, Spread(servers, n)) {
			t.Fatal("the order of the servers matters")
		}
	}
	// Few move when a server comes: its own part, and a few more to keep the balance.
	moved := 0
	before, after := Spread([]string{"a", "b", "c"}, 600), Spread([]string{"a", "b", "c", "d"}, 600)
	for i := range before {
		if before[i] != after[i] {
			moved++
		}
	}
	if moved < 100 || moved > 240 {
		t.Errorf("%d of 600 shards moved for a fourth server", moved)
	}
	if o := Spread(nil, 3); !slices.Equal(o, []string{"", "", ""}) {
		t.Errorf("without servers: %q", o)
	}
}
