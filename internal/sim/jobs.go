package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/store"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// job is one submission of the simulated requesters, repeated until it is acknowledged.
type job struct {
	id       cloudcrowd.JobID
	key      string
	account  cloudcrowd.AccountID
	spec     cloudcrowd.JobSpec
	fails    bool // its program is at fault
	cancel   bool // somebody asks for its end
	accepted bool // acknowledged
	refused  bool // nobody can pay it
	ended    bool
}

// populate registers workers and puts the requesters' doings on the agenda.
func (w *world) populate() {
	workers := w.between(w.p.Workers)
	large := w.report.Seed%largeEvery == 0
	if large {
		workers = w.p.Large
	}
	w.report.Workers = workers
	for i := range workers {
		id := cloudcrowd.WorkerID(fmt.Sprintf("U%055d", i))
		k := &worker{w: w, n: i, id: id, owner: cloudcrowd.AccountID(fmt.Sprintf("owner%d", i-i%3/2)), running: map[cloudcrowd.AttemptID]time.Time{}, spool: map[cloudcrowd.AttemptID]cloudcrowd.Result{}}
		k.character = w.draw()
		switch {
		case i < FewestWorkers: // honest and present, so that every job can end
			k.character = character{speed: k.speed, pace: k.speed, slots: k.cores, cores: k.cores, wantsMore: 2}
			k.owner = cloudcrowd.AccountID(fmt.Sprintf("honest%d", i))
		case k.colludes:
			k.owner = "ring"
		case i%5 == 0: // a house machine
			k.owner, k.lies = operator, false
		}
		w.workers[id] = k
		w.list = append(w.list, k)
		hash := fmt.Sprintf("%064d", i)
		_ = w.store.PutInvite(context.Background(), hash, cloudcrowd.Invite{ID: fmt.Sprint("invite", i), Owner: k.owner})                      // memory: cannot fail
		_, _ = w.store.Join(context.Background(), hash, cloudcrowd.Worker{ID: id, Name: id.Short(), Owner: k.owner}, cloudcrowd.TimeOf(w.now)) // likewise
		w.after(w.upTo(5*time.Second), k.connect)
	}
	for i := range 3 {
		w.after(2*time.Second, func() {
			w.issue(cloudcrowd.AccountID(fmt.Sprintf("requester%d", i)), 2000*cloudcrowd.Credit, fmt.Sprint("issue", i))
		})
	}
	if w.p.Poor {
		w.after(2*time.Second, func() { w.issue("poor", 300*cloudcrowd.Credit, "issue to the poor") })
	}
	jobs := w.between(w.p.Jobs)
	for i := range jobs {
		j := &job{key: fmt.Sprint("job", i), account: cloudcrowd.AccountID(fmt.Sprintf("requester%d", i%3))}
		for {
			j.id = cloudcrowd.NewJobID(epoch.Add(time.Duration(i)*time.Second), w.rand.Uint32())
			if w.shards == 1 || w.shardOf(j.id) == store.ShardOfKey(string(j.account)+"\x00"+j.key, w.shards) { // where its submission is decided
				break
			}
		}
		j.spec = w.spec(i, j, large)
		if w.p.Poor && w.chance(0.2) {
			j.account = "poor"
		}
		w.jobs = append(w.jobs, j)
		w.after(5*time.Second+w.upTo(90*time.Second), func() { w.submit(j) })
	}
}

// ask queues a decision at a server of a shard; job is the one it submits, if it does. Not acknowledged means asked again, of any server, for as long as it takes: what a request asks for carries a key.
func (w *world) ask(shard func() int, job cloudcrowd.JobID, decide func(*lifecycle.Decider) error, answered func(error) bool) {
	again := func() { w.after(w.upTo(2*time.Second), func() { w.ask(shard, job, decide, answered) }) }
	s := w.of(shard())
	if s == nil {
		again()
		return
	}
	done := false
	s.when(func() {
		s.manager.InjectSubmit(job, decide, func(err error) {
			if done {
				return // the requester has given up on this one
			}
			s.point("before it answers")
			done = true
			w.note('a', uint64(s.n), 0)
			if !answered(err) {
				again()
			}
		})
	})
	w.after(5*time.Second+w.upTo(5*time.Second), func() {
		if !done {
			done = true
			again()
		}
	})
}

