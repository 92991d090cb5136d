package storetest

import (
	"fmt"
	"reflect"
	"sync"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Tokens are found by hash, listed, replaced and deleted.
func tokens(t *testing.T, s store.Store) {
	a := cloudcrowd.Token{ID: "t1", Account: "anna", Role: cloudcrowd.RoleRequester, Note: "laptop", CreatedAt: 5, ExpiresAt: 9}
	b := cloudcrowd.Token{ID: "t2", Account: "bert", Role: cloudcrowd.RoleOperator}
	must(t, s.PutToken(t.Context(), "hash-a", a))
	must(t, s.PutToken(t.Context(), "hash-b", b))
	if v := got(s.TokenByHash(t.Context(), "hash-a"))(t); v != a {
		t.Errorf("token %+v, want %+v", v, a)
	}
	if list := got(s.Tokens(t.Context()))(t); !reflect.DeepEqual(list, []cloudcrowd.Token{a, b}) {
		t.Errorf("tokens %+v", list)
	}
	must(t, s.PutToken(t.Context(), "hash-new", a)) // the same token under a new secret
	_, err := s.TokenByHash(t.Context(), "hash-a")
	wantCode(t, err, cloudcrowd.NotFound)
	got(s.TokenByHash(t.Context(), "hash-new"))(t)
	must(t, s.DeleteToken(t.Context(), "t1"))
	wantCode(t, s.DeleteToken(t.Context(), "t1"), cloudcrowd.NotFound)
	_, err = s.TokenByHash(t.Context(), "hash-new")
	wantCode(t, err, cloudcrowd.NotFound)
}

// Invites are listed and revoked.
func invites(t *testing.T, s store.Store) {
	a := cloudcrowd.Invite{ID: "i1", Owner: "anna", MaxUses: 3, CreatedAt: 1, ExpiresAt: 100}
	b := cloudcrowd.Invite{ID: "i2", Owner: "bert"}
	must(t, s.PutInvite(t.Context(), "hash-a", a))
	must(t, s.PutInvite(t.Context(), "hash-b", b))
	must(t, s.RevokeInvite(t.Context(), "i2"))
	wantCode(t, s.RevokeInvite(t.Context(), "i3"), cloudcrowd.NotFound)
	b.Revoked = true
	if list := got(s.Invites(t.Context()))(t); !reflect.DeepEqual(list, []cloudcrowd.Invite{a, b}) {
		t.Errorf("invites %+v", list)
	}
}

// Every way an invite can be used up, expire or be revoked, and every way a device can be known already.
func joinRules(t *testing.T, s store.Store) {
	put := func(hash string, i cloudcrowd.Invite) {
		i.ID, i.Owner = "i-"+hash, cloudcrowd.AccountID("owner-"+hash)
		must(t, s.PutInvite(t.Context(), hash, i))
	}
	put("open", cloudcrowd.Invite{})
	put("other", cloudcrowd.Invite{})
	put("twice", cloudcrowd.Invite{MaxUses: 2})
	put("late", cloudcrowd.Invite{ExpiresAt: 100})
	put("gone", cloudcrowd.Invite{Revoked: true})
	join := func(hash string, id cloudcrowd.WorkerID, now cloudcrowd.Time) (cloudcrowd.Worker, error) {
		return s.Join(t.Context(), hash, cloudcrowd.Worker{ID: id, Name: "name of " + string(id)}, now)
	}
	uses := func(hash string) int {
		for _, i := range got(s.Invites(t.Context()))(t) {
			if i.ID == "i-"+hash {
				return i.Uses
			}
		}
		return -1
	}
	refused := func(code cloudcrowd.Code, hash string, id cloudcrowd.WorkerID, now cloudcrowd.Time) {
		t.Helper()
		_, err := join(hash, id, now)
		wantCode(t, err, code)
	}
	want := cloudcrowd.Worker{ID: "U1", Name: "name of U1", Owner: "owner-open", RegisteredAt: 7, Invite: "i-open"}
	for range 2 { // the second time it is registered already and uses nothing
		if w := got(join("open", "U1", 7))(t); w != want {
			t.Errorf("joined as %+v, want %+v", w, want)
		}
		want.RegisteredAt = 7
	}
	if n := uses("open"); n != 1 {
		t.Errorf("%d uses, want 1", n)
	}
	refused(cloudcrowd.Forbidden, "unknown", "U9", 7)
	refused(cloudcrowd.Forbidden, "", "U9", 7)
	refused(cloudcrowd.Forbidden, "gone", "U9", 7)
	refused(cloudcrowd.Conflict, "other", "U1", 8)
	if n := uses("other"); n != 0 {
		t.Errorf("a refused device used the invite %d times", n)
	}
	got(join("late", "U2", 99))(t)
	refused(cloudcrowd.Forbidden, "late", "U9", 100)
	got(join("late", "U2", 100))(t) // registered by it in time
	got(join("twice", "U3", 1))(t)
	got(join("twice", "U4", 1))(t)
	refused(cloudcrowd.Forbidden, "twice", "U5", 1)
	got(join("twice", "U3", 1))(t)
	if n := uses("twice"); n != 2 {
		t.Errorf("%d uses, want 2", n)
	}
	must(t, s.RevokeInvite(t.Context(), "i-open"))
	got(join("open", "U1", 9))(t) // known already
	refused(cloudcrowd.Forbidden, "open", "U6", 9)
	must(t, s.RevokeWorker(t.Context(), "U1", true))
	if w := got(join("open", "U1", 10))(t); !w.Revoked {
		t.Error("joining again lifted the revocation")
	}
}

// A single-use invite that twenty devices use at once lets exactly one in.
func joinOnce(t *testing.T, s store.Store) {
	must(t, s.PutInvite(t.Context(), "hash", cloudcrowd.Invite{ID: "i", Owner: "anna", MaxUses: 1}))
	var wait sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wait.Go(func() {
			_, errs[i] = s.Join(t.Context(), "hash", cloudcrowd.Worker{ID: cloudcrowd.WorkerID(fmt.Sprint("U", i))}, 1)
		})
	}
	wait.Wait()
	joined := 0
	for _, err := range errs {
		if err == nil {
			joined++
			continue
		}
		wantCode(t, err, cloudcrowd.Forbidden)
	}
	if n := len(got(s.Workers(t.Context()))(t)); joined != 1 || n != 1 {
		t.Errorf("%d joined and %d are registered, want 1", joined, n)
	}
}

