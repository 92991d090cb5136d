package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/callid"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// fakeBackend is a Task Manager in memory, just enough to be asked.
type fakeBackend struct {
	mu        sync.Mutex
	jobs      map[cloudcrowd.JobID]cloudcrowd.Job
	tasks     map[cloudcrowd.TaskID]cloudcrowd.Task
	workers   map[cloudcrowd.WorkerID]cloudcrowd.WorkerView
	accounts  map[cloudcrowd.AccountID]cloudcrowd.Account
	transfers []cloudcrowd.Transfer
	charges   []cloudcrowd.Charge
	keys      map[string]cloudcrowd.JobID
	issues    map[string]cloudcrowd.Transfer
	events    []cloudcrowd.Event
	more      chan struct{} // closed when an event was added
	cut       int           // feeds are cut after so many events; 0: never
	fail      error         // answer of Submit, when set
	call      string        // what it was part of, when last asked to submit
	status    cloudcrowd.ServerStatus
}

func newFakeBackend() *fakeBackend {
	return &fakeBackend{
		jobs: map[cloudcrowd.JobID]cloudcrowd.Job{}, tasks: map[cloudcrowd.TaskID]cloudcrowd.Task{}, workers: map[cloudcrowd.WorkerID]cloudcrowd.WorkerView{},
		accounts: map[cloudcrowd.AccountID]cloudcrowd.Account{}, keys: map[string]cloudcrowd.JobID{}, issues: map[string]cloudcrowd.Transfer{}, more: make(chan struct{}),
	}
}

func none(what string) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "backend: no such %s", what)
}

// cut pages: the cursor is the index of the next item.
func slice[T any](all []T, p store.Page) ([]T, string, error) {
	from, limit := 0, p.Limit
	if p.Cursor != "" {
		var err error
		if from, err = strconv.Atoi(p.Cursor); err != nil || from > len(all) {
			return nil, "", cloudcrowd.Fieldf("cursor", "not a cursor")
		}
	}
	if limit == 0 {
		limit = 100
	}
	to := min(from+limit, len(all))
	next := ""
	if to < len(all) {
		next = strconv.Itoa(to)
	}
	return all[from:to], next, nil
}

func (b *fakeBackend) Plan(_ context.Context, _ cloudcrowd.AccountID, s cloudcrowd.JobSpec) (cloudcrowd.Plan, error) {
	if b.fail != nil {
		return cloudcrowd.Plan{}, b.fail
	}
	return cloudcrowd.Plan{Name: s.Name}, nil
}

func (b *fakeBackend) Submit(ctx context.Context, a cloudcrowd.AccountID, s cloudcrowd.JobSpec, key string) (cloudcrowd.JobID, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return "", b.fail
	}
	b.call = callid.Of(ctx)
	if id, ok := b.keys[string(a)+"/"+key]; ok {
		return id, nil
	}
	id := testJob(len(b.jobs) + 1)
	b.keys[string(a)+"/"+key] = id
	b.jobs[id] = cloudcrowd.Job{JobSummary: cloudcrowd.JobSummary{ID: id, Name: s.Name, Account: a, State: cloudcrowd.JobRunning}, Spec: s}
	return id, nil
}

func (b *fakeBackend) Cancel(_ context.Context, id cloudcrowd.JobID, _ cloudcrowd.AccountID, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	j, ok := b.jobs[id]
	if !ok {
		return none("job")
	}
	if j.State.Ended() {
		return cloudcrowd.Errorf(cloudcrowd.Conflict, "the job has ended")
	}
	j.State, j.Reason = cloudcrowd.JobCancelled, reason
	b.jobs[id] = j
	return nil
}

func (b *fakeBackend) Job(_ context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j, ok := b.jobs[id]
	if !ok {
		return j, none("job")
	}
	return j, nil
}

func (b *fakeBackend) Jobs(_ context.Context, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.JobSummary
	for _, j := range b.jobs {
		if (f.Account == "" || f.Account == j.Account) && (f.State == "" || f.State == j.State) {
			all = append(all, j.JobSummary)
		}
	}
	slices.SortFunc(all, func(x, y cloudcrowd.JobSummary) int { return cmp.Compare(y.ID, x.ID) })
	return slice(all, p)
}

func (b *fakeBackend) Tasks(_ context.Context, id cloudcrowd.JobID, _ string, _ cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.Task
	for _, t := range b.tasks {
		if t.Job == id {
			all = append(all, t)
		}
	}
	slices.SortFunc(all, func(x, y cloudcrowd.Task) int { return cmp.Compare(x.Index, y.Index) })
	return slice(all, p)
}

