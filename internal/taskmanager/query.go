package taskmanager

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/verify"
)

// Open jobs are read from memory between two batches, ended ones from the tables; a job leaves memory only after its rows are there.

// Job implements api.Backend.
func (m *Manager) Job(ctx context.Context, id cloudcrowd.JobID) (cloudcrowd.Job, error) {
	var v cloudcrowd.Job
	found := false
	err := m.view(ctx, func(l *loop) {
		if j := l.st.Jobs[id]; j != nil {
			v, found = jobView(m, l.st, j, l.now(), l), true
		}
	})
	if err != nil || found {
		return v, err
	}
	row, err := m.cfg.Store.Job(ctx, id)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal(row.Detail, &v); err != nil {
		return v, fmt.Errorf("job %s in the tables: %w", id, err)
	}
	return v, nil
}

// InMemory is what a Manager remembers of jobs: those that are open or ended a moment ago.
type InMemory struct {
	Jobs    []cloudcrowd.JobSummary // that match the filter
	Present []cloudcrowd.JobID      // all of them; the tables may still have an older view
}

// InMemory lists the jobs in memory.
func (m *Manager) InMemory(ctx context.Context, f store.JobFilter) (list InMemory, err error) {
	err = m.view(ctx, func(l *loop) {
		for id, j := range l.st.Jobs {
			list.Present = append(list.Present, id)
			if matches(j, f) {
				list.Jobs = append(list.Jobs, summary(j, l.now(), l))
			}
		}
	})
	return list, err
}

// Jobs implements api.Backend: newest first. The cursor is the id of the last job given.
func (m *Manager) Jobs(ctx context.Context, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error) {
	list, err := m.InMemory(ctx, f)
	if err != nil {
		return nil, "", err
	}
	return AllJobs(ctx, m.cfg.Store, list, f, p)
}

// AllJobs lists jobs of memory and tables together, newest first; memory is that of the owners of all shards.
func AllJobs(ctx context.Context, tables store.Projections, memory InMemory, f store.JobFilter, p store.Page) ([]cloudcrowd.JobSummary, string, error) {
	limit := clampLimit(p.Limit)
	open := memory.Jobs
	inMemory := make(map[cloudcrowd.JobID]bool, len(memory.Present))
	for _, id := range memory.Present {
		inMemory[id] = true
	}
	// The tables lag behind memory and hold open jobs as they were at submission: what memory says wins. Their cursor is opaque, so the page is
	// found by walking it; pages of open jobs are short.
	slices.SortFunc(open, func(a, b cloudcrowd.JobSummary) int { return strings.Compare(string(b.ID), string(a.ID)) })
	var list []cloudcrowd.JobSummary
	tableCursor, after := splitCursor(p.Cursor)
	take := func(s cloudcrowd.JobSummary) { list = append(list, s) }
	for {
		rows, next, err := tables.Jobs(ctx, store.JobFilter{Account: f.Account, Text: f.Text}, store.Page{Limit: limit, Cursor: tableCursor})
		if err != nil {
			return nil, "", err
		}
		for _, r := range rows {
			if after != "" && r.Summary.ID >= after {
				continue
			}
			for len(open) > 0 && open[0].ID >= r.Summary.ID {
				if after == "" || open[0].ID < after {
					take(open[0])
				}
				open = open[1:]
			}
			if !inMemory[r.Summary.ID] && (f.State == "" || r.Summary.State == f.State) {
				take(r.Summary)
			}
			if len(list) >= limit {
				return list[:limit], tableCursor + "|" + string(list[limit-1].ID), nil
			}
		}
		if next == "" {
			for _, s := range open {
				if after == "" || s.ID < after {
					take(s)
				}
			}
			if len(list) > limit {
				return list[:limit], tableCursor + "|" + string(list[limit-1].ID), nil
			}
			return list, "", nil
		}
		tableCursor = next
	}
}

func splitCursor(c string) (table string, after cloudcrowd.JobID) {
	if i := strings.LastIndexByte(c, '|'); i >= 0 {
		return c[:i], cloudcrowd.JobID(c[i+1:])
	}
	return "", ""
}

func clampLimit(n int) int {
	if n <= 0 {
		return 100
	}
	return min(n, 1000)
}

func matches(j *lifecycle.Job, f store.JobFilter) bool {
	if f.Account != "" && j.Account != f.Account || f.State != "" && j.State != f.State {
		return false
	}
	text := strings.ToLower(f.Text)
	return text == "" || strings.Contains(strings.ToLower(j.Spec.Name), text) || strings.Contains(string(j.ID), text)
}

