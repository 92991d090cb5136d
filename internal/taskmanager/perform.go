package taskmanager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"cloudcrowd.dev/cloudcrowd"
	"cloudcrowd.dev/cloudcrowd/internal/blob"
	"cloudcrowd.dev/cloudcrowd/internal/decompose"
	"cloudcrowd.dev/cloudcrowd/internal/lifecycle"
)

// MergePart is one part of a built-in merge, in order.
type MergePart struct {
	Index   int32
	Unit    cloudcrowd.Unit
	Outputs []cloudcrowd.OutputFile
}

// MergeFunc performs a built-in merge over blobs and returns the files it made. split is that of the stage merged. Errors of code Unavailable
// are tried again; any other fails the job with its message.
type MergeFunc func(ctx context.Context, m *cloudcrowd.Merge, split *cloudcrowd.Split, parts []MergePart, blobs blob.Store) ([]cloudcrowd.OutputFile, error)

// work names a piece of input and output that the server does beside the loop: reading a divisible input, or a built-in merge. What is to
// be done follows from the state, so a restart finds it again.
type work struct {
	job   cloudcrowd.JobID
	stage int32
}

// undone is work that failed for a reason that may pass, such as a full disk.
type undone struct {
	reason string // for the requester, without what is the server's alone
	tries  int
	next   cloudcrowd.Time // it is tried again from then on
}

const (
	retryFirst = cloudcrowd.Time(250_000) // pause after a failure, doubled by each further one
	retryLast  = cloudcrowd.Time(30e6)    // and at most
)

// performEvery is how often all jobs are looked at for what could not be done before; others than those something has happened to have nothing new.
const performEvery = cloudcrowd.Time(250_000)

// performAll starts what the state asks for and is not under way, in the jobs that events are about or, now and then, in all.
func (l *loop) performAll(at cloudcrowd.Time, events []lifecycle.Event) {
	if l.performed == 0 || at-l.performed >= performEvery {
		l.performed = at
		for _, id := range l.st.Running() {
			l.performJob(id)
		}
		maps.DeleteFunc(l.undone, func(w work, _ undone) bool {
			j := l.st.Jobs[w.job]
			return j == nil || j.State.Ended()
		})
		return
	}
	var last cloudcrowd.JobID
	for i := range events {
		if id, _ := subject(events[i]); id.Task.Job != last {
			last = id.Task.Job
			l.performJob(last)
		}
	}
}

func (l *loop) performJob(id cloudcrowd.JobID) {
	j := l.st.Job(id)
	if j == nil || j.State.Ended() {
		return
	}
	for i, st := range j.Stages {
		switch st.State {
		case cloudcrowd.StagePreparing:
			l.perform(work{job: id, stage: int32(i)}, l.indexing(j, i))
		case cloudcrowd.StageMerging:
			if w := (work{job: id, stage: int32(i)}); l.due(w) { // digesting all parts costs something: only where it is used
				l.perform(w, l.merging(j, i, l.st.MergeBasis(id, int32(i))))
			}
		}
	}
}

// due reports whether a piece of work may be begun: it is not under way, and has not failed just now.
func (l *loop) due(w work) bool { return !l.inFlight[w] && l.undone[w].next <= l.clock }

// perform runs make beside the loop unless it is running, and queues the decision it returns.
func (l *loop) perform(w work, make func(ctx context.Context) (func(*lifecycle.Decider), error)) {
	if make == nil || !l.due(w) {
		return
	}
	l.inFlight[w] = true
	m := l.m
	m.cfg.Perform(func() {
		decide, err := make(context.Background())
		done := command{decide: func(l *loop, d *lifecycle.Decider) error {
			delete(l.inFlight, w)
			before := l.undone[w]
			delete(l.undone, w)
			switch {
			case err == nil:
				decide(d)
			case cloudcrowd.CodeOf(err) != cloudcrowd.Unavailable:
				m.log.Warn("a stage cannot be prepared", "job", w.job, "stage", w.stage, "err", err)
				d.Fail(w.job, reason(err))
			default:
				pause := min(retryFirst<<min(before.tries, 10), retryLast)
				m.log.Warn("a stage cannot be prepared now", "job", w.job, "stage", w.stage, "again_in", time.Duration(pause)*time.Microsecond, "err", err)
				l.undone[w] = undone{reason: passing(err), tries: before.tries + 1, next: d.At + pause}
			}
			return nil
		}}
		select {
		case m.queue <- done:
		case <-m.closed:
		}
	})
}

