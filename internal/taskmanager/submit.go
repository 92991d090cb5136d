package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
)

// Submit implements api.Backend.
func (m *Manager) Submit(ctx context.Context, account cloudcrowd.AccountID, spec cloudcrowd.JobSpec, key string) (cloudcrowd.JobID, error) {
	if err := m.refuseDraining(); err != nil {
		return "", err
	}
	if err := m.admit(ctx, &spec); err != nil {
		return "", err
	}
	plan, err := m.plan(ctx, account, &spec)
	if err != nil {
		return "", err
	}
	if spec.Budget == 0 {
		spec.Budget = plan.Budget
	}
	if spec.Budget < plan.Minimum {
		return "", cloudcrowd.Fieldf("budget", "%s credits are less than the cheapest plan of this job costs, %s", spec.Budget, plan.Minimum).
			WithHint("`cloudcrowd plan` shows the parts; raise the budget or ask for less verification")
	}
	for {
		made, err := m.submit(ctx, m.newJobID(), account, key, spec)
		if !errors.Is(err, errSameID) {
			return made, err
		}
	}
}

// errSameID says that a job has the id already: of those of one millisecond, one pair in four billion.
var errSameID = errors.New("another job has this id")

func (m *Manager) submit(ctx context.Context, id cloudcrowd.JobID, account cloudcrowd.AccountID, key string, spec cloudcrowd.JobSpec) (made cloudcrowd.JobID, err error) {
	err = m.do(ctx, command{job: id, decide: func(l *loop, d *lifecycle.Decider) error {
		if !l.admits(d.At) {
			return cloudcrowd.Errorf(cloudcrowd.Unavailable, "no new jobs are accepted: %s", l.readOnly)
		}
		if err := m.refuseDraining(); err != nil {
			return err
		}
		if l.st.Jobs[id] != nil {
			return errSameID
		}
		var err error
		made, err = d.Submit(id, account, key, spec)
		return err
	}})
	return made, err
}

// admit checks a spec and that every blob it names is here.
func (m *Manager) admit(ctx context.Context, spec *cloudcrowd.JobSpec) error {
	if m.cfg.Validate != nil {
		if err := m.cfg.Validate(spec); err != nil {
			return err
		}
	}
	for name, in := range spec.Inputs {
		for i, f := range in.Files {
			size, err := m.cfg.Blobs.Stat(ctx, f.Digest)
			if err != nil {
				return missing(fmt.Sprintf("inputs.%s.files[%d].digest", name, i), f.Digest, err)
			}
			if size != f.SizeBytes {
				return cloudcrowd.Fieldf(fmt.Sprintf("inputs.%s.files[%d].size_bytes", name, i), "the blob has %d bytes, not %d", size, f.SizeBytes)
			}
		}
	}
	checked := map[cloudcrowd.Digest]bool{}
	for i := range spec.Stages {
		for _, p := range programs(&spec.Stages[i]) {
			if checked[p.Module] {
				continue
			}
			checked[p.Module] = true
			field := fmt.Sprintf("stages.%s.wasm", spec.Stages[i].Name)
			const largest = 256 << 20
			size, err := m.cfg.Blobs.Stat(ctx, p.Module)
			if err != nil {
				return missing(field, p.Module, err)
			}
			if size > largest {
				return &cloudcrowd.Error{Code: cloudcrowd.TooLarge, Field: field, Msg: fmt.Sprintf("the module has %s; at most %s are taken", cloudcrowd.Bytes(size), cloudcrowd.Bytes(largest))}
			}
			if m.cfg.Check == nil {
				continue
			}
			b, err := blob.ReadAll(ctx, m.cfg.Blobs, p.Module, largest)
			if err != nil {
				return err
			}
			if err := m.cfg.Check(b); err != nil {
				if e, ok := err.(*cloudcrowd.Error); ok && e.Field == "" {
					c := *e
					c.Field = field
					return &c
				}
				return err
			}
		}
	}
	// The size a spec states for a module is a hint for placement; take the true one.
	for i := range spec.Stages {
		for _, p := range programs(&spec.Stages[i]) {
			if size, err := m.cfg.Blobs.Stat(ctx, p.Module); err == nil {
				p.ModuleSize = size
			}
		}
	}
	return nil
}

func programs(s *cloudcrowd.Stage) []*cloudcrowd.Program {
	var list []*cloudcrowd.Program
	if s.Run != nil {
		list = append(list, s.Run)
	}
	if s.Merge != nil && s.Merge.Program != nil {
		list = append(list, s.Merge.Program)
	}
	return list
}