// Tasks implements api.Backend.
func (m *Manager) Tasks(ctx context.Context, id cloudcrowd.JobID, stage string, state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error) {
	limit := clampLimit(p.Limit)
	var list []cloudcrowd.Task
	var retired []int // places of those that only the tables know
	var ids []cloudcrowd.TaskID
	var next string
	var failure error
	found := false
	err := m.view(ctx, func(l *loop) {
		j := l.st.Jobs[id]
		if j == nil {
			return
		}
		found = true
		only := -1
		if stage != "" {
			if only = j.Spec.StageIndex(stage); only < 0 {
				failure = cloudcrowd.Errorf(cloudcrowd.NotFound, "job %s has no stage %q", id, stage)
				return
			}
		}
		var after store.Position
		more, err := store.DecodeCursor(store.TaskList, p.Cursor, &after)
		if err != nil {
			failure = err
			return
		}
		for si, st := range j.Stages {
			if only >= 0 && si != only || more && si < int(after.Stage) {
				continue
			}
			for ti, t := range st.Tasks {
				if more && si == int(after.Stage) && ti <= int(after.Index) || state != "" && t.State != state {
					continue
				}
				if len(list) == limit {
					next = store.EncodeCursor(store.TaskList, store.PositionOf(cloudcrowd.AttemptID{Task: list[limit-1].ID}))
					return
				}
				v := cloudcrowd.Task{ID: cloudcrowd.TaskID{Job: id, Stage: int32(si), Index: int32(ti)}}
				if t.Retired {
					retired, ids = append(retired, len(list)), append(ids, v.ID)
				} else {
					v = taskView(m, j, v.ID, t, true)
				}
				list = append(list, v)
			}
		}
	})
	if err == nil && len(ids) > 0 {
		var past []cloudcrowd.Task
		past, err = m.cfg.Store.WholeTasks(ctx, ids)
		for i := range past {
			list[retired[i]] = past[i]
		}
	}
	if err != nil || failure != nil || found {
		return list, next, firstError(err, failure)
	}
	return m.pastTasks(ctx, id, stage, state, p)
}

