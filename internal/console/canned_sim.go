package console

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sort"
	"time"

	"cloudcrowd.dev/cloudcrowd"
)

// cannedStage asks for one stage of a canned job.
type cannedStage struct {
	name, kind, unit string
	after            []string
	tasks            int
	seconds          float64 // of a task on the reference core
	units            int64
	program          bool // false: a built-in merge without attempts
}

// cannedOrder asks for one canned job.
type cannedOrder struct {
	name     string
	account  cloudcrowd.AccountID
	budget   cloudcrowd.Credits
	stages   []cannedStage
	ago      time.Duration // since submission
	deadline time.Duration
	breaks   string // stage whose third task fails everywhere
	cancel   bool
	notes    []string
	explain  []string
	outputs  []cloudcrowd.StageOutput
	chance   float64 // of a lost attempt
}

func digestOf(s string) cloudcrowd.Digest {
	sum := sha256.Sum256([]byte(s))
	return cloudcrowd.Digest(hex.EncodeToString(sum[:]))
}

// run schedules a canned job on the set's workers by first free slot, two replicas a task, and adds it and its money to the set.
func (d *canned) run(rng *rand.Rand, o cannedOrder) {
	now := cloudcrowd.TimeOf(galleryTime)
	start := cloudcrowd.TimeOf(galleryTime.Add(-o.ago))
	id := cloudcrowd.NewJobID(start.Time(), rng.Uint32())
	j := &cannedJob{explain: o.explain}
	j.job = cloudcrowd.Job{JobSummary: cloudcrowd.JobSummary{ID: id, Name: o.name, Account: o.account, State: cloudcrowd.JobDone, SubmittedAt: start, Budget: o.budget}, Notes: o.notes}
	if o.deadline > 0 {
		j.job.Deadline = cloudcrowd.TimeOf(start.Time().Add(o.deadline))
	}
	type slot struct {
		worker int
		free   cloudcrowd.Time
	}
	var slots []slot
	for w := range d.workers {
		if d.workers[w].Info.Slots > 0 && (d.workers[w].Online || o.chance > 0) {
			for range d.workers[w].Info.Slots {
				slots = append(slots, slot{w, start + 40_000})
			}
		}
	}
	ready := map[string]cloudcrowd.Time{}
	parts := map[cloudcrowd.WorkerID]*cloudcrowd.JobWorker{}
	done, total := 0.0, 0.0
	broken := false
	for si, s := range o.stages {
		from := start + 20_000
		for _, a := range s.after {
			from = max(from, ready[a])
		}
		view := cloudcrowd.StageView{Name: s.name, After: s.after, Kind: s.kind, State: cloudcrowd.StageWaiting, UnitsTotal: s.units}
		stageEnd, open := from, false
		for ti := range s.tasks {
			task := cloudcrowd.Task{ID: cloudcrowd.TaskID{Job: id, Stage: int32(si), Index: int32(ti)}, Job: id, Stage: s.name, Index: int32(ti), State: cloudcrowd.TaskDone, Quorum: 2, CreatedAt: from}
			if s.units > 0 {
				lo, hi := s.units*int64(ti)/int64(s.tasks), s.units*int64(ti+1)/int64(s.tasks)
				task.Unit, task.Label = cloudcrowd.Unit{Lo: lo, Hi: hi}, fmt.Sprintf("%s %s–%s", s.unit, count(lo), count(hi-1))
			}
			total++
			if !s.program || broken || from > now {
				open = open || from > now || broken
				continue
			}
			fails := s.name == o.breaks && ti == 2
			agreed, tries := 0, 0
			right := digestOf(task.ID.String())
			used := map[int]bool{}
			var taskEnd cloudcrowd.Time
			for agreed < 2 && tries < 6 && !(fails && tries == 4) {
				best := -1
				for k := range slots {
					if !used[slots[k].worker] && (best < 0 || max(slots[k].free, from) < max(slots[best].free, from)) {
						best = k
					}
				}
				if best < 0 {
					break
				}
				w := &d.workers[slots[best].worker]
				used[slots[best].worker] = true
				tries++
				at := max(slots[best].free, from) + cloudcrowd.Time(rng.IntN(9000))
				took := cloudcrowd.Time(s.seconds * 1e6 / w.Info.Speed * (0.8 + 0.4*rng.Float64()))
				a := cloudcrowd.Attempt{ID: cloudcrowd.AttemptID{Task: task.ID, N: int32(tries)}, Stage: s.name, Worker: w.ID, WorkerName: w.Name, State: cloudcrowd.AttemptAccepted, LeasedAt: at,
					Why: cloudcrowd.Why{FinishSeconds: float64(took)/1e6 + 0.3, WaitSeconds: 0.1, FetchSeconds: 0.2, RunSeconds: float64(took) / 1e6, Rank: 12, Candidates: len(d.workers), RunnerUp: "node-17", RunnerUpSecs: float64(took)/1e6 + 1, Purpose: []string{"first", "replica", "tie-break"}[min(tries-1, 2)]}}
				if at > now {
					open = true
					task.State = cloudcrowd.TaskWaiting
					break
				}
				slots[best].free = at + took
				a.EndedAt, a.ResultDigest = at+took, right
				a.Result = &cloudcrowd.Result{Outcome: cloudcrowd.Succeeded, Log: digestOf("log"), Outputs: []cloudcrowd.OutputFile{{Path: "part.tsv", Digest: right, SizeBytes: 40960}},
					Usage: cloudcrowd.Usage{CPUSeconds: float64(took) / 1e6, WallSeconds: float64(took) / 1e6 * 1.02, PeakMemoryBytes: 48 << 20, InputBytes: 147456, OutputBytes: 40960}}
				switch {
				case fails:
					a.State, a.ResultDigest = cloudcrowd.AttemptFailed, ""
					a.Result = &cloudcrowd.Result{Outcome: cloudcrowd.Exited, ExitCode: 2, Reason: "the program ended with exit status 2", StderrTail: "reading /in/trades\npanic: record 88 on line 4012: wrong number of fields\n\ngoroutine 1 [running]:\nmain.parse(...)\n\t/src/parse.go:88\nmain.main()\n\t/src/main.go:31 +0x1f2\n", Usage: a.Result.Usage}
					a.Verdict = "The program failed: exit status 2."
				case w.Name == "mallory" && rng.IntN(2) == 0:
					a.State, a.ResultDigest = cloudcrowd.AttemptRefused, digestOf(task.ID.String()+"lie")
					a.Verdict = "Refused: it differs from the result two other owners' workers agreed on."
				case rng.Float64() < o.chance:
					a.State, a.Result, a.ResultDigest = cloudcrowd.AttemptLost, nil, ""
					a.Verdict = "Lost: no heartbeat for 15 s."
				default:
					agreed++
					a.Verdict = "Accepted: it agrees with the canonical result."
				}
				if a.EndedAt > now {
					a.State, a.EndedAt, a.Result, a.ResultDigest, a.Verdict = cloudcrowd.AttemptLeased, 0, nil, "", ""
					a.Progress = float64(now-at) / float64(took)
					task.State = cloudcrowd.TaskRunning
					open = true
					w.Running = append(w.Running, a.ID)
					view.Running++
				}
				if a.State == cloudcrowd.AttemptAccepted {
					a.Charge = cloudcrowd.Credits(float64(took) / 1e6 * 100 * w.Info.Speed)
					if task.Canonical == 0 {
						task.Canonical = a.ID.N
					}
				}
				taskEnd = max(taskEnd, a.EndedAt)
				d.tally(j, parts, &view, w, &a)
				task.Cost += a.Charge
				task.Attempts = append(task.Attempts, a)
				j.attempts = append(j.attempts, a)
			}
			if agreed >= 2 && task.State == cloudcrowd.TaskDone {
				done++
				view.TasksDone++
				view.UnitsDone += task.Unit.Hi - task.Unit.Lo
				task.Outputs = []cloudcrowd.OutputFile{{Path: "part.tsv", Digest: right, SizeBytes: 40960}}
				task.EndedAt, stageEnd = taskEnd, max(stageEnd, taskEnd)
			} else if fails {
				task.State, task.EndedAt, task.Reason, broken = cloudcrowd.TaskFailed, taskEnd, "failed on 4 workers: exit status 2", true
				view.TasksFailed++
			} else if task.State == cloudcrowd.TaskDone {
				task.State, open = cloudcrowd.TaskWaiting, true
			}
			view.Tasks++
			view.UnitsCarved += task.Unit.Hi - task.Unit.Lo
			if len(task.Attempts) > 0 {
				j.tasks = append(j.tasks, task)
			}
		}
		switch {
		case !s.program && from <= now && !broken:
			done, view.State, view.Tasks, view.TasksDone, stageEnd = done+float64(s.tasks), cloudcrowd.StageDone, 1, 1, from+30_000
		case !open && !broken && view.TasksDone > 0:
			view.State = cloudcrowd.StageDone
		case from <= now && view.Tasks > 0:
			view.State = cloudcrowd.StageRunning
		}
		if view.State != cloudcrowd.StageWaiting {
			view.StartedAt = from
		}
		ready[s.name] = stageEnd
		if view.State == cloudcrowd.StageDone {
			view.EndedAt = stageEnd
		} else {
			ready[s.name] = now + 1_000_000_000
		}
		j.job.Stages = append(j.job.Stages, view)
		j.job.Tasks, j.job.TasksDone = j.job.Tasks+view.Tasks, j.job.TasksDone+view.TasksDone
		j.job.EndedAt = max(j.job.EndedAt, stageEnd)
	}
	d.finish(j, o, broken, done/max(total, 1), parts)
}

