package sim

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
	"cloudcrowd.dev/cloudcrowd/internal/taskmanager"
)

// job is one submission of the simulated requesters, repeated until it is acknowledged.
type job struct {
	id       cloudcrowd.JobID
	key      string
	account  cloudcrowd.AccountID
	spec     cloudcrowd.JobSpec
	fails    bool // its program is at fault
	cancel   bool
	accepted bool // acknowledged
	ended    bool
}

// populate registers workers and puts the requesters' doings on the agenda.
func (w *world) populate() {
	for i := range w.p.Workers {
		id := cloudcrowd.WorkerID(fmt.Sprintf("U%055d", i))
		k := &worker{w: w, id: id, owner: cloudcrowd.AccountID(fmt.Sprintf("owner%d", i-i%3/2)), speed: 0.5 + w.rand.Float64(), slots: 1 + w.rand.IntN(4),
			running: map[cloudcrowd.AttemptID]time.Time{}, spool: map[cloudcrowd.AttemptID]cloudcrowd.Result{}}
		k.pace = k.speed
		// The first four stay honest and present, so that every job can end.
		if i >= 4 {
			k.lies = w.chance(w.p.Lying)
			k.vanishes = w.chance(w.p.Vanishing)
			if w.chance(w.p.Slow) {
				k.pace /= 10
			}
			if i%5 == 0 { // a house machine
				k.owner, k.lies = operator, false
			}
		} else {
			k.owner = cloudcrowd.AccountID(fmt.Sprintf("honest%d", i))
		}
		w.workers[id] = k
		w.list = append(w.list, k)
		hash := fmt.Sprintf("%064d", i)
		_ = w.store.PutInvite(context.Background(), hash, cloudcrowd.Invite{ID: fmt.Sprint("invite", i), Owner: k.owner})                      // memory: cannot fail
		_, _ = w.store.Join(context.Background(), hash, cloudcrowd.Worker{ID: id, Name: id.Short(), Owner: k.owner}, cloudcrowd.TimeOf(w.now)) // likewise
		w.after(time.Duration(w.rand.Float64()*float64(5*time.Second)), func() error { k.connect(); return nil })
	}
	for i := range 3 {
		w.issue(cloudcrowd.AccountID(fmt.Sprintf("requester%d", i)), fmt.Sprint("issue", i))
	}
	for i := range w.p.Jobs {
		j := &job{key: fmt.Sprint("job", i), account: cloudcrowd.AccountID(fmt.Sprintf("requester%d", i%3))}
		j.id = cloudcrowd.NewJobID(epoch.Add(time.Duration(i)*time.Second), w.rand.Uint32())
		j.spec = w.spec(i, j)
		w.jobs = append(w.jobs, j)
		w.after(10*time.Second+time.Duration(w.rand.Float64()*float64(60*time.Second)), func() error { w.submit(j); return nil })
	}
}

// issue gives an account credits, repeated until acknowledged: the key makes it happen once.
func (w *world) issue(account cloudcrowd.AccountID, key string) {
	w.after(2*time.Second, func() error {
		w.try(func(d *lifecycle.Decider) error {
			_, err := d.Issue(account, 1000*cloudcrowd.Credit, operator, "simulated", key)
			return err
		}, func() {}, func() { w.issue(account, key) })
		return nil
	})
}

// try queues a decision; again runs if it was not acknowledged, the server's death included.
func (w *world) try(decide func(*lifecycle.Decider) error, acknowledged, again func()) {
	if w.manager == nil {
		again()
		return
	}
	answered := false
	manager := w.manager
	ok := manager.Inject(decide, func(err error) {
		answered = true
		if err != nil {
			again()
		} else {
			acknowledged()
		}
	})
	if !ok {
		again()
		return
	}
	w.soon()
	w.after(5*time.Second, func() error {
		if !answered && w.manager != manager {
			again()
		}
		return nil
	})
}

func (w *world) submit(j *job) {
	w.try(func(d *lifecycle.Decider) error {
		id, err := d.Submit(j.id, j.account, j.key, j.spec)
		if err == nil && id != j.id {
			return fmt.Errorf("key %s made job %s, not %s", j.key, id, j.id)
		}
		return err
	}, func() {
		j.accepted = true
		if j.cancel {
			w.after(time.Duration(w.rand.Float64()*float64(30*time.Second)), func() error { w.cancel(j); return nil })
		}
	}, func() { w.after(time.Second, func() error { w.submit(j); return nil }) })
}