func missing(field string, d cloudcrowd.Digest, err error) error {
	if cloudcrowd.CodeOf(err) != cloudcrowd.NotFound {
		return err
	}
	return &cloudcrowd.Error{Code: cloudcrowd.NotFound, Field: field, Msg: fmt.Sprintf("the blob %s is not here", d.Short()), Hint: "upload it first (PUT /v1/blobs/DIGEST)"}
}

// newJobID makes an id that belongs to this shard.
func (m *Manager) newJobID() cloudcrowd.JobID {
	for {
		if id := cloudcrowd.NewJobID(m.cfg.Now(), rand.Uint32()); store.ShardOf(id, m.cfg.Shards) == m.cfg.Shard {
			return id
		}
	}
}

// CancelReason is why a job that somebody cancelled ended.
func CancelReason(by cloudcrowd.AccountID, reason string) string {
	text := fmt.Sprintf("cancelled by %s", by)
	if reason != "" {
		text += ": " + reason
	}
	return text
}

// Cancel implements api.Backend.
func (m *Manager) Cancel(ctx context.Context, id cloudcrowd.JobID, by cloudcrowd.AccountID, reason string) error {
	text := CancelReason(by, reason)
	err := m.do(ctx, command{decide: func(_ *loop, d *lifecycle.Decider) error { return d.Cancel(id, text) }})
	if cloudcrowd.CodeOf(err) == cloudcrowd.NotFound {
		if row, rerr := m.cfg.Store.Job(ctx, id); rerr == nil {
			return cloudcrowd.Errorf(cloudcrowd.Conflict, "job %s is already %s", id, row.Summary.State)
		}
	}
	return err
}

// Issue implements api.Backend.
func (m *Manager) Issue(ctx context.Context, to cloudcrowd.AccountID, amount cloudcrowd.Credits, by cloudcrowd.AccountID, note, key string) (cloudcrowd.Transfer, error) {
	var id string
	var at cloudcrowd.Time
	made := false
	err := m.do(ctx, command{decide: func(_ *loop, d *lifecycle.Decider) error {
		before := len(d.Events)
		var err error
		id, err = d.Issue(to, amount, by, note, key)
		made, at = len(d.Events) > before, d.At
		return err
	}})
	if err != nil {
		return cloudcrowd.Transfer{}, err
	}
	if !made {
		return m.issued(ctx, id, to, amount, key)
	}
	var shard, n int
	var seq int64
	_, _ = fmt.Sscanf(id, "%d-%d-%d", &shard, &seq, &n) // our own form
	return cloudcrowd.Transfer{ID: id, Kind: cloudcrowd.TransferIssue, Debit: cloudcrowd.IssuerAccount, Credit: to, Amount: amount, Shard: shard, Seq: seq,
		At: at, Note: note}, nil
}

// issued finds what an idempotency key made before: the same transfer for the same request, a conflict for another.
func (m *Manager) issued(ctx context.Context, id string, to cloudcrowd.AccountID, amount cloudcrowd.Credits, key string) (cloudcrowd.Transfer, error) {
	page := store.Page{Limit: 1000}
	for {
		list, next, err := m.cfg.Store.Transfers(ctx, store.TransferFilter{Account: to}, page)
		if err != nil {
			return cloudcrowd.Transfer{}, err
		}
		for _, t := range list {
			if t.ID == id && t.Amount == amount && t.Credit == to {
				return t, nil
			}
		}
		if next == "" {
			return cloudcrowd.Transfer{}, cloudcrowd.Errorf(cloudcrowd.Conflict, "the idempotency key %q was used for another amount or account", key).
				WithHint("use a new key for every new request")
		}
		page.Cursor = next
	}
}

// RevokeWorker implements api.Backend.
func (m *Manager) RevokeWorker(ctx context.Context, id cloudcrowd.WorkerID, revoked bool) error {
	if err := m.cfg.Store.RevokeWorker(ctx, id, revoked); err != nil {
		return err
	}
	return m.do(ctx, command{decide: func(l *loop, d *lifecycle.Decider) error {
		s := l.sessions[id]
		if s == nil {
			return nil
		}
		s.revoked = revoked
		s.sched.Closed = s.leaving || revoked || !s.online
		l.relist(s)
		if revoked {
			for _, a := range attemptsOf(&s.sched.Held) {
				d.Returned(a, "its worker was revoked")
				l.to(id).Cancels = append(l.to(id).Cancels, a)
			}
			l.to(id).Refused = "this worker was revoked by the operator"
		}
		return nil
	}})
}
