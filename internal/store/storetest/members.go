package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A claim takes a shard over under a name, fences as Acquire does, and is refused without a trace if the epoch is not the one seen. Release takes the
// name away and leaves everything else; so does Acquire.
func claim(t *testing.T, s store.Store) {
	ctx := t.Context()
	wantHead := func(want store.Head) {
		t.Helper()
		if h := got(s.ShardList(ctx))(t)[5]; !reflect.DeepEqual(h, want) {
			t.Errorf("head %+v, want %+v", h, want)
		}
	}
	refused := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, store.ErrFenced) {
			t.Errorf("%s: %v, want ErrFenced", what, err)
		}
	}
	_, err := s.Claim(ctx, 5, "one", 1)
	refused("a shard that does not exist, seen at epoch 1", err)
	if list := got(s.ShardList(ctx))(t); len(list) != 0 {
		t.Errorf("a refused claim made the shard: %+v", list)
	}
	b := &book{t: t, s: s, shard: 5, head: got(s.Claim(ctx, 5, "one", 0))(t)}
	if want := (store.Head{Epoch: 1, Owner: "one"}); !reflect.DeepEqual(b.head, want) {
		t.Fatalf("head of a new shard %+v, want %+v", b.head, want)
	}
	b.commit(b.batch())
	b.commit(b.batch())
	must(t, s.SaveSnapshot(ctx, 5, 1, 1, []byte("state")))
	for _, seen := range []int64{0, 2} {
		_, err = s.Claim(ctx, 5, "two", seen)
		refused("another epoch than the one seen", err)
	}
	wantHead(store.Head{Epoch: 1, Owner: "one", Seq: 2, SnapshotSeq: 1})
	b.commit(b.batch()) // nobody has fenced it

	h := got(s.Claim(ctx, 5, "two", 1))(t)
	if want := (store.Head{Epoch: 2, Owner: "two", Seq: 3, SnapshotSeq: 1, Snapshot: []byte("state")}); !reflect.DeepEqual(h, want) {
		t.Errorf("head %+v, want %+v", h, want)
	}
	refused("a commit of the server before", s.Commit(ctx, b.batch()))
	refused("a release by the server before", s.Release(ctx, 5, 1))
	refused("a release of no shard", s.Release(ctx, 6, 1))
	refused("a release of no shard, never acquired", s.Release(ctx, 6, 0))
	wantHead(store.Head{Epoch: 2, Owner: "two", Seq: 3, SnapshotSeq: 1})
	must(t, s.Release(ctx, 5, 2))
	must(t, s.Release(ctx, 5, 2))
	wantHead(store.Head{Epoch: 2, Seq: 3, SnapshotSeq: 1})

	if h := got(s.Claim(ctx, 5, "two", 2))(t); h.Epoch != 3 || h.Owner != "two" || h.Seq != 3 {
		t.Errorf("claimed again: %+v", h)
	}
	if h := got(s.Acquire(ctx, 5))(t); h.Epoch != 4 || h.Owner != "" || h.Seq != 3 {
		t.Errorf("acquired: %+v, want epoch 4 and no owner", h)
	}
	wantHead(store.Head{Epoch: 4, Seq: 3, SnapshotSeq: 1})

	_, err = s.Claim(ctx, 5, "", 4)
	wantCode(t, err, cloudcrowd.Invalid)
	_, err = s.Claim(ctx, 5, "two", -1)
	wantCode(t, err, cloudcrowd.Invalid)
	_, err = s.Claim(ctx, -1, "two", 0)
	wantCode(t, err, cloudcrowd.Invalid)
	wantHead(store.Head{Epoch: 4, Seq: 3, SnapshotSeq: 1})
}

