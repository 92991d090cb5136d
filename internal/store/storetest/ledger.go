package storetest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// A hold lowers what is available, posts move credits out of it, its end returns the rest.
func holds(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	b.wantAccount("anna", 0, 0)
	next := b.batch()
	issue(&next, "anna", 100)
	b.commit(next)
	b.wantAccount("anna", 100, 0)
	b.wantAccount(cloudcrowd.IssuerAccount, -100, 0)

	job := jobID(1)
	next = b.batch()
	place(&next, job, "anna", 60)
	b.commit(next)
	b.wantAccount("anna", 100, 60)
	placedAt := next.At

	next = b.batch()
	post(&next, job, "anna", "bert", 19)
	post(&next, job, "anna", cloudcrowd.FeeAccount, 1)
	b.commit(next)
	b.wantAccount("anna", 80, 40)
	b.wantAccount("bert", 19, 0)
	b.wantAccount(cloudcrowd.FeeAccount, 1, 0)
	want := cloudcrowd.Hold{Job: job, Account: "anna", Amount: 60, Posted: 20, State: cloudcrowd.HoldPending, At: placedAt}
	if h := got(s.Hold(t.Context(), job))(t); h != want {
		t.Errorf("hold %+v, want %+v", h, want)
	}

	next = b.batch()
	end(&next, job, cloudcrowd.HoldVoided)
	b.commit(next)
	b.wantAccount("anna", 80, 0)
	want.State = cloudcrowd.HoldVoided
	if h := got(s.Hold(t.Context(), job))(t); h != want {
		t.Errorf("hold %+v, want %+v", h, want)
	}

	// Placed, posted in full and ended in one batch; another expires; bert spends what he earned.
	next = b.batch()
	place(&next, jobID(2), "anna", 10)
	place(&next, jobID(3), "anna", 70)
	place(&next, jobID(4), "bert", 19)
	place(&next, jobID(5), "bert", 0)
	post(&next, jobID(2), "anna", "bert", 10)
	end(&next, jobID(2), cloudcrowd.HoldPosted)
	end(&next, jobID(3), cloudcrowd.HoldExpired)
	b.commit(next)
	b.wantAccount("anna", 70, 0)
	b.wantAccount("bert", 29, 19)

	states := map[cloudcrowd.HoldState][]cloudcrowd.JobID{
		cloudcrowd.HoldPending: {jobID(4), jobID(5)}, cloudcrowd.HoldPosted: {jobID(2)}, cloudcrowd.HoldVoided: {job}, cloudcrowd.HoldExpired: {jobID(3)},
		"": {job, jobID(2), jobID(3), jobID(4), jobID(5)},
	}
	for state, want := range states {
		var list []cloudcrowd.JobID
		for _, h := range got(s.Holds(t.Context(), state))(t) {
			list = append(list, h.Job)
		}
		slices.Sort(list)
		if !slices.Equal(list, want) {
			t.Errorf("holds in state %q: %v, want %v", state, list, want)
		}
	}
	_, err := s.Hold(t.Context(), jobID(99))
	wantCode(t, err, cloudcrowd.NotFound)
	CheckSum(t, s)
}

