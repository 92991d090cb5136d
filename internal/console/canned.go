package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"sort"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// canned is a Backend, blob store and directory that holds fixed data, for the gallery and tests.
type canned struct {
	status    cloudcrowd.ServerStatus
	jobList   []*cannedJob // newest first
	workers   []cloudcrowd.WorkerView
	accounts  []cloudcrowd.Account
	transfers []cloudcrowd.Transfer // newest first
	charges   []cloudcrowd.Charge   // newest first
	invites   []cloudcrowd.Invite
	blobs     map[cloudcrowd.Digest][]byte
	cancelled []cloudcrowd.JobID // calls of Cancel
}

type cannedJob struct {
	job      cloudcrowd.Job
	tasks    []cloudcrowd.Task // by stage and index, with attempts
	attempts []cloudcrowd.Attempt
	explain  []string
}

func missing(what string, id any) error {
	return cloudcrowd.Errorf(cloudcrowd.NotFound, "There is no %s %v here.", what, id)
}

// cut returns one page of a list by position.
func cut[T any](list []T, p store.Page) ([]T, string) {
	limit := p.Limit
	if limit <= 0 {
		limit = 100
	}
	from := min(atoi(p.Cursor), len(list))
	to := min(from+min(limit, 1000), len(list))
	if to < len(list) {
		return list[from:to], itoa(to)
	}
	return list[from:to], ""
}

func (d *canned) find(id cloudcrowd.JobID) (*cannedJob, error) {
	for _, j := range d.jobList {
		if j.job.ID == id {
			return j, nil
		}
	}
	return nil, missing("job", id)
}

func (d *canned) Cancel(_ context.Context, id cloudcrowd.JobID, _ cloudcrowd.AccountID, _ string) error {
	j, err := d.find(id)
	if err != nil {
		return err
	}
	if j.job.State.Ended() {
		return cloudcrowd.Errorf(cloudcrowd.Conflict, "Job %s has ended.", id)
	}
	d.cancelled = append(d.cancelled, id)
	return nil
}

func (d *canned) Job(_ context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	j, err := d.find(id)
	if err != nil {
		return cloudcrowd.Job{}, err
	}
	return j.job, nil
}

func (d *canned) Jobs(_ context.Context, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error) {
	var all []cloudcrowd.JobSummary
	for _, j := range d.jobList {
		s := j.job.JobSummary
		if (f.Account != "" && s.Account != f.Account) || (f.State != "" && s.State != f.State) ||
			!strings.Contains(strings.ToLower(s.Name+" "+string(s.ID)), strings.ToLower(f.Text)) {
			continue
		}
		all = append(all, s)
	}
	list, next := cut(all, p)
	return list, next, nil
}

func (d *canned) Tasks(_ context.Context, id cloudcrowd.JobID, stage string, state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error) {
	j, err := d.find(id)
	if err != nil {
		return nil, "", err
	}
	var all []cloudcrowd.Task
	for _, t := range j.tasks {
		if (stage == "" || t.Stage == stage) && (state == "" || t.State == state) {
			all = append(all, t)
		}
	}
	list, next := cut(all, p)
	return list, next, nil
}

func (d *canned) Task(_ context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	j, err := d.find(id.Job)
	if err != nil {
		return cloudcrowd.Task{}, err
	}
	for _, t := range j.tasks {
		if t.ID == id {
			return t, nil
		}
	}
	return cloudcrowd.Task{}, missing("task", id)
}

func (d *canned) Attempts(_ context.Context, id cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	j, err := d.find(id)
	if err != nil {
		return nil, "", err
	}
	list, next := cut(j.attempts, p)
	return list, next, nil
}

func (d *canned) Explain(_ context.Context, id cloudcrowd.JobID) (cloudcrowd.Explanation, error) {
	j, err := d.find(id)
	if err != nil {
		return cloudcrowd.Explanation{}, err
	}
	return cloudcrowd.Explanation{Subject: string(id), Lines: j.explain}, nil
}

func (d *canned) ExplainTask(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Explanation, error) {
	t, err := d.Task(ctx, id)
	if err != nil {
		return cloudcrowd.Explanation{}, err
	}
	line := "It waits because no free worker of another owner is left; the next slot is expected in 4 s."
	switch t.State {
	case cloudcrowd.TaskDone:
		line = fmt.Sprintf("Accepted: %d results of different owners agreed.", t.Quorum)
	case cloudcrowd.TaskRunning:
		line = "Running: results of two owners must agree."
	case cloudcrowd.TaskFailed:
		line = "It failed on every worker that tried it; read the last lines of stderr below."
	}
	return cloudcrowd.Explanation{Subject: id.String(), Lines: []string{line}}, nil
}

func (d *canned) Workers(context.Context) ([]cloudcrowd.WorkerView, error) { return d.workers, nil }

func (d *canned) Worker(_ context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
	for _, w := range d.workers {
		if w.ID == id {
			return w, nil
		}
	}
	return cloudcrowd.WorkerView{}, missing("worker", id)
}

func (d *canned) WorkerAttempts(_ context.Context, id cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	var all []cloudcrowd.Attempt
	for _, j := range d.jobList {
		for _, a := range j.attempts {
			if a.Worker == id && a.State.Ended() {
				all = append(all, a)
			}
		}
	}
	sort.SliceStable(all, func(a, b int) bool { return all[a].EndedAt > all[b].EndedAt })
	list, next := cut(all, p)
	return list, next, nil
}

