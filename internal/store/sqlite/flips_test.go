package sqlite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/store/sqlite/pagesum"
)

// stocked writes something to every table of a new database, most of it on several pages, and closes it. It returns the seq of the last row.
func stocked(t *testing.T, dir string) int64 {
	t.Helper()
	ctx, s := t.Context(), open(t, dir)
	h, err := s.Claim(ctx, 0, "server", 0)
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	seq := int64(0)
	batch := func() store.Batch {
		seq++
		return store.Batch{Epoch: h.Epoch, Seq: seq, At: cloudcrowd.Time(seq), Count: 1, Events: bytes.Repeat([]byte{byte(seq)}, 300)}
	}
	for n := range 4 {
		b := batch()
		for i := range 150 {
			b.Transfers = append(b.Transfers, cloudcrowd.Transfer{ID: fmt.Sprintf("0-%d-%d", seq, i), Kind: cloudcrowd.TransferIssue, Debit: "issuer",
				Credit: cloudcrowd.AccountID(fmt.Sprintf("owner-%d-%03d", n, i)), Amount: 100, Seq: seq, At: b.At, Note: "a gift"})
		}
		must(s.Commit(ctx, b))
	}
	p := store.Projected{}
	for n := range 4 {
		b := batch()
		for i := range 60 {
			account, job := cloudcrowd.AccountID(fmt.Sprintf("owner-%d-%03d", n, i)), cloudcrowd.JobID(fmt.Sprintf("j%d%015d", n, i))
			b.Place = append(b.Place, cloudcrowd.Hold{Job: job, Account: account, Amount: 50, State: cloudcrowd.HoldPending, At: b.At})
			p.Jobs = append(p.Jobs, store.JobRow{Summary: cloudcrowd.JobSummary{ID: job, Name: "a job", Account: account, SubmittedAt: b.At, State: cloudcrowd.JobDone}, Detail: bytes.Repeat([]byte("{}"), 50*(1+i%2*60))})
		}
		must(s.Commit(ctx, b))
	}
	p.To = seq
	for i := range 80 {
		p.Records = append(p.Records, store.RecordRow{Worker: cloudcrowd.WorkerID(fmt.Sprintf("U%050d", i)), Record: cloudcrowd.Record{Valid: int64(i)}})
	}
	must(s.Project(ctx, p))
	must(s.Commit(ctx, batch()))
	must(s.Project(ctx, finishedTasks(seq, 1200, 2)))
	must(s.SaveSnapshot(ctx, 0, h.Epoch, seq, bytes.Repeat([]byte("state"), 3000)))
	for i := range 40 {
		id := fmt.Sprintf("id-%03d", i)
		must(s.PutToken(ctx, strings.Repeat(fmt.Sprintf("%02x", i), 32), cloudcrowd.Token{ID: id, Account: "owner-0-000"}))
		must(s.PutInvite(ctx, strings.Repeat(fmt.Sprintf("%02x", i), 32), cloudcrowd.Invite{ID: id, Owner: "owner-0-000"}))
		_, err := s.Join(ctx, strings.Repeat(fmt.Sprintf("%02x", i), 32), cloudcrowd.Worker{ID: cloudcrowd.WorkerID(fmt.Sprintf("U%050d", i)), Name: "machine"}, 5)
		must(err)
		must(s.PutSetting(ctx, id, strings.Repeat("value", 30)))
		must(s.PutServer(ctx, store.Server{ID: id, URL: "https://server.example/of/some/length", Beat: 1}))
	}
	must(s.Close())
	return seq
}