// A batch that would spend what is not there, or that no correct ledger makes, is refused whole.
func refusedBatches(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	next := b.batch()
	issue(&next, "anna", 100)
	issue(&next, "bert", 5)
	place(&next, jobID(9), cloudcrowd.IssuerAccount, 50) // the issuer may
	b.commit(next)
	next = b.batch()
	place(&next, jobID(1), "anna", 60)
	place(&next, jobID(2), "anna", 10)
	end(&next, jobID(2), cloudcrowd.HoldVoided)
	b.commit(next)

	insufficient := map[string]func(*store.Batch){
		"hold above what is available": func(b *store.Batch) { place(b, jobID(3), "anna", 41) },
		"two holds together above it":  func(b *store.Batch) { place(b, jobID(4), "anna", 30); place(b, jobID(3), "anna", 11) },
		"a hold on credits issued by the same batch": func(b *store.Batch) {
			place(b, jobID(3), "anna", 41)
			issue(b, "anna", 41)
		},
		"hold of an unknown account": func(b *store.Batch) { place(b, jobID(3), "nobody", 1) },
	}
	for name, fill := range insufficient {
		batch := b.batch()
		fill(&batch)
		err := s.Commit(t.Context(), batch)
		lack, ok := errors.AsType[*store.InsufficientError](err)
		if !ok || lack.Job != jobID(3) || lack.Wanted <= lack.Available {
			t.Errorf("%s: %v (%+v), want an InsufficientError of job 3", name, err, lack)
		}
	}
	raw := func(kind cloudcrowd.TransferKind, from, to cloudcrowd.AccountID, amount cloudcrowd.Credits) func(*store.Batch) {
		return func(b *store.Batch) {
			add(b, cloudcrowd.Transfer{Kind: kind, Debit: from, Credit: to, Amount: amount, Job: jobID(1)})
		}
	}
	defects := map[string]func(*store.Batch){
		"post above the hold":         func(b *store.Batch) { post(b, jobID(1), "anna", "bert", 61) },
		"post without a hold":         func(b *store.Batch) { post(b, jobID(5), "anna", "bert", 1) },
		"post against an ended hold":  func(b *store.Batch) { post(b, jobID(2), "anna", "bert", 1) },
		"post of another's hold":      func(b *store.Batch) { post(b, jobID(1), "bert", "carl", 1) },
		"post after the end of batch": func(b *store.Batch) { end(b, jobID(1), cloudcrowd.HoldVoided); end(b, jobID(1), cloudcrowd.HoldVoided) },
		"second hold of a job":        func(b *store.Batch) { place(b, jobID(2), "anna", 1) },
		"twice in the batch":          func(b *store.Batch) { place(b, jobID(6), "anna", 1); place(b, jobID(6), "anna", 1) },
		"negative hold":               func(b *store.Batch) { place(b, jobID(6), "anna", -1) },
		"hold that is not pending": func(b *store.Batch) {
			place(b, jobID(6), "anna", 1)
			b.Place[0].State = cloudcrowd.HoldPosted
		},
		"hold posted from the start": func(b *store.Batch) { place(b, jobID(6), "anna", 1); b.Place[0].Posted = 1 },
		"end of no hold":             func(b *store.Batch) { end(b, jobID(5), cloudcrowd.HoldVoided) },
		"end of an ended hold":       func(b *store.Batch) { end(b, jobID(2), cloudcrowd.HoldVoided) },
		"end as pending":             func(b *store.Batch) { end(b, jobID(1), cloudcrowd.HoldPending) },
		"end as posted with a rest":  func(b *store.Batch) { end(b, jobID(1), cloudcrowd.HoldPosted) },
		"transfer of nothing":        raw(cloudcrowd.TransferIssue, cloudcrowd.IssuerAccount, "anna", 0),
		"negative transfer":          raw(cloudcrowd.TransferIssue, cloudcrowd.IssuerAccount, "anna", -3),
		"transfer to itself":         raw(cloudcrowd.TransferIssue, "anna", "anna", 1),
		"transfer of unknown kind":   raw("gift", "anna", "bert", 1),
		"transfer without account":   raw(cloudcrowd.TransferIssue, cloudcrowd.IssuerAccount, "", 1),
		"same id twice":              func(b *store.Batch) { issue(b, "anna", 1); issue(b, "anna", 1); b.Transfers[1].ID = b.Transfers[0].ID },
		"id of another row":          func(b *store.Batch) { issue(b, "anna", 1); b.Transfers[0].ID = "0-1-0" },
		"cites another row":          func(b *store.Batch) { issue(b, "anna", 1); b.Transfers[0].Seq-- },
	}
	for name, fill := range defects {
		batch := b.batch()
		fill(&batch)
		if err := s.Commit(t.Context(), batch); cloudcrowd.CodeOf(err) != cloudcrowd.Internal {
			t.Errorf("%s: %v, want an internal error", name, err)
		}
	}
	b.wantAccount("anna", 100, 60)
	b.wantAccount("bert", 5, 0)
	b.wantAccount(cloudcrowd.IssuerAccount, -105, 50)
	if n := len(readRows(t, s, 0, 0)); n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	if n := len(got(s.Holds(t.Context(), ""))(t)); n != 3 {
		t.Errorf("%d holds, want 3", n)
	}
	b.commit(b.batch()) // the shard goes on
}

// What a refused batch had done before the refusal is undone: transfers, holds, the row, the head.
func failedCommit(t *testing.T, s store.Store) {
	b := newBook(t, s, 0)
	next := b.batch()
	issue(&next, "anna", 100)
	place(&next, jobID(1), cloudcrowd.IssuerAccount, 1)
	b.commit(next)
	bad := b.batch()
	issue(&bad, "anna", 1)
	issue(&bad, "bert", 1)
	place(&bad, jobID(2), "anna", 50)
	end(&bad, jobID(1), cloudcrowd.HoldVoided)
	end(&bad, jobID(7), cloudcrowd.HoldVoided) // no such hold
	wantCode(t, s.Commit(t.Context(), bad), cloudcrowd.Internal)
	b.wantAccount("anna", 100, 0)
	b.wantAccount("bert", 0, 0)
	if list, _, err := s.Transfers(t.Context(), store.TransferFilter{}, store.Page{}); err != nil || len(list) != 1 {
		t.Errorf("transfers %v, %v, want one", list, err)
	}
	if list := got(s.Holds(t.Context(), cloudcrowd.HoldPending))(t); len(list) != 1 || list[0].Job != jobID(1) {
		t.Errorf("pending holds %v, want job 1's", list)
	}
	b.commit(b.batch())
}

// Two shards commit at once on the same accounts while others read: every reading sums to zero.
func accountsWhileCommitting(t *testing.T, s store.Store) {
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	const rounds = 60
	for shard := range 2 {
		b := newBook(t, s, shard)
		writing.Go(func() {
			for i := range rounds {
				next := b.batch()
				issue(&next, "anna", 10)
				issue(&next, "bert", 5)
				if i > 0 {
					job := jobID(shard*1000 + i)
					place(&next, job, "anna", 9)
					post(&next, job, "anna", "bert", 4)
					end(&next, job, cloudcrowd.HoldVoided)
				}
				if err := s.Commit(t.Context(), next); err != nil {
					t.Errorf("shard %d: %v", shard, err)
					return
				}
				b.head.Seq = next.Seq
			}
		})
	}
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					CheckSum(t, s)
				}
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	b := &book{t: t, s: s}
	b.wantAccount("anna", 2*(rounds*10-(rounds-1)*4), 0)
	b.wantAccount("bert", 2*(rounds*5+(rounds-1)*4), 0)
}