func (w *world) cancel(j *job) {
	w.try(func(d *lifecycle.Decider) error {
		if err := d.Cancel(j.id, "changed his mind"); cloudcrowd.CodeOf(err) == cloudcrowd.Internal {
			return err
		}
		return nil // it ended before: fine
	}, func() {}, func() { w.after(time.Second, func() error { w.cancel(j); return nil }) })
}

// spec makes a random job of every shape.
func (w *world) spec(i int, j *job) cloudcrowd.JobSpec {
	program := func(name string, args ...string) *cloudcrowd.Program {
		return &cloudcrowd.Program{Module: digest([]byte(name)), ModuleName: name, ModuleSize: 1 << 20, Args: args}
	}
	verify := []cloudcrowd.Verify{{Replicas: 2, Quorum: 2}, {Replicas: 3, Quorum: 2}, {Confidence: 0.999}, {Confidence: 0.99}}[w.rand.IntN(4)]
	stage := func(s cloudcrowd.Stage) cloudcrowd.Stage {
		s.Resources = cloudcrowd.Resources{MemoryBytes: cloudcrowd.DefaultMemoryBytes, DiskBytes: cloudcrowd.DefaultDiskBytes, OutputBytes: 1 << 20, Cores: 1}
		s.Timeout, s.Retries, s.Target, s.Verify = cloudcrowd.Duration(10*time.Minute), 3, cloudcrowd.Duration(5*time.Second), verify
		return s
	}
	units := int64(2000 + w.rand.IntN(20000))
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
		spec.Stages[0].Split = &cloudcrowd.Split{Kind: cloudcrowd.SplitGrid, Grid: []cloudcrowd.GridAxis{{Name: "a", Values: []string{"0", "1", "2", "3", "4"}}, {Name: "b", Values: []string{"10", "500", "900"}}}}
		spec.Stages[0].Run.Args = []string{"{{a}}", "{{b}}"}
		if j.fails {
			spec.Stages[0].Run.Args = append(spec.Stages[0].Run.Args, "fail")
		}
		spec.Stages = append(spec.Stages, stage(cloudcrowd.Stage{Name: "all", After: []string{"work"}, Run: program("all", "0", "100")}))
	}
	if w.chance(0.1) {
		j.cancel = true
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
		if !j.ended {
			return false
		}
	}
	return true
}

func (w *world) unfinished() string {
	var list []string
	for _, j := range w.jobs {
		if !j.ended {
			text := fmt.Sprintf("%s (accepted %v", j.id, j.accepted)
			if w.manager != nil {
				if s := w.manager.State().Jobs[j.id]; s != nil {
					for i, st := range s.Stages {
						text += fmt.Sprintf("; %s %s %d/%d done, %d running, next %d", s.Spec.Stages[i].Name, st.State, st.Done, len(st.Tasks), st.Running, st.Next)
					}
				}
			}
			list = append(list, text+")")
		}
	}
	return strings.Join(list, ", ")
}

// settle judges the whole run: what jobs ended as, and whether what was accepted is true.
func (w *world) settle() error {
	for _, j := range w.jobs {
		state := w.book.state.Jobs[j.id]
		if state == nil {
			return fmt.Errorf("job %s has left the journal", j.id)
		}
		switch {
		case state.State == cloudcrowd.JobDone && j.fails:
			return fmt.Errorf("job %s is done though its program fails", j.id)
		case state.State == cloudcrowd.JobFailed && !j.fails:
			return fmt.Errorf("job %s failed without fault of its program: %s", j.id, state.Reason)
		case state.State == cloudcrowd.JobCancelled && !j.cancel:
			return fmt.Errorf("job %s was cancelled by nobody", j.id)
		}
		if state.State == cloudcrowd.JobDone {
			w.report.Done++
		} else {
			w.report.Failed++
		}
		w.report.Attempts += state.Attempts
		w.report.Refused += state.Refused
		for si, st := range state.Stages {
			w.report.Tasks += int64(len(st.Tasks))
			for ti, t := range st.Tasks {
				if t.State != cloudcrowd.TaskDone {
					continue
				}
				p, err := decompose.Payload(state.Facts(cloudcrowd.TaskID{Job: j.id, Stage: int32(si), Index: int32(ti)}))
				if err != nil {
					return err
				}
				if t.Outputs[0].Digest != digest(truth(&p)) {
					w.report.Wrong++
				}
			}
		}
	}
	return nil
}