func (m *Manager) pastTasks(ctx context.Context, id cloudcrowd.JobID, stage string, state cloudcrowd.TaskState, p store.Page) ([]cloudcrowd.Task, string, error) {
	job, err := m.Job(ctx, id)
	if err != nil {
		return nil, "", err
	}
	number := int32(-1)
	if stage != "" {
		if number = int32(job.Spec.StageIndex(stage)); number < 0 {
			return nil, "", cloudcrowd.Errorf(cloudcrowd.NotFound, "job %s has no stage %q", id, stage)
		}
	}
	limit := clampLimit(p.Limit)
	if p.Limit = limit; state != "" {
		p.Limit = store.MaximumLimit // most often few of them are
	}
	var ids []cloudcrowd.TaskID
	for {
		rows, next, err := m.cfg.Store.Tasks(ctx, id, number, p)
		if err != nil {
			return nil, "", err
		}
		for _, t := range rows {
			if state != "" && t.State != state {
				continue
			}
			if len(ids) == limit { // there is another page
				next = store.EncodeCursor(store.TaskList, store.PositionOf(cloudcrowd.AttemptID{Task: ids[limit-1]}))
				break
			}
			ids = append(ids, t.ID)
		}
		if next == "" || len(ids) == limit {
			list, err := m.cfg.Store.WholeTasks(ctx, ids)
			return list, next, err
		}
		p.Cursor = next
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Task implements api.Backend.
func (m *Manager) Task(ctx context.Context, id cloudcrowd.TaskID) (cloudcrowd.Task, error) {
	var v cloudcrowd.Task
	found := false
	err := m.view(ctx, func(l *loop) {
		if j, _, t := l.st.FindTask(id); t != nil && !t.Retired {
			v, found = taskView(m, j, id, t, true), true
		}
	})
	if err != nil || found {
		return v, err
	}
	return m.cfg.Store.Task(ctx, id)
}

// tablesLag is how long a list of a running job's attempts waits for the tables to hold what was committed before it was asked for.
const tablesLag = 2 * time.Second

// Attempts implements api.Backend: those that have not ended first, then the ended ones by task and number, from the tables. One that ends between two
// pages may be on both.
func (m *Manager) Attempts(ctx context.Context, id cloudcrowd.JobID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	p.Limit = clampLimit(p.Limit)
	var running []cloudcrowd.Attempt
	open := false
	if p.Cursor == "" {
		var seq int64
		err := m.view(ctx, func(l *loop) {
			seq = l.st.Seq
			j := l.st.Jobs[id]
			if j == nil {
				return
			}
			open = true
			for si, st := range j.Stages {
				for _, ti := range st.Open() {
					for _, a := range st.Tasks[ti].Attempts {
						if aid := (cloudcrowd.AttemptID{Task: cloudcrowd.TaskID{Job: id, Stage: int32(si), Index: ti}, N: a.N}); !a.State.Ended() {
							running = append(running, attemptView(m, j, aid, a, l.heldBy(a.Worker).Get(aid)))
						}
					}
				}
			}
		})
		if err != nil {
			return nil, "", err
		}
		wait, cancel := context.WithTimeout(ctx, tablesLag)
		_ = m.loop.project.wait(wait, seq) // tables that lag are better than no answer
		cancel()
	}
	if !open {
		if _, err := m.cfg.Store.Job(ctx, id); err != nil {
			return nil, "", err
		}
	}
	past, next, err := m.cfg.Store.JobAttempts(ctx, id, p)
	if err != nil {
		return nil, "", err
	}
	running = slices.DeleteFunc(running, func(a cloudcrowd.Attempt) bool {
		return slices.ContainsFunc(past, func(b cloudcrowd.Attempt) bool { return a.ID == b.ID })
	})
	return append(running, past...), next, nil
}

// Workers implements api.Backend.
func (m *Manager) Workers(ctx context.Context) ([]cloudcrowd.WorkerView, error) {
	rows, err := m.cfg.Store.Workers(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]cloudcrowd.WorkerView, len(rows))
	err = m.view(ctx, func(l *loop) {
		for i, r := range rows {
			list[i] = l.workerView(r)
		}
	})
	return list, err
}

// Worker implements api.Backend.
func (m *Manager) Worker(ctx context.Context, id cloudcrowd.WorkerID) (cloudcrowd.WorkerView, error) {
	row, err := m.cfg.Store.Worker(ctx, id)
	if err != nil {
		return cloudcrowd.WorkerView{}, err
	}
	var v cloudcrowd.WorkerView
	err = m.view(ctx, func(l *loop) { v = l.workerView(row) })
	return v, err
}

func (l *loop) workerView(r store.WorkerRow) cloudcrowd.WorkerView {
	rec := l.st.Record(r.ID)
	v := cloudcrowd.WorkerView{Worker: r.Worker, Info: r.Info, LastSeen: r.LastSeen, Record: rec, Standing: verify.Standing(rec, l.now()), ErrorRate: verify.ErrorRate(rec),
		Running: attemptsOf(l.heldBy(r.ID))}
	if s := l.sessions[r.ID]; s != nil {
		v.Info, v.Online, v.Draining, v.CachedBytes = s.info, s.online, s.leaving, s.cachedBytes
		v.LastSeen, v.Unable = max(v.LastSeen, s.lastSeen), s.sched.Unable
		v.Running = v.Running[:min(len(v.Running), s.sched.Slots)]
	}
	return v
}

// Running lists the attempts a worker holds.
func (m *Manager) Running(ctx context.Context, id cloudcrowd.WorkerID) (list []cloudcrowd.Attempt, err error) {
	err = m.view(ctx, func(l *loop) {
		for _, aid := range attemptsOf(l.heldBy(id)) {
			if j, _, _, a := l.st.Find(aid); a != nil {
				list = append(list, attemptView(m, j, aid, a, l.heldBy(id).Get(aid)))
			}
		}
	})
	return list, err
}

// WorkerAttempts implements api.Backend: running attempts first, then ended ones, newest first.
func (m *Manager) WorkerAttempts(ctx context.Context, id cloudcrowd.WorkerID, p store.Page) ([]cloudcrowd.Attempt, string, error) {
	var running []cloudcrowd.Attempt
	if p.Cursor == "" {
		var err error
		if running, err = m.Running(ctx, id); err != nil {
			return nil, "", err
		}
	}
	past, next, err := m.cfg.Store.WorkerAttempts(ctx, id, p)
	return append(running, past...), next, err
}

// Account implements api.Backend.
func (m *Manager) Account(ctx context.Context, id cloudcrowd.AccountID) (cloudcrowd.Account, error) {
	return m.cfg.Store.Account(ctx, id)
}

// Accounts implements api.Backend.
func (m *Manager) Accounts(ctx context.Context) ([]cloudcrowd.Account, error) {
	return m.cfg.Store.Accounts(ctx)
}

// Transfers implements api.Backend.
func (m *Manager) Transfers(ctx context.Context, f store.TransferFilter, p store.Page) ([]cloudcrowd.Transfer, string, error) {
	return m.cfg.Store.Transfers(ctx, f, p)
}

// Written waits until the tables hold what was committed when it was called.
func (m *Manager) Written(ctx context.Context) error {
	var seq int64
	if err := m.view(ctx, func(l *loop) { seq = l.st.Seq }); err != nil {
		return err
	}
	return m.loop.project.wait(ctx, seq)
}

// Charges implements api.Backend. It waits until the tables hold what was committed when it was called.
func (m *Manager) Charges(ctx context.Context, f store.ChargeFilter, p store.Page) ([]cloudcrowd.Charge, string, error) {
	if err := m.Written(ctx); err != nil {
		return nil, "", err
	}
	return m.cfg.Store.Charges(ctx, f, p)
}

// Prices implements api.Backend.
func (m *Manager) Prices() cloudcrowd.Prices { return m.cfg.Prices }

// Events implements api.Backend.
func (m *Manager) Events(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) (<-chan cloudcrowd.Event, error) {
	events, _, _ := m.Watch(ctx, after, account, job)
	return events, nil
}

// Watch is Events, and says where the feed stands if it begins from now: because after is "", or because events after it were missed. reached says where to go on
// for who has taken all events there are so far, also those that were for others; after the channel was closed that is at the end. It is "" if events wait or were missed.
func (m *Manager) Watch(ctx context.Context, after string, account cloudcrowd.AccountID, job cloudcrowd.JobID) (events <-chan cloudcrowd.Event, at string, reached func() string) {
	return m.feed.watch(ctx, after, account, job)
}

// Status implements api.Backend.
func (m *Manager) Status(ctx context.Context) (cloudcrowd.ServerStatus, error) {
	s := cloudcrowd.ServerStatus{Version: m.cfg.Version, StartedAt: m.started}
	if err := m.view(ctx, func(l *loop) { l.status(&s) }); err != nil {
		return s, err
	}
	return s, AddLedger(ctx, m.cfg.Store, cloudcrowd.TimeOf(m.cfg.Now()), &s)
}

// AddLedger adds to a status whether the ledger balances.
func AddLedger(ctx context.Context, ledger store.Ledger, at cloudcrowd.Time, s *cloudcrowd.ServerStatus) error {
	accounts, err := ledger.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		s.LedgerSum += a.Balance
	}
	s.LedgerCheckedAt = at
	if s.LedgerSum != 0 {
		s.Attention = append(s.Attention, fmt.Sprintf("the ledger does not balance: its sum is %d micro-credits; run cloudcrowd fsck", s.LedgerSum))
	}
	return nil
}