// tally adds an attempt to the sums of its job, stage and worker, and writes the money.
func (d *canned) tally(j *cannedJob, parts map[cloudcrowd.WorkerID]*cloudcrowd.JobWorker, view *cloudcrowd.StageView, w *cloudcrowd.WorkerView, a *cloudcrowd.Attempt) {
	p := parts[w.ID]
	if p == nil {
		p = &cloudcrowd.JobWorker{Worker: w.ID, Name: w.Name, Owner: w.Owner}
		parts[w.ID] = p
	}
	p.Attempts++
	j.job.Attempts++
	switch a.State {
	case cloudcrowd.AttemptAccepted:
		fee := a.Charge / 20
		p.Accepted++
		p.Earned += a.Charge - fee
		p.CPUSeconds += a.Result.Usage.CPUSeconds
		j.job.Cost += a.Charge
		view.Cost += a.Charge
		w.Record.Valid++
		w.Record.Streak++
		w.Record.Earned += a.Charge - fee
		d.charges = append(d.charges, cloudcrowd.Charge{Attempt: a.ID, Worker: w.ID, Requester: j.job.Account, Owner: w.Owner, Gross: a.Charge, Fee: fee, CoreSeconds: a.Result.Usage.CPUSeconds * w.Info.Speed, At: a.EndedAt, Seq: int64(len(d.charges) + 1)})
	case cloudcrowd.AttemptRefused:
		p.Refused++
		j.job.Refused++
		view.Refused++
		w.Record.Invalid++
		w.Record.Streak = 0
	case cloudcrowd.AttemptFailed:
		p.Failed++
		j.job.Failed++
		w.Record.Failed++
	case cloudcrowd.AttemptLost:
		p.Failed++
		j.job.Failed++
		w.Record.Lost++
	}
}