func (d *canned) RevokeWorker(_ context.Context, id cloudcrowd.WorkerID, _ bool) error {
	_, err := d.Worker(context.Background(), id)
	return err
}

func (d *canned) Account(_ context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	for _, a := range d.accounts {
		if a.ID == id {
			return a, nil
		}
	}
	return cloudcrowd.Account{ID: id}, nil
}

func (d *canned) Accounts(context.Context) ([]cloudcrowd.Account, error) { return d.accounts, nil }

func (d *canned) Transfers(_ context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error) {
	var all []cloudcrowd.Transfer
	for _, t := range d.transfers {
		if (f.Account == "" || t.Debit == f.Account || t.Credit == f.Account) && t.At >= f.Since && (f.Job == "" || t.Job == f.Job) {
			all = append(all, t)
		}
	}
	list, next := cut(all, p)
	return list, next, nil
}

func (d *canned) Charges(_ context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	var all []cloudcrowd.Charge
	for _, c := range d.charges {
		if (f.Requester == "" || c.Requester == f.Requester) && (f.Owner == "" || c.Owner == f.Owner) {
			all = append(all, c)
		}
	}
	list, next := cut(all, p)
	return list, next, nil
}

func (d *canned) Prices() cloudcrowd.Prices { return cloudcrowd.DefaultPrices }

func (d *canned) Status(context.Context) (cloudcrowd.ServerStatus, error) { return d.status, nil }

func (d *canned) Open(_ context.Context, digest cloudcrowd.Digest, off, length int64) (io.ReadCloser, error) {
	b, ok := d.blobs[digest]
	if !ok {
		return nil, missing("blob", digest.Short())
	}
	b = b[min(off, int64(len(b))):]
	if length >= 0 {
		b = b[:min(length, int64(len(b)))]
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (d *canned) Invites(context.Context) ([]cloudcrowd.Invite, error) { return d.invites, nil }

func (d *canned) RevokeInvite(context.Context, string) error { return nil }

func (d *canned) joinLink(_ context.Context, owner cloudcrowd.AccountID, uses int, ttl time.Duration) (string, cloudcrowd.Invite, error) {
	inv := cloudcrowd.Invite{ID: "inv-7f3a", Owner: owner, MaxUses: uses, CreatedAt: cloudcrowd.TimeOf(galleryTime)}
	if ttl > 0 {
		inv.ExpiresAt = cloudcrowd.TimeOf(galleryTime.Add(ttl))
	}
	return "https://lab.example:7433/join#i=4q1z7b3j0d5x2k8m&fp=9f2c51d0a7e4", inv, nil
}

// history is a plausible past of the overview's figures.
func (d *canned) history() []sample {
	if d.status.JobsRunning == 0 && d.status.TasksPerSecond == 0 {
		return nil
	}
	out := make([]sample, historyLength)
	for i := range out {
		wave := 0.75 + 0.25*math.Sin(float64(i)/9) + 0.08*math.Sin(float64(i)*1.7)
		out[i] = sample{galleryTime.Add(time.Duration(i-historyLength) * sampleEvery), math.Round(float64(d.status.TasksRunning) * wave), d.status.TasksPerSecond * wave,
			d.status.WaitingSeconds * math.Abs(wave-0.4), credits(d.status.CreditsPerHour) * wave}
	}
	return out
}

// pages lists what is worth looking at with these data, for a viewer.
func (d *canned) pages(v fixedViewer) []string {
	if v.role == "" {
		return []string{"/login", "/admin", "/join", "/help"}
	}
	out := []string{"/"}
	jobs := v.role != cloudcrowd.RoleOwner
	if jobs {
		out = append(out, "/jobs")
	}
	seen := map[cloudcrowd.JobState]bool{}
	for _, j := range d.jobList {
		if !jobs || seen[j.job.State] || (v.role == cloudcrowd.RoleRequester && j.job.Account != v.account) {
			continue
		}
		seen[j.job.State] = true
		out = append(out, "/jobs/"+string(j.job.ID))
		if len(j.tasks) > 0 {
			out = append(out, "/tasks/"+worst(j.tasks).ID.String())
		}
	}
	out = append(out, "/workers")
	for _, w := range d.workers {
		if v.role == cloudcrowd.RoleOperator || w.Owner == v.account {
			out = append(out, "/workers/"+string(w.ID))
			break
		}
	}
	for _, w := range d.workers {
		if w.Record.Invalid > 0 && v.role == cloudcrowd.RoleOperator {
			out = append(out, "/workers/"+string(w.ID))
			break
		}
	}
	if v.role == cloudcrowd.RoleOperator {
		out = append(out, "/ledger")
	}
	account := v.account
	if v.role == cloudcrowd.RoleOperator && len(d.accounts) > 2 {
		account = "alice"
	}
	return append(out, "/accounts/"+string(account), "/help", "/nowhere")
}

// worst is the task with the most attempts.
func worst(tasks []cloudcrowd.Task) cloudcrowd.Task {
	w := tasks[0]
	for _, t := range tasks {
		if len(t.Attempts) > len(w.Attempts) {
			w = t
		}
	}
	return w
}