// final reports whether an answer stands. Anything else is tried again; it must be one that says so, or a refusal that the request deserves.
func (w *world) final(err error, what string, id any, deserved ...cloudcrowd.Code) bool {
	w.tracef("%s %v: %v", what, id, err)
	if code := cloudcrowd.CodeOf(err); err != nil && code != cloudcrowd.Unavailable && !slices.Contains(deserved, code) {
		w.fail(fmt.Errorf("%s %v was answered with %q: %w", what, id, code, err))
	}
	return err == nil
}

// issue gives an account credits: the key makes it happen once.
func (w *world) issue(account cloudcrowd.AccountID, amount cloudcrowd.Credits, key string) {
	w.ask(func() int { return w.shardOfKey(account, key) }, "", func(d *lifecycle.Decider) error {
		_, err := d.Issue(account, amount, operator, "simulated", key)
		return err
	}, func(err error) bool {
		if !w.final(err, "issue", account) {
			return false
		}
		w.promise(w.book.issued(key))
		return true
	})
}

// promise takes the audit's word on what was just acknowledged.
func (w *world) promise(err error) {
	if err != nil {
		w.fail(err)
	}
}

func (w *world) submit(j *job) {
	home := func() int { return w.homeOf(j.id) }
	w.ask(home, j.id, func(d *lifecycle.Decider) error {
		id, err := d.Submit(j.id, j.account, j.key, j.spec)
		if err == nil && id != j.id {
			w.fail(fmt.Errorf("key %s made job %s, not %s", j.key, id, j.id))
		}
		return err
	}, func(err error) bool {
		if !w.final(err, "submit", j.id, cloudcrowd.InsufficientCredits) {
			j.refused = cloudcrowd.CodeOf(err) == cloudcrowd.InsufficientCredits && j.account == "poor"
			return j.refused
		}
		w.promise(w.book.submitted(j.id))
		if j.accepted = true; j.cancel {
			w.after(w.upTo(30*time.Second), func() { w.cancel(j) })
		}
		return true
	})
}

func (w *world) cancel(j *job) {
	w.ask(func() int { return w.shardOf(j.id) }, "", func(d *lifecycle.Decider) error { return d.Cancel(j.id, "changed his mind") }, func(err error) bool {
		if code := cloudcrowd.CodeOf(err); err != nil && code != cloudcrowd.Conflict && code != cloudcrowd.NotFound { // those two: it had ended before
			return w.final(err, "cancel", j.id)
		}
		w.final(err, "cancel", j.id, cloudcrowd.Conflict, cloudcrowd.NotFound)
		w.promise(w.book.cancelled(j.id))
		return true
	})
}