func (d *canned) finish(j *cannedJob, o cannedOrder, broken bool, progress float64, parts map[cloudcrowd.WorkerID]*cloudcrowd.JobWorker) {
	job := &j.job
	job.Progress = min(progress, 1)
	job.Hold = cloudcrowd.Hold{Job: job.ID, Account: job.Account, Amount: job.Budget, Posted: job.Cost, State: cloudcrowd.HoldVoided, At: job.SubmittedAt}
	switch {
	case broken:
		job.EndedAt = 0
		for _, a := range j.attempts {
			job.EndedAt = max(job.EndedAt, a.EndedAt)
		}
		job.State, job.Reason = cloudcrowd.JobFailed, "task "+o.breaks+" #2 failed on 4 workers: exit status 2"
	case o.cancel:
		job.State, job.Reason, job.EndedAt = cloudcrowd.JobCancelled, "cancelled by alice: wrong input", job.SubmittedAt+9_000_000
	case job.Progress < 1:
		job.State, job.EndedAt, job.Hold.State = cloudcrowd.JobRunning, 0, cloudcrowd.HoldPending
		job.RemainingSeconds = [2]float64{25, 41}
	default:
		job.Outputs = o.outputs
		job.RemainingSeconds = [2]float64{}
	}
	for _, p := range parts {
		job.Workers = append(job.Workers, *p)
	}
	sort.Slice(job.Workers, func(a, b int) bool { return job.Workers[a].Name < job.Workers[b].Name })
	sort.SliceStable(j.attempts, func(a, b int) bool { return j.attempts[a].LeasedAt < j.attempts[b].LeasedAt })
	d.jobList = append(d.jobList, j)
}