func (b *fakeBackend) Task(_ context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t, ok := b.tasks[id]
	if !ok {
		return t, none("task")
	}
	return t, nil
}

func (b *fakeBackend) Attempts(_ context.Context, id cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.Attempt
	for _, t := range b.tasks {
		if t.Job == id {
			all = append(all, t.Attempts...)
		}
	}
	return slice(all, p)
}

func (b *fakeBackend) Explain(_ context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error) {
	return cloudcrowd.Explanation{Subject: string(id)}, nil
}

func (b *fakeBackend) ExplainTask(_ context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error) {
	return cloudcrowd.Explanation{Subject: id.String()}, nil
}

func (b *fakeBackend) Workers(context.Context) ([]cloudcrowd.WorkerView, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.WorkerView
	for _, w := range b.workers {
		all = append(all, w)
	}
	slices.SortFunc(all, func(x, y cloudcrowd.WorkerView) int { return cmp.Compare(x.ID, y.ID) })
	return all, nil
}

func (b *fakeBackend) Worker(_ context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w, ok := b.workers[id]
	if !ok {
		return w, none("worker")
	}
	return w, nil
}

func (b *fakeBackend) WorkerAttempts(_ context.Context, id cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.Attempt
	for _, t := range b.tasks {
		for _, a := range t.Attempts {
			if a.Worker == id {
				all = append(all, a)
			}
		}
	}
	return slice(all, p)
}

func (b *fakeBackend) RevokeWorker(_ context.Context, id cloudcrowd.WorkerID, revoked bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.workers[id]
	w.Revoked = revoked
	b.workers[id] = w
	return nil
}

func (b *fakeBackend) Issue(_ context.Context, to cloudcrowd.AccountID, amount cloudcrowd.Credits, by cloudcrowd.AccountID, note, key string) (cloudcrowd.Transfer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t, ok := b.issues[string(by)+"/"+key]; ok {
		return t, nil
	}
	t := cloudcrowd.Transfer{ID: fmt.Sprintf("0-%d-0", len(b.transfers)+1), Kind: cloudcrowd.TransferIssue, Debit: cloudcrowd.IssuerAccount, Credit: to, Amount: amount, Note: note}
	b.transfers = append(b.transfers, t)
	b.issues[string(by)+"/"+key] = t
	a := b.accounts[to]
	a.ID, a.Balance = to, a.Balance+amount
	b.accounts[to] = a
	return t, nil
}

func (b *fakeBackend) Account(_ context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.accounts[id]
	a.ID = id
	return a, nil
}

func (b *fakeBackend) Accounts(context.Context) ([]cloudcrowd.Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.Account
	for _, a := range b.accounts {
		all = append(all, a)
	}
	return all, nil
}

func (b *fakeBackend) Transfers(_ context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.Transfer
	for _, t := range b.transfers {
		if f.Account == "" || f.Account == t.Debit || f.Account == t.Credit {
			all = append(all, t)
		}
	}
	return slice(all, p)
}

func (b *fakeBackend) Charges(_ context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []cloudcrowd.Charge
	for _, c := range b.charges {
		if (f.Requester == "" || f.Requester == c.Requester) && (f.Owner == "" || f.Owner == c.Owner) {
			all = append(all, c)
		}
	}
	return slice(all, p)
}

func (b *fakeBackend) Prices() cloudcrowd.Prices { return cloudcrowd.DefaultPrices }

func (b *fakeBackend) Status(context.Context) (cloudcrowd.ServerStatus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.status, nil
}

// emit adds an event to the feed.
func (b *fakeBackend) emit(account cloudcrowd.AccountID, job cloudcrowd.JobID, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, cloudcrowd.Event{ID: fmt.Sprintf("0-%d-0", len(b.events)+1), Type: "task.accepted", Account: account, Job: job, Text: text})
	close(b.more)
	b.more = make(chan struct{})
}