// spec makes a random job of every shape.
func (w *world) spec(i int, j *job, large bool) cloudcrowd.JobSpec {
	program := func(name string, args ...string) *cloudcrowd.Program {
		return &cloudcrowd.Program{Module: digest([]byte(name)), ModuleName: name, ModuleSize: 1 << 20, Args: args}
	}
	asked := w.p.Verify
	if asked == nil {
		asked = compared
	}
	verify := asked[w.rand.IntN(len(asked))]
	stage := func(s cloudcrowd.Stage) cloudcrowd.Stage {
		s.Resources = cloudcrowd.Resources{MemoryBytes: cloudcrowd.DefaultMemoryBytes, DiskBytes: cloudcrowd.DefaultDiskBytes, OutputBytes: 1 << 20, Cores: 1}
		s.Timeout, s.Retries, s.Target, s.Verify = cloudcrowd.Duration(10*time.Minute), 3, cloudcrowd.Duration(3*time.Second), verify
		return s
	}
	units := int64(50 + w.rand.IntN(1500))
	if large {
		units *= 5
	}
	args := []string{"{{start}}", "{{end}}"}
	if w.chance(0.1) {
		j.fails = true
		args = append(args, "fail")
	}
	spec := cloudcrowd.JobSpec{Name: fmt.Sprint("simulated ", i), Budget: 200 * cloudcrowd.Credit}
	first := stage(cloudcrowd.Stage{Name: "work", Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitRange, To: units}, Run: program("work", args...)})
	spec.Stages = append(spec.Stages, first)
	switch w.rand.IntN(4) {
	case 0:
		spec.Stages = append(spec.Stages, stage(cloudcrowd.Stage{Name: "tree", After: []string{"work"},
			Merge: &cloudcrowd.Merge{Kind: cloudcrowd.MergeProgram, FanIn: 2 + w.rand.IntN(6), Program: program("tree", "merge", "{{final}}")}}))
	case 1:
		spec.Stages = append(spec.Stages,
			stage(cloudcrowd.Stage{Name: "second", After: []string{"work"}, Split: &cloudcrowd.Split{Kind: cloudcrowd.SplitEach, Stage: "work"}, Run: program("second", "{{part}}")}),
			stage(cloudcrowd.Stage{Name: "joined", After: []string{"second"}, Merge: &cloudcrowd.Merge{Kind: cloudcrowd.MergeConcat}}))
	case 2:
		spec.Stages[0].Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitGrid, Grid: []cloudcrowd.GridAxis{{Name: "a", Values: []string{"0", "1", "2", "3", "4"}}, {Name: "b", Values: []string{"10", "300", "500"}}}}
		spec.Stages[0].Run.Args = []string{"{{a}}", "{{b}}"}
		if j.fails {
			spec.Stages[0].Run.Args = append(spec.Stages[0].Run.Args, "fail")
		}
		spec.Stages = append(spec.Stages, stage(cloudcrowd.Stage{Name: "all", After: []string{"work"}, Run: program("all", "0", "100")}))
	}
	if w.chance(0.1) {
		j.cancel = true
	}
	switch lot := int(digest([]byte(j.id))[0]) % 4; lot { // not drawn: that would change all that follows
	case 0:
		spec.Priority = 50 - 7*i
	case 1:
		spec.Speculate = new(0.5)
	}
	spec.Outputs = []string{spec.Stages[len(spec.Stages)-1].Name}
	return spec
}

// merged stands for the built-in merges: it joins digests.
func merged(ctx context.Context, _ *cloudcrowd.Merge, _ *cloudcrowd.Split, parts []taskmanager.MergePart, blobs blob.Store) ([]cloudcrowd.OutputFile, error) {
	content := mergedTruth(parts)
	d, err := blob.PutBytes(ctx, blobs, content)
	return []cloudcrowd.OutputFile{{Path: "merged", Digest: d, SizeBytes: int64(len(content))}}, err
}

func mergedTruth(parts []taskmanager.MergePart) []byte {
	var b strings.Builder
	for _, p := range parts {
		for _, f := range p.Outputs {
			b.WriteString(string(f.Digest))
		}
	}
	return []byte(b.String())
}

func (w *world) ended() bool {
	for _, j := range w.jobs {
		if !j.ended && !j.refused {
			return false
		}
	}
	return true
}

func (w *world) unfinished() string {
	var list []string
	for _, j := range w.jobs {
		if j.ended || j.refused {
			continue
		}
		text := fmt.Sprintf("%s (accepted %v", j.id, j.accepted)
		if s := w.book.job(j.id); s != nil {
			for i, st := range s.Stages {
				text += fmt.Sprintf("; %s %s %d/%d done, %d running, next %d", s.Spec.Stages[i].Name, st.State, st.Done, len(st.Tasks), st.Running, st.Next)
			}
		}
		list = append(list, text+")")
	}
	return strings.Join(list, ", ")
}