// settle makes accounts and transfers from the charges and what was issued, and sums up the status.
func (d *canned) settle(issued map[cloudcrowd.AccountID]cloudcrowd.Credits) {
	sort.SliceStable(d.jobList, func(a, b int) bool { return d.jobList[a].job.SubmittedAt > d.jobList[b].job.SubmittedAt })
	sort.SliceStable(d.charges, func(a, b int) bool { return d.charges[a].At > d.charges[b].At })
	balance, held := map[cloudcrowd.AccountID]cloudcrowd.Credits{}, map[cloudcrowd.AccountID]cloudcrowd.Credits{}
	seq := int64(0)
	transfer := func(t cloudcrowd.Transfer) {
		seq++
		t.Seq, t.ID = seq, fmt.Sprintf("0-%d-0", seq)
		balance[t.Debit] -= t.Amount
		balance[t.Credit] += t.Amount
		d.transfers = append(d.transfers, t)
	}
	names := make([]cloudcrowd.AccountID, 0, len(issued))
	for to := range issued {
		names = append(names, to)
	}
	sort.Slice(names, func(a, b int) bool { return names[a] < names[b] })
	for _, to := range names {
		transfer(cloudcrowd.Transfer{Kind: cloudcrowd.TransferIssue, Debit: cloudcrowd.IssuerAccount, Credit: to, Amount: issued[to], At: cloudcrowd.TimeOf(galleryTime.Add(-30 * time.Hour)), Note: "issued by operator: first credits"})
	}
	type key struct {
		job  cloudcrowd.JobID
		to   cloudcrowd.AccountID
		step cloudcrowd.Time
	}
	sums := map[key]*cloudcrowd.Transfer{}
	var order []*cloudcrowd.Transfer
	add := func(c cloudcrowd.Charge, to cloudcrowd.AccountID, amount cloudcrowd.Credits) {
		k := key{c.Attempt.Task.Job, to, c.At / 3_000_000}
		t := sums[k]
		if t == nil {
			t = &cloudcrowd.Transfer{Kind: cloudcrowd.TransferPost, Debit: c.Requester, Credit: to, Job: k.job, At: c.At}
			sums[k] = t
			order = append(order, t)
		}
		t.Amount += amount
	}
	for i := len(d.charges) - 1; i >= 0; i-- {
		c := d.charges[i]
		add(c, c.Owner, c.Gross-c.Fee)
		if c.Fee > 0 {
			add(c, cloudcrowd.FeeAccount, c.Fee)
		}
	}
	for _, t := range order {
		transfer(*t)
	}
	sort.SliceStable(d.transfers, func(a, b int) bool { return d.transfers[a].At > d.transfers[b].At })
	for _, j := range d.jobList {
		if j.job.State == cloudcrowd.JobRunning {
			held[j.job.Account] += j.job.Budget - j.job.Cost
			d.status.JobsRunning++
		}
	}
	for id, b := range balance {
		d.accounts = append(d.accounts, cloudcrowd.Account{ID: id, Balance: b, Held: held[id]})
	}
	sort.Slice(d.accounts, func(a, b int) bool { return d.accounts[a].ID < d.accounts[b].ID })
	for _, w := range d.workers {
		if w.Online {
			d.status.WorkersOnline++
			d.status.Slots += w.Info.Slots
			d.status.SlotsBusy += min(len(w.Running), w.Info.Slots)
		}
	}
	d.status.TasksRunning = d.status.SlotsBusy
	d.status.StartedAt, d.status.LedgerCheckedAt = cloudcrowd.TimeOf(galleryTime.Add(-31*time.Hour)), cloudcrowd.TimeOf(galleryTime.Add(-4*time.Second))
	d.status.Version = "gallery"
}