func (b *fakeBackend) Events(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) (<-chan cloudcrowd.Event, error) {
	b.mu.Lock()
	at, cut := len(b.events), b.cut
	b.mu.Unlock()
	if after != "" {
		if _, err := fmt.Sscanf(after, "0-%d-0", &at); err != nil {
			return nil, cloudcrowd.Fieldf("Last-Event-ID", "not the id of an event")
		}
	}
	out := make(chan cloudcrowd.Event)
	go func() {
		defer close(out)
		for sent := 0; cut == 0 || sent < cut; {
			b.mu.Lock()
			var e *cloudcrowd.Event
			if at < len(b.events) {
				e = &b.events[at]
			}
			more := b.more
			b.mu.Unlock()
			if e == nil {
				select {
				case <-more:
					continue
				case <-ctx.Done():
					return
				}
			}
			at++
			if account != "" && e.Account != account || job != "" && e.Job != job {
				continue
			}
			select {
			case out <- *e:
				sent++
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

// fakeBlobs keeps blobs in memory.
type fakeBlobs struct {
	mu   sync.Mutex
	m    map[cloudcrowd.Digest][]byte
	full bool
	rot  map[cloudcrowd.Digest]bool // damaged on the disk; storing them again mends them
}

func sum(b []byte) cloudcrowd.Digest {
	s := sha256.Sum256(b)
	return cloudcrowd.Digest(hex.EncodeToString(s[:]))
}

func (f *fakeBlobs) Put(_ context.Context, d cloudcrowd.Digest, size int64, r io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(r, size+1))
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full {
		return cloudcrowd.Errorf(cloudcrowd.Unavailable, "the disk is full")
	}
	if sum(b) != d || int64(len(b)) != size {
		return cloudcrowd.Errorf(cloudcrowd.DigestMismatch, "the bytes are not those of the digest")
	}
	f.m[d] = b
	delete(f.rot, d)
	return nil
}

func (f *fakeBlobs) Open(_ context.Context, d cloudcrowd.Digest, off, length int64) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.m[d]
	if !ok {
		return nil, none("blob")
	}
	if f.rot[d] {
		return nil, &blob.CorruptError{Digest: d}
	}
	return io.NopCloser(bytes.NewReader(b[off : off+length])), nil
}

func (f *fakeBlobs) Stat(_ context.Context, d cloudcrowd.Digest) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.m[d]
	if !ok {
		return 0, none("blob")
	}
	return int64(len(b)), nil
}

// fakeDirectory keeps tokens, invites and workers in memory.
type fakeDirectory struct {
	store.Directory // what is not used stays nil
	mu              sync.Mutex
	tokens          map[string]cloudcrowd.Token
	invites         map[string]cloudcrowd.Invite
	workers         map[cloudcrowd.WorkerID]cloudcrowd.Worker
	settings        map[string]string
}

func newFakeDirectory() *fakeDirectory {
	return &fakeDirectory{tokens: map[string]cloudcrowd.Token{}, invites: map[string]cloudcrowd.Invite{}, workers: map[cloudcrowd.WorkerID]cloudcrowd.Worker{}, settings: map[string]string{}}
}

func (f *fakeDirectory) PutToken(_ context.Context, hash string, t cloudcrowd.Token) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens[hash] = t
	return nil
}

func (f *fakeDirectory) TokenByHash(_ context.Context, hash string) (cloudcrowd.Token, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.tokens[hash]
	if !ok {
		return t, none("token")
	}
	return t, nil
}

func (f *fakeDirectory) Tokens(context.Context) (all []cloudcrowd.Token, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.tokens {
		all = append(all, t)
	}
	return all, nil
}

func (f *fakeDirectory) DeleteToken(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for h, t := range f.tokens {
		if t.ID == id {
			delete(f.tokens, h)
			return nil
		}
	}
	return none("token")
}

func (f *fakeDirectory) PutInvite(_ context.Context, hash string, i cloudcrowd.Invite) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.invites[hash] = i
	return nil
}

func (f *fakeDirectory) Invites(context.Context) (all []cloudcrowd.Invite, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.invites {
		all = append(all, i)
	}
	return all, nil
}

func (f *fakeDirectory) RevokeInvite(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for h, i := range f.invites {
		if i.ID == id {
			i.Revoked = true
			f.invites[h] = i
			return nil
		}
	}
	return none("invite")
}

func (f *fakeDirectory) Join(_ context.Context, hash string, w cloudcrowd.Worker, _ cloudcrowd.Time) (cloudcrowd.Worker, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.invites[hash]
	if old, known := f.workers[w.ID]; known && ok && old.Owner == i.Owner {
		return old, nil
	}
	if !ok || i.Revoked || i.MaxUses > 0 && i.Uses >= i.MaxUses {
		return w, cloudcrowd.Errorf(cloudcrowd.Forbidden, "the invite is not valid")
	}
	i.Uses++
	f.invites[hash] = i
	w.Owner, w.Invite = i.Owner, i.ID
	f.workers[w.ID] = w
	return w, nil
}

func (f *fakeDirectory) Setting(_ context.Context, key string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settings[key], nil
}

func (f *fakeDirectory) PutSetting(_ context.Context, key, value string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.settings[key] = value
	return nil
}

func (f *fakeDirectory) KeepSetting(_ context.Context, key, value string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settings[key] == "" {
		f.settings[key] = value
	}
	return f.settings[key], nil
}