// Workers say what they are, are listed by registration, revoked and restored.
func workers(t *testing.T, s store.Store) {
	must(t, s.PutInvite(t.Context(), "hash", cloudcrowd.Invite{ID: "i", Owner: "anna"}))
	for i, id := range []cloudcrowd.WorkerID{"UB", "UA", "UC"} {
		got(s.Join(t.Context(), "hash", cloudcrowd.Worker{ID: id, Name: "n"}, cloudcrowd.Time(10-i)))(t)
	}
	info := cloudcrowd.WorkerInfo{Name: "shed", OS: "linux", Cores: 4, Slots: 2, Speed: 1.25, MemoryBytes: 1 << 40, Sandboxes: []string{"wasm"}}
	must(t, s.SeenWorker(t.Context(), "UA", info, 77))
	wantCode(t, s.SeenWorker(t.Context(), "UX", info, 77), cloudcrowd.NotFound)
	must(t, s.RevokeWorker(t.Context(), "UA", true))
	wantCode(t, s.RevokeWorker(t.Context(), "UX", true), cloudcrowd.NotFound)
	want := store.WorkerRow{Worker: cloudcrowd.Worker{ID: "UA", Name: "n", Owner: "anna", RegisteredAt: 9, Revoked: true, Invite: "i"}, Info: info, LastSeen: 77}
	if r := got(s.Worker(t.Context(), "UA"))(t); !reflect.DeepEqual(r, want) {
		t.Errorf("worker %+v, want %+v", r, want)
	}
	must(t, s.RevokeWorker(t.Context(), "UA", false))
	var order []cloudcrowd.WorkerID
	for _, r := range got(s.Workers(t.Context()))(t) {
		order = append(order, r.ID)
	}
	if !reflect.DeepEqual(order, []cloudcrowd.WorkerID{"UC", "UA", "UB"}) {
		t.Errorf("workers %v, want them by registration", order)
	}
	if r := got(s.Worker(t.Context(), "UA"))(t); r.Revoked {
		t.Error("still revoked")
	}
	_, err := s.Worker(t.Context(), "UX")
	wantCode(t, err, cloudcrowd.NotFound)
}

// Settings are empty until written and keep any text.
func settings(t *testing.T, s store.Store) {
	if v := got(s.Setting(t.Context(), "shards"))(t); v != "" {
		t.Errorf("unset setting is %q", v)
	}
	for _, v := range []string{"1", "two\nlines \x01 ü", ""} {
		must(t, s.PutSetting(t.Context(), "shards", v))
		if have := got(s.Setting(t.Context(), "shards"))(t); have != v {
			t.Errorf("setting %q, want %q", have, v)
		}
	}
}