// passing is what a requester is told of trouble that may pass: what is wrong, without the paths and addresses of this server.
func passing(err error) string {
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok {
		return e.Msg
	}
	return "something it needs cannot be reached"
}

// reason is what a job that fails by err tells its requester: what is wrong and, where that is known, what to do.
func reason(err error) string {
	if e, ok := errors.AsType[*cloudcrowd.Error](err); ok && e.Hint != "" {
		return err.Error() + "; " + e.Hint
	}
	return err.Error()
}

// indexing reads a divisible input once, uncompressed.
func (l *loop) indexing(j *lifecycle.Job, i int) func(context.Context) (func(*lifecycle.Decider), error) {
	spec := &j.Spec.Stages[i]
	split := spec.Split
	var source cloudcrowd.Digest
	if split.Kind == cloudcrowd.SplitProgram {
		up := j.Spec.StageIndex(split.Stage)
		part, ok := j.Part(up, 0)
		if !ok {
			return nil
		}
		at := slices.IndexFunc(part.Outputs, func(f cloudcrowd.OutputFile) bool { return f.Path == "units" })
		if at < 0 {
			return func(context.Context) (func(*lifecycle.Decider), error) {
				return nil, fmt.Errorf("the splitting program of stage %s left no file /out/units", spec.Name)
			}
		}
		source = part.Outputs[at].Digest
	} else {
		files := j.Spec.Inputs[split.Input].Files
		if len(files) != 1 {
			return func(context.Context) (func(*lifecycle.Decider), error) {
				return nil, fmt.Errorf("stage %s cuts input %s, which has %d files; it needs exactly one", spec.Name, split.Input, len(files))
			}
		}
		source = files[0].Digest
	}
	m, job, stage, name := l.m, j.ID, int32(i), spec.Name
	return func(ctx context.Context) (func(*lifecycle.Decider), error) {
		in, err := m.cfg.Blobs.Open(ctx, source, 0, -1)
		if err != nil {
			return nil, fmt.Errorf("reading the input of stage %s: %w", name, err)
		}
		defer in.Close()
		w, err := m.cfg.Blobs.Create(ctx)
		if err != nil {
			return nil, err
		}
		defer w.Abort()
		ix, err := decompose.BuildIndex(split, in, w, maxIndexBytes)
		if err != nil {
			return nil, fmt.Errorf("stage %s cannot be cut: %w", name, err)
		}
		if ix.Data, err = w.Commit(); err != nil {
			return nil, err
		}
		return func(d *lifecycle.Decider) { d.Indexed(job, stage, ix) }, nil
	}
}

// merging performs a built-in merge.
func (l *loop) merging(j *lifecycle.Job, i int, basis cloudcrowd.Digest) func(context.Context) (func(*lifecycle.Decider), error) {
	spec := &j.Spec.Stages[i]
	up := j.Spec.StageIndex(spec.After[0])
	var parts []MergePart
	n, _ := j.Parts(up)
	for k := range n {
		p, ok := j.Part(up, k)
		if !ok {
			return nil
		}
		part := MergePart{Index: p.Index, Outputs: p.Outputs, Unit: cloudcrowd.Unit{Lo: k, Hi: k + 1}}
		if j.Spec.Stages[up].Merge == nil {
			part.Unit = j.Stages[up].Tasks[k].Unit
		}
		parts = append(parts, part)
	}
	m, job, stage := l.m, j.ID, int32(i)
	split := j.Spec.Stages[up].Split
	return func(ctx context.Context) (func(*lifecycle.Decider), error) {
		files, err := m.cfg.Merge(ctx, spec.Merge, split, parts, m.cfg.Blobs)
		if err != nil {
			return nil, fmt.Errorf("stage %s cannot be merged: %w", spec.Name, err)
		}
		return func(d *lifecycle.Decider) { d.Merged(job, stage, basis, files) }, nil
	}
}

func payloadOf(j *lifecycle.Job, id cloudcrowd.TaskID) (cloudcrowd.Payload, error) {
	return decompose.Payload(j.Facts(id))
}
