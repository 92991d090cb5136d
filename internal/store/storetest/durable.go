package storetest

import (
	"reflect"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// RunDurable runs the tests of what outlives a store: everything that was acknowledged is there when it is opened again. open opens the store
// in dir; the suite closes it before it opens it again.
func RunDurable(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	t.Run("Reopen", func(t *testing.T) {
		t.Parallel()
		reopen(t, open)
	})
}

// contents is everything a store answers, in comparable form.
func contents(t testing.TB, s store.Store) map[string]any {
	t.Helper()
	ctx := t.Context()
	all := map[string]any{
		"accounts":  got(s.Accounts(ctx))(t),
		"transfers": got2(s.Transfers(ctx, store.TransferFilter{}, store.Page{}))(t),
		"holds":     got(s.Holds(ctx, ""))(t),
		"shards":    got(s.ShardList(ctx))(t),
		"rows":      readRows(t, s, 0, 0),
		"projected": got(s.ProjectedTo(ctx, 0))(t),
		"jobs":      got2(s.Jobs(ctx, store.JobFilter{}, store.Page{}))(t),
		"tasks":     got2(s.Tasks(ctx, jobID(1), -1, store.Page{}))(t),
		"attempts":  got2(s.JobAttempts(ctx, jobID(1), store.Page{}))(t),
		"charges":   got2(s.Charges(ctx, store.ChargeFilter{}, store.Page{}))(t),
		"records":   got(s.Records(ctx))(t),
		"tokens":    got(s.Tokens(ctx))(t),
		"invites":   got(s.Invites(ctx))(t),
		"workers":   got(s.Workers(ctx))(t),
		"setting":   got(s.Setting(ctx, "shards"))(t),
		"servers":   got(s.Servers(ctx))(t),
	}
	return all
}

// A store that was closed and opened answers every question as before, and goes on where it stood.
func reopen(t *testing.T, open func(t *testing.T, dir string) store.Store) {
	dir := t.TempDir()
	s := open(t, dir)
	b := newBook(t, s, 0)
	for i := range 5 {
		next := b.batch()
		issue(&next, "anna", 100)
		place(&next, jobID(i), "anna", 0)
		if i > 0 {
			next.Place[0].Amount = 50
			next.Place[0].Account = cloudcrowd.IssuerAccount
			post(&next, jobID(i), cloudcrowd.IssuerAccount, "bert", 20)
		}
		b.commit(next)
	}
	must(t, s.SaveSnapshot(t.Context(), 0, b.head.Epoch, 3, []byte("state")))
	task := sampleTask(jobID(1), 0, 0)
	a := sampleAttempt(task.ID, 1, "UA", 4)
	must(t, s.Project(t.Context(), store.Projected{To: 4, Jobs: []store.JobRow{sampleJob(1, "anna", cloudcrowd.JobDone)}, Tasks: []cloudcrowd.Task{task}, Attempts: []cloudcrowd.Attempt{a},
		Charges: []cloudcrowd.Charge{{Attempt: a.ID, Gross: 3}}, Records: []store.RecordRow{{Worker: "UA"}}}))
	must(t, s.PutToken(t.Context(), "hash", cloudcrowd.Token{ID: "t"}))
	must(t, s.PutInvite(t.Context(), "hash", cloudcrowd.Invite{ID: "i", Owner: "anna"}))
	got(s.Join(t.Context(), "hash", cloudcrowd.Worker{ID: "UA"}, 1))(t)
	must(t, s.SeenWorker(t.Context(), "UA", cloudcrowd.WorkerInfo{Cores: 3}, 9))
	must(t, s.PutSetting(t.Context(), "shards", "4"))
	must(t, s.PutServer(t.Context(), store.Server{ID: "server", Beat: 3, Draining: true}))
	got(s.Claim(t.Context(), 1, "server", 0))(t)
	want := contents(t, s)
	must(t, s.Close())

	s = open(t, dir)
	defer s.Close()
	have := contents(t, s)
	for what := range want {
		if !reflect.DeepEqual(have[what], want[what]) {
			t.Errorf("%s after reopening:\n%+v\nbefore:\n%+v", what, have[what], want[what])
		}
	}
	again := newBook(t, s, 0)
	if again.head.Epoch <= b.head.Epoch || again.head.Seq != 5 || again.head.SnapshotSeq != 3 || string(again.head.Snapshot) != "state" {
		t.Errorf("head %+v", again.head)
	}
	again.commit(again.batch())
	CheckSum(t, s)
}