// Of servers that claim a shard at once having seen the same epoch, exactly one gets it, from the first epoch on, and its commits are the ones taken.
func claimRace(t *testing.T, s store.Store) {
	const racers = 4
	for seen := range int64(15) {
		var wait sync.WaitGroup
		heads, errs := make([]store.Head, racers), make([]error, racers)
		for i := range racers {
			wait.Go(func() { heads[i], errs[i] = s.Claim(t.Context(), 2, fmt.Sprint("server ", i), seen) })
		}
		wait.Wait()
		winner := -1
		for i, err := range errs {
			switch {
			case err == nil && winner < 0:
				winner = i
			case err == nil:
				t.Fatalf("%d and %d both claimed epoch %d", winner, i, seen)
			case !errors.Is(err, store.ErrFenced):
				t.Fatalf("%d: %v, want ErrFenced", i, err)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody could claim epoch %d", seen)
		}
		want := store.Head{Epoch: seen + 1, Owner: fmt.Sprint("server ", winner), Seq: seen}
		if !reflect.DeepEqual(heads[winner], want) {
			t.Fatalf("head %+v, want %+v", heads[winner], want)
		}
		if h := got(s.ShardList(t.Context()))(t)[2]; !reflect.DeepEqual(h, want) {
			t.Fatalf("the list says %+v, want %+v", h, want)
		}
		b := &book{t: t, s: s, shard: 2, head: want}
		b.commit(b.batch())
	}
}

// Servers are listed by id as they last wrote themselves down, until they are dropped.
func servers(t *testing.T, s store.Store) {
	ctx := t.Context()
	if list := got(s.Servers(ctx))(t); len(list) != 0 {
		t.Errorf("servers of an empty store: %+v", list)
	}
	b := store.Server{ID: "b", Beat: 1, URL: "https://b.example.org", Bus: "10.0.0.2:6222", Version: "1.2.3", StartedAt: 77}
	a := store.Server{ID: "a", Beat: 1 << 60, URL: "http://[::1]:8420", Draining: true}
	for _, v := range []store.Server{b, a, {ID: "Z"}} {
		must(t, s.PutServer(ctx, v))
	}
	wantList := func(want ...store.Server) {
		t.Helper()
		if list := got(s.Servers(ctx))(t); !reflect.DeepEqual(list, want) {
			t.Errorf("servers %+v, want %+v", list, want)
		}
	}
	wantList(store.Server{ID: "Z"}, a, b)
	b.Beat, b.Draining, b.Bus, b.URL, b.Version, b.StartedAt = 2, true, "", "https://b2.example.org", "1.2.4", 78
	must(t, s.PutServer(ctx, b))
	wantList(store.Server{ID: "Z"}, a, b)
	got(s.Claim(ctx, 0, "a", 0))(t)
	must(t, s.DropServer(ctx, "a"))
	must(t, s.DropServer(ctx, "a"))
	must(t, s.DropServer(ctx, "nobody"))
	wantList(store.Server{ID: "Z"}, b)
	if h := got(s.ShardList(ctx))(t)[0]; h.Owner != "a" {
		t.Errorf("a dropped server's shard is owned by %q", h.Owner)
	}
	wantCode(t, s.PutServer(ctx, store.Server{}), cloudcrowd.Invalid)
	wantList(store.Server{ID: "Z"}, b)
}

// Of many that want to keep a setting at once, all get the value of one of them, and so does everybody later; an empty value is none.
func keepSetting(t *testing.T, s store.Store) {
	ctx := t.Context()
	must(t, s.PutSetting(ctx, "empty", ""))
	for _, key := range []string{"new", "empty"} {
		var wait sync.WaitGroup
		kept, errs := make([]string, 12), make([]error, 12)
		for i := range kept {
			wait.Go(func() { kept[i], errs[i] = s.KeepSetting(ctx, key, fmt.Sprint("value \x01 ", i)) })
		}
		wait.Wait()
		must(t, errors.Join(errs...))
		stored, ours := got(s.Setting(ctx, key))(t), false
		for i, v := range kept {
			if v != stored {
				t.Errorf("%s: %d got %q, %q is stored", key, i, v, stored)
			}
			ours = ours || stored == fmt.Sprint("value \x01 ", i)
		}
		if !ours {
			t.Errorf("%s: nobody gave %q", key, stored)
		}
	}
	must(t, s.PutSetting(ctx, "new", "changed"))
	if v := got(s.KeepSetting(ctx, "new", "later"))(t); v != "changed" {
		t.Errorf("kept %q, want what was written last", v)
	}
	if v := got(s.KeepSetting(ctx, "nothing", ""))(t); v != "" {
		t.Errorf("kept %q, want nothing", v)
	}
	if v := got(s.KeepSetting(ctx, "nothing", "something"))(t); v != "something" {
		t.Errorf("kept %q, want something", v)
	}
}