// answers are what a store says to every question, by question; one that is refused has the error.
func answers(ctx context.Context, s *Store) (said map[string]string, refused map[string]error) {
	said, refused = map[string]string{}, map[string]error{}
	note := func(question string, answer any, err error) {
		if err != nil {
			refused[question] = err
			return
		}
		b, err := json.Marshal(answer)
		if err != nil {
			panic(err)
		}
		said[question] = string(b)
	}
	// listed notes all pages of a list.
	listed := func(question string, read func(p store.Page) (any, string, error)) {
		for p := (store.Page{Limit: 1000}); ; {
			list, next, err := read(p)
			note(question+p.Cursor, list, err)
			if p.Cursor = next; next == "" {
				return
			}
		}
	}
	accounts, err := s.Accounts(ctx)
	note("accounts", accounts, err)
	for _, a := range []cloudcrowd.AccountID{"issuer", "owner-0-000", "owner-1-077", "owner-3-149", "nobody"} {
		v, err := s.Account(ctx, a)
		note("account "+string(a), v, err)
	}
	for _, f := range []store.TransferFilter{{}, {Account: "owner-1-077"}, {Account: "issuer"}, {Job: "j0"}, {Since: 2, Until: 4}} {
		listed(fmt.Sprint("transfers ", f), func(p store.Page) (any, string, error) { return three(s.Transfers(ctx, f, p)) })
	}
	for _, state := range []cloudcrowd.HoldState{"", cloudcrowd.HoldPending} {
		holds, err := s.Holds(ctx, state)
		note("holds "+string(state), holds, err)
	}
	for _, f := range []store.JobFilter{{}, {Account: "owner-1-017"}, {State: cloudcrowd.JobDone}} {
		listed(fmt.Sprint("jobs ", f), func(p store.Page) (any, string, error) { return three(s.Jobs(ctx, f, p)) })
	}
	for n := range 4 {
		for i := range 60 {
			id := cloudcrowd.JobID(fmt.Sprintf("j%d%015d", n, i))
			job, err := s.Job(ctx, id)
			note("job "+string(id), job, err)
			hold, err := s.Hold(ctx, id)
			note("hold "+string(id), hold, err)
		}
	}
	const job = cloudcrowd.JobID("j0000000000000000")
	listed("tasks", func(p store.Page) (any, string, error) { return three(s.Tasks(ctx, job, -1, p)) })
	listed("attempts", func(p store.Page) (any, string, error) { return three(s.JobAttempts(ctx, job, p)) })
	listed("charges", func(p store.Page) (any, string, error) { return three(s.Charges(ctx, store.ChargeFilter{}, p)) })
	for w := range 16 {
		worker := cloudcrowd.WorkerID(fmt.Sprintf("U%055d", w))
		listed(fmt.Sprint("attempts of ", w), func(p store.Page) (any, string, error) { return three(s.WorkerAttempts(ctx, worker, p)) })
		listed(fmt.Sprint("charges of ", w), func(p store.Page) (any, string, error) {
			return three(s.Charges(ctx, store.ChargeFilter{Worker: worker}, p))
		})
	}
	for _, f := range []store.ChargeFilter{{Requester: "anna"}, {Owner: "bert"}, {Job: job}} {
		listed(fmt.Sprintf("charges by %v", f), func(p store.Page) (any, string, error) { return three(s.Charges(ctx, f, p)) })
	}
	records, err := s.Records(ctx)
	note("records", records, err)
	tokens, err := s.Tokens(ctx)
	note("tokens", tokens, err)
	invites, err := s.Invites(ctx)
	note("invites", invites, err)
	workers, err := s.Workers(ctx)
	note("workers", workers, err)
	servers, err := s.Servers(ctx)
	note("servers", servers, err)
	heads, err := s.ShardList(ctx)
	note("shards", heads, err)
	seq, state, err := s.Snapshot(ctx, 0)
	note("snapshot", []any{seq, state}, err)
	ends, err := s.JournalEnds(ctx)
	note("ends", ends, err)
	for i := range 40 {
		id := fmt.Sprintf("id-%03d", i)
		token, err := s.TokenByHash(ctx, strings.Repeat(fmt.Sprintf("%02x", i), 32))
		note("token "+id, token, err)
		value, err := s.Setting(ctx, id)
		note("setting "+id, value, err)
		worker, err := s.Worker(ctx, cloudcrowd.WorkerID(fmt.Sprintf("U%050d", i)))
		note("worker "+id, worker, err)
	}
	var rows []store.Row
	err = s.Rows(ctx, 0, 0, func(r store.Row) error { rows = append(rows, r); return nil })
	note("journal", rows, err)
	return said, refused
}

func three[T any](list []T, next string, err error) (any, string, error) { return list, next, err }