func (l *loop) status(s *cloudcrowd.ServerStatus) {
	now := l.now()
	s.TasksPerSecond, s.CreditsPerHour = l.meter.rates(now)
	s.ReadOnly, s.Draining = l.readOnly, l.m.Draining()
	oldest := now
	for _, id := range l.st.Running() {
		j := l.st.Jobs[id]
		s.JobsRunning++
		for _, st := range j.Stages {
			s.TasksRunning += int(st.Running)
			if st.State == cloudcrowd.StageRunning && st.Running == 0 && st.Done == 0 && j.SubmittedAt < oldest {
				oldest = j.SubmittedAt
			}
			if at := st.OldestWaiting(); at != 0 && at < oldest {
				oldest = at
			}
		}
	}
	s.WaitingSeconds = float64(now-oldest) / 1e6
	for _, w := range sortedWorkers(l.sessions) {
		v := l.sessions[w]
		if v.online {
			s.WorkersOnline++
			s.Slots += v.sched.Slots
			s.SlotsBusy += min(v.sched.Held.Len(), v.sched.Slots)
		}
		if rec := l.record(w); verify.Exiled(rec, now) {
			s.Attention = append(s.Attention, fmt.Sprintf("worker %s is distrusted: %s", l.m.name(w), plural(rec.Invalid, "of its results was refused", "of its results were refused")))
		}
	}
	if s.ReadOnly != "" {
		s.Attention = append(s.Attention, "no new work is accepted: "+s.ReadOnly)
	}
	if s.Draining != "" {
		s.Attention = append(s.Attention, "no new work is accepted: "+s.Draining)
	}
	if s.JobsRunning > 0 && s.WorkersOnline == 0 {
		s.Attention = append(s.Attention, "jobs wait and no worker is connected; start one with the join link (cloudcrowd worker --join LINK)")
	}
}