// A bit flips in a page of every table and every index: what a store answers is what it answered before, or an error that names what is damaged. A commit that needs
// the page is refused and changes nothing, others go on. The check names every such page.
func TestPageFlips(t *testing.T) {
	t.Parallel()
	dir := quickDir(t)
	last := stocked(t, dir)
	file, err := os.ReadFile(filepath.Join(dir, "cloudcrowd.db"))
	if err != nil {
		t.Fatal(err)
	}
	view := openSnapshot(t, filepath.Join(dir, "cloudcrowd.db"))
	before, refused := answers(t.Context(), view)
	if len(refused) > 0 || len(before) < 600 {
		t.Fatalf("%d answers, %v", len(before), refused)
	}
	pages := map[string][]int{} // of each table and index
	err = view.each(t.Context(), "SELECT name, pageno FROM dbstat", nil, func(scan scanner) error {
		var name string
		var page int
		err := scan(&name, &page)
		pages[name] = append(pages[name], page)
		return err
	})
	if err != nil || len(pages) < 25 {
		t.Fatal(len(pages), err)
	}
	lots, each, left := rand.New(rand.NewPCG(7, 9)), 2, len(pages)
	if testing.Short() { // some of them, others each time
		each, left = 1, 8
	}
	for name, list := range pages {
		if left--; left < 0 {
			break
		}
		lots.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, page := range list[:min(len(list), each)] {
			at, bit := (page-1)*pagesum.PageSize+lots.IntN(pagesum.PageSize-2), lots.IntN(8)
			what := fmt.Sprintf("%s: bit %d of byte %d of page %d", name, bit, at%pagesum.PageSize, page)
			dir := quickDir(t)
			path := filepath.Join(dir, "cloudcrowd.db")
			b := slices.Clone(file)
			b[at] ^= 1 << bit
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			view, err := OpenSnapshot(t.Context(), path)
			if err != nil {
				rotten(t, page, what, err)
			} else {
				bad, err := view.Integrity(t.Context(), true)
				if len(bad) == 0 && err == nil {
					t.Errorf("%s: the check finds nothing", what)
				}
				if len(bad) > 0 && !strings.Contains(strings.Join(bad, " "), name) && page != 1 {
					t.Errorf("%s: the check names %q", what, bad)
				}
				after, refused := answers(t.Context(), view)
				compare(t, page, what, before, after, refused)
				if len(refused) == 0 && !strings.Contains("goose_db_version sqlite_sequence sqlite_autoindex_invites_2 transfers_credit transfers_debit jobs_account", name) { // of which not all is asked
					t.Errorf("%s: everything is answered as before", what)
				}
				if err := view.Close(); err != nil {
					t.Error(err)
				}
			}
			flippedCommits(t, page, what, path, last, before)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// rotten holds that an error names the page that is damaged; on the first one, SQLite finds other things wrong before.
func rotten(t *testing.T, page int, what string, err error) {
	t.Helper()
	if e, ok := errors.AsType[*store.CorruptError](err); !ok || !strings.Contains(e.Error(), fmt.Sprintf("page %d of the database file", page)) && page != 1 {
		t.Errorf("%s: %v, want an error that names it", what, err)
	}
}

func compare(t *testing.T, page int, what string, before, after map[string]string, refused map[string]error) {
	t.Helper()
	for question, answer := range after {
		if was, ok := before[question]; !ok || was != answer {
			t.Errorf("%s: the answer to %q is\n%.300s\nbefore\n%.300s", what, question, answer, was)
		}
	}
	for question, err := range refused {
		rotten(t, page, what+": "+question, err)
	}
	if before != nil && len(after)+len(refused) < len(before)/2 {
		t.Errorf("%s: only %d answers", what, len(after))
	}
}

// flippedCommits holds that on a damaged database commits are made whole or refused, and that what is said is true before and after.
func flippedCommits(t *testing.T, page int, what, path string, last int64, before map[string]string) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		rotten(t, page, what, err)
		return
	}
	defer s.Close()
	h, err := s.Acquire(t.Context(), 0)
	if err != nil {
		rotten(t, page, what, err)
		return
	}
	seq, given := last, map[cloudcrowd.AccountID]cloudcrowd.Credits{}
	for n := range 4 {
		for i := 0; i < 150; i += 7 {
			account := cloudcrowd.AccountID(fmt.Sprintf("owner-%d-%03d", n, i))
			b := store.Batch{Epoch: h.Epoch, Seq: seq + 1, At: cloudcrowd.Time(i), Count: 1, Events: []byte("x"), Transfers: []cloudcrowd.Transfer{{ID: fmt.Sprintf("0-%d-0", seq+1),
				Kind: cloudcrowd.TransferIssue, Debit: "issuer", Credit: account, Amount: 1, Seq: seq + 1, At: cloudcrowd.Time(i)}}}
			if job := cloudcrowd.JobID(fmt.Sprintf("j%d%015d", n, i)); i < 60 {
				b.End = []store.HoldEnd{{Job: job, State: cloudcrowd.HoldVoided}}
			}
			if err := s.Commit(t.Context(), b); err == nil {
				seq++
				given[account]++
			} else {
				rotten(t, page, what+": a commit", err)
			}
		}
	}
	heads, err := s.ShardList(t.Context())
	if err != nil {
		rotten(t, page, what, err)
	} else if heads[0].Seq != seq {
		t.Errorf("%s: the journal ends at %d, %d were acknowledged", what, heads[0].Seq, seq)
	}
	list, err := s.Accounts(t.Context())
	if err != nil {
		rotten(t, page, what, err)
		return
	}
	var was []cloudcrowd.Account
	if err := json.Unmarshal([]byte(before["accounts"]), &was); err != nil {
		t.Fatal(err)
	}
	balances := map[cloudcrowd.AccountID]cloudcrowd.Credits{}
	for _, a := range was {
		balances[a.ID] = a.Balance
	}
	for id, n := range given {
		balances[id] += n
		balances["issuer"] -= n
	}
	if len(list) != len(was) {
		t.Errorf("%s: %d accounts, want %d", what, len(list), len(was))
	}
	for _, a := range list {
		if a.Balance != balances[a.ID] {
			t.Errorf("%s: account %s has %d, want %d", what, a.ID, a.Balance, balances[a.ID])
		}
	}
}
